"""Anti-procyclical tools: what each promises, on any series, and their numbers by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import BadInput, InvariantBroken, RulebookError
from solvent.scenarios.anti_procyclical import (
    Buffer,
    Cap,
    Chain,
    Floor,
    QuantileBuffer,
    Speed,
    State,
    StressedWeight,
    ThroughTheCycle,
    Tool,
    parse_chain,
)
from solvent.scenarios.past import Past

RAWS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40)
TOOLS: list[Tool] = [
    Buffer(size=0.25, refill=0.05),
    Buffer(size=0.5, refill=1.0),
    QuantileBuffer(size=0.25, full_at=0.5, gone_at=0.95, window_days=20),
    StressedWeight(weight=0.25),
    StressedWeight(weight=0.4, of="median", window_days=7),
    Floor(of="rms", window_days=10),
    Floor(of="mean", factor=1.2, window_days=5),
    Cap(of="mean", factor=1.5, window_days=30),
    ThroughTheCycle(weight=0.5),
    Speed(up=0.1, down=0.02),
    Speed(up=0.3),
    Speed(down=0.05),
]
CHAINS = st.lists(st.sampled_from(TOOLS), max_size=4).map(lambda tools: Chain(tuple(tools)))


# ── what each promises ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "tool", [one for one in TOOLS if not isinstance(one, Cap | ThroughTheCycle | Speed)], ids=repr
)
@settings(max_examples=25)
@given(RAWS)
def test_never_below_what_it_starts_from(tool: Tool, raws: list[float]) -> None:
    for raw, value in zip(raws, Chain((tool,)).follow(raws), strict=True):
        assert value >= raw * (1 - 1e-12)


@settings(max_examples=30)
@given(RAWS, st.floats(0.01, 2.0), st.floats(0.01, 1.0))
def test_buffer_stands_while_the_parameter_rises(
    raws: list[float], size: float, refill: float
) -> None:
    values = Chain((Buffer(size=size, refill=refill),)).follow(raws)
    for now in range(1, len(raws)):
        assert values[now] <= (1 + size) * raws[now] * (1 + 1e-12)
        if raws[now] > raws[now - 1]:
            assert values[now] <= max(values[now - 1], raws[now]) * (1 + 1e-12)


@settings(max_examples=30)
@given(RAWS, st.floats(0.01, 1.0), st.floats(0.01, 0.5), st.floats(0.25, 3.0))
def test_speed_keeps_its_limits(raws: list[float], up: float, down: float, days: float) -> None:
    values = Chain((Speed(up=up, down=down),)).follow(raws, days=days)
    for before, after in pairwise(values):
        assert before * (1 - down) ** days * (1 - 1e-12) <= after
        assert after <= before * (1 + up) ** days * (1 + 1e-12)


@settings(max_examples=30)
@given(CHAINS, RAWS, st.integers(0, 40))
def test_no_look_ahead(chain: Chain, raws: list[float], cut: int) -> None:
    assert chain.follow(raws)[:cut] == chain.follow(raws[:cut])


@settings(max_examples=30)
@given(CHAINS, RAWS, st.integers(0, 40))
def test_stored_and_read_again_is_uninterrupted(chain: Chain, raws: list[float], cut: int) -> None:
    whole = chain.follow(raws)
    states, values = chain.start(), []
    for n, raw in enumerate(raws):
        if n == cut:
            stored = json.dumps([state.to_dict() for state in states])
            states = tuple(State.from_dict(one) for one in json.loads(stored))
        states, value = chain.step(states, raw)
        values.append(value)
    assert values == whole


@settings(max_examples=25)
@given(CHAINS, RAWS, st.sampled_from([0.5, 2.0, 1024.0]))
def test_a_parameter_in_another_unit(chain: Chain, raws: list[float], unit: float) -> None:
    scaled = chain.follow([raw * unit for raw in raws])
    assert scaled == pytest.approx([value * unit for value in chain.follow(raws)], rel=1e-9)


@pytest.mark.parametrize("tool", TOOLS, ids=repr)
def test_a_constant_parameter_settles(tool: Tool) -> None:
    values = Chain((tool,)).follow([0.7] * 60)
    assert values[-1] == pytest.approx(values[-2], rel=1e-12)
    buffered = isinstance(tool, Buffer | QuantileBuffer)
    factor = getattr(tool, "factor", 1.0) if isinstance(tool, Floor) else 1.0
    assert values[-1] == pytest.approx(0.7 * (1 + getattr(tool, "size", 0.0)) * factor)
    assert buffered == (hasattr(tool, "size"))


# ── numbers by hand ──────────────────────────────────────────────────────────────────────────────


def test_buffer_by_hand() -> None:
    """Up: absorbed, absorbed, gone. Down: 5 % of the way back each day, then capped at full."""
    values = Chain((Buffer(),)).follow([4.0, 4.5, 5.0, 6.0, 5.5, 5.5, 4.0])
    back = 6.0 + 0.05 * (6.875 - 6.0)
    again = back + 0.05 * (6.875 - back)
    assert values == pytest.approx([5.0, 5.0, 5.0, 6.0, back, again, 5.0], rel=1e-12)


def test_buffer_over_two_days_at_once_is_two_days() -> None:
    chain = Chain((Buffer(refill=0.1),))
    states, _ = chain.step(chain.start(), 1.0)
    states, _ = chain.step(states, 1.25)
    once, twice = chain.step(states, 1.2, days=2.0)[1], states
    twice, _ = chain.step(twice, 1.2)
    assert once == pytest.approx(chain.step(twice, 1.2)[1], rel=1e-12)


def test_quantile_buffer_by_hand() -> None:
    """Past 1…10: half is 5, nine tenths 9; at 7 half of the buffer is left."""
    chain = Chain((QuantileBuffer(size=0.2, full_at=0.5, gone_at=0.9, window_days=100),))
    values = chain.follow([*map(float, range(1, 11)), 7.0])
    # With the seven: 1…7, 7, 8, 9, 10: the sixth of eleven is 6, the tenth 9.
    assert values[-1] == pytest.approx(7.0 * (1 + 0.2 * (1 - (7 - 6) / (9 - 6))))
    assert values[9] == 10.0


def test_chain_is_in_order() -> None:
    raws = [1.0, 10.0, 1.0]
    floored = Chain((Floor(at=2.0), Speed(up=0.5, down=0.25))).follow(raws)
    limited = Chain((Speed(up=0.5, down=0.25), Floor(at=2.0))).follow(raws)
    assert floored == [2.0, 3.0, 2.25]
    assert limited == [2.0, 2.0, 2.0]


def test_what_is_told() -> None:
    chain = Chain((StressedWeight(weight=0.25, told="stressed"), Floor(told="ten_years")))
    _, value = chain.step(chain.start(), 0.4, told={"stressed": 0.8, "ten_years": 0.1})
    assert value == pytest.approx(0.75 * 0.4 + 0.25 * 0.8)
    _, calm = chain.step(chain.start(), 0.9, told={"stressed": 0.8, "ten_years": 0.1})
    assert calm == pytest.approx(0.9)
    with pytest.raises(BadInput, match="'ten_years' to compare with, found only"):
        chain.step(chain.start(), 0.4, told={"stressed": 0.8})
    with pytest.raises(BadInput, match="'stressed' above 0"):
        chain.step(chain.start(), 0.4, told={"stressed": 0.0, "ten_years": 0.1})


# ── the past ─────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=30)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.integers(1, 12))
def test_past_is_a_window_of_samples(values: list[float], window: int) -> None:
    past = Past()
    for value in values:
        past = past.after(value, days=1.0, window_days=window)
    kept = values[-window:]
    exact = [Fraction(value) for value in kept]
    assert list(past.kept) == kept
    assert past.mean == float(sum(exact) / len(exact))
    assert past.rms == math.sqrt(sum(one * one for one in exact) / len(exact))
    for level in (0.1, 0.5, 0.95, 1.0):
        below = past.quantile(level)
        assert sum(one <= below for one in kept) >= level * len(kept) - 1e-9
        assert sum(one < below for one in kept) < level * len(kept) + 1e-9
    assert Past.from_dict(json.loads(json.dumps(past.to_dict()))) == past


def test_one_sample_a_day_however_often_it_is_asked() -> None:
    past = Past()
    for hour in range(49):
        past = past.after(1.0 + hour, days=1.0 / 24.0, window_days=10)
    assert past.kept == (1.0, 25.0, 49.0)
    with pytest.raises(InvariantBroken, match="time goes on"):
        past.after(1.0, days=-1.0, window_days=10)


# ── as data ──────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25)
@given(CHAINS)
def test_written_and_read(chain: Chain) -> None:
    rows = chain.to_rows()
    assert parse_chain(rows) == chain
    assert parse_chain(json.loads(json.dumps(rows))) == chain


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"tool": "brake"}], "expected one of buffer, cap, floor"),
        ([{}], "expected one of"),
        ([{"tool": "speed"}], "a limit up or down"),
        ([{"tool": "speed", "up": 0.1}, {"tool": "speed", "down": 1.0}], "tool 2: .*between 0 and"),
        ([{"tool": "speed", "up": "fast"}], "up: expected a number, found 'fast'"),
        ([{"tool": "speed", "up": True}], "up: expected a number"),
        ([{"tool": "buffer", "size": -0.1}], "size: expected above 0"),
        ([{"tool": "buffer", "refill": 0}], "refill: expected above 0, at most 1"),
        ([{"tool": "buffer", "sise": 0.1}], "no 'sise'; a buffer has refill, size"),
        ([{"tool": "floor", "of": "least"}], "of: expected mean, rms, max or median"),
        ([{"tool": "floor", "window_days": 0}], "window_days"),
        ([{"tool": "floor", "window_days": 4015.0}], "window_days: expected whole days, 1 to 3660"),
        ([{"tool": "quantile_buffer", "window_days": 4015.5}], "expected whole days.*found 4015.5"),
        ([{"tool": "floor", "at": 0.0}], "at: expected a number above 0"),
        ([{"tool": "floor", "told": 3}], "told: expected a name"),
        ([{"tool": "cap", "told": "x", "at": 1.0}], "not `at` besides"),
        ([{"tool": "stressed_weight", "weight": 1.5}], "weight: expected 0 to 1"),
        ([{"tool": "quantile_buffer", "full_at": 0.9, "gone_at": 0.5}], "0 < full_at < gone_at"),
        ([{"tool": "through_the_cycle", "weight": float("nan")}], "weight: expected 0 to 1"),
    ],
)
def test_bad_rows_say_what_and_where(rows: Sequence[dict[str, object]], says: str) -> None:
    with pytest.raises(RulebookError, match=says) as caught:
        parse_chain(rows, source="mine.toml")
    assert str(caught.value).startswith("mine.toml: tool ")


@pytest.mark.parametrize("raw", [0.0, -1.0, float("nan"), float("inf")])
def test_only_a_positive_parameter(raw: float) -> None:
    """From 0 no speed limit would ever rise: refused, not repaired."""
    with pytest.raises(BadInput, match="a parameter above 0"):
        Chain().step((), raw)


def test_notes_tell_a_short_past() -> None:
    chain = Chain((Floor(window_days=3), Speed(up=0.1)))
    states = chain.start()
    assert chain.notes(states) == ()
    states, _ = chain.step(states, 1.0)
    assert chain.notes(states) == ("floor: 1 of 3 days of past",)
    for _ in range(3):
        states, _ = chain.step(states, 1.0)
    assert chain.notes(states) == ()
