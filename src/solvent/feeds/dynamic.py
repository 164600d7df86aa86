"""Dynamic rulebooks by name or path, and the observations that they follow, from files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from solvent.errors import BadInput, Problem, Reject, RulebookError
from solvent.feeds.columns import UNTOLD, moments, names, numbers
from solvent.feeds.histories import read_history
from solvent.feeds.library import load_rulebook
from solvent.feeds.table import Faults, read_table
from solvent.instruments.contract import moment_of
from solvent.margining.dynamic.signals import Observation
from solvent.margining.dynamic.text import DynamicText, read_dynamic
from solvent.margining.dynamic.wrap import Dynamic
from solvent.scenarios.history.series import Series

DYNAMIC_SCHEMA: Final = 3
_KEYS: Final = ("day", "key")
Values = dict[date, dict[str, dict[str, float]]]


def dynamic_names() -> tuple[str, ...]:
    """Names of the dynamic rulebooks that ship with Solvent.

    >>> dynamic_names()
    ('binance-usdm-dynamic', 'deribit-pm-dynamic')
    """
    folder = files("solvent") / "rulebooks" / "dynamic"
    return tuple(sorted(one.name.removesuffix(".toml") for one in folder.iterdir()))


def is_dynamic(name: str) -> bool:
    """Whether a name, or a file that ends in .toml, is of a dynamic rulebook.

    >>> is_dynamic("deribit-pm-dynamic"), is_dynamic("deribit-pm")
    (True, False)
    """
    if not name.endswith(".toml"):
        return name in dynamic_names()
    try:
        return tomllib.loads(Path(name).read_text("utf-8")).get("schema") == DYNAMIC_SCHEMA
    except (OSError, ValueError):
        return False  # its own reader says what is wrong


def load_dynamic(name_or_path: str | Path) -> Dynamic:
    """A dynamic rulebook by its name, or from a path that ends in .toml, with the one it wraps.

    A `base` that ends in .toml is looked for beside the file.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            text = read_dynamic(path.read_text("utf-8"), source=str(path))
        except (OSError, UnicodeDecodeError) as fault:
            raise RulebookError(f"{path}: cannot be read: {fault}") from fault
        return _wrapped(text, path.parent)
    if str(name_or_path) not in dynamic_names():
        there = ", ".join(dynamic_names())
        raise RulebookError(f"no dynamic rulebook {str(name_or_path)!r}; there are {there}")
    source = files("solvent") / "rulebooks" / "dynamic" / f"{name_or_path}.toml"
    return _wrapped(read_dynamic(source.read_text("utf-8"), source=source.name), Path())


def _wrapped(text: DynamicText, folder: Path) -> Dynamic:
    base = folder / text.base if text.base.endswith(".toml") else text.base
    return Dynamic(text=text, base=load_rulebook(base))


def read_observations(paths: Sequence[str | Path]) -> tuple[Observation, ...]:
    """Daily observations of all files, by day; a row `day,key` and a column a quantity.

    A file of prices as `read_history` knows it gives the last price of each day (UTC). An empty
    cell is not observed. A quantity told twice for a key and day is refused.
    """
    values: Values = {}
    for path in paths:
        faults = Faults.of(path, skip=False)
        try:
            frame = read_table(path, faults)
        except BadInput:
            frame = pl.DataFrame()  # a history may begin with a remark: its reader knows
        if set(_KEYS) <= set(frame.columns):
            _add_rows(values, frame, faults)
        else:
            _add_prices(values, read_history(path))
    if not values:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_EMPTY, source=", ".join(map(str, paths)),
                expected="observations", found="none",
            )
        )  # fmt: skip
    return observations(values)


def observations(
    values: Mapping[date, Mapping[str, Mapping[str, float]]],
) -> tuple[Observation, ...]:
    """Day → quantity → key → number, as observations in order of time."""
    return tuple(Observation(day=day, values=values[day]) for day in sorted(values))


def observations_of(series: Series) -> tuple[Observation, ...]:
    """A history's last price of each day (UTC), as observations."""
    values: Values = {}
    _add_prices(values, series)
    return observations(values)


def _add_rows(values: Values, frame: pl.DataFrame, faults: Faults) -> None:
    told = moments(frame, "day", faults)
    for row in np.flatnonzero(told == UNTOLD).tolist():
        if row not in faults.rows:
            faults.add(Reject.FIELD_MISSING, row, "day", expected="a day", found="nothing")
    faults.settle()
    days = [moment_of(int(one)).date() for one in told]
    keys = names(frame, "key", faults).to_list()
    for quantity in (name for name in frame.columns if name not in _KEYS):
        seen = numbers(frame, quantity, faults, required=False)
        for row, (day, key) in enumerate(zip(days, keys, strict=True)):
            if np.isnan(seen[row]):
                continue
            if seen[row] <= 0.0:
                words = {"expected": "a number above 0", "found": f"{seen[row]:g}"}
                faults.add(Reject.INPUT_INVALID, row, quantity, **words)
            elif not _add(values, day, quantity, key, float(seen[row])):
                words = {"expected": f"one {quantity} of {key} on {day}", "found": "two"}
                faults.add(Reject.ROW_DUPLICATED, row, quantity, **words)
    faults.settle()


def _add(values: Values, day: date, quantity: str, key: str, value: float) -> bool:
    by_key = values.setdefault(day, {}).setdefault(quantity, {})
    fresh = key not in by_key
    by_key[key] = value
    return fresh


def _add_prices(values: Values, series: Series) -> None:
    """The last price of each day; of one told at midnight, of the day that it ends."""
    for row in np.argsort(series.time_ms, kind="stable"):
        day = moment_of(max(0, int(series.time_ms[row]) - 1)).date()
        for column, name in enumerate(series.names):
            price = float(series.price[row, column])
            if not np.isnan(price):
                _add(values, day, "price", name, price)
