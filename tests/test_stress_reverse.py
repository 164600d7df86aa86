"""Reverse stress finds breaking points that were planted, and proves that none is nearer."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from solvent.errors import BadInput
from solvent.feeds.synthetic_market import generate_market
from solvent.lab.gap_study import grid_rulebook
from solvent.lab.stress.api import reverse_stress
from solvent.lab.stress.bounds import _Table, nearest_in_box, why_not
from solvent.lab.stress.factors import Moves, covariance_of
from solvent.lab.stress.reverse import Found, Goal, reverse
from solvent.lab.stress.shock import MOVE_MAX, MOVE_MIN, Shock
from solvent.lab.stress.subject import Subject, book_subject
from solvent.margining.fragments import to_toml
from solvent.margining.liquidity import CoinLiquidity
from solvent.margining.rulebook import read_rulebook
from solvent.market import Snapshot
from solvent.units import MICRO, YEAR_MS
from solvent.verify.pricing import black76_exact
from solvent.whatif import Desk, Holding

COIN = CoinLiquidity(
    underlying="BTC", volume=1_000.0, depth=0.0, half_spread=0.001, vol_half_spread=0.01,
    daily_sd=0.04, vega_volume=(1e7, 5e6, 5e6),
)  # fmt: skip
PERPETUAL, ETHER = "BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL"
SD = 0.03


@cache
def market() -> Snapshot:
    return generate_market(seed=11, expiries=3, strikes=6)


def mark_of(symbol: str) -> float:
    row = market().universe.row(symbol)
    assert row is not None
    return float(market().mark[row])


@cache
def tiny() -> Any:
    """A grid of few moves: what equity is does not depend on the rulebook."""
    return read_rulebook(to_toml(grid_rulebook(0.16)), source="tiny")


def subject_of(
    positions: dict[str, float], cash: float, rulebook: str | None = None, *, account: str = "a",
    fund: float = 0.0,
) -> Subject:  # fmt: skip
    """One account that entered at the mark."""
    rows = [{"account": account, "instrument": name, "size": size,
             "entry_price": round(mark_of(name), 4) if "PERP" in name else None}
            for name, size in positions.items()]  # fmt: skip
    money = [{"account": account, "asset": "USDC", "amount": cash}]
    return book_subject(
        rows, market(), rulebook or tiny(), collateral=money, fund_micro=int(fund * MICRO)
    )


def one_coin(sd: float = SD) -> Moves:
    return covariance_of([("BTC", "spot")], [[sd], [-sd]], hours=24.0)


def two_coins(rho: float = 0.8) -> Moves:
    """BTC moves by 3 %, ETH by 4 %, correlated."""
    root = np.linalg.cholesky([[0.0009, rho * 0.0012], [rho * 0.0012, 0.0016]])
    windows = np.concatenate([root.T, -root.T]) * 2.0**0.5
    return covariance_of([("BTC", "spot"), ("ETH", "spot")], windows.tolist(), hours=24.0)


def test_the_covariance_of_the_tests_is_what_it_says() -> None:
    assert two_coins().covariance == pytest.approx(
        np.array([[0.0009, 0.00096], [0.00096, 0.0016]]), rel=1e-12
    )


# ── one coin ─────────────────────────────────────────────────────────────────────────────────────


def test_a_linear_book_fails_where_its_money_is_gone() -> None:
    """K + q·P·(e^x − 1) = 0: no rulebook is in it."""
    size, cash = 10.0, 150_000.0
    found = reverse(subject_of({PERPETUAL: size}, cash), one_coin(), Goal.INSOLVENT)
    entry = round(mark_of(PERPETUAL), 4)
    planted = math.log((entry - cash / size) / mark_of(PERPETUAL))
    assert found.found is Found.MOVE
    assert found.distance == pytest.approx(-planted / SD, rel=1e-7)
    assert found.log_move is not None
    assert found.log_move[0] == pytest.approx(planted, rel=1e-7)
    assert found.broken == ("a",)
    assert found.proof.nearest == pytest.approx(found.distance, rel=2e-3)
    assert found.proof.nearest is not None
    assert found.distance is not None
    assert found.proof.nearest <= found.distance
    assert found.farther == 0


@pytest.mark.parametrize(
    "rulebook", ["deribit-pm", pytest.param("paradex-pm", marks=pytest.mark.soak)]
)
def test_liquidation_is_at_the_liquidation_price(rulebook: str) -> None:
    size, cash = -3.0, 40_000.0
    found = reverse(subject_of({PERPETUAL: size}, cash, rulebook), one_coin(), Goal.LIQUIDATED)
    entry = round(mark_of(PERPETUAL), 4)
    holding = Holding(positions={PERPETUAL: (size, entry)}, balances={"USDC": cash})
    edge = Desk(holding, market(), rulebook).liquidation("BTC", below=False)
    assert edge.distance is not None
    assert found.distance == pytest.approx(math.log1p(edge.distance) / SD, rel=1e-6)
    assert found.proof.nearest is None
    assert "requirement" in found.proof.reason


def test_a_short_strangle_fails_on_its_nearer_side() -> None:
    """Both roots by bisection of Black's formula in forty digits."""
    universe = market().universe
    rows = [r for r, one in enumerate(universe.instruments)
            if one.symbol.startswith("BTC_USDC-") and universe.is_option[r]]  # fmt: skip
    last = int(universe.expiry_ms[rows].max())
    mine = sorted((float(universe.strike[r]), r) for r in rows if universe.expiry_ms[r] == last)
    put = next(r for _, r in mine if not universe.is_call[r])
    call = [r for _, r in mine if universe.is_call[r]][-1]
    lots, cash = 4.0, 90_000.0
    sold = {universe.symbols[r]: -lots for r in (put, call)}
    found = reverse(subject_of(sold, cash), one_coin(), Goal.INSOLVENT, reach=15.0)
    years = (last - int(market().as_of_ms)) / YEAR_MS

    def equity(x: float) -> float:
        owed = 0.0
        for row, side in ((put, -1), (call, 1)):
            owed += black76_exact(
                forward=float(market().forward[row]) * math.exp(x), years=years, side=side,
                strike=float(universe.strike[row]), vol=float(market().vol[row]),
            )  # fmt: skip
        return cash - lots * owed

    down, up = brentq(equity, -3.0, 0.0, xtol=1e-13), brentq(equity, 0.0, 3.0, xtol=1e-13)
    planted = min((down, up), key=abs)
    assert found.log_move is not None
    assert found.log_move[0] == pytest.approx(planted, abs=1e-8)
    assert found.distance == pytest.approx(abs(planted) / SD, rel=1e-6)
    assert found.proof.nearest == pytest.approx(found.distance, rel=5e-3)


