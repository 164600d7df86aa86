"""The court's judgements as a Markdown table, as docs/backtest.md commits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_HEAD: Final = ("rulebook", "book", "days", "breaches", "coverage", "Kupiec p", "largest breach",
                "mean margin", "peak/trough", "5-day", "30-day", "cost")  # fmt: skip


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of a verdict's document.

    >>> markdown([]).splitlines()[0][:45]
    '| rulebook | book | days | breaches | coverag'
    """
    lines = [f"| {' | '.join(_HEAD)} |", "|" + "---|" * len(_HEAD)]
    for row in rows:
        tests = {one["name"]: one["p_value"] for one in row["tests"]}
        run = row["procyclicality"]
        cells = (
            row["rulebook"], row["portfolio"], f"{row['days']:,}", f"{row['breaches']:,}",
            f"{100 * row['coverage']:.2f} %", _number(tests.get("Kupiec POF"), ".3f"),
            f"{100 * row['breach_largest']:.2f} %", f"{100 * row['mean_rate']:.2f} %",
            _number(run["peak_to_trough"], ".2f"), _number(run["rises"].get("5"), ".2f"),
            _number(run["rises"].get("30"), ".2f"), _number(row["cost"], ".2f"),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
