"""Jumps as scenarios: probabilities, co-jumps, and gaps by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import BadInput
from solvent.pricing.jump_after import ModelResponse
from solvent.pricing.jump_laws import KouLaw, MertonLaw
from solvent.pricing.transforms import Heston, Svcj
from solvent.scenarios.jumps import (
    STICKY,
    CoJumps,
    Response,
    VolResponse,
    depeg,
    horizon_masses,
    jump_bins,
    jump_shocks,
    measure_co_jumps,
    measure_response,
    no_trading,
    outage,
)


def kou(rate: float = 20.0, p: float = 0.4, up: float = 20.0, down: float = 12.0) -> KouLaw:
    return KouLaw(drift=0.0, vol=0.6, jumps_per_year=rate, up_probability=p, up_rate=up,
                  down_rate=down)  # fmt: skip


@settings(max_examples=20)
@given(st.floats(0.5, 400.0), st.floats(0.05, 0.95), st.floats(8.0, 50.0), st.floats(0.25, 7.0))
def test_bins_keep_the_laws_mean_and_chance(rate: float, p: float, eta: float, days: float) -> None:
    law = kou(rate, p, eta, eta * 0.8)
    bins = jump_bins(law, days=days)
    expected = rate * days / 365.0
    mean = expected * (p / eta - (1.0 - p) / (0.8 * eta))
    assert float(bins.log_move @ bins.probability) == pytest.approx(
        mean, abs=1e-5 + 1e-3 * expected
    )
    # Moves within half a cell of 0 count as none, so at most the law's own chance of a jump.
    assert float(bins.probability.sum()) <= -math.expm1(-expected) + 1e-12
    assert float(bins.probability.sum()) >= 0.97 * -math.expm1(-expected)
    assert (np.diff(bins.log_move) > 0.0).all()


def test_many_jumps_add_up_as_normals_do() -> None:
    """Merton's jumps over a year: a compound Poisson sum whose variance is λ(μ² + δ²)."""
    law = MertonLaw(drift=0.0, vol=0.5, jumps_per_year=25.0, log_jump=0.01, log_jump_sd=0.05)
    moves, mass = horizon_masses(law, days=365.0)
    mean = float(moves @ mass)
    assert mean == pytest.approx(0.25, abs=1e-6)
    assert float(moves**2 @ mass) - mean**2 == pytest.approx(25 * (0.01**2 + 0.05**2), rel=1e-3)


def test_one_coin_alone() -> None:
    shocks = jump_shocks({"BTC": kou()}, days=1.0)
    bins = jump_bins(kou(), days=1.0)
    assert shocks.move[0, 0] == 0.0
    assert shocks.weight[0] == pytest.approx(1.0 - bins.probability.sum())
    assert np.log1p(shocks.move[0, 1:]) == pytest.approx(bins.log_move)
    assert (shocks.level == 0.0).all()


def test_a_jump_of_two_coins_is_counted_once() -> None:
    always = CoJumps(names=("BTC", "ETH"), share=np.ones((2, 2)), events=(9, 9),
                     multiple=np.array([[1.0, 1.5], [1 / 1.5, 1.0]]))  # fmt: skip
    alone = jump_shocks({"BTC": kou()}, days=1.0)
    both = jump_shocks({"BTC": kou(), "ETH": kou()}, days=1.0, together=always)
    assert both.weight[0] == pytest.approx(alone.weight[0], abs=1e-12)
    log_move = np.log1p(both.move[:, 1:])
    ratio = log_move[1] / log_move[0]
    assert ratio == pytest.approx(np.full(len(ratio), 1.5))


def test_without_company_coins_jump_apart() -> None:
    shocks = jump_shocks({"BTC": kou(), "ETH": kou()}, days=1.0)
    assert ((shocks.move[0] == 0.0) | (shocks.move[1] == 0.0)).all()


@settings(max_examples=20)
@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6), st.floats(1.0, 300.0))
def test_probabilities_sum_to_one(shares: list[float], rate: float) -> None:
    share = np.ones((3, 3))
    share[~np.eye(3, dtype=bool)] = shares
    together = CoJumps(names=("A", "B", "C"), share=share, multiple=np.ones((3, 3)),
                       events=(9, 9, 9))  # fmt: skip
    laws = {name: kou(rate) for name in "ABC"}
    shocks = jump_shocks(laws, days=2.0, together=together, tails=(0.5, 0.05))
    assert float(shocks.weight.sum()) == pytest.approx(1.0)
    assert (shocks.weight >= 0.0).all()


