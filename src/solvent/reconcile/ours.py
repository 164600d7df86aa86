"""Our side of a reconciliation, from a venue's journal: what the engine holds at its head."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from solvent.account.ledger import parts
from solvent.engine.standing import has_risk, standings, view
from solvent.reconcile.lines import (
    MICRO_PLACES,
    NANO_PLACES,
    Key,
    Kind,
    Line,
    Statement,
    by_key,
)
from solvent.reconcile.movements import APART, mark_nano, size_nano
from solvent.reconcile.theirs import EQUITY, INITIAL, MAINTENANCE
from solvent.units import div_half_even

if TYPE_CHECKING:
    from solvent.engine.state import Account, State


def ours_of(state: State, source: str) -> Statement:
    """Balances, positions, marks and requirements of every account that is a user's.

    A balance is all that the account has of an asset: also margin, and what waits to be sent; not
    what is announced, nor what is in the default fund. Requirements are those that are known.
    """
    users = [one for one in state.accounts if one is not None and one.kind != "system"]
    lines = [*_balances(state, users), *_positions(state, users), *_marks(state),
             *_requirements(state, users)]  # fmt: skip
    return Statement(
        source=source, lines=by_key(lines, source), time_ms=state.log.time_ms,
        unit_sizes={
            one.listing.symbol: _units(state, one.number) for one in state.contracts
        },
    )  # fmt: skip


def _balances(state: State, users: list[Account]) -> Iterator[Line]:
    names = {one.number: one.name for one in users}
    sums: dict[tuple[int, int], int] = {}
    for which, amount in state.ledger.balances.items():
        owner, slot, asset = parts(which)
        if owner in names and slot not in APART:
            sums[owner, asset] = sums.get((owner, asset), 0) + amount
    for (owner, asset), amount in sums.items():
        name, decimals = state.assets[asset]
        yield _line(Key(Kind.BALANCE, names[owner], name), amount, decimals, state.log.time_ms)


def _positions(state: State, users: list[Account]) -> Iterator[Line]:
    for account in users:
        for number, position in (account.positions or {}).items():
            key = Key(Kind.POSITION, account.name, state.contracts[number].listing.symbol)
            amount = size_nano(state, number, position.lots)
            yield _line(key, amount, NANO_PLACES, state.log.time_ms)


def _marks(state: State) -> Iterator[Line]:
    for contract in state.contracts:
        if contract.mark_points is not None and not contract.settled:
            key = Key(Kind.MARK, "", contract.listing.symbol)
            amount = mark_nano(state, contract.number, contract.mark_points)
            yield _line(key, amount, NANO_PLACES, state.log.time_ms)


def _requirements(state: State, users: list[Account]) -> Iterator[Line]:
    if state.house.contract is not None:
        return
    views = [one for one in (view(state, account) for account in users) if has_risk(one)]
    for seen, found in zip(views, standings(state, views), strict=True):
        if found.known:
            for name, amount in ((EQUITY, found.equity_micro), (INITIAL, found.initial_micro),
                                 (MAINTENANCE, found.maintenance_micro)):  # fmt: skip
                key = Key(Kind.REQUIREMENT, seen.account.name, name)
                yield _line(key, amount, MICRO_PLACES, state.log.time_ms)


def _line(key: Key, amount: int, places: int, time_ms: int) -> Line:
    return Line(key=key, amount=amount, places=places, digits=places, time_ms=time_ms)


def _units(state: State, number: int) -> tuple[int, ...]:
    """What somebody else may count a contract in: lots, or contracts."""
    listing = state.contracts[number].listing
    told = (Fraction(listing.lot_size), Fraction(listing.contract_size))
    sizes = {div_half_even((one * 10**NANO_PLACES).numerator, (one * 10**NANO_PLACES).denominator)
             for one in told}  # fmt: skip
    return tuple(sorted(sizes - {0}))
