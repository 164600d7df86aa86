"""Paradex's margins against paradex_py on 1,000 random portfolios, and against the exact way."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from solvent import api
from solvent.instruments import Contract, Instrument, Kind, OptionType, Specification, term_sheet
from solvent.margining.levels.account import account_sheet
from solvent.margining.levels.book import LevelsPlan, Orders, evaluate
from solvent.market import Quotes, Snapshot, assemble
from solvent.risk.book import Book, book
from solvent.units import DAY_MS, TimeMs

NOW = TimeMs(1_780_300_800_000)
SPOT, PERP_MARK = 77_939.768, 77_888.84
OPTIONS = [
    (70_000.0, False, 0.01, 0.61),
    (78_000.0, True, 0.4, 0.55),
    (78_500.0, False, 3.0, 0.48),
    (60_000.0, True, 16.3, 0.43),
    (90_000.0, True, 16.3, 0.47),
    (85_000.0, False, 45.0, 0.39),
    (120_000.0, True, 300.0, 0.52),
]
"""Strike, whether a call, days, volatility. Expiries of one day have no pair: forwards are told."""
PORTFOLIOS, MARKET_FEE, FUNDING = 1_000, 0.0003, -0.00017403
LOT = Decimal("0.001")


@pytest.fixture(scope="module")
def peer() -> Iterator[ModuleType]:
    """paradex_py's margin formulas alone: its clients need a library that builds from Rust."""
    found = importlib.util.find_spec("paradex_py")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("paradex_py is not installed: uv sync --group peers")
    package = ModuleType("paradex_py")
    package.__path__ = list(found.submodule_search_locations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "paradex_py", package)
        yield importlib.import_module("paradex_py.margin")
        for name in [name for name in sys.modules if name.startswith("paradex_py.")]:
            del sys.modules[name]


def market() -> Snapshot:
    def sheet(**terms: Any) -> Instrument:
        contract = Contract(base="BTC", quote="USDC", settlement="USDC", **terms)
        size = Specification(lot_size=LOT, contract_size=LOT, tick_size=Decimal("0.1"))
        return term_sheet(contract, size)

    options = [
        sheet(kind=Kind.OPTION, expiry_ms=TimeMs(NOW + round(days * DAY_MS)),
              strike=Decimal(repr(strike)), option_type=OptionType.CALL if call else OptionType.PUT)
        for strike, call, days, _ in OPTIONS
    ]  # fmt: skip
    count = 1 + len(options)
    nothing = np.full(count, np.nan)
    marks = [PERP_MARK]
    for strike, call, days, vol in OPTIONS:
        total = vol * np.sqrt(days / 365.0)
        d = np.log(SPOT / strike) / total + 0.5 * total
        sign = 1.0 if call else -1.0
        fair = sign * (SPOT * ndtr(sign * d) - strike * ndtr(sign * (d - total)))
        marks.append(float(fair) * 1.01 + 3.0)
    return assemble(
        Quotes(
            instruments=[sheet(kind=Kind.PERPETUAL), *options],
            index=np.full(count, SPOT),
            forward=np.array([PERP_MARK, *[SPOT] * len(OPTIONS)]),
            mark=np.array(marks),
            vol=np.array([np.nan, *(vol for *_, vol in OPTIONS)]),
            bid=nothing,
            ask=nothing,
            rate=nothing,
            time_ms=np.full(count, NOW, dtype=np.int64),
        ),
        as_of_ms=NOW,
    )


MARKET = market()
UNIVERSE = MARKET.universe
INPUTS = {
    "instrument.fee_rate": MARKET_FEE,
    "instrument.funding_rate": FUNDING,
}


def portfolios() -> tuple[Book, Orders]:
    """Up to five positions and four orders each; a tenth have orders alone."""
    rng = np.random.default_rng(20_260_422)
    rows: list[tuple[int, int, float]] = []
    orders: list[tuple[int, int, float, float, float]] = []
    for account in range(PORTFOLIOS):
        held = 0 if account % 10 == 0 else int(rng.integers(1, 6))
        for one in rng.choice(len(UNIVERSE), held, replace=False):
            lots = float(rng.integers(1, 5_000)) * float(rng.choice([-1.0, 1.0]))
            rows.append((account, int(one), lots))
        for _ in range(int(rng.integers(0 if held else 1, 5))):
            one = int(rng.integers(len(UNIVERSE)))
            price = round(float(MARKET.mark[one] * rng.uniform(0.5, 1.5)), 1)
            orders.append((account, one, float(rng.integers(1, 5_000)) * float(LOT), price,
                           float(rng.integers(2))))  # fmt: skip
    told, open_ = np.array(rows), np.array(orders)
    return (
        book(
            accounts=[f"a{n}" for n in range(PORTFOLIOS)],
            account=told[:, 0].astype(np.int32),
            instrument=told[:, 1].astype(np.int32),
            lots=told[:, 2],
            universe=UNIVERSE,
        ),
        Orders(
            account=open_[:, 0].astype(np.int64),
            instrument=open_[:, 1].astype(np.int64),
            size=open_[:, 2],
            price=open_[:, 3],
            buy=open_[:, 4],
        ),
    )


