"""What an account can spare at least, so that most trades and orders need no margin check.

For an account whose margin has been worked out the *slack* is a lower bound of its available margin
(equity less initial), in millionths of a dollar. A trade lowers it by what it costs at the mark and
by the most that its lots can add to initial margin (`margining.steepness`); an order by what its
lots could add if it were filled and what it would then cost. What moves back and forth adds up to
nothing: the bound counts by how much position, bids and offers differ from when margin was worked
out. While the bound stays at or above zero the full check would let the request through as well, so
it is not made; otherwise it is, and the bound starts anew from its answer. What is decided is the
same with and without it. Nothing here is remembered.

Whatever else may lower an account's standing drops its bound; a new market drops all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from solvent.account.ledger import INSURANCE
from solvent.engine.dealing import Leg, Shift
from solvent.engine.open_orders import Asked
from solvent.engine.standing import standings, view
from solvent.engine.state import Account, Spare, Spared, Standing, State
from solvent.margining.plan import Plan
from solvent.margining.steepness import dollars_per_lot
from solvent.messages.commands import (
    AmendOrder,
    BeginLiquidation,
    CancelOrder,
    CancelOrders,
    Confiscate,
    Deleverage,
    Deposit,
    Disconnect,
    EndAuction,
    EndLiquidation,
    FreezeAccount,
    FundMarket,
    Heartbeat,
    LiquidateInBook,
    ListAsset,
    ListInstrument,
    OpenAccount,
    PlaceOrder,
    PortAccount,
    RelieveMargin,
    ReportBlock,
    RequestWithdrawal,
    ResetProtection,
    ReviewMargin,
    SetBackstop,
    SetProtection,
    TakeOver,
    Trade,
    Transfer,
    UnfreezeAccount,
    WithdrawBlock,
)
from solvent.messages.fields import Command
from solvent.units import MICRO

WARM_MAX: Final = 16_384
"""Commands whose accounts are assessed together."""
_HARMLESS: Final[frozenset[type[Command]]] = frozenset(
    {
        Trade, Deposit, Heartbeat, OpenAccount, ListAsset, ListInstrument, FreezeAccount,
        UnfreezeAccount, PlaceOrder, AmendOrder, CancelOrder, CancelOrders, Disconnect,
        SetProtection, ResetProtection, ReportBlock, WithdrawBlock, RelieveMargin,
        BeginLiquidation, ReviewMargin, SetBackstop, FundMarket, EndAuction, PortAccount,
    }
)  # fmt: skip
"""Commands after which every bound is still one, or has been kept up with what they did."""
_HIDDEN_MICRO: Final = 10_000
"""More than the roundings of a rulebook and of amounts in dollars can hide in one leg."""
_FAR: Final = 1e18
_CLOSE: Final = 1e-9
"""Relative error of a few floating-point operations, and much more."""
_NOTHING: Final = (0, 0, 0)


def spare_of(state: State, plan: object) -> Spare | None:
    """What bounds need of a plan; None where it has no steepness."""
    steep = dollars_per_lot(plan) if isinstance(plan, Plan) else None
    if steep is None or not isinstance(plan, Plan):
        return None
    arrays = plan.arrays
    row_of = {symbol: row for row, symbol in enumerate(arrays.universe.symbols)}
    steep_micro, worth_micro, value_micro = [], [], []
    dollars = [_dollars(plan, name) for name, _ in state.assets]
    for contract in state.contracts:
        row = row_of.get(contract.listing.symbol, -1)
        price = dollars[contract.deal.asset]
        known = row >= 0 and price is not None
        most = float(steep[row]) * MICRO if known else math.inf
        steep_micro.append(math.ceil(most) if most < _FAR else -1)
        what = "value" if contract.deal.up_front else "worth"
        worth = float(arrays.units[what][row]) * (price or 0.0) * MICRO if known else 0.0
        worth_micro.append(worth)
        unit = (price or 0.0) * MICRO / contract.deal.asset_scale
        value_micro.append(contract.deal.numerator / contract.deal.denominator * unit)
    return Spare(
        steep_micro=steep_micro,
        worth_micro=worth_micro,
        value_micro=value_micro,
        unit_micro=[
            0.0 if price is None else price * MICRO / 10**decimals
            for price, (_, decimals) in zip(dollars, state.assets, strict=True)
        ],
    )


def _dollars(plan: Plan, asset: str) -> float | None:
    """Dollars per unit of an asset that counts in full; None for any other."""
    terms = plan.rulebook.collateral.get(asset)
    if terms is None or terms.haircut != 0.0:
        return None
    if terms.price == "par":
        return 1.0
    names, index = plan.arrays.universe.underlyings, plan.arrays.index
    for name in (asset, terms.of or asset):
        if name in names and index[names.index(name)] > 0.0:
            return float(index[names.index(name)])
    return None


# ── the bound ────────────────────────────────────────────────────────────────────────────────────


def _known(state: State, account: Account) -> tuple[Spared, Spare] | None:
    """An account's slack and what bounds it; None where there is none."""
    spared = state.slack.get(account.number)
    if spared is None:
        return None
    rules = state.rules.get(account.rulebook)
    spare = None if rules is None else rules.spare
    if spare is None:
        del state.slack[account.number]
        return None
    return spared, spare


