"""Open orders, and how positions are held: rows of files, frames or dicts, resolved on a market."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import Reject
from solvent.feeds.columns import names, numbers, require
from solvent.feeds.positions import Accounts
from solvent.feeds.sources import Source, source_frames
from solvent.feeds.table import Faults
from solvent.instruments import Universe
from solvent.margining.levels.book import Modes, Orders

_SIDES: Final = {"buy": 1.0, "sell": 0.0, "bid": 1.0, "ask": 0.0}
_MODES: Final = ("cross", "isolated")


def read_orders(
    source: Source, universe: Universe, accounts: Accounts, *, skip_bad: bool = False
) -> Orders:
    """Read `account, instrument, side, size, price`; accounts without positions are added.

    Sizes are unsigned, in the venue's unit. Raises BadInput naming file, row and field.
    """
    faults = Faults.of(source, otherwise="orders", skip=skip_bad)
    ((_, frame, faults),) = source_frames(source, faults, slowly=True)
    faults.skip = skip_bad
    require(frame, ("account", "instrument", "side", "size", "price"), faults)
    size, price = (numbers(frame, name, faults, required=True) for name in ("size", "price"))
    for name, column in (("size", size), ("price", price)):
        for row in np.flatnonzero(column <= 0.0).tolist():
            faults.add(Reject.FIELD_NOT_A_NUMBER, row, name, expected="a number above 0",
                       found=float(column[row]))  # fmt: skip
    sides = [side.lower() for side in names(frame, "side", faults).to_list()]
    for row, side in enumerate(sides):
        if side not in _SIDES:
            faults.add(Reject.SIDE_UNKNOWN, row, "side", expected="buy or sell", found=side)
    instrument = _instruments(names(frame, "instrument", faults).to_list(), universe, faults)
    owner = names(frame, "account", faults)
    faults.settle()
    keep = faults.good(frame.height)
    return Orders(
        account=accounts.of(owner).astype(np.int64)[keep],
        instrument=instrument[keep],
        size=size[keep],
        price=price[keep],
        buy=np.array([_SIDES.get(side, 0.0) for side in sides])[keep],
    )


def read_modes(source: Source, universe: Universe, *, skip_bad: bool = False) -> Modes:
    """Read `account, instrument, mode[, leverage][, isolated_margin]`; mode: cross or isolated."""
    faults = Faults.of(source, otherwise="modes", skip=skip_bad)
    ((_, frame, faults),) = source_frames(source, faults, slowly=True)
    faults.skip = skip_bad
    require(frame, ("account", "instrument", "mode"), faults)
    modes = [mode.lower() for mode in names(frame, "mode", faults).to_list()]
    for row, mode in enumerate(modes):
        if mode not in _MODES:
            faults.add(Reject.ROW_MALFORMED, row, "mode", expected="cross or isolated", found=mode)
    told = {
        name: numbers(frame, name, faults, required=False)
        for name in ("leverage", "isolated_margin")
    }
    for row in np.flatnonzero(told["leverage"] <= 0.0).tolist():
        faults.add(Reject.FIELD_NOT_A_NUMBER, row, "leverage", expected="a number above 0",
                   found=float(told["leverage"][row]))  # fmt: skip
    instrument = _instruments(names(frame, "instrument", faults).to_list(), universe, faults)
    owner = names(frame, "account", faults).to_list()
    faults.settle()
    rows = np.flatnonzero(faults.good(frame.height)).tolist()
    keys = {row: (owner[row], universe.symbols[instrument[row]]) for row in rows}
    return Modes(
        isolated=frozenset(keys[row] for row in rows if modes[row] == "isolated"),
        **{
            name: {keys[row]: float(column[row]) for row in rows if np.isfinite(column[row])}
            for name, column in told.items()
        },
    )


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
