"""Money that all holders of a contract exchange: funding, variation, expiry; and interest.

What losers owe is collected first, into the contract's clearing; winners are paid from it. Where a
loser cannot pay, it owes (`losses = "debt"`), or the insurance fund pays for it and, when that is
empty, the winners get what there is, each its share (`"collect"`). The last of them gets what the
shares leave over: the fund itself, where it holds a position that won. An isolated position never
owes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solvent.account.ledger import (
    CLEARING,
    GENERAL,
    INSURANCE,
    ROUNDING,
    VENUE,
    margin_slot,
    node,
)
from solvent.account.position import Change
from solvent.account.sharing import shared_out
from solvent.engine import contract_rules
from solvent.engine.combos import close_combos
from solvent.engine.dealing import put_position, rounded
from solvent.engine.refusal import asset_named, contract_named
from solvent.engine.state import LIQUIDATION, Account, Contract, State
from solvent.errors import Refused, Reject, check
from solvent.limits import MONEY_MAX
from solvent.margining.levels.rows import Sheet, Unset
from solvent.messages.commands import (
    AccrueInterest,
    PayFunding,
    SettleExpiry,
    SettleVariation,
)
from solvent.messages.events import (
    Event,
    ExpirySettled,
    FundingPaid,
    InterestAccrued,
    VariationSettled,
)
from solvent.messages.fields import Phase
from solvent.orders.order import Why
from solvent.units import YEAR_MS, div_up


@dataclass(frozen=True, slots=True)
class Paid:
    """What losers paid, what winners received, and what winners went without."""

    paid: int
    received: int
    uncollected: int


Dues = list[tuple[int, int]]
"""Holder and what it is due, positive received."""


def dues(state: State, contract: Contract, due: Callable[[int], Fraction]) -> Dues:
    """What every holder of a contract is due, rounded. Refuses more than money can hold."""
    exact = [(holder, due(holder)) for holder in contract.holders]
    amounts = [(holder, rounded(state, one.numerator, one.denominator)) for holder, one in exact]
    check_money(contract.listing.symbol, sum(abs(amount) for _, amount in amounts))
    return _with_surplus(exact, amounts) if state.house.surplus == "winners" else amounts


def _with_surplus(exact: list[tuple[int, Fraction]], amounts: Dues) -> Dues:
    """Amounts with the whole units that roundings took from all: each gain that was rounded to
    nothing becomes a unit, as far as there are any, and the largest gets the rest.

    >>> third = Fraction(1, 3)
    >>> _with_surplus([(1, Fraction(-7)), (2, 20 * third), (3, third)], [(1, -7), (2, 6), (3, 0)])
    [(1, -7), (2, 6), (3, 1)]
    """
    gains = {holder: gain for holder, gain in exact if gain > 0}
    surplus = int(sum(gain for _, gain in exact) - sum(amount for _, amount in amounts))
    if surplus <= 0 or not gains:
        return amounts
    due = dict(amounts)
    for holder in [holder for holder in gains if due[holder] == 0][:surplus]:
        due[holder] = 1
        surplus -= 1
    due[max(gains, key=lambda holder: gains[holder])] += surplus
    return list(due.items())


def check_money(what: str, amount: int) -> None:
    """Refuse to pay what could not be written down."""
    if amount >= MONEY_MAX // 4:
        raise Refused(
            Reject.AMOUNT_TOO_LARGE,
            f"{what}: expected payments below {MONEY_MAX // 4} in all, found {amount}",
        )


def exchange(state: State, contract: Contract, amounts: Dues, *, stake: Fraction) -> Paid:
    """Collect from and pay to every holder of a contract what is due.

    `stake` is what the contract's clearing owes besides: what its positions keep at stake
    afterwards.
    """
    ledger, asset = state.ledger, contract.deal.asset
    clearing = node(CLEARING, margin_slot(contract.number), asset)
    lost = 0
    for holder, amount in amounts:
        if amount < 0:
            lost += _collect(state, contract, state.account(holder), -amount)
    winners = [(holder, amount) for holder, amount in amounts if amount > 0]
    # The insurance fund comes last: what shares leave over is its.
    winners.sort(key=lambda one: one[0] == INSURANCE)
    kept = -(-stake.numerator // stake.denominator)
    available = ledger.balance(clearing) - kept
    owed = sum(amount for _, amount in winners)
    collected = lost == -sum(amount for _, amount in amounts if amount < 0)
    if available < owed and collected:
        # Nobody failed to pay: what is missing are roundings alone.
        ledger.move(node(ROUNDING, GENERAL, asset), clearing, owed - available)
        available = owed
    shares = shared_out([amount for _, amount in winners], max(available, 0)) if winners else []
    for (holder, _), share in zip(winners, shares, strict=True):
        ledger.move(clearing, _cash(state, contract, state.account(holder)), share)
    rest = ledger.balance(clearing) - kept
    ledger.pay(node(ROUNDING, GENERAL, asset), clearing, rest)
    return Paid(lost, sum(shares), owed - sum(shares))


def _cash(state: State, contract: Contract, account: Account) -> int:
    """The account that a holder's gains and losses go to."""
    by_itself = account.isolates(contract.number) or state.house.contract is not None
    slot = margin_slot(contract.number) if by_itself and account.number != INSURANCE else GENERAL
    return node(account.number, slot, contract.deal.asset)