def test_a_pocket_between_the_steps_of_a_ray_is_found_by_the_proof() -> None:
    """A short butterfly owes most at one strike and nothing on either side of it."""
    universe = market().universe
    calls = sorted(
        (float(universe.strike[r]), one.symbol) for r, one in enumerate(universe.instruments)
        if one.symbol.startswith("BTC_USDC-1JUL26-") and one.symbol.endswith("-C")
    )  # fmt: skip
    spot = float(market().index[0])
    place = next(k for k, (strike, _) in enumerate(calls) if strike > 1.005 * spot)
    (_, low), (middle, body), (_, high) = calls[place - 1 : place + 2]
    sold = {low: -20.0, body: 40.0, high: -20.0}
    at = math.log(middle / spot)
    subject = subject_of(sold, 100_000.0)

    def equity(x: float) -> float:
        moves = one_coin(1.0).moves(np.array([x]))
        return float(subject.at(Shock(moves=moves)).equity_micro[0]) / MICRO

    lowest = min(equity(at + step) for step in np.linspace(-0.004, 0.004, 9))
    ends = equity(at - 0.03), equity(at + 0.03), equity(0.0)
    assert lowest < min(ends) - 1_000.0
    cash = 100_000.0 - lowest - 0.02 * (min(ends) - lowest)
    # A deviation so small that the steps of the rays pass over the pocket.
    found = reverse(subject_of(sold, cash), one_coin(0.05), Goal.INSOLVENT, reach=2.0)
    assert found.found is Found.MOVE
    assert found.log_move is not None
    assert abs(found.log_move[0] - at) < 0.01
    assert found.proof.nearest is not None
    assert found.distance is not None
    assert found.proof.nearest <= found.distance


