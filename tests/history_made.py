"""Made-up histories for tests: prices from a seed, with volatility that comes in waves."""

from __future__ import annotations

import numpy as np

from solvent.scenarios.history import Built, Series
from solvent.units import DAY_MS, Float64

START_MS = 1_577_836_800_000
"""2020-01-01 00:00 UTC."""


def garch_returns(
    count: int, *, seed: int, omega: float = 2e-5, alpha: float = 0.1, beta: float = 0.88
) -> Float64:
    """Returns of a GARCH(1,1) with normal shocks, after its first 500 are forgotten."""
    shocks = np.random.default_rng(seed).standard_normal(count + 500)
    variance, found = omega / (1.0 - alpha - beta), []
    for shock in shocks:
        found.append(shock * variance**0.5)
        variance = omega + alpha * found[-1] ** 2 + beta * variance
    return np.array(found[500:])


def made(
    days: int,
    *,
    seed: int = 1,
    names: tuple[str, ...] = ("BTC", "ETH"),
    step_hours: float = 24.0,
    surfaces: bool = False,
    common: float = 0.7,
) -> Series:
    """Coins that share a factor, one price a step, from 2020 on; perhaps with surfaces, bases."""
    rng = np.random.default_rng(seed)
    count = round(days * 24 / step_hours)
    size = np.sqrt(step_hours / 24.0)
    shared = garch_returns(count, seed=seed)
    own = np.stack([garch_returns(count, seed=seed + 7 * n + 1) for n in range(len(names))], 1)
    returns = size * (common * shared[:, None] + (1.0 - common**2) ** 0.5 * own)
    price = 100.0 * np.exp(np.cumsum(returns, axis=0))
    time_ms = START_MS + np.arange(count, dtype=np.int64) * round(step_hours / 24.0 * DAY_MS)
    if not surfaces:
        return Series(names=names, time_ms=time_ms, price=price)
    noise = rng.standard_normal((4, count, len(names)))
    return Series(
        names=names, time_ms=time_ms, price=price,
        level=-0.5 - 0.8 * np.cumsum(returns, axis=0) * 0.1 + 0.02 * noise[0],
        skew=-0.1 + 0.01 * noise[1], term=0.03 + 0.01 * noise[2],
        curve=np.full((count, len(names)), 0.06), basis=0.05 + 0.01 * noise[3],
    )  # fmt: skip


def same(one: Built, two: Built) -> bool:
    """Whether two sets are equal to the bit, with their notes."""
    arrays = ("move", "level", "skew", "term", "basis", "weight", "time_ms")
    return (
        one.notes == two.notes
        and one.volatility == two.volatility
        and one.shocks.underlyings == two.shocks.underlyings
        and all(
            np.array_equal(getattr(one.shocks, name), getattr(two.shocks, name)) for name in arrays
        )
    )


def codes(built: Built) -> set[str]:
    """Names of the notes."""
    return {note.code for note in built.notes}
