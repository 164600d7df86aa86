"""Parametric margin: the covariance's published properties, estimates by hand, a bound."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvent as sv
from solvent.cli.screen import screen as command
from solvent.errors import BadInput, InvariantBroken
from solvent.feeds.synthetic_book import Venue
from solvent.feeds.write import write_market
from solvent.margining.parametric import (
    Covariance,
    Factors,
    Held,
    cantelli_bound,
    delta_gamma,
    delta_normal,
    factors,
    held_of,
    ledoit_wolf,
    loss_bound,
    loss_moments,
    market_factors,
    needs_exact,
    screen,
)
from solvent.margining.plan import Plan
from solvent.market import Snapshot
from solvent.portable import normal_quantile
from solvent.units import Float64, quanta_per_unit

# ── Ledoit and Wolf ──────────────────────────────────────────────────────────────────────────────


def readable_ledoit_wolf(x: Float64) -> tuple[Float64, float]:
    """Their lemmas 3.2 to 3.4, term by term."""
    n, p = x.shape
    x = x - x.mean(axis=0)
    sample = sum(np.outer(row, row) for row in x) / n
    m = float(np.sum(sample * np.eye(p))) / p
    d2 = float(np.sum((sample - m * np.eye(p)) ** 2)) / p
    b2 = sum(float(np.sum((np.outer(row, row) - sample) ** 2)) / p for row in x) / n**2
    b2 = min(b2, d2)
    shrunk = b2 / d2 * m * np.eye(p) + (d2 - b2) / d2 * sample
    return np.asarray(shrunk), b2 / d2


@settings(max_examples=25)
@given(st.integers(2, 40), st.integers(2, 6), st.integers(0, 10_000))
def test_shrinkage_is_ledoit_and_wolfs(n: int, p: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((n, p)) * np.arange(1, p + 1)
    found = ledoit_wolf(x)
    matrix, shrinkage = readable_ledoit_wolf(x)
    assert found.shrinkage == pytest.approx(shrinkage, abs=1e-9)
    assert 0.0 <= found.shrinkage <= 1.0
    if not found.fallback:
        assert found.matrix == pytest.approx(matrix, rel=1e-9, abs=1e-12)
    # The mean eigenvalue is kept, the extreme ones are drawn to it.
    assert np.trace(found.matrix) == pytest.approx(np.trace(matrix), rel=1e-6)
    values = np.linalg.eigvalsh(found.matrix)
    sample = np.linalg.eigvalsh(np.cov(x.T, bias=True))
    assert values.min() > 0.0
    assert values.max() <= sample.max() * (1 + 1e-9)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.1, 10.0))
def test_shrinkage_turns_and_scales_with_the_data(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((30, 4)) * [1.0, 2.0, 3.0, 4.0]
    turn, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    found, turned = ledoit_wolf(x), ledoit_wolf(scale * x @ turn)
    assert turned.shrinkage == pytest.approx(found.shrinkage, rel=1e-9)
    assert turned.matrix == pytest.approx(
        scale**2 * turn.T @ found.matrix @ turn, rel=1e-6, abs=1e-9
    )


def test_shrinkage_is_nearer_to_the_truth() -> None:
    """What it is for: few observations of many factors, less error on average than the sample's."""
    rng = np.random.default_rng(7)
    shape = np.diag(np.linspace(0.5, 3.0, 20))
    shrunk, plain, weights = 0.0, 0.0, []
    for _ in range(60):
        x = rng.standard_normal((30, 20)) @ np.sqrt(shape)
        found = ledoit_wolf(x)
        weights.append(found.shrinkage)
        shrunk += float(((found.matrix - shape) ** 2).sum())
        plain += float(((np.cov(x.T, bias=True) - shape) ** 2).sum())
    assert shrunk < 0.5 * plain
    long = ledoit_wolf(rng.standard_normal((20_000, 20)) @ np.sqrt(shape))
    assert long.shrinkage < 0.05 < min(weights)