def _shift_of_leg(spare: Spare, leg: Leg) -> Shift | None:
    """What a leg moves; None where that cannot be told."""
    contract = leg.contract.number
    if leg.apart or not _bounded(spare, contract):
        return None
    change = leg.change
    lots = change.lots - leg.before_lots
    # A rebate may be cut to what the venue's fees hold.
    received = leg.premium + leg.realised + min(leg.fees, 0)
    cash = received * spare.unit_micro[leg.contract.deal.asset]
    worth = lots * spare.worth_micro[contract]
    basis = (change.basis_value - leg.before_basis) * spare.value_micro[contract]
    size = abs(cash) + abs(worth) + abs(basis)
    return Shift(contract, lots, 0, 0, cash + worth - basis, 0.0, 0.0, size, 1)


def _shift_of_lots(
    spare: Spare, instrument: int, lots: int, value: int, *, bid: bool
) -> Shift | None:
    """What lots that come to the bids or the offers move, with what they cost."""
    if not _bounded(spare, instrument):
        return None
    worth = lots * spare.worth_micro[instrument]
    cost = value * spare.value_micro[instrument]
    gain, size = worth - cost, abs(worth) + abs(cost)
    if bid:
        return Shift(instrument, 0, lots, 0, 0.0, gain, 0.0, size, 0)
    return Shift(instrument, 0, 0, lots, 0.0, 0.0, gain, size, 0)


def _bounded(spare: Spare, instrument: int) -> bool:
    """Whether it is known what a lot of an instrument can add."""
    return instrument < len(spare.steep_micro) and spare.steep_micro[instrument] >= 0


def _shifts(
    state: State, spare: Spare, legs: Sequence[Leg], was: Asked | None, now: Asked | None
) -> list[Shift] | None:
    """What legs and an order's change move; None where that cannot be told."""
    shifts: list[Shift | None] = []
    for leg in legs:
        leg.shift = _shift_of_leg(spare, leg)
        shifts.append(leg.shift)
    change = _change(state, was, now)
    if change is not None:
        instrument, more, value, bid = change
        shifts.append(_shift_of_lots(spare, instrument, more, value, bid=bid))
    return None if None in shifts else shifts  # type: ignore[return-value]


def _change(
    state: State, was: Asked | None, now: Asked | None
) -> tuple[int, int, int, bool] | None:
    """Instrument, lots and cost that there are more of on a side, and whether of the bids, if an
    order becomes another on its side; None where there is no order."""
    if was is None:
        if now is None:
            return None
        return now.instrument, now.lots, state.value_of(*now), now.lots > 0
    lots, value = -was.lots, -state.value_of(*was)
    if now is not None:
        lots, value = lots + now.lots, value + state.value_of(*now)
    return was.instrument, lots, value, was.lots > 0