def _collect(state: State, contract: Contract, account: Account, amount: int) -> int:
    """Take a loss where it may be taken; how much came in."""
    ledger, asset = state.ledger, contract.deal.asset
    clearing = node(CLEARING, margin_slot(contract.number), asset)
    pool = node(INSURANCE, GENERAL, asset)
    apart = account.isolates(contract.number)
    if state.house.losses == "debt" and account.number != INSURANCE and not apart:
        ledger.move(_cash(state, contract, account), clearing, amount)
        return amount
    sources = [_cash(state, contract, account)]
    if state.house.contract is not None and not apart:
        sources.append(node(account.number, GENERAL, asset))
    sources.append(pool)
    if account.number == INSURANCE and state.house.losses == "debt":
        sources.append(node(VENUE, GENERAL, asset))
    left = amount
    for source in dict.fromkeys(sources):
        part = min(left, max(ledger.balance(source), 0))
        ledger.move(source, clearing, part)
        left -= part
    return amount - left


# ── variation ────────────────────────────────────────────────────────────────────────────────────


def settle_variation(state: State, command: SettleVariation, events: list[Event]) -> None:
    """All gains and losses up to the mark are paid; positions stand at it from now on."""
    contract = contract_named(state, command.symbol)
    deal = contract.deal
    if deal.up_front:
        raise Refused(
            Reject.INSTRUMENT_NOT_FOR_THIS,
            f"instrument {command.symbol}: expected a future or a perpetual, found an option",
        )
    points = contract.mark_points
    if points is None or (points == 0 and deal.inverse):
        raise Refused(
            Reject.MARK_MISSING, f"instrument {command.symbol}: expected a mark, found {points}"
        )
    at_mark = {number: deal.value(one.lots, points) for number, one in contract.holders.items()}
    check_money(command.symbol, sum(map(abs, at_mark.values())))
    amounts = dues(
        state, contract,
        lambda holder: deal.money(at_mark[holder] - contract.holders[holder].basis_value),
    )  # fmt: skip
    # From here on the variation must be settled.
    stake = -deal.money(sum(at_mark.values()))
    paid = exchange(state, contract, amounts, stake=stake)
    holders = [state.account(number) for number in contract.holders]
    for account in holders:
        position = contract.holders[account.number]
        value = at_mark[account.number]
        if value != position.basis_value:
            change = Change(position.lots, position.entry_value, value, 0, 0)
            put_position(contract, account, change, 0, events)
    contract.settled_points = points
    _level_margins(state, contract, holders, events)
    events.append(
        VariationSettled(contract.number, points, paid.paid, paid.received, paid.uncollected)
    )


