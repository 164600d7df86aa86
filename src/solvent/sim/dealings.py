"""Commands about contracts, trades and prices, made up from how things stand."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from solvent.engine.state import Account, Contract, State
from solvent.limits import COMBO_FIRST, LOTS_MAX, POINTS_MAX
from solvent.messages import commands as c
from solvent.messages.fields import Command, IndexPrice, MarkPrice, Phase, Side, TermText
from solvent.sim import ordering
from solvent.sim.draws import Draws
from solvent.sim.money import Draft
from solvent.sim.worlds import DAY, MOVES, arrays, prices, with_engine
from solvent.units import MINUTE_MS

_ENGINE: Final = {
    "reducing": ("position", "margin", "none"),
    "matching": ("book", "book", "outside"),
    "relief": ("largest", "all"),
    "money_rounding": ("against_account", "toward_zero", "half_even"),
    "realise": ("on_close", "at_mark"),
    "losses": ("debt", "collect"),
}

# ── what there is to trade ───────────────────────────────────────────────────────────────────────


def list_asset(draws: Draws, state: State) -> Command | None:
    """An asset that nothing settles in."""
    if len(state.assets) > 8:
        return None
    decimals = draws.rng.choice((0, 6, 12))
    return c.ListAsset(asset=draws.new("asset"), decimals=decimals, **draws.told())


def list_instrument(draws: Draws, state: State) -> Command | None:
    """One that was kept for later, or one like another with another name and expiry."""
    listings = [one for one in draws.world.later if one.symbol not in state.contract_numbers]
    if listings and draws.often(0.5):
        told = {**_fields(listings[0]), **draws.told()}
        return c.ListInstrument(**told)
    if len(state.contracts) > 60:
        return None
    like = draws.contract(state).listing
    told = {**_fields(like), **draws.told(), "symbol": draws.new(like.base)}
    if like.expiry_ms is not None:
        after_ms = draws.rng.choice((1, 1_000, MINUTE_MS, 100 * MINUTE_MS, 0))
        told["expiry_ms"] = state.log.time_ms + after_ms
    if draws.often(0.1):
        wrong = draws.rng.choice(
            (
                {"kind": "spot"}, {"strike": "0"}, {"quote": like.base}, {"terms": (
                    TermText("straddle", "1", "1"),)}, {"lot_size": "0"}, {"quanto_rate": "2"},
                {"tick_size": "-1"}, {"expiry_ms": None}, {"kind": "structure"},
            )
        )  # fmt: skip
        told |= wrong
    return c.ListInstrument(**told)


def _fields(listing: c.ListInstrument) -> dict[str, Any]:
    return {name: getattr(listing, name) for name in listing.__struct_fields__}


def delist_instrument(draws: Draws, state: State) -> Command | None:
    """Mostly one that nobody holds, and seldom one of the first; or a combination."""
    if state.combos and draws.often(0.3):
        return c.DelistInstrument(symbol=draws.one(state.combos).listing.symbol, **draws.told())
    idle = [one for one in state.contracts if not one.settled and not one.holders]
    late = [one for one in idle if one.number >= len(draws.world.listings)]
    contract = draws.one(late) if late else None
    if contract is None or draws.often(0.05):
        contract = draws.contract(state)
        book = state.desk.books.get(contract.number)
        if not contract.holders and not (book and book.count) and draws.often(0.9):
            return None
    return c.DelistInstrument(symbol=contract.listing.symbol, **draws.told())


def set_phase(draws: Draws, state: State) -> Command | None:
    """Trading goes on sooner or later."""
    contract = ordering.living(draws, state)
    phases = (Phase.CONTINUOUS, Phase.CONTINUOUS, Phase.AUCTION, Phase.HALTED)
    if contract.phase is not Phase.CONTINUOUS or draws.often(0.1):
        phase = Phase.CONTINUOUS
    else:
        phase = draws.one(phases)
    if phase is not Phase.CONTINUOUS:
        if draws.does(c.PlaceOrder) and not contract.settled:
            orders = draws.one((0, 6, 12)) if phase is Phase.AUCTION else 1
            draws.due.extend([partial(ordering.order_in, draws, contract.number)] * orders)
        draws.due.append(partial(_go_on, draws, contract.listing.symbol))
    return c.SetPhase(symbol=contract.listing.symbol, phase=phase, **draws.told())


def _go_on(draws: Draws, symbol: str, state: State) -> Command:
    """Trading as before, sooner or later."""
    del state
    return c.SetPhase(symbol=symbol, phase=Phase.CONTINUOUS, **draws.told())


def adopt_rulebook(draws: Draws, state: State) -> Command | None:
    """The same once more, with another `[engine]`, or under another name."""
    name = draws.one(draws.world.rulebooks)
    toml, lot = draws.world.texts[name], draws.rng.random()
    entry = draws.rng.choice(list(_ENGINE))
    if lot < 0.4:
        value = draws.rng.choice(_ENGINE[entry])
        toml = re.sub(rf'\n({entry}\s*= )"\w+"', rf'\n\1"{value}"', toml)
    elif lot < 0.5:
        toml = with_engine("", {entry: "sideways"}) if lot < 0.45 else "schema = 1"
    elif lot < 0.6:
        toml = re.sub(r"\n(search_factor\s*= ).*", r"\n\g<1>1.15", toml)
    elif lot < 0.7:
        toml = re.sub(r"\nprice_band = .*", draws.rng.choice(("", "\nprice_band = 0.1")), toml)
    told = {"name": draws.one((name, name, name, draws.new("book"))), "day": DAY}
    if draws.often(0.1):
        told["day"] = draws.one(("2031-01-01", "yesterday"))
    venue = name == state.venue_rulebook if draws.often(0.9) else draws.often(0.5)
    return c.AdoptRulebook(toml=toml, venue=venue, **told, **draws.told())


# ── trades ───────────────────────────────────────────────────────────────────────────────────────


def trade(draws: Draws, state: State) -> Command | None:
    """Of all sorts: to open, to close, to turn; against orders; with the insurance fund."""
    lot = draws.rng.random()
    if lot < 0.12:
        found = _fill(draws, state)
        if found is not None:
            return found
    if lot < 0.45:
        return _closing(draws, state)
    contract = draws.contract(state)
    return _traded(
        draws, contract, draws.account(state), draws.account(state), draws.lots(contract)
    )


def _traded(
    draws: Draws, contract: Contract, buyer: Account, seller: Account, lots: int
) -> c.Trade:
    lot = draws.rng.random()
    return c.Trade(
        buyer="insurance" if lot < 0.01 else buyer.name,
        seller="insurance" if lot > 0.99 else seller.name,
        symbol=contract.listing.symbol,
        lots=draws.one((LOTS_MAX, LOTS_MAX // 2)) if 0.5 < lot < 0.503 else lots,
        price_ticks=POINTS_MAX if 0.6 < lot < 0.601 else draws.ticks(contract),
        aggressor=draws.one((Side.BUY, Side.SELL, None)),
        **draws.told(),
    )


def _closing(draws: Draws, state: State) -> Command | None:
    """Less of what somebody holds, none of it, or the other side; the other one may hold it too."""
    account = draws.holder(state)
    if not account.positions:
        return None
    number = draws.one(list(account.positions))
    contract, held = state.contracts[number], account.positions[number].lots
    lots = abs(held) or 1
    lot = draws.rng.random()
    if lot > 0.5:
        lots = max(1, int(lots * draws.rng.random()))
    elif lot < 0.2:
        lots += draws.rng.choice((1, lots, draws.lots(contract)))
    other = draws.account(state)
    if draws.often(0.5):
        opposite = [n for n, one in contract.holders.items() if one.lots * held < 0]
        other = state.account(draws.one(opposite)) if opposite else other
    sides = (other, account) if held > 0 else (account, other)
    return _traded(draws, contract, *sides, min(lots, LOTS_MAX))


def _fill(draws: Draws, state: State) -> Command | None:
    """A trade against an order, or two, of which most can be filled."""
    for _ in range(6):
        maker = draws.account(state)
        if mine := state.orders_of(maker.number):
            break
    name = draws.one(list(mine)) if mine else ""
    if not mine or mine[name].instrument >= COMBO_FIRST:
        return None
    order = mine[name]
    contract, taker = state.contracts[order.instrument], draws.account(state)
    lots = draws.one((abs(order.lots), max(1, abs(order.lots) // 2), 1))
    if draws.often(0.05):
        lots += 1
    other = None
    for their_name, theirs in state.orders_of(taker.number).items():
        if theirs.instrument == order.instrument and theirs.lots * order.lots < 0:
            other = their_name
    bought = order.lots > 0
    better = draws.rng.choice((0, 0, 0, 1, -1))
    return c.Trade(
        buyer=(maker if bought else taker).name, seller=(taker if bought else maker).name,
        symbol=contract.listing.symbol, lots=lots,
        price_ticks=max(1, (order.price_ticks or 0) + better),
        aggressor=draws.one((Side.SELL if bought else Side.BUY, None)),
        buy_order=name if bought else other, sell_order=other if bought else name,
        **draws.told(),
    )  # fmt: skip


# ── the market ───────────────────────────────────────────────────────────────────────────────────


def publish_market(draws: Draws, state: State) -> Command | None:
    """The market anew, or a few of its prices."""
    draws.alarmed = True
    if draws.often(0.3):
        return _some_prices(draws, state)
    for coin in (0, 1):
        if draws.often(0.8):
            draws.moves[coin] = draws.one(MOVES[: draws.reach])
    told = prices(_scope(draws, state), btc=draws.moves[0], eth=draws.moves[1])
    for name in draws.world.rulebooks:
        if draws.often(1.0 - draws.stale):
            draws.due.append(partial(arrays_of, draws, name))
    age_ms = draws.rng.choice((0, 0, 5, 2_000))
    listed = [
        one for one in state.contracts if not one.settled and one.listing.symbol in told.marks
    ]
    return c.PublishMarket(
        index=tuple(IndexPrice(name, price, age_ms) for name, price in told.index.items()),
        marks=tuple(MarkPrice(o.listing.symbol, told.points(o.listing), age_ms) for o in listed),
        **draws.told(),
    )


def _some_prices(draws: Draws, state: State) -> Command:
    """A few prices a little, or much, beside where they were."""
    factor = draws.rng.choice((0.9999, 1.0001, 1.01, 0.99, 0.93, 1.08, 0.2, 0.0))
    chosen = dict.fromkeys(draws.contract(state).listing.symbol for _ in range(3))
    marks = []
    for symbol in chosen:
        contract = state.contracts[state.contract_numbers[symbol]]
        points = int((contract.mark_points or 1_000_000) * factor)
        marks.append(MarkPrice(symbol, min(points, POINTS_MAX), 0))
    if draws.often(0.02):
        marks *= 2
    index = [
        IndexPrice(name, max(1, int(one.price_nano * factor)), draws.rng.choice((0, 100)))
        for name, one in state.underlyings.items()
        if draws.often(0.3)
    ]
    return c.PublishMarket(index=tuple(index), marks=tuple(marks), **draws.told())


def _scope(draws: Draws, state: State) -> str:
    later = all(one.symbol in state.contract_numbers for one in draws.world.later)
    return f"{draws.world.scope} later" if later else draws.world.scope


def publish_arrays(draws: Draws, state: State) -> Command | None:
    """Risk arrays of the market as it stands; some are of yesterday, tomorrow, or damaged."""
    return arrays_of(draws, draws.one(draws.world.rulebooks), state)


def arrays_of(draws: Draws, name: str, state: State) -> Command:
    """A rulebook's risk arrays, mostly of now."""
    limit = draws.world.age_ms_max
    age_ms = draws.rng.choice((0, 0, 0, 0, 10, limit, limit + 1, -limit, -limit - 1))
    if not draws.often(0.1):
        age_ms = 0
    scope = _scope(draws, state)
    if draws.often(0.01):
        scope = f"{draws.world.scope} later"
    told = arrays(
        name, scope, btc=draws.moves[0], eth=draws.moves[1],
        as_of_ms=max(0, state.log.time_ms - age_ms), key=draws.told()["key"],
    )  # fmt: skip
    if draws.often(0.01):
        return c.PublishArrays(rulebook=name, arrays=told.arrays[:-7], **draws.told())
    return told


