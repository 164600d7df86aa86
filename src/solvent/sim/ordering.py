"""Commands about orders, combinations and blocks, made up from how things stand."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from typing import Any, Final

from solvent.engine.state import Account, Contract, State
from solvent.limits import COMBO_FIRST, LOTS_MAX
from solvent.messages import commands as c
from solvent.messages.fields import (
    ComboLeg,
    Command,
    Phase,
    SelfTrade,
    Side,
    StopAt,
    TimeInForce,
    Trigger,
)
from solvent.orders.order import BookTerms, Order
from solvent.sim.draws import Draws
from solvent.sim.money import Draft
from solvent.units import DAY_MS, MINUTE_MS

GROUPS: Final = ("quotes", "hedges")
SESSIONS: Final = ("fix-1", "fix-2")
PARTS_MAX: Final = 100
"""Parts that an order may be shown in: each can be a fill of its own."""
_ORDERS_MAX: Final = 12
_NANO: Final = 10**9
_NO_TERMS: Final = BookTerms()
_NO_STOPS: Final[Mapping[str, Order]] = {}

# ── what is ordered ──────────────────────────────────────────────────────────────────────────────


def _symbol(state: State, number: int) -> str:
    if number >= COMBO_FIRST:
        return state.combos[number - COMBO_FIRST].listing.symbol
    return state.contracts[number].listing.symbol


def _instrument(draws: Draws, state: State) -> int:
    """A contract, or now and then a combination."""
    if state.combos and draws.often(0.15):
        return draws.one(state.combos).number
    return living(draws, state).number


def living(draws: Draws, state: State) -> Contract:
    """A contract, mostly one of a few that have not ended."""
    found = draws.contract(state)
    for _ in range(8):
        expiry_ms = found.deal.expiry_ms
        lives = not found.settled and (expiry_ms is None or expiry_ms > state.log.time_ms)
        if draws.often(0.05) or (lives and found.number % draws.spread == 0):
            break
        found = draws.contract(state)
    return found


def _terms(state: State, number: int) -> BookTerms:
    book = state.desk.books.get(number)
    return _NO_TERMS if book is None else book.terms


def _mark_ticks(state: State, number: int) -> int:
    """The mark in ticks of the book; of a combination what its legs' marks come to."""
    if number < COMBO_FIRST:
        contract = state.contracts[number]
        return max(1, (contract.mark_points or 1_000) // contract.deal.points_per_tick)
    combo = state.combos[number - COMBO_FIRST]
    price = sum(ratio * (leg.mark_points or 0) * leg.deal.point for leg, ratio in combo.legs)
    return round(Fraction(price) / combo.tick)


def _lots(draws: Draws, state: State, number: int) -> int:
    """Lots that can mostly be borne, and mostly fit the book."""
    if number < COMBO_FIRST:
        lots = draws.lots(state.contracts[number])
    else:
        legs = state.combos[number - COMBO_FIRST].legs
        lots = max(1, draws.lots(legs[0][0]) // sum(abs(ratio) for _, ratio in legs))
    if draws.often(0.002):
        return draws.one((LOTS_MAX, LOTS_MAX // 2))
    return lots if draws.often(0.03) else _fitting(state, number, lots)


def _fitting(state: State, number: int, lots: int) -> int:
    terms = _terms(state, number)
    lots = min(max(lots, terms.lots_min), terms.lots_max)
    return max(terms.lots_step, lots - lots % terms.lots_step)


def _ticks(draws: Draws, state: State, number: int, *, buys: bool) -> int:
    """A price about the mark, or at what rests on the other side, mostly one that the book takes;
    seldom far away."""
    book, step = state.desk.books.get(number), _terms(state, number).price_step
    ticks, lot = _mark_ticks(state, number), draws.rng.random()
    if book is not None and "cross" in draws.features and lot < 0.4:
        bid, ask = state.desk.best(number)
        meets = ask if buys else bid
        if meets is not None:
            return meets
    away = max(1, abs(ticks) // 200)
    if lot < 0.55:
        pass
    elif lot < 0.92:
        ticks += int((2.0 * draws.rng.random() - 1.0) * away) // step * step
    elif lot < 0.97:
        ticks += (away // 2 + 1) * (1 if buys else -1)
    else:
        ticks = int(ticks * draws.rng.choice((0.001, 0.5, 0.9, 1.1, 2.0, 30.0)))
    if number < COMBO_FIRST:
        ticks = max(step, ticks)
    return ticks if draws.often(0.03) else ticks // step * step


# ── orders ───────────────────────────────────────────────────────────────────────────────────────


def place_order(draws: Draws, state: State) -> Command | None:
    """By anybody, at about the mark; some only close."""
    account = draws.account(state)
    mine, waiting = state.orders_of(account.number), _stops_of(state, account)
    name = draws.new("order")
    if mine and draws.often(0.03):
        name = draws.one([*mine, *waiting])
    elif len(mine) + len(waiting) > _ORDERS_MAX:
        return None
    number, lots, side = _instrument(draws, state), 0, draws.one((Side.BUY, Side.SELL))
    if account.positions and draws.often(0.3):
        number = draws.one(list(account.positions))
        held = account.positions[number].lots
        side = Side.SELL if held > 0 else Side.BUY
        lots = _fitting(state, number, min(LOTS_MAX, abs(held)))
    group = draws.one(GROUPS) if draws.has("group") else None
    if group is not None and (account.number, group) not in state.desk.groups and draws.often(0.9):
        return _protection(draws, account, group)
    return _placed(draws, state, account, number, name=name, side=side, lots=lots, group=group)


def order_in(draws: Draws, number: int, state: State) -> Command:
    """In one book, by anybody."""
    return _placed(
        draws, state, draws.account(state), number, name=draws.new("order"),
        side=draws.one((Side.BUY, Side.SELL)), lots=0, group=None,
    )  # fmt: skip


def _stops_of(state: State, account: Account) -> Mapping[str, Order]:
    return state.desk.stops.get(account.number, _NO_STOPS)


def _placed(
    draws: Draws, state: State, account: Account, number: int, *, name: str, side: Side, lots: int,
    group: str | None,
) -> Command:  # fmt: skip
    lots = lots or _lots(draws, state, number)
    told: dict[str, Any] = {
        "lots": lots,
        "price_ticks": _ticks(draws, state, number, buys=side is Side.BUY),
        "group": group,
    }
    if draws.has("session"):
        told["session"] = draws.one(SESSIONS)
    if draws.has("self_trade"):
        told["self_trade"] = draws.one(tuple(SelfTrade))
    if _terms(state, number).matching or draws.often(0.05):
        _choose(draws, state, number, account, told)
    elif draws.has("gtd"):
        told |= _until(draws, state)
    draws.placed.append((account.name, name))
    return c.PlaceOrder(
        account=account.name, order=name, symbol=_symbol(state, number), side=side, **told,
        **draws.told(),
    )  # fmt: skip


def _choose(
    draws: Draws, state: State, number: int, account: Account, told: dict[str, Any]
) -> None:
    """What else an order asks for; a few things do not go together."""
    if draws.has("reduce_only"):
        held = number in (account.positions or ())
        told["reduce_only"] = held or draws.often(0.3)
    if draws.has("stop"):
        told["stop"] = _stop(draws, state, number)
    if draws.has("post_only"):
        told["post_only"] = True
    if draws.has("display"):
        told["display_lots"] = _displayed(draws, state, number, told["lots"])
    if draws.has("gtd"):
        told |= _until(draws, state)
    lasts = len(told) > 3 and draws.often(0.9)
    if lasts and ("display_lots" in told or "expire_ms" in told or "post_only" in told):
        return
    auction = _phase(state, number) is not Phase.CONTINUOUS and draws.often(0.9)
    if not auction and draws.has("fok"):
        told["time_in_force"] = TimeInForce.FOK
        told["lots"] = _fitting(state, number, max(1, told["lots"] // 10))
    elif not auction and draws.has("ioc"):
        told["time_in_force"] = TimeInForce.IOC
    if not auction and draws.has("market"):
        told["price_ticks"] = None


def _phase(state: State, number: int) -> Phase:
    book = state.desk.books.get(number)
    return Phase.HALTED if book is None else book.phase


def _until(draws: Draws, state: State) -> dict[str, Any]:
    later_ms = draws.rng.choice((0, 1, 20, 5_000, MINUTE_MS, DAY_MS))
    if draws.often(0.02):
        return {"expire_ms": state.log.time_ms + later_ms}
    return {"time_in_force": TimeInForce.GTD, "expire_ms": state.log.time_ms + later_ms}


def _displayed(draws: Draws, state: State, number: int, lots: int) -> int:
    """A part of the lots, which is not shown in too many parts."""
    step = _terms(state, number).lots_step
    part = max(1, lots // draws.rng.choice((1, 2, 3, 10)), lots // PARTS_MAX)
    part = part if draws.often(0.02) else max(step, part - part % step)
    return min(part, LOTS_MAX)


def _stop(draws: Draws, state: State, number: int) -> StopAt:
    """At a price that may be reached soon, mostly not yet."""
    trigger = draws.one(tuple(Trigger))
    if number >= COMBO_FIRST or trigger is not Trigger.INDEX:
        price = abs(_mark_ticks(state, number)) * _terms(state, number).points_per_tick
    else:
        underlying = state.underlyings.get(state.contracts[number].deal.underlying)
        price = 1_000 * _NANO if underlying is None else underlying.price_nano
    rises = draws.often(0.5)
    factor = draws.rng.choice((1.0, 1.0, 1.001, 1.02, 1.2))
    price = int(price * (factor if rises else 1.0 / factor)) + (1 if rises else -1)
    return StopAt(trigger, max(1, price), rises if draws.often(0.9) else not rises)


def _one_placed(draws: Draws, state: State, *, stops: float) -> tuple[str, str] | None:
    """Account and name of an order that may still be there; in so many cases of a stop."""
    if draws.placed and draws.often(0.3):
        return draws.one(draws.placed)
    for _ in range(4):
        account = draws.account(state)
        mine = state.orders_of(account.number)
        if not mine or draws.often(stops):
            mine = _stops_of(state, account) or mine
        if mine:
            return account.name, draws.one(list(mine))
    return None


def amend_order(draws: Draws, state: State) -> Command | None:
    """More or fewer lots, another price, or both; some are filled beyond what is asked for."""
    found = _one_placed(draws, state, stops=0.05)
    if found is None:
        return None
    account, name = found
    order = state.orders_of(state.account_numbers[account]).get(name)
    told: dict[str, Any] = {}
    if order is None:
        told["lots"] = draws.one((1, 10, 1_000))
    else:
        number, total = order.instrument, abs(order.lots) + order.filled
        if draws.has("amend_lots"):
            lots = int(total * draws.rng.choice((0.3, 0.9, 1.0, 1.1, 2.0)))
            told["lots"] = min(LOTS_MAX, _fitting(state, number, lots))
            if order.filled and draws.often(0.2):
                told["lots"] = order.filled
            if order.display:
                told["lots"] = min(told["lots"], PARTS_MAX * order.display)
        if draws.has("amend_price"):
            told["price_ticks"] = _ticks(draws, state, number, buys=order.lots > 0)
    if not told and draws.often(0.9):
        return None
    return c.AmendOrder(account=account, order=name, **told, **draws.told())


def cancel_order(draws: Draws, state: State) -> Command | None:
    """Of somebody who has one."""
    found = _one_placed(draws, state, stops=0.2)
    if found is None:
        return None
    return c.CancelOrder(account=found[0], order=found[1], **draws.told())


def cancel_orders(draws: Draws, state: State) -> Command | None:
    """Of an account, a contract, an underlying, a side or a group, or of some of these."""
    told: dict[str, Any] = {}
    if draws.often(0.7):
        told["account"] = draws.account(state).name
    if draws.often(0.3):
        told["symbol"] = _symbol(state, _instrument(draws, state))
    if draws.often(0.2):
        told["underlying"] = draws.one(list(state.underlyings))
    if draws.often(0.3):
        told["side"] = draws.one((Side.BUY, Side.SELL))
    if draws.often(0.2):
        told["group"] = draws.one(GROUPS)
    return c.CancelOrders(**told, **draws.told())


def disconnect(draws: Draws, state: State) -> Command | None:
    """Anybody's session."""
    return c.Disconnect(
        account=draws.account(state).name, session=draws.one(SESSIONS), **draws.told()
    )


# ── protection ───────────────────────────────────────────────────────────────────────────────────


def set_protection(draws: Draws, state: State) -> Command | None:
    """Of anybody's group."""
    return _protection(draws, draws.account(state), draws.one(GROUPS))


def _protection(draws: Draws, account: Account, group: str) -> Command:
    """Limits that some fills go beyond."""
    coins = draws.one((None, 1_000_000, 100_000_000, 10_000_000_000))
    lots = draws.one((1, 20, 1_000)) if coins is None else draws.one((None, 20))
    if draws.often(0.05):
        lots = coins = None
    return c.SetProtection(
        account=account.name, group=group, window_ms=draws.one((1, 1_000, MINUTE_MS)),
        frozen_ms=draws.one((0, 1, 5_000, MINUTE_MS)), lots=lots, delta_nano=coins, **draws.told(),
    )  # fmt: skip


def reset_protection(draws: Draws, state: State) -> Command | None:
    """Mostly of a group that has tripped."""
    groups = list(state.desk.groups)
    tripped = [one for one in groups if state.desk.groups[one].tripped]
    if (tripped or groups) and draws.often(0.95):
        number, group = draws.one(tripped or groups)
        return c.ResetProtection(account=state.account(number).name, group=group, **draws.told())
    return c.ResetProtection(
        account=draws.account(state).name, group=draws.one(GROUPS), **draws.told()
    )


# ── combinations and blocks ──────────────────────────────────────────────────────────────────────


def list_combo(draws: Draws, state: State) -> Command | None:
    """Two or three contracts of one kind, mostly such as go together."""
    if len(state.combos) > 20:
        return None
    first = draws.contract(state)
    alike = [
        one for one in state.contracts
        if one is not first and not one.settled and _unit(one) == _unit(first)
    ]  # fmt: skip
    if draws.often(0.1):
        alike = [draws.contract(state), draws.contract(state)]
    if not alike:
        return None
    draws.rng.shuffle(alike)
    legs = [first, *alike[: draws.one((1, 1, 2))]]
    ratios = [1, *(draws.one((-1, -1, -2, 1, 3)) for _ in legs[1:])]
    if draws.often(0.05):
        ratios[0] = draws.one((0, 2, -2))
    ticks = [Fraction(one.listing.tick_size) for one in legs]
    finest = min(
        tick for tick, ratio in zip(ticks, ratios, strict=True) if abs(ratio) == 1 or ratio
    )
    tick = max(finest, *ticks) if draws.often(0.5) else finest
    symbol = draws.new("combo") if draws.often(0.97) else first.listing.symbol
    return c.ListCombo(
        symbol=symbol,
        legs=tuple(
            ComboLeg(one.listing.symbol, ratio) for one, ratio in zip(legs, ratios, strict=True)
        ),
        tick_size=f"{float(tick):.12f}".rstrip("0").rstrip("."),
        **draws.told(),
    )


def _unit(contract: Contract) -> tuple[Any, ...]:
    deal = contract.deal
    return deal.asset, deal.up_front, deal.inverse, deal.lot_size, deal.quanto_rate


def report_block(draws: Draws, state: State) -> Command | None:
    """One side's report; the other side's comes soon after, and mostly fits."""
    one, other = draws.account(state), draws.account(state)
    number = _instrument(draws, state)
    side = draws.one((Side.BUY, Side.SELL))
    told: dict[str, Any] = {
        "symbol": _symbol(state, number), "lots": _lots(draws, state, number),
        "price_ticks": _ticks(draws, state, number, buys=side is Side.BUY),
        "reference": draws.new("block"),
    }  # fmt: skip
    if draws.often(0.8):
        theirs = dict(told)
        if draws.often(0.1):
            theirs["lots"] += 1
        opposite = Side.SELL if side is Side.BUY or draws.often(0.05) else Side.BUY
        draws.due.append(partial(_reported, draws, other.name, one.name, opposite, theirs))
    return _reported(draws, one.name, other.name, side, told, state)


def _reported(
    draws: Draws, account: str, other: str, side: Side, told: dict[str, Any], state: State
) -> Command:
    del state
    return c.ReportBlock(account=account, counterparty=other, side=side, **told, **draws.told())


def withdraw_block(draws: Draws, state: State) -> Command | None:
    """Of one that waits, mostly by who has reported it."""
    if not state.blocks:
        return None
    reference = draws.one(list(state.blocks))
    block = state.blocks[reference]
    number = block.account if draws.often(0.95) else block.counterparty
    return c.WithdrawBlock(account=state.account(number).name, reference=reference, **draws.told())


def relieve_margin(draws: Draws, state: State) -> Command | None:
    """Of somebody who has orders: most have their margin."""
    numbers = list(state.desk.orders)
    account = draws.account(state) if not numbers else state.account(draws.one(numbers))
    return c.RelieveMargin(account=account.name, **draws.told())


def relieved(draws: Draws, name: str, state: State) -> Command:
    """An account that is short of margin."""
    del state
    return c.RelieveMargin(account=name, **draws.told())


DRAFTS: Final[dict[type[Command], Draft]] = {
    c.PlaceOrder: place_order, c.AmendOrder: amend_order, c.CancelOrder: cancel_order,
    c.CancelOrders: cancel_orders, c.Disconnect: disconnect, c.SetProtection: set_protection,
    c.ResetProtection: reset_protection, c.ListCombo: list_combo, c.ReportBlock: report_block,
    c.WithdrawBlock: withdraw_block, c.RelieveMargin: relieve_margin,
}  # fmt: skip
