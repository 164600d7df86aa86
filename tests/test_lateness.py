"""A venue that decides on marks of some time ago: paths by the second, and what winners give up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.host import Engine
from solvent.sim.cascade import Crashed, crash
from solvent.sim.cascade_paths import Bars, path_of
from solvent.sim.cascade_paths import Path as PricePath
from solvent.sim.cascade_prices import instruments, made_up
from solvent.sim.lateness import Lateness, Taken, judgements
from solvent.sim.regimes import STUDIED
from tests.test_study import barred

HYPERLIQUID = STUDIED[3]
WAVES_MS = (0, 3_000, 44_000)

# ── paths ────────────────────────────────────────────────────────────────────────────────────────


def test_a_path_goes_through_its_moments_and_stays_inside_bars() -> None:
    prices = barred(10)
    assert prices.bars is not None
    found = path_of(prices.times_ms, prices.price, prices.bars, 7)
    assert np.all(np.diff(found.times_ms) > 0)
    assert np.diff(found.times_ms).max() <= 1_000
    for step, time_ms in enumerate(prices.times_ms):
        assert found.at(time_ms) == prices.now(step)
    here = prices.bars.at(found.times_ms)
    for coin in prices.coins:
        low, high = np.array(prices.bars.low[coin])[here], np.array(prices.bars.high[coin])[here]
        path = found.price[coin]
        moments = np.isin(found.times_ms, prices.times_ms)
        assert np.all((path >= low * (1 - 1e-12)) | moments)
        assert np.all((path <= high * (1 + 1e-12)) | moments)
    again = path_of(prices.times_ms, prices.price, prices.bars, 7)
    other = path_of(prices.times_ms, prices.price, prices.bars, 8)
    assert all(np.array_equal(again.price[coin], found.price[coin]) for coin in prices.coins)
    assert not np.array_equal(other.price["BTC"], found.price["BTC"])
    assert found.at(0) == prices.now(0)
    assert found.at(1e15) == prices.now(-1)


def test_a_path_is_as_rough_as_its_bars_say() -> None:
    """One bar, two coins of which one always moves against the other; no price leaves the bar."""
    bars = Bars(
        begin_ms=(0, 900_000), span_ms=900_000, low={"A": (90.0, 90.0), "B": (99.0, 99.0)},
        high={"A": (110.0, 110.0), "B": (101.0, 101.0)},
        moved={"A": (0.05, -0.03), "B": (-0.005, 0.003)},
    )  # fmt: skip
    flat = {"A": (100.0, 100.0), "B": (100.0, 100.0)}
    sizes: dict[str, list[float]] = {"A": [], "B": []}
    together: list[float] = []
    for seed in range(8):
        found = path_of((0, 1_800_000), flat, bars, seed)
        steps = {coin: np.diff(np.log(path)) for coin, path in found.price.items()}
        for coin, one in steps.items():
            sizes[coin].append(float((one**2).sum()))
        together.append(float(np.corrcoef(steps["A"], steps["B"])[0, 1]))
    for coin in ("A", "B"):
        said = 2 * math.log(bars.high[coin][0] / bars.low[coin][0]) ** 2 / (4 * math.log(2))
        assert np.mean(sizes[coin]) == pytest.approx(said, rel=0.1)
    assert max(together) < -0.8  # folding at a bar's ends breaks it now and then


def test_without_bars_a_path_is_straight() -> None:
    prices = made_up(seed=3).shortened(4)
    found = path_of(prices.times_ms, prices.price, None, 1)
    middle = 0.5 * (prices.times_ms[1] + prices.times_ms[2])
    for coin, path in prices.price.items():
        assert found.at(middle)[coin] == pytest.approx(math.sqrt(path[1] * path[2]), rel=1e-9)


# ── judging ──────────────────────────────────────────────────────────────────────────────────────

PARTS = st.fractions(min_value=-1_000, max_value=1_000, max_denominator=7)
TRADES = st.lists(
    st.builds(
        Taken, st.integers(0, 3), st.sampled_from("abc"), PARTS, st.tuples(PARTS, PARTS)
    ), max_size=12,
)  # fmt: skip


@given(TRADES, st.lists(PARTS.map(abs), max_size=4))
def test_judging_equals_its_slow_twin(taken: list[Taken], owed: list[Fraction]) -> None:
    for place, found in enumerate(judgements(taken, owed, (0, 5))):
        given_up = got_more = gaps = Fraction(0)
        for moment in range(4):
            for winner in "abc":
                mine = [one for one in taken if (one.moment, one.winner) == (moment, winner)]
                lost = sum((one.at_end[place] for one in mine), Fraction(0))
                if lost > 0:
                    given_up += lost
                else:
                    got_more -= lost
                for one in mine:
                    gaps += one.at_trade if one.at_trade > 0 else -one.at_trade
        assert (found.given_up, found.got_more, found.gaps) == (given_up, got_more, gaps)
        assert found.deficits == sum(owed, Fraction(0))
        assert found.beyond_gaps == given_up - gaps
        assert found.beyond_deficits == given_up - found.deficits
        # What winners lose on balance is what they gave up, less what others got more.
        assert given_up - got_more == sum((one.at_end[place] for one in taken), Fraction(0))


# ── a late venue ─────────────────────────────────────────────────────────────────────────────────


def crashed(
    folder: Path, regime: int, lateness: Lateness | None, *, bars: bool = True
) -> Crashed:  # fmt: skip
    prices = barred(14) if bars else made_up(seed=1).shortened(14)
    with Engine.create(folder / "v") as engine:
        if lateness is None:
            return crash(engine, prices, STUDIED[regime], accounts=80, seed=3)
        return crash(engine, prices, STUDIED[regime], accounts=80, seed=3, lateness=lateness)


@pytest.mark.parametrize("regime", [1, 3])
def test_on_time_is_as_it_was(tmp_path: Path, regime: int) -> None:
    """Judging touches nothing; at the true mark the sums are those of the venue's own mark."""
    today = crashed(tmp_path / "a", regime, None, bars=False)
    made = crashed(tmp_path / "b", regime, Lateness(waves_ms=WAVES_MS))
    assert made.state_hash == today.state_hash
    assert made.rejected == today.rejected
    assert all(one.mark == one.price for one in made.moments)
    adl = [one for one in made.steps if one.stage == "adl"]
    assert adl
    now = made.judged[0]
    assert now == today.judged[0]
    # A step's loss is told in whole units: half a unit off at most.
    assert float(now.gaps) == pytest.approx(sum(abs(one.lost_micro) for one in adl), abs=len(adl))
    assert float(now.given_up - now.got_more) == pytest.approx(
        -sum(one.lost_micro for one in adl), abs=len(adl)
    )
    # What a plan takes of a winner is taken by itself there, by moment here.
    assert now.given_up <= made.seized
    assert [one.wave_ms for one in made.judged] == list(WAVES_MS)
    assert len({one.gaps for one in made.judged}) == len({one.deficits for one in made.judged}) == 1