def test_volatility_follows_a_jump_as_it_is_told() -> None:
    told = {"BTC": VolResponse(level_down=2.0, level_up=0.5, skew_down=-0.3, term_down=-0.1)}
    shocks = jump_shocks({"BTC": kou()}, days=1.0, responses=told)
    x = np.log1p(shocks.move[0])
    assert shocks.level[0] == pytest.approx(np.where(x < 0, np.minimum(-2.0 * x, 2.0), 0.5 * x))
    assert shocks.skew[0] == pytest.approx(np.where(x < 0, 0.3 * x, 0.0))
    assert shocks.term[0] == pytest.approx(np.where(x < 0, 0.1 * x, 0.0))


def test_the_switch_after_a_jump() -> None:
    """Sticky, measured, or the model's own: the same moves, other volatilities."""
    model = Svcj(
        heston=Heston(kappa=6.0, theta=0.3, sigma=1.0, rho=0.0, v0=0.3), jumps_per_year=4.0,
        log_jump=-0.05, log_jump_sd=0.1, variance_jump=0.5,
    )  # fmt: skip
    ways: dict[str, Response] = {"sticky": STICKY, "measured": VolResponse(level_down=2.0),
            "model": ModelResponse(model=model)}  # fmt: skip
    told = {
        name: jump_shocks({"BTC": kou()}, days=1.0, responses={"BTC": way}, tails=(0.05,))
        for name, way in ways.items()
    }
    assert (told["sticky"].level == 0.0).all()
    falls = told["sticky"].move[0] < -0.05
    assert (told["measured"].level[0, falls] > 0.1).all()
    assert (told["model"].level[0, falls] > 0.1).all()
    for one in told.values():
        assert (one.move == told["sticky"].move).all()
        assert (one.weight == told["sticky"].weight).all()


def test_co_jumps_are_measured() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    r = rng.normal(0.0, 0.01, (1_000, 2))
    r[::100, 0] = -0.2
    r[::200, 1] = -0.3  # half of the leader's, and half as large again
    found = measure_co_jumps(("BTC", "ETH"), r, large=6.0)
    assert found.events == (10, 5)
    assert found.share[0, 1] == 0.5
    assert found.share[1, 0] == 1.0
    assert found.multiple[0, 1] == pytest.approx(1.5)
    few = measure_co_jumps(("BTC", "ETH"), r[:300], large=6.0)
    assert few.events == (3, 2)
    assert (few.share == 1.0).all()
    with pytest.raises(BadInput, match="vary"):
        measure_co_jumps(("BTC", "ETH"), np.zeros((100, 2)))


def test_a_response_at_a_quantile_is_passed_by_few() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    moves = np.concatenate([rng.normal(0.0, 0.01, 500), -0.2 - rng.random(200) * 0.1])
    level = np.abs(moves) * rng.uniform(0.0, 2.0, 700)
    found = measure_response(moves, level=level, large=0.15, quantile=0.9)
    beyond = level[500:] > found.level_down * np.abs(moves[500:])
    assert float(beyond.mean()) == pytest.approx(0.1, abs=0.01)
    assert found.events == 200
    with pytest.raises(BadInput, match="at least 5"):
        measure_response(moves, level=level, large=0.9)


def test_no_trading_is_a_longer_time() -> None:
    laws, vols = {"BTC": kou()}, {"BTC": 0.6}
    day = no_trading(laws, hours=24.0, margin_hours=24.0, share=0.99, vols=vols)
    short = no_trading(laws, hours=0.001, margin_hours=24.0, share=0.99, vols=vols)
    assert day.name == "no-trading-24h"
    assert day.move[0, 0] < short.move[0, 0] < 0.0 < short.move[0, 1] < day.move[0, 1]
    # Without jumps it is the normal's quantile.
    still = no_trading({"BTC": kou(rate=0.0)}, hours=24.0, margin_hours=24.0, share=0.99, vols=vols)
    expected = math.expm1(-2.3263478740408408 * 0.6 * math.sqrt(2 / 365))
    assert still.move[0, 0] == pytest.approx(expected, abs=1e-6)


def test_a_peg_falls_and_others_with_it() -> None:
    shocks = depeg(("BTC", "USDT"), coin="USDT", falls=(0.05, 0.2), contagion={"BTC": 0.5})
    assert shocks.move[1] == pytest.approx([-0.05, -0.2])
    assert np.log1p(shocks.move[0]) == pytest.approx(0.5 * np.log1p([-0.05, -0.2]))
    with pytest.raises(BadInput, match="parts of the peg"):
        depeg(("USDT",), coin="USDT", falls=(1.5,))


def test_an_outage_moves_price_and_basis() -> None:
    shocks = outage(("BTC", "ETH"), moves={"BTC": 0.1, "ETH": 0.15}, basis=0.2)
    assert len(shocks) == 6
    assert set(np.round(shocks.basis[0], 6).tolist()) == {-0.2, 0.0, 0.2}
    assert np.log1p(shocks.move[1]) == pytest.approx(1.5 * np.log1p(shocks.move[0]))