# ── two coins ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ether", "cash"), [pytest.param(200.0, 300_000.0, marks=pytest.mark.soak), (-300.0, 100_000.0)]
)
def test_the_nearest_of_all_joint_moves(ether: float, cash: float) -> None:
    """Long both, or one against the other: the constrained minimum, by another program."""
    moves = two_coins()
    held = {PERPETUAL: 10.0, ETHER: ether}
    found = reverse(subject_of(held, cash), moves, Goal.INSOLVENT, reach=12.0)
    a, b = 10.0 * mark_of(PERPETUAL), ether * mark_of(ETHER)
    precision = np.linalg.inv(moves.covariance)

    def left(x: np.ndarray) -> float:
        return float(cash + a * math.expm1(min(x[0], 5.0)) + b * math.expm1(min(x[1], 5.0))) / cash

    told = [
        minimize(
            lambda x: float(x @ precision @ x), np.array(start), method="SLSQP",
            constraints={"type": "eq", "fun": left}, options={"ftol": 1e-14, "maxiter": 500},
        )
        for start in ([-0.3, -0.3], [0.2, 0.3], [-0.3, 0.2])
    ]  # fmt: skip
    best = min(math.sqrt(one.fun) for one in told if one.success)
    assert found.distance == pytest.approx(best, rel=2e-4)
    assert found.proof.nearest is not None
    assert 0.97 * best <= found.proof.nearest <= found.distance * (1 + 1e-12)  # type: ignore[operator]


def test_the_fund_is_spent_by_the_one_whose_debt_grows() -> None:
    """Two longs of other leverage: the fund of 50,000 is gone when both debts add up to it."""
    rows, money = [], []
    for name, size, cash in (("big", 20.0, 200_000.0), ("small", 5.0, 90_000.0)):
        rows.append({"account": name, "instrument": PERPETUAL, "size": size,
                     "entry_price": round(mark_of(PERPETUAL), 4)})  # fmt: skip
        money.append({"account": name, "asset": "USDC", "amount": cash})
    subject = book_subject(rows, market(), tiny(), collateral=money, fund_micro=50_000 * MICRO)
    found = reverse(subject, one_coin(), Goal.FUND)
    fall = (250_000.0 / 20.0) / mark_of(PERPETUAL)
    assert 5.0 * fall * mark_of(PERPETUAL) < 90_000.0, "the small one still stands"
    assert found.distance == pytest.approx(-math.log1p(-fall) / SD, rel=1e-4)
    assert found.broken == ("big",)
    assert found.proof.nearest == pytest.approx(found.distance, rel=3e-3)


@pytest.mark.parametrize(
    ("positions", "cash", "moves"),
    [
        ({PERPETUAL: 10.0}, 150_000.0, one_coin()),
        ({PERPETUAL: 10.0, ETHER: -300.0}, 100_000.0, two_coins()),
    ],
)
def test_a_fund_of_nothing_is_spent_where_the_first_account_is_insolvent(
    positions: dict[str, float], cash: float, moves: Moves
) -> None:
    """What the fund has left is flat, at nothing, until there is a shortfall."""
    subject = subject_of(positions, cash)
    spent, alone = (reverse(subject, moves, goal) for goal in (Goal.FUND, Goal.INSOLVENT))
    assert spent.distance == pytest.approx(alone.distance, rel=1e-6)
    assert spent.broken == alone.broken == ("a",)
    assert subject.at(spent.shock).shortfall_micro.sum() > 0
    assert spent.proof.nearest is not None
    assert spent.distance is not None
    assert 0.97 * spent.distance <= spent.proof.nearest <= spent.distance


