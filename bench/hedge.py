"""How long a hedge takes: 200 options and more, 64 scenarios, the worst of them or a tail.

Each book holds twelve options; every option of the market may be traded. Timed are the linear
program, its building included, and the whole answer: programs, and exact margins of every step.
`python -m bench.hedge [BOOKS]` prints a table and writes `bench/results/hedge.json`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from tests import capital

from solvent.lab.capital.hedge import hedge
from solvent.lab.capital.program import Program
from solvent.lab.capital.search import Goal, Search
from solvent.lab.capital.trades import Costs, tradable
from solvent.units import MICRO

COSTS = Costs(fee_bps=1.0, option_fee_cap=0.125)
LP_SECONDS_MAX = 2.0
RESULTS = Path(__file__).parent / "results"


def linear_seconds(rows: list[dict[str, object]], tail: float | None, budget: float) -> float:
    """Seconds of the linear program of one book, building it included."""
    from solvent import api
    from solvent.lab.capital.remargin import remargin
    from solvent.lab.capital.scenario_part import model_of

    of = capital.plan(tail=tail)
    trades = tradable(capital.market(), of.arrays, capital.options(), costs=COSTS)
    asked = remargin(api.margin(rows, of), 0, also=trades.row.tolist())
    search = Search(asked, trades, Goal(budget=int(budget * MICRO)))
    model = model_of(asked, search.places)
    start = time.perf_counter()
    program, _ = search.program(model, None)
    solved = program.solve()
    assert solved.found, solved.ending
    return time.perf_counter() - start


def measure(books: int, tail: float | None) -> dict[str, float | int]:
    """Times of some books, and how often the answer beats the best single trade."""
    linear, whole, better, scenarios = [], [], 0, len(capital.plan(tail=tail).arrays.shocks)
    for case in range(books):
        rng = np.random.default_rng(case)
        rows = capital.positions(rng, 12)
        before = capital.required(rows, capital.plan(tail=tail))
        budget = float(rng.uniform(0.0006, 0.004)) * before / MICRO
        linear.append(linear_seconds(rows, tail, budget))
        start = time.perf_counter()
        found = hedge(
            rows, capital.market(), capital.rulebook(tail=tail), budget=budget, costs=COSTS,
            allow=["*-C", "*-P"], enumerate_max=0,
        )  # fmt: skip
        whole.append(time.perf_counter() - start)
        better += (found.after, found.cost) < (found.single_after, found.single_cost)
        again = capital.required(capital.with_trades(rows, found), capital.plan(tail=tail))
        assert again <= found.after, "never worse than claimed"
    return {
        "books": books, "options": len(capital.options()), "scenarios": scenarios,
        "lp_median_s": float(np.median(linear)), "lp_max_s": max(linear),
        "hedge_median_s": float(np.median(whole)), "hedge_max_s": max(whole),
        "beats_single": better,
    }  # fmt: skip


def main() -> None:
    """Measure, print, write; fails where a linear program takes more than it may."""
    Program().solve()  # the solver is loaded before the clock runs
    books = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    found = {
        "worst": measure(books, None), "expected shortfall 0.9": measure(books, 0.9),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    text = json.dumps(found, indent=1)
    print(text)
    (RESULTS / "hedge.json").write_text(text + "\n", "utf-8")
    slowest = max(one["lp_max_s"] for one in found.values() if isinstance(one, dict))
    assert slowest <= LP_SECONDS_MAX, slowest


if __name__ == "__main__":
    main()