def _level_margins(
    state: State, contract: Contract, holders: list[Account], events: list[Event]
) -> None:
    """After money was exchanged, where contracts are ruled by themselves: fill margin accounts that
    are low, free what is too much, and stop orders that are no longer margined."""
    if state.house.contract is None:
        return
    for account in holders:
        if account.number == INSURANCE:
            continue
        contract_rules.fill_or_give_back(state, account, contract)
        if contract_rules.must_stop_orders(state, account, contract):
            state.desk.cancel_where(
                account=account.number, instruments=[contract.number], why=Why.RELIEF,
                events=events,
            )  # fmt: skip
            state.open.take(events)
        contract_rules.reserve_orders(state, account, contract)
        contract_rules.give_idle_back(state, account, contract)


# ── funding ──────────────────────────────────────────────────────────────────────────────────────


def pay_funding(state: State, command: PayFunding, events: list[Event]) -> None:
    """Longs pay shorts, or shorts longs, for the time up to one that is told, once."""
    contract = contract_named(state, command.symbol)
    if contract.deal.kind != "perpetual":
        raise Refused(
            Reject.INSTRUMENT_NOT_FOR_THIS,
            f"instrument {command.symbol}: expected a perpetual, found a {contract.deal.kind}",
        )
    check_period(command.symbol, command.until_ms, contract.funded_ms, state.log.time_ms)
    if command.rate is not None:
        payment, averages = _told(contract, Fraction(command.rate)), ("", "")
    else:
        payment, averages = _computed(state, contract, command.until_ms)
    deal = contract.deal
    per_lot = payment * deal.lot_size * deal.asset_scale
    per_lot *= 1 if deal.inverse else deal.quanto_rate
    amounts = dues(state, contract, lambda holder: -contract.holders[holder].lots * per_lot)
    # From here on the funding must be paid.
    paid = exchange(state, contract, amounts, stake=-deal.money(contract.basis_total))
    contract.funded_ms = command.until_ms
    contract.auction_ms = 0
    contract.phase_ms = state.log.time_ms
    contract.future.restart(state.log.time_ms)
    contract.spot.restart(state.log.time_ms)
    _level_margins(state, contract, [state.account(one) for one in contract.holders], events)
    events.append(
        FundingPaid(
            contract.number, command.until_ms, str(payment), *averages, paid.paid, paid.received
        )
    )


def check_period(what: str, until_ms: int, paid_ms: int, time_ms: int) -> None:
    """Refuse a period that is not over, or was paid."""
    if until_ms > time_ms:
        raise Refused(
            Reject.TIME_NOT_REACHED, f"{what}: expected a time up to {time_ms}, found {until_ms}"
        )
    if until_ms <= paid_ms:
        raise Refused(
            Reject.PERIOD_PAID, f"{what}: expected a time after {paid_ms}, found {until_ms}"
        )


def _told(contract: Contract, rate: Fraction) -> Fraction:
    """What a long of one unit of size pays at a rate of its value at the mark."""
    if abs(rate) > 1:
        raise Refused(
            Reject.RATE_INVALID,
            f"instrument {contract.listing.symbol}: expected a rate from -1 to 1, found {rate}",
        )
    points = contract.mark_points
    if not points:
        raise Refused(
            Reject.MARK_MISSING,
            f"instrument {contract.listing.symbol}: expected a mark, found {points}",
        )
    price = points * contract.deal.point
    return rate / price if contract.deal.inverse else rate * price


