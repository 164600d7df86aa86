"""What `solvent.margin` returns under a rulebook of formulas at levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Any, Final

import numpy as np
import polars as pl

from solvent.answer import LEFT_OUT, counts_of, dicts_of, row_of
from solvent.errors import Problem
from solvent.instruments.contract import moment_of
from solvent.margining.levels.account import account_sheet
from solvent.margining.levels.book import Balances, LevelsAnswer, LevelsPlan, Orders
from solvent.margining.levels.rows import Sheet, Told, Unset, Value
from solvent.margining.requirement import Standing
from solvent.risk import Book
from solvent.units import MICRO, TimeMs, value_down, value_up

REASONS_MAX: Final = 500
"""Unknown accounts whose reason is looked up; the rest can be asked for by `explain`."""
_SHOWN = 8
_KEYS: Final = ("pool", "asset", "underlying", "settlement", "expiry", "instrument", "side")


@dataclass(frozen=True)
class LevelView:
    """One level of an account: a row for each of its rows, its keys and its columns."""

    level: str
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class LevelsView:
    """An account explained: every column of every level, as the exact way computes it."""

    account: str
    levels: tuple[LevelView, ...]
    reason: str = ""

    def table(self, level: str) -> pl.DataFrame:
        """A level as a frame. Raises KeyError for a level without rows."""
        found = {view.level: view for view in self.levels}
        return pl.DataFrame(list(found[level].rows), infer_schema_length=None)


@dataclass(frozen=True)
class LevelsMargin:
    """The margin of every account of a book.

    `answer` is float64; money leaves here in whole millionths of a dollar, rounded against the
    account (requirements up, equity down), and tables show those. `to_polars()` has a row an
    account, `explain(name)` tells every column of an account exactly.
    """

    plan: LevelsPlan
    book: Book
    answer: LevelsAnswer
    balances: Balances | None
    orders: Orders | None = None
    pools: np.ndarray[Any, np.dtype[np.int64]] | None = None
    inputs: Mapping[str, Told] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    dropped: int = 0
    left_out: frozenset[int] = frozenset()
    """Accounts of which a row was left out: nothing is said of what they hold in all."""

    def __len__(self) -> int:
        return len(self.book)

    @property
    def funded(self) -> Balances | None:
        """The collateral, None where none was told."""
        return self.balances

    @cached_property
    def standings(self) -> np.ndarray[Any, np.dtype[np.object_]]:
        """[account] `Standing`."""
        answer = self.answer
        standing = np.full(len(self), Standing.HEALTHY, dtype=object)
        if self.balances is None:
            standing[:] = Standing.UNFUNDED
        else:
            standing[answer.call] = Standing.CALL
            standing[answer.liquidate] = Standing.LIQUIDATE
        standing[self.unknown] = Standing.UNKNOWN
        return standing

    @cached_property
    def unknown(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[account] whether something that its margin needs is not known."""
        unknown = ~self.answer.known
        unknown[list(self.left_out)] = True
        return unknown

    @cached_property
    def equity_micro(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """[account] equity in millionths of a dollar, rounded down; 0 where it is not known."""
        return value_down(np.where(self.unknown, 0.0, self.answer.equity) * MICRO)

    @cached_property
    def initial_micro(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """[account] initial margin in millionths of a dollar, rounded up; 0 where not known."""
        return value_up(np.where(self.unknown, 0.0, self.answer.initial) * MICRO)

    @cached_property
    def maintenance_micro(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """[account] maintenance margin in millionths of a dollar, rounded up; 0 where not known."""
        return value_up(np.where(self.unknown, 0.0, self.answer.maintenance) * MICRO)

    def to_polars(self) -> pl.DataFrame:
        """One row an account; what is not known is null."""
        answer, equity = self.answer, self.equity_micro
        columns: dict[str, Any] = {
            "account": list(self.book.accounts),
            "status": [str(standing) for standing in self.standings],
            "equity": self._known(equity / MICRO),
            "initial_margin": self._known(self.initial_micro / MICRO),
            "maintenance_margin": self._known(self.maintenance_micro / MICRO),
            "available": self._known((equity - self.initial_micro) / MICRO),
            "health": self._known((equity - self.maintenance_micro) / MICRO),
            "worst_scenario": self._worst_labels(),
            **{name: self._known(amount) for name, amount in answer.components.items()},
            "reason": self._reasons,
        }
        if self.balances is None:
            nothing = pl.Series([None] * len(self), dtype=pl.Float64)
            columns |= dict.fromkeys(("equity", "available", "health"), nothing)
        return pl.DataFrame(columns)

    def to_dicts(self) -> Iterator[dict[str, Any]]:
        """Accounts as `solvent margin --json` prints them."""
        return dicts_of(self.to_polars(), list(self.answer.components))

    def counts(self) -> dict[str, int]:
        """How many accounts stand where."""
        return counts_of(self.standings)

    def sheet(self, account: str) -> Sheet:
        """An account's columns, exact. Raises BadInput for a name that is not there."""
        return self._sheet(row_of(account, self.book.accounts))

    def explain(self, account: str) -> LevelsView:
        """Every column of every level of an account."""
        sheet = self.sheet(account)
        form = self.plan.form
        views = []
        for level in sorted(form.columns, key=lambda one: -len(form.keys[one])):
            if level in ("instrument", "underlying"):
                continue
            rows = [_row(sheet, level, place) for place in range(len(sheet.rows(level)))]
            if rows:
                views.append(LevelView(level, tuple(rows)))
        place = row_of(account, self.book.accounts)
        reason = self._reason(place) if self.unknown[place] else ""
        return LevelsView(account, tuple(views), reason)

    def __repr__(self) -> str:
        states = ", ".join(f"{count:,} {name}" for name, count in self.counts().items())
        initial, maintenance = (
            float(np.nansum(one)) for one in (self.answer.initial, self.answer.maintenance)
        )
        return (
            f"Margin of {len(self):,} accounts, {self.book.positions:,} positions, under "
            f"{self.plan.rulebook.name}\n"
            f"  initial {initial:,.2f} USD, maintenance {maintenance:,.2f} USD\n"
            f"  {states}"
        )

    def _repr_html_(self) -> str:
        table = self.to_polars().sort("initial_margin", descending=True, nulls_last=True)
        return f"<pre>{escape(repr(self))}</pre>{table.head(_SHOWN)._repr_html_()}"

    def _sheet(self, account: int) -> Sheet:
        return account_sheet(
            self.plan, self.book, account, balances=self.balances, orders=self.orders,
            pools=self.pools, inputs=self.inputs,
        )  # fmt: skip

    def _known(self, amount: np.ndarray[Any, np.dtype[np.float64]]) -> pl.Series:
        return pl.Series(np.where(self.unknown, np.nan, amount), nan_to_null=True)

    def _worst_labels(self) -> list[str]:
        shocks, names = self.plan.arrays.shocks, self.plan.arrays.universe.underlyings
        pairs = np.column_stack([self.answer.worst_underlying, self.answer.worst_scenario])
        pairs[self.unknown] = -1
        distinct, place = np.unique(pairs, axis=0, return_inverse=True)
        labels = [
            f"{names[u]}: {shocks.label(int(s), int(u))}" if 0 <= u < len(names) else ""
            for u, s in distinct
        ]
        return [labels[n] for n in place.ravel()]

    @cached_property
    def _reasons(self) -> list[str]:
        reasons = [""] * len(self)
        for count, account in enumerate(np.flatnonzero(self.unknown)):
            reasons[account] = "not known: `explain` tells why"
            if count < REASONS_MAX:
                reasons[account] = self._reason(int(account))
        return reasons

    def _reason(self, account: int) -> str:
        if account in self.left_out:
            return LEFT_OUT
        sheet, answer = self._sheet(account), self.plan.rulebook.text.answer
        try:
            for place in range(len(sheet.rows(answer.level))):
                for name in (answer.initial, answer.maintenance, answer.equity):
                    sheet.value(answer.level, name, place)
                sheet.evaluate(self.plan.form.liquidate, answer.level, place)
        except Unset as unset:
            return f"{self.plan.rulebook.name}: {unset}"
        return "a number leaves the range of float64"


def _row(sheet: Sheet, level: str, place: int) -> dict[str, Any]:
    told = sheet.rows(level)[place]
    row: dict[str, Any] = {"pool": "cross"} if "pool" in sheet.form.keys[level] else {}
    row |= {key: told[key] for key in _KEYS if told.get(key) not in (None, "", 0)}
    if row.get("expiry"):
        row["expiry"] = f"{moment_of(TimeMs(int(row['expiry']))):%Y-%m-%d}"
    row |= {key: float(told[key]) for key in ("size", "amount") if told.get(key) is not None}
    for name in sheet.form.columns[level]:
        try:
            row[name] = _plain(sheet.value(level, name, place))
        except Unset:
            row[name] = None
    return row


def _plain(value: Value) -> float | list[float]:
    return [float(one) for one in value] if isinstance(value, tuple) else float(value)