def test_singular_covariances_have_a_named_fallback() -> None:
    few = ledoit_wolf(np.random.default_rng(1).standard_normal((3, 10)))
    assert (few.fallback, few.shrinkage > 0.0) == ("", True)
    one = np.random.default_rng(1).choice([-1.0, 1.0], size=(50_000, 1))
    twins = ledoit_wolf(np.concatenate([one, one, 1e-9 * one], axis=1))
    assert np.linalg.eigvalsh(twins.matrix).min() > 0.0
    assert twins.fallback.startswith("singular: ") or twins.shrinkage > 1e-9
    still = ledoit_wolf(np.array([[1.0, 0.0], [-1.0, 0.0]] * 5_000))
    assert np.linalg.eigvalsh(still.matrix).min() > 0.0


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        (np.zeros((5, 2)), "a factor that moves, found none"),
        (np.ones((1, 2)), "two observations or more"),
        (np.ones(4), "two observations or more"),
        (np.array([[1.0], [np.nan]]), "finite returns"),
    ],
)
def test_bad_returns(returns: Float64, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        ledoit_wolf(returns)


def test_a_covariance_is_positive_definite() -> None:
    with pytest.raises(InvariantBroken, match="positive definite"):
        Covariance(matrix=np.zeros((1, 1)), shrinkage=0.0)


# ── estimates ────────────────────────────────────────────────────────────────────────────────────


def quadratic(linear: Float64, square: Float64) -> tuple[Factors, Held]:
    """One instrument, one account, one lot, told by its sensitivities."""
    none = np.zeros(1)
    of = Factors(
        shock=np.zeros((len(linear), 1)), linear=linear[None], square=square[None], least=none,
        most=none, worst_long=none, worst_short=none, size=none,
    )  # fmt: skip
    return of, Held(first=np.array([0, 1]), instrument=np.zeros(1, np.int32), lots=np.ones(1))


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_moments_are_those_of_draws(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((3, 3))
    slope, bent = rng.standard_normal((2, 3))
    f = rng.standard_normal((60_000, 3)) @ root
    loss = -(f @ slope + 0.5 * (f**2) @ bent)
    mean, sd, skew, kurtosis = (
        float(one[0]) for one in loss_moments(slope[None], bent[None], root.T @ root)
    )
    about = (loss - mean) / sd
    assert loss.mean() == pytest.approx(mean, abs=0.04 * sd)
    assert loss.std() == pytest.approx(sd, rel=0.03)
    assert (about**3).mean() == pytest.approx(skew, abs=0.4)
    assert (about**4).mean() - 3.0 == pytest.approx(kurtosis, abs=5.0)


def test_linear_books_are_normal() -> None:
    of, held = quadratic(np.array([3.0, -4.0]), np.zeros(2))
    covariance = Covariance(matrix=np.diag([4.0, 1.0]), shrinkage=0.0)
    z = float(normal_quantile(0.99))
    assert delta_normal(of, held, covariance, level=0.99) == pytest.approx([z * math.sqrt(52.0)])
    found = delta_gamma(of, held, covariance, level=0.99)
    assert found.var == pytest.approx([z * math.sqrt(52.0)])
    assert not found.fallback[0]


def test_a_little_gamma_is_what_cornish_and_fisher_say() -> None:
    """Short gamma: more than delta-normal, near the drawn quantile, below Cantelli's bound."""
    of, held = quadratic(np.array([10.0]), np.array([-1.0]))
    covariance = Covariance(matrix=np.array([[1.0]]), shrinkage=0.0)
    f = np.asarray(normal_quantile((np.arange(400_000) + 0.5) / 400_000))
    exact = np.quantile(-10.0 * f + 0.5 * f**2, 0.99)
    found = delta_gamma(of, held, covariance, level=0.99)
    assert not found.fallback[0]
    assert found.var[0] == pytest.approx(exact, rel=2e-3)
    assert found.var[0] > delta_normal(of, held, covariance, level=0.99)[0]
    assert found.var[0] < cantelli_bound(of, held, covariance, level=0.99)[0]


def test_much_gamma_falls_back_to_a_bound() -> None:
    """A pure short gamma's loss is χ²: the expansion is not monotone there."""
    of, held = quadratic(np.array([0.0]), np.array([-2.0]))
    covariance = Covariance(matrix=np.array([[1.0]]), shrinkage=0.0)
    found = delta_gamma(of, held, covariance, level=0.99)
    assert found.fallback[0]
    assert found.var == cantelli_bound(of, held, covariance, level=0.99)
    assert found.var[0] == pytest.approx(1.0 + math.sqrt(2.0) * math.sqrt(99.0))
    assert found.var[0] > 6.635  # the χ²'s own 99 %


def test_an_empty_account_asks_for_nothing() -> None:
    of, _ = quadratic(np.array([1.0]), np.array([-1.0]))
    covariance = Covariance(matrix=np.array([[1.0]]), shrinkage=0.0)
    held = Held(first=np.array([0, 0, 1, 1]), instrument=np.zeros(1, np.int32), lots=np.ones(1))
    for found in (
        delta_normal(of, held, covariance, level=0.99),
        delta_gamma(of, held, covariance, level=0.99).var,
        cantelli_bound(of, held, covariance, level=0.99),
        loss_bound(of, held, covariance),
    ):
        assert found[[0, 2]].tolist() == [0.0, 0.0]
        assert found.shape == (3,)
    with pytest.raises(BadInput, match="a level from"):
        delta_normal(of, held, covariance, level=1.0)


# ── the screen ───────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60)
@given(st.integers(0, 100_000), st.integers(1, 3), st.integers(1, 40), st.booleans())
def test_no_loss_is_above_its_bound(seed: int, coins: int, scenarios: int, wild: bool) -> None:
    """Any PnL (options', or with no shape at all), any covariance, longs and shorts."""
    rng = np.random.default_rng(seed)
    count = 8
    shock = rng.standard_normal((2 * coins, scenarios)) * 0.1
    coin = rng.integers(coins, size=count)
    move, level = shock[2 * coin], shock[2 * coin + 1]
    strike = rng.uniform(-0.2, 0.2, (count, 1))
    pnl = np.maximum(move - strike, 0.0) - np.maximum(-strike, 0.0) + 0.1 * level
    if wild:
        pnl = rng.standard_normal((count, scenarios)) * 10.0 ** rng.integers(-6, 6, (count, 1))
    pnl = np.rint(pnl * 1e6)
    of = factors(
        pnl=pnl, shock=shock, square=np.tile([True, False], coins),
        of_instrument=np.stack([2 * coin, 2 * coin + 1], axis=1).astype(np.int32),
    )  # fmt: skip
    lots = np.rint(rng.standard_normal((20, count)) * 100)
    held = Held(
        first=np.arange(21) * count, instrument=np.tile(np.arange(count, dtype=np.int32), 20),
        lots=lots.ravel(),
    )  # fmt: skip
    exact = np.maximum(-(lots @ pnl).min(axis=1), 0.0)
    skewed = np.diag(10.0 ** rng.uniform(-4, 2, 2 * coins))
    for covariance in (ledoit_wolf(shock.T) if scenarios > 1 else None,
                       Covariance(matrix=skewed, shrinkage=0.0)):  # fmt: skip
        if covariance is None:
            continue
        bound = loss_bound(of, held, covariance)
        assert (bound >= exact).all()
        screened = ~needs_exact(bound, 1.2 * exact)
        assert (exact[screened] <= 1.2 * exact[screened]).all()


def test_a_bound_that_is_not_known_needs_an_exact_look() -> None:
    found = needs_exact(np.array([1.0, 3.0, np.nan]), np.array([2.0, 2.0, 2.0]))
    assert found.tolist() == [False, True, True]


def test_it_screens_a_venue(plan: Plan, venue: Venue) -> None:
    """On a whole book most accounts that hold twice what they could lose need no exact look, and
    none of those is one that could not pay."""
    arrays, book = plan.arrays, venue.book
    universe = arrays.universe
    of = market_factors(arrays)
    # Two moves and two shifts of volatility, all of them at work.
    assert of.shock.shape == (2 * len(universe.underlyings), arrays.scenarios)
    assert (np.ptp(of.shock, axis=1) > 0.0).all()
    found = screen(arrays, book)
    bound = found.bound
    assert (bound == loss_bound(of, held_of(book), ledoit_wolf(of.shock.T))).all()
    assert (found.normal >= 0.0).all()
    dollars = np.array(
        [arrays.price_of(one) / quanta_per_unit(one) for one in universe.settlements]
    )
    pnl = arrays.pnl[:, : arrays.scenarios] * dollars[universe.settlement][:, None]
    exact = np.zeros(len(book))
    for account in range(len(book)):
        rows = slice(book.first[account], book.first[account + 1])
        exact[account] = max(0.0, -(book.lots[rows] @ pnl[book.instrument[rows]]).min(initial=0.0))
    assert (bound >= exact).all()
    have = 2.0 * exact
    screened = ~needs_exact(bound, have)
    assert (exact[screened] <= have[screened]).all()
    assert screened.mean() > 0.5


def test_what_has_no_known_pnl_is_never_screened_out(plan: Plan, venue: Venue) -> None:
    arrays, book = plan.arrays, venue.book
    usable = arrays.usable.copy()
    usable[book.instrument[0]] = False
    found = screen(replace(arrays, usable=usable), book)
    held = (book.instrument == book.instrument[0]) & (book.lots != 0.0)
    holders = {int(one) for one in book.account[held]}
    assert {int(one) for one in np.flatnonzero(np.isinf(found.bound))} == holders
    assert needs_exact(found.bound, np.full(len(book), 1e300))[sorted(holders)].all()


def test_screen_on_the_command_line(
    tmp_path: Path, snapshot: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    write_market(snapshot, tmp_path / "market.csv")
    rows = "account,instrument,size\nlong,BTC-PERPETUAL,10000\nshort,BTC-PERPETUAL,-10000\n"
    (tmp_path / "book.csv").write_text(rows, "utf-8")
    (tmp_path / "equity.csv").write_text("account,equity\nlong,1e6\nshort,100\n", "utf-8")
    told = {"market": [tmp_path / "market.csv"], "positions": tmp_path / "book.csv"}
    command(**told, capital=tmp_path / "equity.csv", json=True)  # type: ignore[arg-type]
    document = json.loads(capsys.readouterr().out)
    by_name = {row["account"]: row for row in document["accounts"]}
    # +16 % is what a short of 10,000 dollars loses most by: 16 % of it, in coins at today's price
    # 0.16/1.16; the far moves count scaled back to the same.
    assert by_name["short"]["bound"] >= 0.999 * 10_000 * 0.16 / 1.16
    assert by_name["long"]["bound"] >= 0.999 * 10_000 * 0.16 / 0.84
    assert by_name["long"]["bound"] < 3_000
    assert [by_name[name]["proved"] for name in ("long", "short")] == [True, False]
    command(**told, json=False)  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert "loss at most" in shown
    assert "covariance shrunk by" in shown
    # 1.3 times the loss is the initial margin: a bound of the loss does not prove that much.
    asked = sv.margin(tmp_path / "book.csv", snapshot, rulebook="deribit-pm").to_polars()
    assert asked["initial_margin"][1] > by_name["short"]["bound"]
    assert "what the rulebook asks for besides is not in it" in shown
    (tmp_path / "equity.csv").write_text("account,equity\nlong,x\n", "utf-8")
    with pytest.raises(BadInput, match=r"row 1.*a number, found x"):
        command(**told, capital=tmp_path / "equity.csv")  # type: ignore[arg-type]
