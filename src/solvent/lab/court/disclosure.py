"""A backtest in the fields of the CPMI-IOSCO public quantitative disclosure, part 6: margin.

Clearing houses publish these every quarter. Here the portfolios stand for member accounts and a
date for a business day. What a backtest cannot know (collateral that members hold beyond what is
asked) is told as such, never as a number. Money is whole millionths of a dollar.

Source: CPMI-IOSCO, "Public quantitative disclosure standards for central counterparties" (2015).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.instruments.contract import moment_of
from solvent.lab.court.result import Cell, CourtResult, Which
from solvent.units import DAY_MS, MICRO

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field: its number in the standard, what it is, its value, and how to read it.

    `value` is text, a count, a share, or micro-dollars where `unit` is `micro`; None is not known.
    """

    number: str
    title: str
    value: str | int | float | None
    unit: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "number": self.number,
            "title": self.title,
            "value": self.value,
            "unit": self.unit,
            "note": self.note,
        }

    def text(self) -> str:
        """The value for a table: dollars of micro-dollars, percent of shares.

        >>> Field(number="6.5.4", title="Achieved coverage", value=0.9925, unit="share").text()
        '99.25 %'
        """
        if self.value is None:
            return "not known"
        if isinstance(self.value, str):
            return self.value
        if self.unit == "micro":
            return f"{self.value / MICRO:,.2f} USD"
        return f"{100 * self.value:.2f} %" if self.unit == "share" else f"{self.value:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """The fields of one rulebook, and the window of days that they are of."""

    rulebook: str
    from_ms: int
    to_ms: int
    fields: tuple[Field, ...]

    def __getitem__(self, number: str) -> Field:
        for one in self.fields:
            if one.number == number:
                return one
        raise KeyError(number)

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "rulebook": self.rulebook,
            "from_ms": self.from_ms,
            "to_ms": self.to_ms,
            "fields": [one.to_dict() for one in self.fields],
        }

    def rows(self) -> list[dict[str, str]]:
        """A row a field, as a report's table shows it."""
        return [
            {
                "field": one.number,
                "rulebook": self.rulebook,
                "text": f"{one.title} ({one.note})" if one.note else one.title,
                "value": one.text(),
            }
            for one in self.fields
        ]


