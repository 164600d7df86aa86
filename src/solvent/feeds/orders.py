"""Open orders, and how positions are held: rows of files, frames or dicts, resolved on a market."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from solvent.errors import Problem, Reject
from solvent.feeds.columns import names, numbers, require
from solvent.feeds.positions import Accounts
from solvent.feeds.sources import Source, source_frames
from solvent.feeds.table import Faults
from solvent.instruments import Universe
from solvent.margining.levels.book import Orders
from solvent.margining.levels.modes import Modes
from solvent.units import Float64

_SIDES: Final = {"buy": 1.0, "sell": 0.0, "bid": 1.0, "ask": 0.0}
_MODES: Final = ("cross", "isolated", "hedge")
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Generic[Kind]):
    """What was read, and what was left out of it; `left_out` are codes of accounts."""

    value: Kind
    problems: tuple[Problem, ...]
    dropped: int
    left_out: frozenset[int]


def read_orders(
    source: Source, universe: Universe, accounts: Accounts, *, skip_bad: bool = False
) -> Told[Orders]:
    """Read `account, instrument, side, size, price`; accounts without positions are added.

    Sizes are unsigned, in the venue's unit. Raises BadInput naming file, row and field.
    """
    faults = Faults.of(source, otherwise="orders", skip=skip_bad)
    ((_, frame, faults),) = source_frames(source, faults, slowly=True)
    faults.skip = skip_bad
    require(frame, ("account", "instrument", "side", "size", "price"), faults)
    size, price = (numbers(frame, name, faults, required=True) for name in ("size", "price"))
    for name, column in (("size", size), ("price", price)):
        _above_zero(column, name, faults)
    sides = [side.lower() for side in names(frame, "side", faults).to_list()]
    for row, side in enumerate(sides):
        if side not in _SIDES:
            faults.add(Reject.SIDE_UNKNOWN, row, "side", expected="buy or sell", found=side)
    instrument = _instruments(names(frame, "instrument", faults).to_list(), universe, faults)
    owner = names(frame, "account", faults)
    for row in np.flatnonzero((owner == "").to_numpy()).tolist():
        faults.add(Reject.FIELD_MISSING, row, "account", expected="a name", found="nothing")
    faults.settle()
    keep, account = faults.good(frame.height), accounts.of(owner).astype(np.int64)
    orders = Orders(
        account=account[keep],
        instrument=instrument[keep],
        size=size[keep],
        price=price[keep],
        buy=np.array([_SIDES.get(side, 0.0) for side in sides])[keep],
    )
    return _told(orders, faults, account[~keep])


def read_modes(
    source: Source, universe: Universe, accounts: Accounts, *, skip_bad: bool = False
) -> Told[Modes]:
    """Read `account, instrument, mode` and inputs of the rulebook by their names.

    `mode` is cross, isolated, or hedge (cross, with long and short held apart); `leverage`,
    `isolated_margin` and the like are numbers of the position, empty where nothing is chosen.
    """
    faults = Faults.of(source, otherwise="modes", skip=skip_bad)
    ((_, frame, faults),) = source_frames(source, faults, slowly=True)
    faults.skip = skip_bad
    require(frame, ("account", "instrument", "mode"), faults)
    modes = [mode.lower() for mode in names(frame, "mode", faults).to_list()]
    for row, mode in enumerate(modes):
        if mode not in _MODES:
            faults.add(Reject.ROW_MALFORMED, row, "mode", expected=" or ".join(_MODES), found=mode)
    inputs = [name for name in frame.columns if name not in ("account", "instrument", "mode")]
    told = {name: numbers(frame, name, faults, required=False) for name in inputs}
    for name, column in told.items():
        for row in np.flatnonzero(column < 0.0).tolist():
            faults.add(Reject.FIELD_NOT_A_NUMBER, row, name, expected="a number not below 0",
                       found=float(column[row]))  # fmt: skip
    if "leverage" in told:
        _above_zero(told["leverage"], "leverage", faults)
    instrument = _instruments(names(frame, "instrument", faults).to_list(), universe, faults)
    owner = names(frame, "account", faults)
    seen: dict[tuple[str, int], int] = {}
    for row, (account, code) in enumerate(zip(owner, instrument.tolist(), strict=True)):
        first = seen.setdefault((account, code), row)
        if first != row:
            faults.add(Reject.ROW_DUPLICATED, row, "instrument",
                       expected="one row an account and instrument",
                       found=f"row {first + 1} too")  # fmt: skip
    faults.settle()
    keep = faults.good(frame.height)
    keys = {
        row: (owner[row], universe.symbols[instrument[row]])
        for row in np.flatnonzero(keep).tolist()
    }
    read = Modes(
        isolated=frozenset(key for row, key in keys.items() if modes[row] == "isolated"),
        hedged=frozenset(key for row, key in keys.items() if modes[row] == "hedge"),
        values={
            name: values
            for name, column in told.items()
            if (values := {k: float(column[n]) for n, k in keys.items() if np.isfinite(column[n])})
        },
    )
    known = np.array([accounts.codes.get(name, -1) for name in owner], dtype=np.int64)
    return _told(read, faults, known[~keep & (known >= 0)])


def _told(value: Kind, faults: Faults, bad: NDArray[np.int64]) -> Told[Kind]:
    return Told(
        value=value, problems=tuple(faults.problems), dropped=faults.count,
        left_out=frozenset(bad.tolist()),
    )  # fmt: skip


def _above_zero(column: Float64, name: str, faults: Faults) -> None:
    for row in np.flatnonzero(column <= 0.0).tolist():
        faults.add(Reject.FIELD_NOT_A_NUMBER, row, name, expected="a number above 0",
                   found=float(column[row]))  # fmt: skip


def _instruments(symbols: list[str], universe: Universe, faults: Faults) -> NDArray[np.int64]:
    found = np.zeros(len(symbols), dtype=np.int64)
    for row, symbol in enumerate(symbols):
        place = universe.row(symbol)
        if place is None:
            faults.add(Reject.INSTRUMENT_NOT_IN_MARKET, row, "instrument",
                       expected="an instrument of the market", found=symbol)  # fmt: skip
        else:
            found[row] = place
    return found
