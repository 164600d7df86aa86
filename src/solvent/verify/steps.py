"""What trades, periods and endings do to a venue's books, in fractions.

Gains are computed exactly and rounded once, when they are paid. Losers pay before winners receive;
where everyone has paid, roundings alone can be missing, and the rounding account bears them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from solvent.verify.deals import Fee, Filled, Held, Record, fee_amount, filled
from solvent.verify.venue import (
    EXTERNAL,
    FEES,
    GENERAL,
    INSURANCE,
    LIQUIDITY,
    ROUNDING,
    USERS_FROM,
    VENUE,
    Listed,
    Venue,
    index_of,
    node,
)

_RECEIVERS = {"venue": FEES, "insurance": INSURANCE, "liquidity": LIQUIDITY}

# ── trades ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Side:
    """One side of a trade: what it holds then, and its gains in money, paid now or not."""

    owner: int
    before: int
    fill: Filled
    gain: int
    paid: int


def side_of(venue: Venue, contract: Listed, owner: int, lots: int, points: int) -> Side:
    """Lots, negative when sold, at a price."""
    house, terms = venue.house, contract.terms
    held = contract.holders.get(owner, Held())
    fill = filled(
        held, lots, terms.value(lots, points),
        at_mark=house.at_mark and not terms.premium_paid, whole_points=house.whole_points,
    )  # fmt: skip
    gain = house.rounded(terms.money(fill.gain))
    paid = house.rounded(terms.money(fill.due))
    if terms.premium_paid:
        # The premium was the whole of it.
        fill.after.basis = paid = 0
    return Side(owner, held.lots, fill, gain, paid)


def margin_change(venue: Venue, contract: Listed, side: Side) -> int:
    """What goes into the margin of an isolated position: lots that are closed free their share of
    it, rounded down, after their gain; lots that are opened need their share of the entry value
    times the margin factor, rounded up."""
    mode = venue.modes.get((side.owner, contract.terms.number))
    if mode is None or not mode.isolated:
        return 0
    before, after = side.before, side.fill.after.lots
    crossed = before * after < 0
    opened = abs(after) if crossed else max(abs(after) - abs(before), 0)
    closed = abs(before) if crossed or not before else max(abs(before) - abs(after), 0)
    stands = venue.balance(venue.margin_of(side.owner, contract)) + side.paid
    change = 0
    if closed and stands > 0:
        change -= math.floor(stands * Fraction(closed, abs(before)))
    if opened:
        factor = Fraction(1) if mode.factor is None else mode.factor
        entry = abs(contract.terms.money(side.fill.after.entry))
        change += math.ceil(entry * factor * Fraction(opened, abs(after)))
    return change


def settle_side(venue: Venue, contract: Listed, side: Side, into_margin: int) -> None:
    """Pay its gain, move its margin, write its position."""
    own = venue.pool(side.owner, contract)
    margin = venue.margin_of(side.owner, contract)
    payee = margin if venue.isolated(side.owner, contract) else own
    venue.give(contract.clearing, payee, side.paid)
    venue.give(own, margin, into_margin)
    venue.put(side.owner, contract, side.fill.after, side.gain)


def pay_premium(venue: Venue, contract: Listed, buyer: int, seller: int, value: int) -> None:
    """What an option costs."""
    if contract.terms.premium_paid:
        amount = round(contract.terms.money(value))
        venue.give(venue.pool(buyer, contract), venue.pool(seller, contract), amount)


def trade(venue: Venue, command: Record) -> None:
    """A trade that is told, of two accounts."""
    contract = venue.contracts[command["symbol"]]
    fill(
        venue, contract, (venue.owners[command["buyer"]], venue.owners[command["seller"]]),
        lots=command["lots"], points=command["price_ticks"] * contract.terms.points_per_tick,
        aggressor=command["aggressor"], auction=contract.auction,
    )  # fmt: skip


def fill(
    venue: Venue, contract: Listed, owners: tuple[int, int], *, lots: int, points: int,
    aggressor: str | None, auction: bool,
) -> None:  # fmt: skip
    """Premium, gains, margin of isolated positions, fees; `owners` are buyer and seller."""
    buyer, seller = owners
    sides = (
        side_of(venue, contract, buyer, lots, points),
        side_of(venue, contract, seller, -lots, points),
    )
    moves = [0, 0] if venue.house.by_contract else [
        0 if side.owner == venue.unpaying else margin_change(venue, contract, side)
        for side in sides
    ]  # fmt: skip
    pay_premium(venue, contract, buyer, seller, contract.terms.value(lots, points))
    # Who pays more comes first: there is a buyer first where both pay alike.
    for place in sorted((0, 1), key=lambda place: sides[place].paid):
        settle_side(venue, contract, sides[place], moves[place])
    _fees(venue, contract, owners, aggressor, lots, points, auction=auction)
    venue.sweep(contract)


def _fees(
    venue: Venue, contract: Listed, sides: tuple[int, int], aggressor: str | None,
    lots: int, points: int, *, auction: bool,
) -> None:  # fmt: skip
    """Fees in the rulebook's order, then rebates as far as the venue's fees reach."""
    due: list[tuple[Fee, int, int]] = []
    index_nano = index_of(venue, contract.terms.underlying)
    for fee in venue.house.fees:
        skipped = auction and fee.auction == "skipped"
        if skipped or contract.terms.kind not in fee.kinds:
            continue
        amount = fee_amount(fee, contract.terms, lots=lots, points=points, index_nano=index_nano)
        halves = auction and fee.auction == "split"
        each = math.ceil(Fraction(amount, 2)) if halves else amount
        if amount:
            payers = _payers(fee, aggressor, both=halves)
            due += [(fee, place, each) for place in payers if sides[place] != venue.unpaying]
    for fee, place, amount in [one for one in due if one[2] >= 0]:
        _charge(venue, contract, fee, payer=sides[place], other=sides[1 - place], amount=amount)
    fees = venue.pool(FEES, contract)
    for fee, place, amount in [one for one in due if one[2] < 0]:
        paid = venue.give_at_most(fees, venue.pool(sides[place], contract), -amount)
        venue.facts.append(("fee_paid", sides[place], fee.component, -paid))


def _payers(fee: Fee, aggressor: str | None, *, both: bool) -> tuple[int, ...]:
    """0 the buyer, 1 the seller. Without an aggressor both are makers."""
    if both or fee.payer == "both" or (aggressor is None and fee.payer == "maker"):
        return (0, 1)
    if aggressor is None:
        return ()
    taker = 0 if aggressor == "buy" else 1
    return (taker if fee.payer == "taker" else 1 - taker,)


def _charge(
    venue: Venue, contract: Listed, fee: Fee, *, payer: int, other: int, amount: int
) -> None:
    receiver = other if fee.receiver == "maker" else _RECEIVERS[fee.receiver]
    own, target = venue.pool(payer, contract), venue.pool(receiver, contract)
    if venue.house.by_contract and payer >= USERS_FROM:
        # The contract's own accounts pay what the general one does not, as far as they reach.
        margin = venue.margin_of(payer, contract)
        due, amount = amount, 0
        for source in (own, margin, venue.reserve_of(payer, contract)):
            amount += venue.give_at_most(source, target, due - amount)
    else:
        venue.give(own, target, amount)
    venue.facts.append(("fee_paid", payer, fee.component, amount))


# ── what all holders exchange ────────────────────────────────────────────────────────────────────


def _exchange(
    venue: Venue, contract: Listed, due: Mapping[int, Fraction], *, stake: Fraction
) -> tuple[int, int, int]:
    """Losers pay, winners receive: what was paid, received and missing. Clearing keeps `stake`."""
    amounts = {owner: venue.house.rounded(one) for owner, one in due.items()}
    if venue.house.surplus_to_winners:
        _give_surplus(due, amounts)
    losses = {owner: -amount for owner, amount in amounts.items() if amount < 0}
    wins = {owner: amount for owner, amount in amounts.items() if amount > 0}
    paid = sum(_collect(venue, contract, owner, amount) for owner, amount in losses.items())
    kept, wanted = math.ceil(stake), sum(wins.values())
    there = max(venue.balance(contract.clearing) - kept, 0)
    if paid == sum(losses.values()) or there >= wanted:
        shares = dict(wins)
    else:
        shares = {owner: math.floor(Fraction(win * there, wanted)) for owner, win in wins.items()}
        last = INSURANCE if INSURANCE in wins else list(wins)[-1]
        shares[last] += there - sum(shares.values())
    for owner, share in shares.items():
        venue.give(contract.clearing, _purse(venue, contract, owner), share)
    venue.level(contract.clearing, kept, venue.pool(ROUNDING, contract))
    received = sum(shares.values())
    return paid, received, wanted - received


def _give_surplus(due: Mapping[int, Fraction], amounts: dict[int, int]) -> None:
    """Whole units that roundings kept back: one to each whose gain became nothing, the rest to who
    gained most."""
    winners = [owner for owner, gain in due.items() if gain > 0]
    left = math.floor(sum(due.values()) - sum(amounts.values()))
    if left <= 0 or not winners:
        return
    for owner in winners:
        if left and not amounts[owner]:
            amounts[owner], left = 1, left - 1
    most = max(due[owner] for owner in winners)
    amounts[next(owner for owner in winners if due[owner] == most)] += left


def _purse(venue: Venue, contract: Listed, owner: int) -> int:
    """Where gains go and losses come from."""
    apart = venue.isolated(owner, contract) or venue.house.by_contract
    if apart and owner != INSURANCE:
        return venue.margin_of(owner, contract)
    return venue.pool(owner, contract)


def _collect(venue: Venue, contract: Listed, owner: int, amount: int) -> int:
    """Take a loss: all of it where it may become a debt, else what there is; how much."""
    house, purse = venue.house, _purse(venue, contract, owner)
    if not house.collect and owner != INSURANCE and not venue.isolated(owner, contract):
        venue.give(purse, contract.clearing, amount)
        return amount
    sources = [purse]
    if house.by_contract and not venue.isolated(owner, contract):
        sources.append(venue.pool(owner, contract))
    sources.append(venue.pool(INSURANCE, contract))
    if owner == INSURANCE and not house.collect:
        sources.append(venue.pool(VENUE, contract))
    taken = 0
    for source in sources:
        taken += venue.give_at_most(source, contract.clearing, amount - taken)
    return taken


def settle_variation(venue: Venue, command: Record) -> None:
    """Gains up to the mark are paid, and positions stand at the mark."""
    contract = venue.contracts[command["symbol"]]
    terms, mark = contract.terms, contract.mark or 0
    holders = dict(contract.holders)
    values = {owner: terms.value(held.lots, mark) for owner, held in holders.items()}
    due = {owner: terms.money(values[owner] - held.basis) for owner, held in holders.items()}
    stake = -terms.money(sum(values.values()))
    told = _exchange(venue, contract, due, stake=stake)
    for owner, held in holders.items():
        if values[owner] != held.basis:
            after = Held(held.lots, held.entry, values[owner], held.realised)
            venue.put(owner, contract, after, 0)
    venue.facts.append(("variation_settled", terms.number, mark, *told))


def pay_funding(venue: Venue, command: Record, recorded: str) -> None:
    """Each lot pays alike. What the rulebook's column made of the averages is taken as `recorded`;
    the averages themselves, and a payment at a rate that is told, are worked out anew."""
    contract = venue.contracts[command["symbol"]]
    terms, until_ms = contract.terms, command["until_ms"]
    for average in (contract.future, contract.spot):
        average.hold(venue.time_ms, counts=not contract.auction)
    if command["rate"] is None:
        payment, averages = Fraction(recorded), ("", "")
    if command["rate"] is None and contract.future.weights and contract.spot.weights:
        future, spot = contract.future.value() * terms.point, contract.spot.value() / 10**9
        averages = str(future), str(spot)
    elif command["rate"] is not None:
        price, averages = (contract.mark or 0) * terms.point, ("", "")
        rate = Fraction(command["rate"])
        payment = rate / price if terms.inverse else rate * price
    venue.require(
        contract.funded_ms < until_ms <= venue.time_ms, f"end of {terms.symbol}'s funding",
        f"after {contract.funded_ms} and up to {venue.time_ms}", until_ms,
    )  # fmt: skip
    contract.funded_ms = until_ms
    for average in (contract.future, contract.spot):
        average.weighed = average.weights = 0
    per_lot = payment * terms.lot * terms.scale * terms.quanto
    due = {owner: -held.lots * per_lot for owner, held in contract.holders.items()}
    paid, received, _ = _exchange(venue, contract, due, stake=contract.at_stake())
    venue.facts.append(
        ("funding_paid", terms.number, until_ms, str(payment), *averages, paid, received)
    )


def settle_expiry(venue: Venue, command: Record) -> None:
    """Everything is paid at the settlement price; nobody holds the contract any more."""
    contract = venue.contracts[command["symbol"]]
    terms = contract.terms
    venue.require(not contract.over, f"instrument {terms.symbol}", "one that is not over", "over")
    told = command["price_nano"]
    price = _average_price(venue, contract) if told is None else Fraction(told, 10**9)
    per_lot, holders = terms.settled(price), dict(contract.holders)
    due = {owner: held.lots * per_lot - terms.money(held.basis) for owner, held in holders.items()}
    paid, received, _ = _exchange(venue, contract, due, stake=Fraction(0))
    for owner, held in holders.items():
        gain = venue.house.rounded(held.lots * per_lot - terms.money(held.entry))
        venue.put(owner, contract, Held(realised=held.realised), gain)
        venue.release_margin(owner, contract)
    contract.over = True
    venue.facts.append(("expiry_settled", terms.number, str(price), paid, received))


def _average_price(venue: Venue, contract: Listed) -> Fraction:
    """The index over the window before expiry, each price for as long as it held."""
    end_ms = contract.terms.expiry_ms or 0
    begin_ms = end_ms - venue.house.window_ms
    seen = venue.prices.get(contract.terms.underlying, [])
    weighed = weights = 0
    until_ms = end_ms
    for from_ms, price_nano in reversed(seen):
        held_ms = max(0, until_ms - max(from_ms, begin_ms))
        weighed += price_nano * held_ms
        weights += held_ms
        until_ms = min(until_ms, from_ms)
    return Fraction(weighed, weights * 10**9)


def accrue_interest(venue: Venue, command: Record) -> None:
    """Every debt grows by a share of it, rounded up, once a period; the venue receives it."""
    asset, rate = venue.assets[command["asset"]], Fraction(command["rate"])
    since_ms = venue.interest_ms.get(asset, 0)
    until_ms = command["until_ms"]
    venue.require(
        since_ms < until_ms <= venue.time_ms, f"end of the interest in {command['asset']}",
        f"after {since_ms} and up to {venue.time_ms}", until_ms,
    )  # fmt: skip
    venue.interest_ms[asset] = until_ms
    charged = 0
    for owner in range(USERS_FROM, venue.owners_count):
        own = node(owner, GENERAL, asset)
        interest = math.ceil(max(0, -venue.balance(own)) * rate)
        venue.give(own, node(VENUE, GENERAL, asset), interest)
        charged += interest
    venue.facts.append(("interest_accrued", asset, until_ms, charged))


# ── moving in ────────────────────────────────────────────────────────────────────────────────────


def import_books(venue: Venue, command: Record) -> None:
    """Balances and positions of another system; clearing gets what the positions have at stake."""
    for name, asset_name, amount, symbol, for_orders in command["balances"]:
        asset = venue.assets[asset_name]
        slot = GENERAL if symbol is None else venue.contracts[symbol].margin + for_orders
        venue.give(node(EXTERNAL, GENERAL, asset), node(venue.owners[name], slot, asset), amount)
    touched: dict[str, Listed] = {}
    for name, symbol, lots, points in command["positions"]:
        contract = touched[symbol] = venue.contracts[symbol]
        cost = contract.terms.value(lots, points)
        basis = 0 if contract.terms.premium_paid else cost
        venue.put(venue.owners[name], contract, Held(lots, cost, basis), 0)
    for contract in touched.values():
        outside = node(EXTERNAL, GENERAL, contract.terms.asset)
        venue.level(contract.clearing, math.ceil(contract.at_stake()), outside)
