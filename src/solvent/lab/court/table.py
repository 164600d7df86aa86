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


def missed_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The missed targets of a verdict's document, with what they were traced to.

    >>> one = {"rulebook": "a", "portfolio": "b", "target": "cost", "found": 1.8, "bound": 1.5,
    ...        "at_least": False, "off": 0.3, "why": "w", "cause": "c"}
    >>> print(missed_markdown([one]).splitlines()[2])
    | a | b | cost | 1.8 | ≤ 1.5 | 0.3 | w | c |
    """
    head = ("rulebook", "book", "target", "found", "wanted", "off by", "measured", "traced to")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        cells = (
            row["rulebook"], row["portfolio"], row["target"], _number(row["found"], ".3g"),
            f"{'≥' if row['at_least'] else '≤'} {row['bound']:g}", _number(row["off"], ".3g"),
            row["why"], row["cause"],
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def proxy_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """How far the proxy is from real surfaces, as `sources.proxy_error` tells it."""
    head = ("coin", "tenor", "days", "too high", "off", "changes correlate", "variance ratio",
            "autocorrelation, proxy", "real")  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        cells = (
            row["coin"], f"{row['tenor_days']} d", f"{row['days']}", f"{100 * row['mean']:+.1f}",
            f"{100 * row['abs']:.1f}", _number(row["correlation"], ".2f"),
            _number(row["variance_ratio"], ".2f"), _number(row["autocorrelation"], "+.2f"),
            _number(row["autocorrelation_real"], "+.2f"),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