@pytest.mark.parametrize("regime", [1, 3])
def test_a_late_venue_keeps_its_books(tmp_path: Path, regime: int) -> None:
    """Money and positions add up at every step, and true prices judge what late ones decided."""
    made = crashed(tmp_path, regime, Lateness(mark_ms=60_000, waves_ms=WAVES_MS))
    assert made.violations == []
    assert made.uncovered == 0
    assert [one.price for one in made.moments] == [
        made.prices.now(step) for step in range(len(made.moments))
    ]
    assert made.prices.bars is not None
    path = path_of(made.prices.times_ms, made.prices.price, made.prices.bars, 3)
    for one in made.moments:
        assert one.mark == path.at(one.time_ms - 60_000)
    for judged, wave_ms in zip(made.judged, WAVES_MS, strict=True):
        lost = _by_hand(made, partial(_later, path, wave_ms))
        assert float(judged.given_up - judged.got_more) == pytest.approx(1e6 * lost, rel=1e-3)


def _later(path: PricePath, wave_ms: int, time_ms: int) -> dict[str, float]:
    return path.at(time_ms + wave_ms)


def _by_hand(made: Crashed, at: Callable[[int], dict[str, float]]) -> float:
    """What winners lost on balance, dollars: floats, from what was told of each step."""
    sizes = {
        one.contract.base: float(one.specification.lot_size)
        for one in instruments(made.prices.coins)
    }
    total = 0.0
    for one in made.steps:
        if one.stage == "adl":
            coin = one.symbol.partition("_")[0]
            true = at(one.time_ms)[coin]
            total += (one.after - one.before) * sizes[coin] * (true - float(one.price))
    return total


def test_a_late_mark_costs_winners_what_the_price_moved(tmp_path: Path) -> None:
    """Straight down, and at the mark: winners are short of the way that the price went meanwhile,
    and who is late by nothing takes nothing beyond the gap of a tick."""
    falling = made_up(seed=1).shortened(14)
    falling = replace(falling, price={
        coin: tuple(path[0] * 0.97**step for step in range(14))
        for coin, path in falling.price.items()
    })  # fmt: skip
    given_up = []
    for mark_ms in (0, 60_000, 240_000):
        with Engine.create(tmp_path / str(mark_ms)) as engine:
            made = crash(engine, falling, HYPERLIQUID, accounts=80, seed=3,
                         lateness=Lateness(mark_ms=mark_ms, straight=True))  # fmt: skip
        assert made.violations == []
        at_mark = [one for one in made.steps if one.stage == "adl"
                   and one.before > 0 and one.lost_micro <= 0]  # fmt: skip
        value = sum(one.value_micro for one in made.steps if one.stage == "adl")
        (judged,) = made.judged
        given_up.append(float(judged.given_up) / max(1, value))
        if mark_ms:
            assert at_mark
    # 3 % a quarter of an hour, so 0.2 % a minute.
    assert given_up[1] == pytest.approx(given_up[0] + 0.002, abs=0.004)
    assert given_up[2] > given_up[1]
