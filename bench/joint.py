"""Pricing joint scenarios: risk arrays of 1,000 options under 2,000 scenarios, on one core.

Seconds of a processor, since other work on the host would be counted in those of a clock.

`python -m bench.joint` prints the median of some rounds: everything that a publication does, from a
market and joint shocks to whole quanta per lot.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from bench.harness import one_core
from solvent import api
from solvent.feeds.synthetic_market import generate_market
from solvent.market import Snapshot
from solvent.market.moved import restricted
from solvent.scenarios import JointShocks
from solvent.units import DAY_MS

OPTIONS, SCENARIOS, ROUNDS = 1_000, 2_000, 7
TIME_MAX_S = 1.0


def main() -> None:
    """Measure and print."""
    market = _market()
    plans = {"spots alone": _shocks(market, surfaces=False), "with surfaces": _shocks(market)}
    with one_core():
        for name, shocks in plans.items():
            times = [_seconds(market, shocks) for _ in range(ROUNDS + 1)][1:]
            median = float(np.median(times))
            cells = len(market.universe) * SCENARIOS
            print(
                f"{name}: {len(market.universe):,} options x {SCENARIOS:,} joint scenarios: "
                f"{1e3 * median:.0f} ms of one core (least {1e3 * min(times):.0f}), "
                f"{cells / median / 1e6:.0f} M prices/s; "
                f"goal <= {TIME_MAX_S:g} s {'met' if median <= TIME_MAX_S else 'missed'}"
            )


def _market() -> Snapshot:
    whole = generate_market(seed=1)
    return restricted(whole, np.flatnonzero(whole.universe.is_option)[:OPTIONS].tolist())


def _shocks(market: Snapshot, *, surfaces: bool = True) -> JointShocks:
    rng = np.random.default_rng(1)
    shape = (len(market.universe.underlyings), SCENARIOS)
    common = rng.standard_t(4, SCENARIOS) * 0.02
    return JointShocks(
        name="bench",
        underlyings=tuple(market.universe.underlyings),
        move=np.maximum(common + rng.standard_t(4, shape) * 0.01, -0.9),
        level=rng.normal(0.0, 0.05 * surfaces, shape),
        skew=rng.normal(0.0, 0.01 * surfaces, shape),
        term=rng.normal(0.0, 0.01 * surfaces, shape),
        basis=np.zeros(shape),
        weight=np.full(SCENARIOS, 1.0 / SCENARIOS),
        time_ms=(np.arange(SCENARIOS, dtype=np.int64) + 1) * DAY_MS,
    )


def _seconds(market: Snapshot, shocks: JointShocks) -> float:
    start = time.process_time()
    api.prepare(market, "fhs", joint={"core": replace(shocks)})
    return time.process_time() - start


if __name__ == "__main__":
    main()
