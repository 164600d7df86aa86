"""`make bench`: run every measurement and write `bench/results/`.

Each table is measured in one run, its rows interleaved. Only the ratios mean anything: the host is
shared, and another machine has other figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench import (
    accounts,
    engine,
    orders,
    revaluation,
    service,
    start_up,
    surface,
    tails,
    watch,
    whole_book,
)
from bench.harness import Timing, interleave, one_core
from bench.limits import machine, measure_limits

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, write."""
    tables: list[dict[str, Any]] = []
    with one_core():
        limits = measure_limits()
        tables.append(_revaluation(limits))
        tables.append(_ten_thousand())
        tables.append(_million(limits))
        tables.append(_whole_books())
    tables.append(_two_threads())
    tables.append(_start_up())
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": machine(), "limits": limits, "tables": tables}
    (RESULTS / "latest.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    text = _markdown(document)
    (RESULTS / "latest.md").write_text(text, "utf-8")
    print(text)
    missed = [f"{t['name']}: {g}" for t in tables for g, met in t["goals"].items() if not met]
    if missed:
        print("goals missed:", *missed, sep="\n  ", file=sys.stderr)
    engine.main()
    orders.main()
    watch.main()
    surface.main()
    tails.main()
    service.main()


def _revaluation(limits: Mapping[str, float]) -> dict[str, Any]:
    market = revaluation.Market.make()
    times = interleave(revaluation.candidates(market))
    ours = times["solvent compiled"].median
    cells = revaluation.INSTRUMENTS * revaluation.SCENARIOS
    error = revaluation.largest_error(market)
    peers = [times[n].median for n in ("fast-vollib 0.2.4", "polars-vol 0.1.1") if n in times]
    roofline = cells / (limits["erfc_mps"] * 1e6 / 2) if "erfc_mps" in limits else None
    facts = {
        "million cells a second": cells / ours / 1e6,
        "largest error / F": error,
        "share of the two-erfc roofline": roofline / ours if roofline else None,
    }
    goals = {
        ">= 60x QuantLib": times["QuantLib blackFormula loop"].median / ours >= 60,
        ">= 6x the best vectorised peer": min(peers) / ours >= 6,
        ">= 50 % of the two-erfc roofline": bool(roofline and roofline / ours >= 0.5),
        "error <= 1e-15 F": error <= 1e-15,
    }
    return _table("market revaluation, 5,000 × 64, one core", times, "solvent compiled", facts,
                  goals)  # fmt: skip


def _ten_thousand() -> dict[str, Any]:
    desk = accounts.Desk.make()
    ours, theirs = accounts.solvent_way(desk), accounts.numpy_sparse_way(desk)
    difference = float(np.max(np.abs(ours - theirs)))
    times = interleave(accounts.candidates(desk))
    base = times["solvent, from prices up"].median

    def ratio(name: str) -> float:
        return times[name].median / base

    goals = {
        ">= 150x numpy per account": ratio("numpy repricing per account") >= 150,
        ">= 2x numpy + scipy.sparse": ratio("same algorithm, numpy + scipy.sparse") >= 2,
        ">= 500x marginism": ratio("marginism 0.1.1") >= 500,
    }
    facts = {"largest difference to numpy, dollars": difference}
    return _table("10,000 accounts × 20 positions × 33 scenarios, from prices up, one core", times,
                  "solvent, from prices up", facts, goals)  # fmt: skip


def _million(limits: Mapping[str, float]) -> dict[str, Any]:
    venue = accounts.Venue.make()
    ours = accounts.exact_scan(venue, threads=1)
    equal = bool((ours == accounts.sparse_scan(venue, block=10_000)).all())
    times = interleave(accounts.million_candidates(venue), rounds=9)
    base = times["solvent, exact, 1 thread"].median
    best = min(t.median for name, t in times.items() if name.startswith("scipy"))
    traffic = len(venue.index) * accounts.WIDE * 8.0
    facts = {
        "positions": float(len(venue.index)),
        "million accounts a second": accounts.MILLION / base / 1e6,
        "row traffic, GB/s": traffic / base / 1e9,
        "share of the L2 read limit": traffic / base / 1e9 / limits["l2_read_gbs"]
        if limits
        else None,
        "equal to scipy.sparse to the bit": float(equal),
    }
    goals = {">= 4x scipy.sparse": best / base >= 4, "equal to the bit": equal}
    return _table("1 M accounts × 10 positions × 64 scenarios, exact, one core", times,
                  "solvent, exact, 1 thread", facts, goals)  # fmt: skip


def _whole_books() -> dict[str, Any]:
    work = whole_book.Work.make()
    times = interleave(whole_book.candidates(work), rounds=9)
    facts = {"accounts": float(len(work.book)), "positions": float(work.book.positions)}
    return _table("whole-book margin of 200,000 accounts, to the bare product, one core", times,
                  "bare product", facts, {})  # fmt: skip


def _two_threads() -> dict[str, Any]:
    venue = accounts.Venue.make()
    from bench.harness import Candidate

    times = interleave(
        {
            "1 thread": Candidate(run=lambda: accounts.exact_scan(venue, threads=1)),
            "2 threads": Candidate(run=lambda: accounts.exact_scan(venue, threads=2)),
        }
    )
    gain = times["1 thread"].median / times["2 threads"].median
    return _table("1 M accounts, threads", times, "2 threads", {"gain of 2 threads": gain}, {})


def _start_up() -> dict[str, Any]:
    times = start_up.measure()
    goals = {
        "cold first margin <= 4 s": times["solvent margin, cold"].median <= 4,
        "warm first margin <= 2 s": times["solvent margin, warm"].median <= 2,
        "--help <= 0.3 s": times["solvent --help"].median <= 0.3,
    }
    return _table("start-up of whole commands", times, "solvent --help", {}, goals)


def _table(
    name: str,
    times: Mapping[str, Timing],
    base: str,
    facts: Mapping[str, float | None],
    goals: Mapping[str, bool],
) -> dict[str, Any]:
    rows = [
        {
            "way": way,
            "median_ms": timing.median * 1e3,
            "best_ms": timing.best * 1e3,
            "ratio": timing.median / times[base].median,
            "rounds": timing.rounds,
            "share_run": timing.share,
        }
        for way, timing in times.items()
    ]
    return {"name": name, "base": base, "rows": rows, "facts": dict(facts), "goals": dict(goals)}


def _markdown(document: Mapping[str, Any]) -> str:
    told = (
        "Written by `make bench`. Rows of one table ran interleaved in one run; a row that ran a "
        "share of the work is scaled linearly."
    )
    lines = ["# Measurements", "", told, ""]
    lines.append(", ".join(f"{k}: {v}" for k, v in document["machine"].items()))
    limits = ", ".join(f"{name} {value:,.0f}" for name, value in document["limits"].items())
    lines += ["", f"Limits of one core, measured in the same run: {limits}", ""]
    for table in document["tables"]:
        lines += [f"## {table['name']}", "", "| way | median ms | best ms | ratio | share run |",
                  "|---|---:|---:|---:|---:|"]  # fmt: skip
        for row in table["rows"]:
            lines.append(
                f"| {row['way']} | {row['median_ms']:,.2f} | {row['best_ms']:,.2f} | "
                f"{row['ratio']:,.2f} | {row['share_run']:.3g} |"
            )
        lines.append("")
        for fact, value in table["facts"].items():
            lines.append(f"- {fact}: {'not measured' if value is None else f'{value:,.4g}'}")
        for goal, met in table["goals"].items():
            lines.append(f"- goal {goal}: {'met' if met else '**missed**'}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