def _apply(spared: Spared, spare: Spare, one: Shift, sign: int = 1) -> None:
    """Count what moves, or (−1) count it backwards. Lots and margins are whole numbers, so that
    what goes back leaves nothing."""
    contract, lots, bid_lots, ask_lots, equity, bids, asks, size, legs = one
    spared.equity += sign * equity
    spared.bids += sign * bids
    spared.asks += sign * asks
    spared.size += size
    spared.legs += legs
    before = spared.lots.get(contract, _NOTHING)
    held, bid, ask = before
    after = held + sign * lots, bid + sign * bid_lots, ask + sign * ask_lots
    spared.margin = _margin(spared.margin, spare.steep_micro[contract], before, after)
    if after == _NOTHING:
        spared.lots.pop(contract, None)
    else:
        spared.lots[contract] = after


def _margin(
    margin: tuple[int, int, int], steep: int, before: tuple[int, int, int],
    after: tuple[int, int, int],
) -> tuple[int, int, int]:  # fmt: skip
    """What all lots can add at most, after one contract's have become others."""
    (none, bids, asks), (held, bid, ask), (then, then_bid, then_ask) = margin, before, after
    return (
        none + (abs(then) - abs(held)) * steep,
        bids + (abs(then + then_bid) - abs(held + bid)) * steep,
        asks + (abs(then + then_ask) - abs(held + ask)) * steep,
    )


def _bound(spared: Spared, spare: Spare, shifts: Sequence[Shift]) -> int | None:
    """The least that can be spared after all that has moved and these shifts too; None beyond what
    can be told."""
    margin = spared.margin
    equity, by_bids, by_asks, size = spared.equity, spared.bids, spared.asks, spared.size
    legs = spared.legs
    moved: dict[int, tuple[int, int, int]] = {}
    for contract, lots, bid_lots, ask_lots, gain, bids, asks, amounts, more in shifts:
        before = moved.get(contract) or spared.lots.get(contract, _NOTHING)
        after = before[0] + lots, before[1] + bid_lots, before[2] + ask_lots
        margin = _margin(margin, spare.steep_micro[contract], before, after)
        moved[contract] = after
        equity += gain
        by_bids += bids
        by_asks += asks
        size += amounts
        legs += more
    return _least(spared, equity, margin, by_bids, by_asks, size, legs)


def _least(
    spared: Spared, equity: float, margin: tuple[int, int, int], bids: float, asks: float,
    size: float, legs: int,
) -> int | None:  # fmt: skip
    none, by_bids, by_asks = margin
    most = max(none, by_bids - min(bids, 0.0), by_asks - min(asks, 0.0))
    hidden = (size + most) * _CLOSE + (1 + legs) * _HIDDEN_MICRO
    bound = spared.base + equity - most - hidden
    return int(bound) - 1 if bound > -_FAR else None


def after(
    state: State, account: Account, legs: Sequence[Leg], was: Asked | None, now: Asked | None
) -> int | None:
    """The account's slack after legs, and if an order were another, were new or were gone; None
    where there is none to tell."""
    known = _known(state, account)
    if known is None:
        return None
    spared, spare = known
    change = None if legs else _change(state, was, now)
    if change is None:
        shifts = _shifts(state, spare, legs, was, now)
        return None if shifts is None else _bound(spared, spare, shifts)
    if not _bounded(spare, change[0]):
        return None
    _, margin, bids, asks, size = _with_lots(spared, spare, *change)
    return _least(spared, spared.equity, margin, bids, asks, size, spared.legs)


def _with_lots(
    spared: Spared, spare: Spare, instrument: int, lots: int, value: int, bid: bool
) -> tuple[tuple[int, int, int], tuple[int, int, int], float, float, float]:
    """The same as a shift of lots, and faster: the instrument's lots, the margin of all, and bids,
    asks and size that there would be with lots more on one side."""
    worth, cost = lots * spare.worth_micro[instrument], value * spare.value_micro[instrument]
    steep = spare.steep_micro[instrument]
    held, bid_lots, ask_lots = spared.lots.get(instrument, _NOTHING)
    none, by_bids, by_asks = spared.margin
    bids, asks = spared.bids, spared.asks
    if bid:
        by_bids += (abs(held + bid_lots + lots) - abs(held + bid_lots)) * steep
        bid_lots += lots
        bids += worth - cost
    else:
        by_asks += (abs(held + ask_lots + lots) - abs(held + ask_lots)) * steep
        ask_lots += lots
        asks += worth - cost
    size = spared.size + (abs(worth) + abs(cost))
    return (held, bid_lots, ask_lots), (none, by_bids, by_asks), bids, asks, size


