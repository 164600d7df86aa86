"""What `solvent.margin` returns: tables for people and programs over arrays of a whole book."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
import polars as pl

from solvent.errors import BadInput, Problem, Reject
from solvent.margining.equity import Funded
from solvent.margining.explain import AccountView, explain
from solvent.margining.plan import Plan
from solvent.margining.requirement import Requirements, Standing
from solvent.risk import Book
from solvent.units import MICRO

_SHOWN = 8
HAIRCUT = "collateral_haircut"
LEFT_OUT = "rows of this account were left out as bad"


@dataclass(frozen=True)
class Margin:
    """The margin of every account of a book under one rulebook. Amounts are dollars.

    `to_polars()` has a row an account, `sets()` a row a netting set, `explain(name)` tells why.
    """

    plan: Plan
    book: Book
    requirements: Requirements
    funded: Funded | None
    problems: tuple[Problem, ...] = ()
    dropped: int = 0
    left_out: frozenset[int] = frozenset()
    """Accounts of which a row was left out: nothing is said of what they hold in all."""

    def __len__(self) -> int:
        return len(self.book)

    @cached_property
    def equity_micro(self) -> np.ndarray[Any, np.dtype[np.int64]] | None:
        """[account] collateral, option value and unrealised PnL; None without collateral."""
        if self.funded is None:
            return None
        haircut = self.funded.haircut if self._haircut_on == "equity" else 0
        answer = self.requirements
        return self.funded.value - haircut + answer.option_value + answer.unrealised

    @cached_property
    def initial_micro(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """[account] initial margin, with haircuts where the rulebook puts them there."""
        return self.requirements.initial + self._haircut_on_initial

    @cached_property
    def standings(self) -> np.ndarray[Any, np.dtype[np.object_]]:
        """[account] `Standing`."""
        equity = self.equity_micro
        if equity is None:
            standing = np.full(len(self), Standing.UNFUNDED, dtype=object)
        else:
            standing = np.full(len(self), Standing.HEALTHY, dtype=object)
            standing[equity < self.initial_micro] = Standing.CALL
            standing[equity < self.requirements.maintenance] = Standing.LIQUIDATE
        standing[self.unknown] = Standing.UNKNOWN
        return standing

    @cached_property
    def reasons(self) -> np.ndarray[Any, np.dtype[np.object_]]:
        """[account] why it is unknown, "" where it is known."""
        answer = self.requirements
        reasons = np.full(len(self), "", dtype=object)
        for account, why in answer.undefined.items():
            reasons[account] = why
        instrument = answer.layout.instrument
        for row in np.flatnonzero(answer.refused >= 0):
            reasons[row] = self.plan.refusal[instrument[answer.refused[row]]]
        for account in self.left_out:
            reasons[account] = LEFT_OUT
        return reasons

    @cached_property
    def unknown(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[account] whether something that its margin needs is not known."""
        return np.asarray(self.reasons != "")

    def to_polars(self) -> pl.DataFrame:
        """One row an account; what is not known is null."""
        known = ~self.unknown
        columns: dict[str, Any] = {
            "account": list(self.book.accounts),
            "status": [str(standing) for standing in self.standings],
            "equity": _dollars(self.equity_micro, known),
            "initial_margin": _dollars(self.initial_micro, known),
            "maintenance_margin": _dollars(self.requirements.maintenance, known),
        }
        if self.equity_micro is not None:
            columns["available"] = _dollars(self.equity_micro - self.initial_micro, known)
            columns["health"] = _dollars(self.equity_micro - self.requirements.maintenance, known)
        columns["option_value"] = _dollars(self.requirements.option_value, known)
        columns["unrealised"] = _dollars(self.requirements.unrealised, known)
        columns["worst_scenario"] = self._worst_labels()
        for name, amount in self._charges().items():
            columns[name] = pl.Series(np.where(known, amount, np.nan), nan_to_null=True)
        columns["reason"] = self.reasons.tolist()
        if self.equity_micro is None:
            columns["equity"] = pl.Series([None] * len(self), dtype=pl.Float64)
        return pl.DataFrame(columns)

    def sets(self) -> pl.DataFrame:
        """One row a netting set, amounts in its own numeraire and in dollars.

        `status` is the account's; of one that is unknown the amounts are null.
        """
        sets, top = self.requirements.sets, self.plan.top
        names = np.array(self.book.accounts, dtype=object)
        nodes = np.array(top.names, dtype=object)
        columns: dict[str, Any] = {
            "account": names[sets.account].tolist(),
            "status": self.standings[sets.account].astype(str).tolist(),
            "set": nodes[sets.node].tolist(),
            "price": top.price[sets.node],
        }
        known = ~self.unknown[sets.account]
        amounts = {
            "initial": sets.initial,
            "maintenance": sets.maintenance,
            **sets.components,
            "initial_margin": sets.initial_micro / MICRO,
            "maintenance_margin": sets.maintenance_micro / MICRO,
        }
        for name, amount in amounts.items():
            columns[name] = pl.Series(np.where(known, amount, np.nan), nan_to_null=True)
        for scan, binding in sets.binding.items():
            columns[f"{scan}_scenario"] = self._labels(np.arange(len(sets)), binding)
        return pl.DataFrame(columns)

    def explain(self, account: str) -> AccountView:
        """Why an account must post what it must. Raises BadInput for a name that is not there."""
        row = row_of(account, self.book.accounts)
        if self.unknown[row]:
            return AccountView(
                account=account,
                status=str(Standing.UNKNOWN),
                initial=None,
                maintenance=None,
                reason=self.reasons[row],
            )
        return explain(
            self.plan, self.book, self.requirements, row, status=str(self.standings[row]),
            haircut=int(self._haircut_on_initial[row]),
        )  # fmt: skip

    def to_dicts(self) -> Iterator[dict[str, Any]]:
        """Accounts as `solvent margin --json` prints them."""
        return dicts_of(self.to_polars(), list(self._charges()))

    def counts(self) -> dict[str, int]:
        """How many accounts stand where."""
        return counts_of(self.standings)

    def __repr__(self) -> str:
        states = ", ".join(f"{count:,} {name}" for name, count in self.counts().items())
        known = ~self.unknown
        initial = float(self.initial_micro[known].sum()) / MICRO
        maintenance = float(self.requirements.maintenance[known].sum()) / MICRO
        return (
            f"Margin of {len(self):,} accounts, {self.book.positions:,} positions, under "
            f"{self.plan.rulebook.name}\n"
            f"  initial {initial:,.2f} USD, maintenance {maintenance:,.2f} USD\n"
            f"  {states}"
        )

    def _repr_html_(self) -> str:
        table = self.to_polars().sort("initial_margin", descending=True, nulls_last=True)
        return f"<pre>{escape(repr(self))}</pre>{table.head(_SHOWN)._repr_html_()}"

    @property
    def _haircut_on(self) -> str:
        return self.plan.rulebook.text.haircut_on

    @cached_property
    def _haircut_on_initial(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """[account] haircut that counts as initial margin."""
        if self.funded is None or self._haircut_on == "equity":
            return np.zeros(len(self), dtype=np.int64)
        return self.funded.haircut

    def _charges(self) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """[account] components in dollars, added over the account's sets."""
        sets = self.requirements.sets
        dollars = self.plan.top.price[sets.node]
        shown = [*(s.name for s in self.plan.scans), *(c.name for c in self.plan.charges)]
        inputs = self.plan.rulebook.text.inputs
        sums = [one.name for one in self.plan.sums if one.name in self._used]
        shown += [*sums, *inputs, "rounding"]
        charges = {
            name: np.bincount(
                sets.account, weights=sets.components[name] * dollars, minlength=len(self)
            ).astype(np.float64)
            for name in dict.fromkeys(shown)
        }
        if self.funded is not None and self._haircut_on == "initial":
            charges[HAIRCUT] = self._haircut_on_initial / MICRO
        return charges

    @cached_property
    def _used(self) -> frozenset[str]:
        """Names that the requirement's formulas use."""
        return self.plan.initial.outer.names | self.plan.maintenance.outer.names

    def _worst_labels(self) -> list[str]:
        sets, worst = self.requirements.sets, self.requirements.worst_set
        if not self.plan.scans:
            return [""] * len(self)
        binding = sets.binding[self.plan.scans[0].name]
        labels = np.array([*self._labels(np.arange(len(sets)), binding), ""], dtype=object)
        nodes = np.array([*(f"{name}: " for name in self.plan.top.names), ""], dtype=object)
        node = np.append(sets.node, len(self.plan.top.names))
        known = np.where(self.unknown, -1, worst)
        return [f"{a}{b}" for a, b in zip(nodes[node[known]], labels[known], strict=True)]

    def _labels(self, sets: np.ndarray[Any, Any], binding: np.ndarray[Any, Any]) -> list[str]:
        level = self.requirements.layout.levels[self.plan.levels.index(self.plan.top.name)]
        instrument = self.requirements.layout.instrument[level.first[sets]]
        underlying = self.plan.arrays.universe.underlying[instrument]
        shocks = self.plan.arrays.shocks
        keys, inverse = np.unique(
            np.column_stack([underlying, binding]), axis=0, return_inverse=True
        )
        labels = np.array([shocks.label(int(s), int(u)) for u, s in keys], dtype=object)
        return list(labels[inverse.ravel()]) if len(keys) else []


def row_of(account: str, accounts: Sequence[str]) -> int:
    """An account's row. Raises BadInput for a name that is not there."""
    if account not in accounts:
        raise BadInput(
            Problem(
                code=Reject.ACCOUNT_EMPTY,
                source="accounts",
                expected=f"one of {len(accounts)} accounts, such as {next(iter(accounts), '')!r}",
                found=repr(account),
            )
        )
    return list(accounts).index(account)


def dicts_of(frame: pl.DataFrame, charges: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of accounts as `solvent margin --json` prints them."""
    for row in frame.iter_rows(named=True):
        keys = ("account", "status", "equity", "initial_margin", "maintenance_margin")
        entry: dict[str, Any] = {key: row[key] for key in keys}
        entry["worst_scenario"] = row["worst_scenario"] or None
        entry["charges"] = {name: row[name] for name in charges}
        if row["reason"]:
            entry["reason"] = row["reason"]
        yield entry


def counts_of(standings: np.ndarray[Any, np.dtype[np.object_]]) -> dict[str, int]:
    """How many accounts stand where."""
    names, counts = np.unique(standings.astype(str), return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _dollars(micro: np.ndarray[Any, Any] | None, known: np.ndarray[Any, Any]) -> pl.Series | None:
    if micro is None:
        return None
    return pl.Series(np.where(known, micro / MICRO, np.nan), nan_to_null=True)