def _computed(state: State, contract: Contract, until_ms: int) -> tuple[Fraction, tuple[str, str]]:
    """What the venue's rulebook makes of the period's average mark and index."""
    symbol, deal, house = contract.listing.symbol, contract.deal, state.house
    if house.funding is None or deal.inverse:
        raise Refused(
            Reject.RATE_INVALID,
            f"instrument {symbol}: expected a rate, as the venue's rulebook computes none",
        )
    counts = contract.phase is not Phase.AUCTION
    time_ms = state.log.time_ms
    future = contract.future.value(time_ms, counts=counts)
    spot = contract.spot.value(time_ms, counts=counts)
    period_ms = until_ms - contract.funded_ms
    auction_ms = contract.auction_ms + (0 if counts else time_ms - contract.phase_ms)
    if future is None or spot is None:
        if auction_ms >= period_ms:
            # Nothing is due for a period that was one long auction.
            return Fraction(0), ("", "")
        raise Refused(
            Reject.PRICES_INCOMPLETE,
            f"instrument {symbol}: expected marks and index prices since {contract.funded_ms}",
        )
    future, spot = future * deal.point, spot / 10**9
    told: dict[str, Any] = {
        "future_twap": future,
        "spot_twap": spot,
        "funding_years": Fraction(period_ms, YEAR_MS),
        "auction_share": Fraction(min(auction_ms, period_ms), period_ms),
    }
    payment = _column(state, contract, house.funding.payment, told)
    return payment, (str(future), str(spot))


def _column(state: State, contract: Contract, column: str, told: dict[str, Any]) -> Fraction:
    rulebook = state.rules[state.venue_rulebook].rulebook
    facts = {**contract_rules.facts(state, contract), **told, **contract.deal.parameters}
    row = {"instrument": contract.listing.symbol, "underlying": contract.deal.underlying, **facts}
    sheet = Sheet(rulebook.form, {"instrument": [row]}, tables=rulebook.tables)  # type: ignore[union-attr,arg-type]
    try:
        value = sheet.value("instrument", column)
    except Unset as fault:
        raise Refused(
            Reject.PRICES_INCOMPLETE, f"instrument {contract.listing.symbol}: {fault}"
        ) from fault
    check(isinstance(value, Fraction), "a payment is one number", column)
    return value  # type: ignore[return-value]


# ── expiry ───────────────────────────────────────────────────────────────────────────────────────


def settle_expiry(state: State, command: SettleExpiry, events: list[Event]) -> None:
    """A contract ends: everything is paid at the settlement price, and nobody holds it any more.

    One that never expires ends so too, once it is halted and a price is told.
    """
    contract = contract_named(state, command.symbol)
    deal, expiry_ms = contract.deal, contract.deal.expiry_ms
    if expiry_ms is None and (contract.phase is not Phase.HALTED or command.price_nano is None):
        raise Refused(
            Reject.INSTRUMENT_NOT_FOR_THIS,
            f"instrument {command.symbol}: expected one that expires, or is halted and a price for "
            f"it, found a {deal.kind}",
        )
    if expiry_ms is not None and state.log.time_ms < expiry_ms:
        raise Refused(
            Reject.INSTRUMENT_NOT_EXPIRED,
            f"instrument {command.symbol}: expected a time from {expiry_ms}, found "
            f"{state.log.time_ms}",
        )
    price = _settlement_price(state, contract, command.price_nano)
    if price == 0 and deal.inverse:
        raise Refused(
            Reject.PRICE_NOT_POSITIVE, f"instrument {command.symbol}: expected a price above 0"
        )
    per_lot = deal.final_money(price)

    def due(holder: int) -> Fraction:
        position = contract.holders[holder]
        return position.lots * per_lot - deal.money(position.basis_value)

    amounts = dues(state, contract, due)
    # From here on the contract must be settled.
    paid = exchange(state, contract, amounts, stake=Fraction(0))
    holders = [state.account(number) for number in contract.holders]
    for account in holders:
        position = contract.holders[account.number]
        value = position.lots * per_lot - deal.money(position.entry_value)
        gain = rounded(state, value.numerator, value.denominator)
        put_position(contract, account, Change(0, 0, 0, 0, 0), gain, events)
        give_margin_back(state, account, contract)
    contract.settled = "expired"
    cancel_all(state, contract, events)
    events.append(ExpirySettled(contract.number, str(price), paid.paid, paid.received))


