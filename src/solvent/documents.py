"""An account and a venue as documents: what `solvent state` prints and the service answers.

Everything is as of the last command. Money is exact: of an asset in its own units, margins in
dollars; `units` are whole smallest ones. What is not known is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from solvent.account.ledger import (
    EXTERNAL,
    FIRST_ACCOUNT,
    GENERAL,
    SYSTEM_NAMES,
    contract_of,
    node,
    slot_name,
)
from solvent.account.position import Position
from solvent.engine import contract_rules
from solvent.engine.image import state_hash
from solvent.engine.standing import has_risk, standing, standings, view
from solvent.engine.state import Account, Contract, Standing, State
from solvent.order_rows import OpenOrder, open_orders
from solvent.order_units import decimal_of, spaced

MICRO_PLACES: Final = -6
_POOLS: Final = ("insurance", "fees", "venue", "rounding")


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceRow:
    """Money in one slot: `general`, `incoming`, `outgoing`, `fund`, or `margin` and `orders` of an
    instrument."""

    slot: str
    instrument: str | None
    asset: str
    amount: Decimal
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """A position; gains are in the settlement `asset`, by the average entry price."""

    instrument: str
    mode: str
    lots: int
    size: Decimal
    entry_price: Decimal | None
    mark: Decimal | None
    asset: str
    unrealised: Decimal | None
    realised: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingRow:
    """Where an account stands: `healthy`, `call`, `liquidate`, `unknown`, or `none` of the venue's
    own. In dollars; None where it is not known, or where contracts are margined by themselves."""

    status: str
    equity: Decimal | None
    initial: Decimal | None
    maintenance: Decimal | None
    available: Decimal | None
    health: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """An order that is open; `stop` says in words when it becomes one."""

    order: str
    instrument: str
    side: str
    lots: int
    size: Decimal
    price: Decimal | None
    stop: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeRow:
    """How an account holds an instrument."""

    instrument: str
    mode: str
    leverage: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRow:
    """Money under way, `in` or `out`."""

    reference: str
    asset: str
    units: int
    amount: Decimal
    direction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDocument:
    """All that is known of an account."""

    account: str
    kind: str
    status: str
    parent: str | None
    rulebook: str | None
    standing: StandingRow
    balances: tuple[BalanceRow, ...]
    positions: tuple[PositionRow, ...]
    orders: tuple[OrderRow, ...]
    modes: tuple[ModeRow, ...]
    pending: tuple[PendingRow, ...]


def account_document(state: State, account: Account) -> AccountDocument:
    """All that is known of an account."""
    balances = []
    for slot, asset, units in money_of(state, account.number):
        number = contract_of(slot)
        symbol = None if number is None else state.contracts[number].listing.symbol
        balances.append(
            BalanceRow(
                slot=slot_name(slot), instrument=symbol, asset=state.assets[asset][0],
                amount=_amount(state, asset, units), units=units,
            )
        )  # fmt: skip
    return AccountDocument(
        account=account.name, kind=account.kind, status=account.status,
        parent=state.account(account.parent).name if account.parent >= 0 else None,
        rulebook=account.rulebook or None, standing=standing_row(state, account),
        balances=tuple(balances),
        positions=tuple(
            position_row(state.contracts[number], position, isolated=account.isolates(number))
            for number, position in (account.positions or {}).items()
        ),
        orders=tuple(map(_order, open_orders(state, account.name))),
        modes=tuple(
            ModeRow(
                instrument=state.contracts[number].listing.symbol,
                mode="isolated" if mode.isolated else "cross",
                leverage=decimal_of(1 / mode.factor) if mode.factor else None,
            )
            for number, mode in (account.modes or {}).items()
        ),
        pending=tuple(
            PendingRow(
                reference=reference, asset=state.assets[one.asset][0], units=one.amount,
                amount=_amount(state, one.asset, one.amount),
                direction="in" if one.incoming else "out",
            )
            for reference, one in state.pending.items() if one.account == account.number
        ),
    )  # fmt: skip


def money_of(state: State, account: int) -> Iterator[tuple[int, int, int]]:
    """(slot, asset, units) of every balance of an account, wherever it is."""
    settlements = [contract.deal.asset for contract in state.contracts]
    return state.ledger.of_account(account, assets=len(state.assets), settlements=settlements)


def _amount(state: State, asset: int, units: int) -> Decimal:
    return Decimal(units).scaleb(-state.assets[asset][1])


def _order(row: OpenOrder) -> OrderRow:
    return OrderRow(
        order=row.order, instrument=row.symbol, side=row.side, lots=row.lots, size=row.size,
        price=row.price, stop=stop_words(row) or None,
    )  # fmt: skip


def stop_words(row: OpenOrder) -> str:
    """When a stop becomes an order; empty for what is no stop."""
    if not row.stop_trigger:
        return ""
    return f"{row.stop_trigger} {'≥' if row.stop_rises else '≤'} {spaced(row.stop_price)}"


def position_row(contract: Contract, one: Position, *, isolated: bool) -> PositionRow:
    """A position as people see it."""
    deal = contract.deal
    entry: Fraction | None = None
    if one.lots and deal.coin_numerator:
        coin = Fraction(deal.coin_numerator, deal.coin_denominator)
        entry = -one.lots * coin / one.entry_value * deal.point if one.entry_value else None
    elif one.lots:
        entry = Fraction(one.entry_value, one.lots) * deal.point
    mark = unrealised = None
    if contract.mark_points is not None:
        now = deal.value(one.lots, contract.mark_points)
        mark = decimal_of(contract.mark_points * deal.point)
        unrealised = decimal_of(deal.money(now - one.entry_value) / deal.asset_scale)
    return PositionRow(
        instrument=contract.listing.symbol, mode="isolated" if isolated else "cross",
        lots=one.lots, size=decimal_of(one.lots * deal.lot_size),
        entry_price=None if entry is None else decimal_of(entry), mark=mark,
        asset=contract.listing.settlement, unrealised=unrealised,
        realised=decimal_of(Fraction(one.realised, deal.asset_scale)),
    )  # fmt: skip


def standing_row(state: State, account: Account) -> StandingRow:
    """Where an account stands by its rulebook."""
    if account.kind == "system":
        return unknown_standing("none")
    if state.house.contract is not None:
        held = [state.contracts[number] for number in account.positions or ()]
        bad = any(contract_rules.distressed(state, account, one) for one in held)
        return unknown_standing("liquidate" if bad else "healthy")
    return standing_of(standing(state, view(state, account)))


def standing_of(found: Standing) -> StandingRow:
    """A standing in dollars.

    >>> standing_of(Standing(2_500_000, 1_000_000, 800_000, True, False, False)).available
    Decimal('1.500000')
    """
    if not found.known:
        return unknown_standing("unknown")
    return StandingRow(
        status=status_of(found), equity=dollars_of(found.equity_micro),
        initial=dollars_of(found.initial_micro), maintenance=dollars_of(found.maintenance_micro),
        available=dollars_of(found.equity_micro - found.initial_micro),
        health=dollars_of(found.equity_micro - found.maintenance_micro),
    )  # fmt: skip


def unknown_standing(status: str) -> StandingRow:
    """A standing of which no amount is known."""
    return StandingRow(
        status=status, equity=None, initial=None, maintenance=None, available=None, health=None
    )


def dollars_of(micro: int) -> Decimal:
    """Millionths of a dollar as dollars, exactly."""
    return Decimal(micro).scaleb(MICRO_PLACES)


def status_of(found: Standing) -> str:
    """A standing in one word."""
    if not found.known:
        return "unknown"
    return "liquidate" if found.liquidate else "call" if found.call else "healthy"


# ── the venue ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesRow:
    """A rulebook in force, and the time of its arrays."""

    name: str
    day: str
    venue: bool
    arrays_as_of_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyRow:
    """What the venue holds of an asset for all, and what of it belongs to its own pools."""

    asset: str
    held: Decimal
    insurance: Decimal
    fees: Decimal
    venue: Decimal
    rounding: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueDocument:
    """A venue in short: what it holds, and how its accounts stand (None where contracts are
    margined by themselves); margins in dollars."""

    commands: int
    time_ms: int
    state_hash: str | None
    accounts: Mapping[str, int]
    with_risk: int
    standings: Mapping[str, int] | None
    initial: Decimal
    maintenance: Decimal
    instruments: int
    positions: int
    orders: int
    pending: int
    rulebooks: tuple[RulesRow, ...]
    money: tuple[MoneyRow, ...]


def venue_document(state: State, *, hashed: bool = True) -> VenueDocument:
    """A venue in short. Every account is asked where it stands; `hashed` reads all that is
    remembered once more."""
    accounts = [one for one in state.accounts[FIRST_ACCOUNT:] if one is not None]
    views = [one for one in (view(state, account) for account in accounts) if has_risk(one)]
    by_account = state.house.contract is None
    found = standings(state, views) if by_account else []
    return VenueDocument(
        commands=state.log.sequence, time_ms=state.log.time_ms,
        state_hash=state_hash(state) if hashed else None,
        accounts=dict(Counter(one.status for one in accounts)), with_risk=len(views),
        standings=dict(Counter(map(status_of, found))) if by_account else None,
        initial=dollars_of(sum(one.initial_micro for one in found)),
        maintenance=dollars_of(sum(one.maintenance_micro for one in found)),
        instruments=sum(not one.settled for one in state.contracts),
        positions=sum(len(one.holders) for one in state.contracts),
        orders=sum(map(len, state.desk.orders.values())), pending=len(state.pending),
        rulebooks=rules_rows(state), money=money_rows(state),
    )  # fmt: skip


def rules_rows(state: State) -> tuple[RulesRow, ...]:
    """Rulebooks in force."""
    return tuple(
        RulesRow(
            name=name, day=rules.day, venue=name == state.venue_rulebook,
            arrays_as_of_ms=None if rules.arrays is None else int(rules.arrays.as_of_ms),
        )
        for name, rules in state.rules.items()
    )  # fmt: skip


def money_rows(state: State) -> tuple[MoneyRow, ...]:
    """What the venue holds, by asset."""
    rows = []
    for number, (name, _) in enumerate(state.assets):
        held = -state.ledger.balance(node(EXTERNAL, GENERAL, number))
        pools = {
            pool: _amount(state, number, state.ledger.balance(node(owner, GENERAL, number)))
            for owner, pool in SYSTEM_NAMES.items() if pool in _POOLS
        }  # fmt: skip
        rows.append(MoneyRow(asset=name, held=_amount(state, number, held), **pools))
    return tuple(rows)


def in_floats(document: Any) -> dict[str, Any]:
    """A document for a table or JSON for people: exact decimals become floats."""
    found: dict[str, Any] = _floats(asdict(document))
    return found


def _floats(value: Any) -> Any:
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {name: _floats(one) for name, one in value.items()}
        case tuple() | list():
            return [_floats(one) for one in value]
    return value