# ── keeping it ───────────────────────────────────────────────────────────────────────────────────


def told(state: State, account: Account, found: Standing) -> None:
    """Begin anew from an account's standing as it is now, where a bound can be kept."""
    follow(state)
    if not found.known or account.modes or state.rules[account.rulebook].spare is None:
        state.slack.pop(account.number, None)
    else:
        state.slack[account.number] = Spared(found.equity_micro - found.initial_micro)


def told_after(
    state: State, account: Account, found: Standing, legs: Sequence[Leg], was: Asked | None,
    now: Asked | None,
) -> None:  # fmt: skip
    """The same from where it would stand after legs, or with an order that was another: what has
    not happened yet is counted backwards until it has."""
    told(state, account, found)
    known = _known(state, account)
    if known is None:
        return
    spared, spare = known
    for leg in legs:
        # A rebate that counts there may yet be cut.
        spared.base -= math.ceil(max(leg.fees, 0) * spare.unit_micro[leg.contract.deal.asset])
    shifts = _shifts(state, spare, legs, was, now)
    if shifts is None:
        del state.slack[account.number]
        return
    for one in shifts:
        _apply(spared, spare, one, -1)
    spared.legs = 0


def keep(state: State, legs: Sequence[Leg]) -> None:
    """Count legs that are done."""
    for leg in legs:
        known = _known(state, leg.account)
        if known is None:
            continue
        shift = leg.shift or _shift_of_leg(known[1], leg)
        if shift is None:
            del state.slack[leg.account.number]
        else:
            _apply(*known, shift)


def follow(state: State) -> None:
    """Count what orders have come and gone."""
    moved = state.open.moved
    if not moved:
        return
    slack = state.slack
    if slack:
        for number, instrument, lots, value, bid in moved:
            known = _known(state, state.account(number)) if number in slack else None
            if known is None:
                continue
            if not _bounded(known[1], instrument):
                del slack[number]
                continue
            spared = known[0]
            entry, spared.margin, spared.bids, spared.asks, spared.size = _with_lots(
                *known, instrument, lots, value, bid
            )
            if entry == _NOTHING:
                spared.lots.pop(instrument, None)
            else:
                spared.lots[instrument] = entry
    moved.clear()


def warm(state: State, commands: Sequence[Command], start: int) -> None:
    """Learn the slack of all accounts that trade or order soon and have none, together."""
    wanted: dict[int, Account] = {}
    for command in commands[start : start + WARM_MAX]:
        if isinstance(command, Trade):
            names: tuple[str, ...] = command.buyer, command.seller
        elif isinstance(command, PlaceOrder | AmendOrder):
            names = (command.account,)
        else:
            continue
        for name in names:
            number = state.account_numbers.get(name, INSURANCE)
            if number not in state.slack and number not in state.asked and number != INSURANCE:
                wanted[number] = state.account(number)
    state.asked.update(wanted)
    mine = [
        account
        for account in wanted.values()
        if account.rulebook in state.rules and state.rules[account.rulebook].spare is not None
    ]
    found = standings(state, [view(state, account) for account in mine])
    for account, one in zip(mine, found, strict=True):
        told(state, account, one)


def forget(state: State, command: Command) -> None:
    """Drop the bounds that a command that was done may have made too large."""
    if type(command) in _HARMLESS:
        return
    match command:
        case RequestWithdrawal():
            state.slack.pop(state.account_numbers[command.account], None)
        case Transfer():
            state.slack.pop(state.account_numbers[command.source], None)
        case LiquidateInBook() | Confiscate() | EndLiquidation():
            # Its trades have been counted; the fee that comes on top has not. Who is given what is
            # confiscated is only better off.
            state.slack.pop(state.account_numbers[command.account], None)
        case TakeOver():
            state.slack.pop(state.account_numbers[command.account], None)
            state.slack.pop(state.account_numbers.get(command.by or "", INSURANCE), None)
        case Deleverage():
            state.slack.pop(state.account_numbers[command.account], None)
            state.slack.pop(state.account_numbers[command.counterparty], None)
        case _:
            state.slack.clear()
            state.asked.clear()
