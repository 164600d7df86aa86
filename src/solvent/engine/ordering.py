"""Commands about orders: they are checked here and by the desk, then the desk carries them out."""

from __future__ import annotations

from fractions import Fraction

from solvent.engine.combos import terms_of_combo
from solvent.engine.floor import Floor
from solvent.engine.margin_of_orders import admit_order, relief_plan
from solvent.engine.refusal import (
    account_named,
    active_account,
    check_active,
    instrument_named,
)
from solvent.engine.state import FROZEN, Contract, State
from solvent.errors import Refused, Reject
from solvent.limits import COMBO_FIRST, LOTS_MAX
from solvent.messages.commands import (
    AmendOrder,
    CancelOrder,
    CancelOrders,
    Disconnect,
    PlaceOrder,
    RelieveMargin,
    ResetProtection,
    SetProtection,
)
from solvent.messages.events import Event, ProtectionSet
from solvent.messages.fields import Side, TimeInForce
from solvent.orders.order import BookTerms, Order, Why

_PPM = 1_000_000
GROUPS_MAX = 1_000
"""Protected groups of one account."""
_STEPS = ("price_step", "lots_step", "lots_min", "lots_max")


def book_terms(state: State, contract: Contract) -> BookTerms:
    """What a contract's book takes: its own parameters, or what the venue's rulebook says."""
    told = contract.deal.parameters
    band = told.get("price_band")
    if band is None and state.house.price_band is not None:
        band = Fraction(str(state.house.price_band))
    return BookTerms(
        price_step=int(told.get("price_step", 1)),
        lots_step=int(told.get("lots_step", 1)),
        lots_min=int(told.get("lots_min", 1)),
        lots_max=int(told.get("lots_max", LOTS_MAX)),
        band_ppm=None if band is None else int(band * _PPM),
        matching=state.house.matching == "book",
        expiry_ms=contract.deal.expiry_ms,
        points_per_tick=contract.deal.points_per_tick,
    )


def terms_by_instrument(state: State) -> dict[int, BookTerms]:
    """The terms of every contract and combination, by the rulebook in force."""
    terms = {one.number: book_terms(state, one) for one in state.contracts}
    return terms | {one.number: terms_of_combo(state, one) for one in state.combos}


def set_terms(state: State) -> None:
    """Another rulebook is the venue's: its books take what it says."""
    for number, terms in terms_by_instrument(state).items():
        if number in state.desk.books:
            state.desk.set_terms(number, terms)


def wrong_terms(parameters: dict[str, Fraction]) -> str:
    """What is expected of a listing's numbers for its book; empty if they can be."""
    for name in _STEPS:
        number = parameters.get(name, Fraction(1))
        if number.denominator != 1 or not 1 <= number <= LOTS_MAX:
            return f"a {name} that is a whole number from 1 to {LOTS_MAX}, found {number}"
    band = parameters.get("price_band")
    if band is not None and not 0 < band < 1:
        return f"a price_band between 0 and 1, found {band}"
    if parameters.get("lots_min", 1) > parameters.get("lots_max", LOTS_MAX):
        return "a lots_min that is at most lots_max"
    return ""


def place_order(state: State, command: PlaceOrder, events: list[Event]) -> None:
    """Trade what meets it, rest what does not. Refusals, in order: the instrument, the account,
    what the desk refuses, the account's status, its margin."""
    instrument = instrument_named(state, command.symbol)
    account = account_named(state, command.account)
    life = command.time_in_force
    if life is None:
        life = TimeInForce.GTC if command.price_ticks is not None else TimeInForce.IOC
    order = Order(
        account.number, command.order, instrument,
        command.lots if command.side is Side.BUY else -command.lots, command.price_ticks,
        time_in_force=life, expire_ms=command.expire_ms or 0, post_only=command.post_only,
        reduce_only=command.reduce_only, display=command.display_lots or 0,
        self_trade=command.self_trade, group=command.group or "", session=command.session or "",
        stop=command.stop,
    )  # fmt: skip
    floor, time_ms = Floor(state, events), state.log.time_ms
    state.desk.accept(order, time_ms=time_ms, gate=floor)
    if order.stop is None:
        admit_order(state, account, None, order)
    elif not (order.reduce_only and account.status == FROZEN):
        # Its margin is looked at when it is triggered.
        check_active(account)
    # From here on the order is in.
    state.desk.enter(order, time_ms=time_ms, gate=floor, events=events)
    floor.close(events)