BOOK, ORDERS = portfolios()


def plan(name: str) -> LevelsPlan:
    found = api.prepare(MARKET, api.rulebook_in_force(name, date(2026, 6, 1)))
    assert isinstance(found, LevelsPlan)
    return found


def names() -> list[str]:
    """Symbols as paradex_py reads them, in the universe's order."""
    found = []
    for one in UNIVERSE.instruments:
        terms = one.contract
        if terms.kind is Kind.PERPETUAL:
            found.append("BTC-USD-PERP")
        else:
            assert terms.option_type is not None
            found.append(f"BTC-USD-{len(found)}X-{terms.strike}-{terms.option_type.value}")
    return found


def described(one: LevelsPlan) -> tuple[dict[str, Any], dict[str, Any]]:
    """The market and its specifications as paradex_py takes them; deltas are ours, as told."""
    delta = one.arrays.units["delta"] / UNIVERSE.lot_size
    side = {"premium_multiplier": 1.0, "long_itm": 0.2, "short_itm": 0.15, "short_otm": 0.1,
            "short_put_cap": 0.5}  # fmt: skip
    option = {
        "imf": side,
        "mmf": {name: share / 2 for name, share in side.items()},
    }
    data, specs = {}, {}
    for n, (name, instrument) in enumerate(zip(names(), UNIVERSE.instruments, strict=True)):
        terms = instrument.contract
        data[name] = {
            "mark_price": float(MARKET.mark[n]),
            "delta": float(delta[n]),
            "mark_iv": float(MARKET.vol[n]),
            "underlying_price": SPOT,
            "funding_rate": FUNDING,
            "interest_rate": 0.0,
            "fee_rate": MARKET_FEE,
        }
        specs[name] = {
            "asset_kind": "PERP" if terms.kind is Kind.PERPETUAL else "OPTION",
            "strike_price": float(terms.strike or 0),
            "option_type": "CALL" if terms.option_type is OptionType.CALL else "PUT",
            "expiry_at": terms.expiry_ms,
            "delta1_cross_margin_params": {"imf_base": 0.02, "mmf_factor": 0.5},
            "option_cross_margin_params": option,
        }
    return data, specs


def peers(peer: ModuleType, one: LevelsPlan, **how: Any) -> list[dict[str, float]]:
    data, specs = described(one)
    symbols = names()
    answers = []
    for account in range(PORTFOLIOS):
        part = slice(int(BOOK.first[account]), int(BOOK.first[account + 1]))
        mine = np.flatnonzero(ORDERS.account == account)
        positions = [
            {"market": symbols[i], "side": "BUY" if lots > 0 else "SELL",
             "size": abs(lots) * float(LOT)}
            for i, lots in zip(BOOK.instrument[part], BOOK.lots[part], strict=True)
        ]  # fmt: skip
        orders = [
            {"market": symbols[ORDERS.instrument[n]], "side": "BUY" if ORDERS.buy[n] else "SELL",
             "size": float(ORDERS.size[n]), "price": float(ORDERS.price[n])}
            for n in mine
        ]  # fmt: skip
        answers.append(peer.compute(positions, orders, data, specs, **how))
    return answers


def scenarios(one: LevelsPlan) -> dict[str, Any]:
    """The rulebook's own numbers as paradex_py's configuration."""
    risk = one.rulebook.tables["risk"]["BTC"]
    vols = {"up": risk["vol_up"], "down": -float(risk["vol_down"])}  # type: ignore[arg-type]
    shocks = one.arrays.shocks
    return {
        "base_asset": "BTC",
        "hedged_margin_factor": risk["hedged"],
        "unhedged_margin_factor": risk["unhedged"],
        "mmf_factor": 0.5,
        "scenarios": [
            {"spot_shock": move, "vol_shock": vols[vol], "weight": weight}
            for move, vol, weight in zip(
                shocks.move[0], shocks.vol_names, one.arrays.weight[0], strict=True
            )
        ],
        "vol_shock_params": {
            "dte_floor_days": 1, "vega_power_short_dte": 0.3, "vega_power_long_dte": 0.13,
            "min_vol_shock_up": risk["vol_up_min"],
        },
    }  # fmt: skip