def give_margin_back(state: State, account: Account, contract: Contract) -> None:
    """What a position that is gone leaves of its own margin is the account's own money again.

    What it owes the insurance fund pays, as far as it can, and the account the rest; but under
    liquidation an isolated position's debt stays its own, until somebody makes it good.
    """
    asset, ledger = contract.deal.asset, state.ledger
    if account.number == INSURANCE:
        return
    margin = node(account.number, margin_slot(contract.number), asset)
    pool = node(INSURANCE, GENERAL, asset)
    ledger.move(pool, margin, min(max(-ledger.balance(margin), 0), ledger.balance(pool)))
    apart = account.status == LIQUIDATION and account.isolates(contract.number)
    if apart and ledger.balance(margin) < 0:
        return
    ledger.pay(node(account.number, GENERAL, asset), margin, ledger.balance(margin))


def cancel_all(state: State, contract: Contract, events: list[Event]) -> None:
    """A contract is over: its orders go, and those for combinations that it is a leg of."""
    ordering = [
        state.account(number)
        for number, mine in state.open.sides.items()
        if contract.number in mine
    ]
    state.desk.close_book(contract.number, events=events)
    close_combos(state, contract, events)
    state.open.take(events)
    if state.house.contract is not None:
        for account in ordering:
            contract_rules.give_idle_back(state, account, contract)


def _settlement_price(state: State, contract: Contract, told_nano: int | None) -> Fraction:
    """The price that is told, or the index's time-weighted average before expiry."""
    if told_nano is not None:
        return Fraction(told_nano, 10**9)
    deal = contract.deal
    underlying = state.underlyings.get(deal.underlying)
    expiry_ms = deal.expiry_ms or 0
    since_ms = expiry_ms - state.house.settlement_window_ms
    area = span_ms = 0
    seen = list(underlying.seen) if underlying is not None else []
    ends = [time_ms for time_ms, _ in seen[1:]] + [expiry_ms]
    for (begin_ms, price_nano), end_ms in zip(seen, ends, strict=False):
        part_ms = min(end_ms, expiry_ms) - max(begin_ms, since_ms)
        if part_ms > 0:
            area += price_nano * part_ms
            span_ms += part_ms
    if span_ms == 0:
        raise Refused(
            Reject.PRICES_INCOMPLETE,
            f"instrument {deal.symbol}: expected index prices of {deal.underlying} from "
            f"{since_ms} to {expiry_ms}, found none",
        )
    return Fraction(area, span_ms * 10**9)


# ── interest ─────────────────────────────────────────────────────────────────────────────────────


def accrue_interest(state: State, command: AccrueInterest, events: list[Event]) -> None:
    """Every debt in an asset grows by a share of it, up to a time, once; the venue receives it."""
    asset = asset_named(state, command.asset)
    rate = Fraction(command.rate)
    if not 0 <= rate <= 1:
        raise Refused(
            Reject.RATE_INVALID,
            f"asset {command.asset}: expected a rate from 0 to 1, found {command.rate}",
        )
    paid_ms = state.interest_ms.get(asset, 0)
    check_period(command.asset, command.until_ms, paid_ms, state.log.time_ms)
    charges: list[tuple[int, int]] = []
    for account in state.accounts:
        if account is None or account.kind == "system":
            continue
        own = node(account.number, GENERAL, asset)
        debt = -state.ledger.balance(own)
        if debt > 0:
            charges.append((own, div_up(debt * rate.numerator, rate.denominator)))
    charged = sum(interest for _, interest in charges)
    check_money(command.asset, charged)
    # From here on the interest must be charged.
    for own, interest in charges:
        state.ledger.move(own, node(VENUE, GENERAL, asset), interest)
    state.interest_ms[asset] = command.until_ms
    events.append(InterestAccrued(asset, command.until_ms, charged))