def disclosure(
    result: CourtResult,
    rulebook: str,
    *,
    level: float = 0.99,
    model: Mapping[str, str] | None = None,
    which: Which = "initial",
    days: int = 365,
) -> Disclosure:
    """Part 6 of one rulebook over the last `days` of a backtest (the standard's twelve months).

    Args:
        level: the coverage that the model is to have.
        model: 6.4's words on the model by field number, such as `6.4.5` for the look-back.

    Raises BadInput for a rulebook that the result does not have.
    """
    if rulebook not in result.rulebooks:
        raise _bad(f"one of {', '.join(result.rulebooks)}", rulebook)
    if len(result.time_ms) == 0:
        raise _bad("a backtest with a day or more", "none")
    at = result.rulebooks.index(rulebook)
    to_ms = int(result.time_ms[-1])
    kept = result.time_ms > to_ms - days * DAY_MS
    year = _Year.of(result, at, kept, which)
    fields = (
        *_required(result.time_ms[kept], year),
        *_model(result, rulebook, level, model or {}),
        *_backtested(result, year, level),
        *_flows(result, year),
    )
    return Disclosure(
        rulebook=rulebook, from_ms=int(result.time_ms[kept][0]), to_ms=to_ms, fields=fields
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Year:
    """Judged cells of one rulebook: [portfolio, date]; margin and PnL 0 where not judged."""

    judged: NDArray[np.bool_]
    margin: NDArray[np.int64]
    loss: NDArray[np.int64]
    maintenance: NDArray[np.int64]

    @classmethod
    def of(cls, result: CourtResult, at: int, kept: NDArray[np.bool_], which: Which) -> _Year:
        judged = result.state[at][:, kept] == Cell.JUDGED
        asked = result.initial_micro if which == "initial" else result.maintenance_micro
        return cls(
            judged=judged,
            margin=np.where(judged, asked[at][:, kept], 0),
            loss=np.where(judged, -result.pnl_micro[at][:, kept], 0),
            maintenance=np.where(judged, result.maintenance_micro[at][:, kept], 0),
        )


def _required(time_ms: NDArray[np.int64], year: _Year) -> Iterator[Field]:
    # A day of which nothing was judged (the last has no end) asked for margin that is not told: it
    # is left out, never counted as 0.
    told = np.flatnonzero(year.judged.any(axis=0))
    total = year.margin.sum(axis=0)[told]
    nothing = "no day was judged"
    last = f"{moment_of(int(time_ms[told[-1]])):%Y-%m-%d}" if len(told) else ""
    yield Field(
        number="6.1.1", title="Total initial margin required, at the end of the period",
        value=int(total[-1]) if len(told) else None, unit="micro",
        note=f"sum over all portfolios judged on the last day judged, {last}" if last else nothing,
    )  # fmt: skip
    yield Field(
        number="6.1.2", title="Total initial margin required, average over the period",
        value=round(float(total.mean())) if len(told) else None, unit="micro",
        note="" if len(told) else nothing,
    )  # fmt: skip
    yield Field(
        number="6.2", title="Initial margin held", value=None,
        note="a backtest holds what is asked and no more; collateral beyond it is not known",
    )  # fmt: skip


_MODEL = {
    "6.4.1": "Type of initial margin model",
    "6.4.2": "Change of the model in the period",
    "6.4.4": "Look-back period",
    "6.4.5": "Adjustments, anti-procyclicality",
    "6.4.7": "Frequency of parameter review",
}


def _model(
    result: CourtResult, rulebook: str, level: float, words: Mapping[str, str]
) -> Iterator[Field]:
    yield Field(
        number="6.3", title="Initial margin rates on individual contracts",
        value=None, note="`solvent rulebooks` tells the rulebook's parameters",
    )  # fmt: skip
    told = {number: (title, words.get(number)) for number, title in _MODEL.items()}
    told["6.4.3"] = (
        "Single-tailed confidence level targeted",
        f"{100 * level:g} %",
    )
    told["6.4.6"] = ("Close-out period", f"{result.mpor_ms / _HOUR_MS:g} hours")
    told["6.4.8"] = ("Name of the model", rulebook)
    for number in sorted({*told, *words}):
        title, value = told.get(number, ("", words.get(number)))
        note = "" if value is not None else "not told by who ran the backtest"
        yield Field(number=number, title=title, value=value, note=note)


def _backtested(result: CourtResult, year: _Year, level: float) -> Iterator[Field]:
    excess = np.where(year.judged, year.loss - year.margin, 0)
    breach = excess > 0
    count, breaches = int(year.judged.sum()), int(breach.sum())
    yield Field(
        number="6.5.1",
        title="Times that the margin of an account fell below its actual exposure",
        value=breaches, unit="breaches",
        note="exposure is the loss over the close-out period",
    )  # fmt: skip
    gaps = np.diff(result.time_ms)
    every = float(np.median(gaps)) / _HOUR_MS if len(gaps) else 0.0
    yield Field(
        number="6.5.2", title="Frequency of backtest measurements",
        value=f"every {every:g} hours" if every else "once",
        note="periods overlap: breaches are not independent" if result.overlapping else "",
    )  # fmt: skip
    yield Field(
        number="6.5.3", title="Observations: accounts times days", value=count, unit="observations",
        note=f"{year.judged.size - count} of {year.judged.size} could not be judged",
    )  # fmt: skip
    covered = 1.0 - breaches / count if count else None
    short = covered is not None and covered < level
    yield Field(
        number="6.5.4", title="Achieved coverage level", value=covered, unit="share",
        note="no observation" if covered is None
        else f"below the target of {100 * level:g} %" if short else "",
    )  # fmt: skip
    largest = int(excess.max(initial=0))
    beyond = excess[breach]
    yield Field(
        number="6.5.5.1", title="Uncovered exposure, largest", value=max(largest, 0), unit="micro",
    )  # fmt: skip
    yield Field(
        number="6.5.5.2", title="Uncovered exposure, average over breaches",
        value=-(-int(beyond.sum()) // breaches) if breaches else 0, unit="micro",
        note="rounded up" if breaches else "no breach",
    )  # fmt: skip


def _flows(result: CourtResult, year: _Year) -> Iterator[Field]:
    paid = np.maximum(year.loss, 0).sum(axis=0)[year.judged.any(axis=0)]
    period = f"over {result.mpor_ms / _HOUR_MS:g} hours from each date"
    yield Field(
        number="6.6", title="Average total variation margin paid", unit="micro",
        value=round(float(paid.mean())) if len(paid) else None,
        note=f"losses of all portfolios {period}",
    )  # fmt: skip
    yield Field(
        number="6.7", title="Maximum total variation margin paid", unit="micro",
        value=int(paid.max(initial=0)) if len(paid) else None,
        note=f"losses of all portfolios {period}",
    )  # fmt: skip
    # A portfolio that is not judged on one of two days has no call between them.
    both = year.judged[:, 1:] & year.judged[:, :-1]
    calls = np.where(both, np.maximum(np.diff(year.margin, axis=1), 0), 0).sum(axis=0)
    yield Field(
        number="6.8", title="Maximum aggregate initial margin call on a day", unit="micro",
        value=int(calls.max(initial=0)),
        note="rises of each portfolio's margin since the date before, summed",
    )  # fmt: skip


def _bad(expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source="disclosure", expected=expected, found=found)
    )