def amend_order(state: State, command: AmendOrder, events: list[Event]) -> None:
    """Change an order. What it becomes is margined as a new one is, unless it only shrinks."""
    account = account_named(state, command.account)
    number, name = account.number, command.order
    floor, time_ms = Floor(state, events), state.log.time_ms
    changed = state.desk.accept_amend(
        number, name, lots=command.lots, price_ticks=command.price_ticks, time_ms=time_ms,
        gate=floor,
    )  # fmt: skip
    if changed.instrument >= COMBO_FIRST:
        # None of its legs may be halted either.
        instrument_named(state, state.combos[changed.instrument - COMBO_FIRST].listing.symbol)
    was = state.open.asked[number, name]
    if changed.price_ticks != was.price_ticks or abs(changed.lots) > abs(was.lots):
        admit_order(state, account, was, changed)
    # From here on the order is changed.
    state.desk.amend(
        number, name, lots=command.lots, price_ticks=command.price_ticks, time_ms=time_ms,
        gate=floor, events=events,
    )  # fmt: skip
    floor.close(events)


def cancel_order(state: State, command: CancelOrder, events: list[Event]) -> None:
    """Take an order or a stop back; always allowed."""
    account = account_named(state, command.account)
    state.desk.cancel(
        account.number, command.order, why=Why.CANCELLED, time_ms=state.log.time_ms, events=events
    )
    Floor(state, events).close(events)


def cancel_orders(state: State, command: CancelOrders, events: list[Event]) -> None:
    """Take back all that fit; none is no refusal."""
    told = command.account, command.symbol, command.underlying, command.side, command.group
    if all(one is None for one in told):
        raise Refused(
            Reject.ORDER_TERMS_INVALID,
            "orders: expected an account, symbol, underlying, side or group whose orders go",
        )
    account = None if command.account is None else account_named(state, command.account).number
    instruments = None
    if command.symbol is not None:
        number = state.contract_numbers.get(command.symbol)
        if number is None:
            raise Refused(
                Reject.INSTRUMENT_UNKNOWN,
                f"instrument {command.symbol!r}: expected one that is listed",
            )
        instruments = {number: None}
    if command.underlying is not None:
        found = _instruments_on(state, command.underlying)
        instruments = {n: None for n in found if instruments is None or n in instruments}
    state.desk.cancel_where(
        account=account, instruments=instruments, side=command.side, group=command.group,
        why=Why.CANCELLED, events=events,
    )  # fmt: skip
    Floor(state, events).close(events)


def _instruments_on(state: State, underlying: str) -> list[int]:
    """Contracts on an underlying, and combinations that have one as a leg."""
    found = [one.number for one in state.contracts if one.deal.underlying == underlying]
    combos = [
        combo.number
        for combo in state.combos
        if any(leg.deal.underlying == underlying for leg, _ in combo.legs)
    ]
    return [number for number in [*found, *combos] if number in state.desk.books]


def disconnect(state: State, command: Disconnect, events: list[Event]) -> None:
    """The orders of a session that has ended go."""
    account = account_named(state, command.account)
    state.desk.cancel_where(
        account=account.number, session=command.session, why=Why.DISCONNECTED, events=events
    )
    Floor(state, events).close(events)


def set_protection(state: State, command: SetProtection, events: list[Event]) -> None:
    """Protect a group of orders from now on."""
    account = active_account(state, command.account)
    mine = sum(number == account.number for number, _ in state.desk.groups)
    if mine >= GROUPS_MAX and (account.number, command.group) not in state.desk.groups:
        raise Refused(
            Reject.CAPACITY_REACHED, f"account {account.name}: expected at most {GROUPS_MAX} groups"
        )
    if command.lots is None and command.delta_nano is None:
        raise Refused(
            Reject.ORDER_TERMS_INVALID,
            f"group {command.group} of account {account.name}: expected a limit of lots or delta",
        )
    # From here on the group is protected.
    state.desk.set_protection(
        account.number, command.group, window_ms=command.window_ms, frozen_ms=command.frozen_ms,
        lots=command.lots, delta_nano=command.delta_nano,
    )  # fmt: skip
    events.append(ProtectionSet(account.number, command.group))


def reset_protection(state: State, command: ResetProtection, events: list[Event]) -> None:
    """Let a group quote again."""
    account = account_named(state, command.account)
    state.desk.reset_protection(account.number, command.group)
    events.append(ProtectionSet(account.number, command.group))


def relieve_margin(state: State, command: RelieveMargin, events: list[Event]) -> None:
    """Take orders back by the plan of relief."""
    account = account_named(state, command.account)
    plan = relief_plan(state, account)
    # From here on the orders go.
    for name, _ in plan.orders:
        state.desk.cancel(
            account.number, name, why=Why.RELIEF, time_ms=state.log.time_ms, events=events
        )
    Floor(state, events).close(events)