def test_margin_is_insufficient_where_the_loss_is_more() -> None:
    subject = subject_of({PERPETUAL: 4.0}, 500_000.0)
    initial = float(subject.now.initial_micro[0]) / MICRO
    found = reverse(subject, one_coin(), Goal.MARGIN)
    fall = initial / (4.0 * mark_of(PERPETUAL))
    assert found.distance == pytest.approx(-math.log1p(-fall) / SD, rel=1e-4)


# ── ends ─────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_within_reach_is_proved_and_what_fails_now_is_said() -> None:
    hedged = subject_of({PERPETUAL: 1.0}, 200_000.0)
    found = reverse(hedged, one_coin(), Goal.INSOLVENT)
    assert found.found is Found.NONE
    assert found.proof.complete
    assert found.proof.nearest == 12.0
    broke = reverse(subject_of({PERPETUAL: 10.0}, 10.0), one_coin(), Goal.LIQUIDATED)
    assert broke.found is Found.ALREADY
    assert broke.already == ("a",)


def test_bad_questions() -> None:
    subject = subject_of({PERPETUAL: 1.0}, 200_000.0)
    with pytest.raises(BadInput, match="reach"):
        reverse(subject, one_coin(), Goal.INSOLVENT, reach=math.nan)
    with pytest.raises(BadInput, match="one of liquidated, insolvent, margin, fund"):
        reverse_stress(subject, goal="broken", history=None)
    with pytest.raises(BadInput, match="prices whose moves"):
        reverse_stress(subject, goal="fund", history=None)
    with pytest.raises(BadInput, match="'nobody'"):
        subject.only(["nobody"])


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────


def test_equity_never_falls_below_its_bound_in_a_box() -> None:
    """Random books of inverse and linear futures and options, with coins as collateral."""
    draw = np.random.default_rng(7)
    universe = market().universe
    moves = covariance_of(
        [("BTC", "spot"), ("ETH", "spot"), ("BTC", "level"), ("ETH", "level")],
        (np.diag([0.03, 0.04, 0.05, 0.05]) * 2.0).tolist(), hours=24.0,
    )  # fmt: skip
    symbols = [s for s in universe.symbols if not s.endswith("_USDC")]
    rows: list[dict[str, Any]] = []
    for name in draw.choice(symbols, 14, replace=False).tolist():
        row = universe.row(name)
        assert row is not None
        lots = int(draw.integers(1, 40)) * (1 if draw.random() < 0.5 else -1)
        size = lots * float(universe.lot_size[row])
        rows.append({"account": f"a{len(rows) % 2}", "instrument": name, "size": size,
                     "entry_price": float(market().mark[row])})  # fmt: skip
    money = [{"account": "a0", "asset": "BTC", "amount": 2.0},
             {"account": "a1", "asset": "USDC", "amount": 70_000.0},
             {"account": "a1", "asset": "ETH", "amount": -3.0}]  # fmt: skip
    subject = book_subject(rows, market(), collateral=money)
    assert why_not(subject, "insolvent") == ""
    table = _Table(subject.groups[0], subject.market, moves, 6.0)
    names = [one.underlying for one in moves.coordinates[:2]]
    nearest = math.inf
    for _ in range(25):
        boxes, x = [], np.zeros(4)
        for k, axes in enumerate(table.axes):
            wide = int(draw.integers(1, 12))
            a = int(draw.integers(0, len(axes.spot) - 1 - wide))
            c = int(draw.integers(0, len(axes.level) - 3))
            boxes.append((a, a + wide, c, c + 2))
            x[moves.coordinates.index(_coordinate(moves, names[k], "spot"))] = draw.uniform(
                axes.spot[a], axes.spot[a + wide]
            )
            x[moves.coordinates.index(_coordinate(moves, names[k], "level"))] = draw.uniform(
                axes.level[c], axes.level[c + 2]
            )
        low = table.low(boxes)
        exact = subject.at(Shock(moves=moves.moves(x))).equity_micro / MICRO
        assert (exact >= low).all()
        nearest = min(nearest, float((exact - low).min() / np.abs(exact).max()))
    assert nearest < 0.2, "a bound that is far away proves nothing"