def held_coins() -> np.ndarray[Any, Any]:
    """[account] coins of options held and ordered: the rounding of the peer scales with them."""
    option = UNIVERSE.is_option
    coins = np.bincount(BOOK.account, np.abs(BOOK.lots) * float(LOT) * option[BOOK.instrument],
                        PORTFOLIOS)  # fmt: skip
    ordered = np.bincount(ORDERS.account, ORDERS.size * option[ORDERS.instrument], PORTFOLIOS)
    return np.asarray(coins + ordered)


@pytest.mark.parametrize("exact_normal", [False, True])
def test_portfolio_margin_agrees(
    peer: ModuleType, monkeypatch: pytest.MonkeyPatch, exact_normal: bool
) -> None:
    """To the peer's own precision; and to rounding alone once its normal distribution is exact.

    The peer's is good to 1.5e-7, as the exchange's: at most (S′ + K) × 1.5e-7 dollars a coin.
    """
    if exact_normal:
        formulas = importlib.import_module("paradex_py.margin.black_scholes")
        monkeypatch.setattr(formulas, "norm_cdf", lambda x: float(ndtr(x)))
    one = plan("paradex-pm")
    theirs = peers(
        peer, one, margin_methodology="portfolio_margin", pm_config=scenarios(one),
        now=datetime.fromtimestamp(NOW / 1_000, tz=UTC),
    )  # fmt: skip
    mine = evaluate(one, BOOK, orders=ORDERS, inputs=INPUTS)
    allowed = held_coins() * (0.0 if exact_normal else 1.5e-7 * (1.16 * SPOT + 120_000.0)) + 2e-5
    funding = mine.components["funding"]
    without = np.array([one["IMR"] - one["fund_p"] for one in theirs])
    maintenance = np.array([one["MMR"] for one in theirs])
    for found, wanted in ((mine.initial - funding, without), (mine.maintenance, maintenance)):
        error = np.abs(found - wanted)
        assert (error <= allowed).all(), float((error / allowed).max())
    if not exact_normal:
        # The difference is there, and has that cause: without it no account is off by a cent.
        assert np.abs(mine.initial - funding - without).max() > 0.01
    parts = {"scan": "worst_loss", "delta_min": "delta_min", "fees": "fee_provision_imr"}
    for component, name in parts.items():
        error = np.abs(mine.components[component] - [one[name] for one in theirs])
        assert (error <= allowed).all(), component
    _check_funding(funding, np.array([one["fund_p"] for one in theirs]))


def _check_funding(mine: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    """An order that fills pays as the position that it becomes; the peer's pays the other way.

    paradex_py adds what an order would receive with the sign of what a position pays: with it, a
    bid on top of a long lowers the provision. Where no perpetual is ordered, both are the same.
    """
    perpetual = UNIVERSE.kind == Kind.PERPETUAL
    of_positions = np.bincount(
        BOOK.account, FUNDING * BOOK.lots * float(LOT) * perpetual[BOOK.instrument], PORTFOLIOS
    )
    signed = ORDERS.size * np.where(ORDERS.buy > 0, 1.0, -1.0) * perpetual[ORDERS.instrument]
    of_orders = np.bincount(ORDERS.account, FUNDING * signed, PORTFOLIOS)
    assert mine == pytest.approx(SPOT * np.maximum(of_positions + of_orders, 0.0), abs=2e-5)
    assert theirs == pytest.approx(SPOT * np.maximum(of_positions - of_orders, 0.0), abs=2e-5)
    assert (of_orders == 0.0).sum() > PORTFOLIOS / 4


def test_cross_margin_agrees(peer: ModuleType) -> None:
    one = plan("paradex-xm")
    theirs = peers(peer, one)
    mine = evaluate(one, BOOK, orders=ORDERS, inputs={"instrument.fee_rate": MARKET_FEE})
    assert mine.initial == pytest.approx([row["IMR"] for row in theirs], abs=1e-6)
    assert mine.maintenance == pytest.approx([row["MMR"] for row in theirs], abs=1e-6)


@pytest.mark.parametrize("name", ["paradex-pm", "paradex-xm"])
def test_whole_books_agree_with_the_exact_way(name: str) -> None:
    one = plan(name)
    inputs = {key: rate for key, rate in INPUTS.items() if key.split(".")[1] in
              one.rulebook.text.inputs["instrument"]}  # fmt: skip
    mine = evaluate(one, BOOK, orders=ORDERS, inputs=inputs)
    for account in range(0, PORTFOLIOS, 41):
        exact = account_sheet(one, BOOK, account, orders=ORDERS, inputs=inputs)
        for column in ("initial", "maintenance"):
            wanted = exact.value("account", column)
            assert not isinstance(wanted, tuple)
            assert getattr(mine, column)[account] == pytest.approx(float(wanted), abs=1e-5)
