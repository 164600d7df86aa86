"""A backtest in sentences: what a reader who skips the tables should take away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def in_plain_words(document: Mapping[str, Any]) -> list[str]:
    """A sentence or two a rulebook, then what history and notes put a limit to."""
    level = document["level"]
    said = []
    for rulebook in document["rulebooks"]:
        rows = [row for row in document["rows"] if row["rulebook"] == rulebook["name"]]
        said.append(_of_rulebook(rulebook["name"], rows, level, document["benchmark"]))
    if document["overlapping"]:
        said.append(
            "Periods overlap, so that one fall of the market is counted several times: tests that "
            "take days as independent are too strict here."
        )
    few = [row for row in document["rows"] if row["days"] < 250]
    if few:
        said.append(
            f"{len(few)} of {len(document['rows'])} rows have fewer than 250 days; with so few, "
            "one breach more or less decides a test."
        )
    return said


def _of_rulebook(
    name: str, rows: Sequence[Mapping[str, Any]], level: float, benchmark: str | None
) -> str:
    if not rows:
        return f"{name} could margin none of these books."
    days, breaches = sum(row["days"] for row in rows), sum(row["breaches"] for row in rows)
    worst = min(rows, key=lambda row: row["coverage"])
    rejected = [row for row in rows if _under(row, level)]
    text = (
        f"{name} covered {100 * (1 - breaches / days):.2f} % of {days:,} book-days, "
        f"promised were {100 * level:g} %."
    )
    if rejected:
        listed = _listed([row["portfolio"] for row in rejected])
        text += f" Too many breaches, beyond chance, for {listed}."
    elif breaches:
        text += " No book had more breaches than chance allows."
    if breaches:
        text += (
            f" The least covered book was {worst['portfolio']} ({worst['breaches']} breaches in "
            f"{worst['days']:,} days; the largest was {100 * worst['breach_largest']:.2f} % of its "
            "size)."
        )
    rises = [row["procyclicality"]["rises"].get("5") for row in rows]
    told = [one for one in rises if one is not None]
    if told:
        text += f" In five days its margin rose at most {max(told):.2f} times"
        text += "." if max(told) > 1.001 else ", that is not at all."
    costs = [row["cost"] for row in rows if row["cost"] is not None]
    if costs and benchmark and benchmark != name:
        text += f" It asked {sum(costs) / len(costs):.2f} times what {benchmark} asks."
    return text


def _under(row: Mapping[str, Any], level: float) -> bool:
    found = {one["name"]: one["p_value"] for one in row["tests"]}
    low = found.get("one-sided binomial")
    return low is not None and low < 0.05 and row["breaches"] > (1 - level) * row["days"]


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:4])
    if len(names) > 4:
        shown.append(f"{len(names) - 4} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