def _coordinate(moves: Moves, name: str, part: str) -> Any:
    return next(o for o in moves.coordinates if (o.underlying, o.part) == (name, part))


def test_the_distance_of_a_box_is_never_above_the_true_one() -> None:
    draw = np.random.default_rng(2)
    for _ in range(15):
        root = draw.normal(size=(3, 3))
        precision = root @ root.T + 0.05 * np.eye(3)
        low = draw.normal(size=3)
        high = low + draw.uniform(0.01, 2.0, 3)
        bound, _ = nearest_in_box(precision, low, high)
        true = minimize(
            lambda x, q=precision: float(x @ q @ x), np.clip(np.zeros(3), low, high),
            bounds=list(zip(low, high, strict=True)), method="L-BFGS-B",
            options={"ftol": 1e-16, "gtol": 1e-12},
        )  # fmt: skip
        assert bound <= math.sqrt(max(true.fun, 0.0)) + 1e-7
        assert bound == pytest.approx(math.sqrt(max(true.fun, 0.0)), abs=1e-4)


def test_what_cannot_be_bounded_says_why() -> None:
    subject = subject_of({PERPETUAL: 1.0}, 200_000.0, "bybit-uta")
    assert "formulas" in why_not(subject, "insolvent")


def test_a_cost_of_closing_that_is_not_known_somewhere_stops_no_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There it counts as nothing, and a note says so; today it must be known."""
    subject, moves = subject_of({PERPETUAL: 10.0}, 200_000.0), one_coin(0.05)
    plain = reverse(subject, moves, Goal.INSOLVENT, certify=False)
    told = reverse(subject, moves, Goal.INSOLVENT, certify=False, liquidity=[COIN])
    assert told.notes == ()
    assert told.distance is not None
    assert plain.distance is not None
    assert told.distance < plain.distance, "who is liquidated pays for it"

    def untold(*_: Any) -> tuple[Any, dict[int, str]]:
        return np.zeros(1, dtype=np.int64), {0: "beyond all numbers"}

    monkeypatch.setattr("solvent.lab.stress.reverse.costs_told", untold)
    found = reverse(subject, moves, Goal.INSOLVENT, certify=False, liquidity=[COIN])
    assert found.distance == plain.distance
    assert "a somewhere closes at a cost that is not known (beyond all numbers)" in found.notes[0]
    with pytest.raises(BadInput, match="volumes and spreads of BTC"):
        reverse(subject, moves, Goal.INSOLVENT, certify=False, liquidity=[])


def test_moves_that_no_shock_may_say_stop_at_its_limit() -> None:
    """A hundred deviations of a wild coin are more than a shock may say; the search goes on."""
    moves = one_coin(0.2)
    assert moves.beyond(np.array([20.0])) == ["BTC spot +20 in logs"]
    assert moves.moves(np.array([20.0]))["BTC"].spot == MOVE_MAX
    assert moves.moves(np.array([-20.0]))["BTC"].spot == MOVE_MIN
    subject = subject_of({PERPETUAL: 1.0}, 10.0 * mark_of(PERPETUAL))
    assert reverse(subject, moves, Goal.INSOLVENT, reach=100.0, certify=False).found is Found.NONE