def pay_funding(draws: Draws, state: State) -> Command | None:
    """Of a perpetual, for a time that is over, at a rate or the rulebook's own."""
    perpetual = [o for o in state.contracts if o.deal.kind == "perpetual" and not o.settled]
    contract = draws.one(perpetual) if perpetual and draws.often(0.97) else draws.contract(state)
    rates = ("0", "0.0001", "-0.0003", "0.0123456789", "-0.05", "1", "1.5")
    rate = (
        None if draws.often(0.7 if draws.world.kind == "contract" else 0.05) else draws.one(rates)
    )
    return c.PayFunding(
        symbol=contract.listing.symbol,
        until_ms=max(0, state.log.time_ms + draws.rng.choice((0, 0, 0, -1, 1, -MINUTE_MS))),
        rate=rate,
        **draws.told(),
    )


def settle_variation(draws: Draws, state: State) -> Command | None:
    """Of anything that has a mark."""
    return c.SettleVariation(symbol=draws.contract(state).listing.symbol, **draws.told())


def settle_expiry(draws: Draws, state: State) -> Command | None:
    """Of what is due, if something is."""
    time_ms = state.log.time_ms
    due = [
        one for one in state.contracts
        if not one.settled and one.deal.expiry_ms is not None and one.deal.expiry_ms <= time_ms
    ]  # fmt: skip
    halted = [
        one for one in state.contracts
        if not one.settled and one.deal.expiry_ms is None and one.phase is Phase.HALTED
    ]  # fmt: skip
    if due:
        contract = draws.one(due)
    elif halted and draws.often(0.3):
        contract = draws.one(halted)
    elif draws.often(0.9):
        return None
    else:
        contract = draws.contract(state)
    underlying = state.underlyings.get(contract.deal.underlying)
    price = 64_000 * 10**9 if underlying is None else underlying.price_nano
    told = None if draws.often(0.5) else int(price * draws.rng.choice((1, 1.01, 0.97, 0.3, 3, 0)))
    return c.SettleExpiry(symbol=contract.listing.symbol, price_nano=told, **draws.told())


def heartbeat(draws: Draws, state: State) -> Command | None:
    """Time alone."""
    del state
    return c.Heartbeat(**draws.told())


DRAFTS: Final[dict[type[Command], Draft]] = {
    c.ListAsset: list_asset, c.ListInstrument: list_instrument,
    c.DelistInstrument: delist_instrument, c.SetPhase: set_phase,
    c.AdoptRulebook: adopt_rulebook, c.Trade: trade, c.PublishMarket: publish_market,
    c.PublishArrays: publish_arrays, c.PayFunding: pay_funding,
    c.SettleVariation: settle_variation, c.SettleExpiry: settle_expiry, c.Heartbeat: heartbeat,
}  # fmt: skip
