"""Tails over 2,000 scenarios beside the worst of 64, per scenario, in one run.

100,000 accounts hold 10 positions each on average, of 5,000 instruments by Zipf's law: the book of
the product's own measurement, a tenth as long. Both rows have their matrix laid out already, as a
plan keeps it. The numbers of the matrix are drawn without any order, which leaves a bound nothing
to guess from: scenarios of a history have some.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.accounts import identity
from bench.harness import Candidate, interleave, one_core
from bench.limits import machine
from solvent.risk.product import Totals, padded, worst_of
from solvent.risk.tails import Tail, Tiles, large, tail_of
from solvent.risk.tails.scan import tails_of

ACCOUNTS, INSTRUMENTS, HELD = 100_000, 5_000, 10
FEW, MANY = 64, 2_000
RATIO_MAX = 1.5
CHECKED = 2_000
RESULTS = Path(__file__).parent / "results"
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Work:
    """One book on two matrices."""

    few: Totals
    many: Totals
    tiles: Tiles
    tail: Tail
    weighed: Tail
    quantile: Tail

    @classmethod
    def make(cls) -> Work:
        rng = np.random.default_rng(6)
        first = np.concatenate([[0], np.cumsum(rng.geometric(1.0 / HELD, ACCOUNTS))])
        weight = 1.0 / np.arange(1, INSTRUMENTS + 1)
        rank = rng.choice(INSTRUMENTS, int(first[-1]), p=weight / weight.sum())
        index = rng.permutation(INSTRUMENTS).astype(np.int32)[rank]
        lots = rng.integers(-100, 101, int(first[-1])).astype(np.float64)

        def totals(columns: int) -> Totals:
            matrix = padded(np.rint(rng.normal(0.0, 1e6, (INSTRUMENTS, columns))))
            return Totals(
                matrix=matrix, columns=columns,
                set_first=np.arange(ACCOUNTS + 1, dtype=np.int64),
                row_first=first.astype(np.int64), row_node=np.zeros(ACCOUNTS, dtype=np.int32),
                index=index, lots=lots, node_map=identity(matrix.shape[1]),
            )  # fmt: skip

        few, many = totals(FEW), totals(MANY)
        tiles = Tiles(many.matrix, MANY)
        assert tiles.array.size
        age = 0.5 ** (np.arange(MANY)[::-1] / 500.0)
        return cls(
            few, many, tiles,
            tail_of("expected_shortfall", 0.99, np.full(MANY, 1.0 / MANY)),
            tail_of("expected_shortfall", 0.99, age / age.sum()),
            tail_of("value_at_risk", 0.99, np.full(MANY, 1.0 / MANY)),
        )  # fmt: skip


def equal_to_numpy(work: Work) -> bool:
    """Whether some accounts of the book have the same bits, and scenarios, by numpy."""
    from solvent.risk.product import totals_of

    some = work.many.part(0, CHECKED)
    totals = totals_of(some)
    equal = True
    for tail in (work.tail, work.weighed, work.quantile):
        fast, where = large.scan_large(tail, some, tiles=work.tiles)
        slow, place = tails_of(tail, totals)
        equal &= bool((fast.view(np.int64) == slow.view(np.int64)).all())
        equal &= bool((where == place).all())
    return equal


def candidates(work: Work) -> dict[str, Candidate]:
    """The product, and tails."""

    def over(tail: Tail) -> Candidate:
        return Candidate(run=lambda: large.scan_large(tail, work.many, tiles=work.tiles))

    return {
        "worst of 64": Candidate(run=lambda: worst_of(work.few)),
        "expected shortfall 0.99 of 2,000": over(work.tail),
        "the same, weighed by age": over(work.weighed),
        "value at risk 0.99 of 2,000": over(work.quantile),
    }


def measure(*, rounds: int = 7) -> dict[str, Any]:
    """A row a candidate, and the goal."""
    load = os.getloadavg()[0]
    with one_core():
        work = Work.make()
        equal = equal_to_numpy(work)
        times = interleave(candidates(work), rounds=rounds)
    base = times["worst of 64"].best / FEW
    ratio = times["expected shortfall 0.99 of 2,000"].best / MANY / base
    rows = []
    for name, timing in times.items():
        columns = FEW if name == "worst of 64" else MANY
        rows.append(
            {
                "way": name, "best_ms": timing.best * 1e3, "median_ms": timing.median * 1e3,
                "scenarios": columns, "per_scenario": timing.best / columns / base,
            }
        )  # fmt: skip
    return {
        "machine": machine(), "load": load, "accounts": ACCOUNTS,
        "positions": len(work.many.index), "rows": rows,
        "goals": {
            f"per scenario <= {RATIO_MAX}x the worst of 64": ratio <= RATIO_MAX,
            "equal to numpy to the bit": equal,
        },
    }  # fmt: skip


def markdown(document: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "# Tails of whole books", "",
        ("Written by `python -m bench.tails`. Rows ran interleaved in one run on one core; ratios "
        "are of the best times, per scenario."), "",
        ", ".join(f"{k}: {v}" for k, v in document["machine"].items())
        + f", load before {document['load']:.1f}", "",
        f"{document['accounts']:,} accounts, {document['positions']:,} positions", "",
        "| way | best ms | median ms | scenarios | per scenario |",
        "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    lines += [
        f"| {row['way']} | {row['best_ms']:,.1f} | {row['median_ms']:,.1f} | "
        f"{row['scenarios']:,} | {row['per_scenario']:.2f} |"
        for row in document["rows"]
    ]
    lines.append("")
    for goal, met in document["goals"].items():
        lines.append(f"- goal {goal}: {'met' if met else '**missed**'}")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, print, and write `tails.json` and `tails.md`."""
    document = measure()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "tails.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    text = markdown(document)
    (RESULTS / "tails.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
