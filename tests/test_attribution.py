"""Shares add up to the requirement, to the unit, under every rulebook that ships."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import solvent as sv
from solvent import api
from solvent.feeds.library import rulebook_names
from solvent.instruments import Kind
from solvent.lab.capital.attribution import REQUIREMENT, AccountShares, attribute
from solvent.lab.capital.remargin import remargin
from solvent.lab.capital.shares import along_ray, apportion, euler, holds, shapley
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.text import LevelsText
from solvent.margining.rulebook import read_rulebook
from solvent.market.moved import restricted
from solvent.units import MICRO
from tests import capital, rulebook_histories
from tests.conftest import SOURCE
from tests.past import past

NAMES = rulebook_names()
ACCOUNTS = 3
BOOKS = 1_000
_ROW = '\n[[tables.{}.rows]]\nkeys = ["*"]\neffective = 2020-01-01\nsource = "tests"\nvalues = {}\n'
_FACTORS = (
    "{ reach = 0.15, extreme = 3, vol = 0.2, vol_exponent = 0.3, maintenance = 0.01, "
    "initial = 1.3 }"
)
_NO_SPREADS = '\n[[spreads.{}.lists]]\neffective = 2020-01-01\nsource = "tests"\nspreads = []\n'
_ROWS = {
    "delta-pm": [
        ("shock", "{ price = 0.1, vol_up = 0.3, vol_down = 0.2 }"),
        ("floor", "{ future = 0.01, long_option = 0.02, short_option = 0.03 }"),
    ],
    "kraken-options-pm": [
        ("factor", _FACTORS),
    ],
    "span": [
        ("product", "{ price_range = 0.1, vol_range = 0.05, minimum = 0, minimum_share = 0.03 }"),
    ],
}  # fmt: skip
"""Parameters that a rulebook leaves to its user, so that it margins anything at all."""
_TOLD = {"asset_weight": 0.9, "liab": 1.1, "ratio": 0.05, "rate": 0.05, "pnl": 0.9}


def text_of(name: str) -> Any:
    """A shipped rulebook, with the parameters that its user brings."""
    if name not in _ROWS:
        return name
    toml = (SOURCE / "rulebooks" / f"{name}.toml").read_text("utf-8")
    for table, values in _ROWS[name]:
        toml += _ROW.format(table, values)
    for spreads in ("calendar", "products") if name == "span" else ():
        toml += _NO_SPREADS.format(spreads)
    return read_rulebook(toml, source=name)


def inputs_of(plan: AnyPlan) -> dict[str, float]:
    """A number for every input of contracts and assets that a rulebook has no default for."""
    text = plan.rulebook.text
    if not isinstance(text, LevelsText):
        return {}
    return {
        f"{level}.{name}": next((x for part, x in _TOLD.items() if part in name), 1.0)
        for level, columns in text.inputs.items()
        for name, column in columns.items()
        if column.default is None and level in ("instrument", "contract", "asset")
    }


@cache
def setting(name: str) -> tuple[AnyPlan, tuple[int, ...], tuple[str, ...]]:
    """A rulebook on the part of a market that it lists, instruments that fit, and collateral."""
    market = rulebook_histories.market()
    universe = market.universe
    linear = ~universe.inverse
    parts = [np.ones(len(universe), dtype=bool), linear, linear & universe.is_option,
             linear & (universe.kind == Kind.PERPETUAL), ~linear]  # fmt: skip
    for part in parts:
        rows = np.flatnonzero(part).tolist()
        plan = api.prepare(restricted(market, rows), text_of(name), history=past(market))
        for assets in (("USDC",), ("BTC",), ()):
            known = fitting(plan, assets)
            if known:
                return plan, known, assets
    raise AssertionError(f"{name} margins nothing of the market")


def margined(plan: AnyPlan, rows: list[dict[str, Any]], assets: tuple[str, ...]) -> api.AnyMargin:
    return api.margin(rows, plan, collateral=balances(rows, assets), inputs=inputs_of(plan))


def balances(rows: list[dict[str, Any]], assets: tuple[str, ...]) -> list[dict[str, Any]] | None:
    names = dict.fromkeys(row["account"] for row in rows)
    told = [{"account": name, "asset": one, "amount": 1e6} for name in names for one in assets]
    return told or None


def fitting(plan: AnyPlan, assets: tuple[str, ...]) -> tuple[int, ...]:
    """Instruments that may be held, either way or at least short."""
    universe = plan.arrays.universe
    rows = [
        {"account": f"{n}", "instrument": symbol, "size": -20.0 * float(universe.lot_size[n])}
        for n, symbol in enumerate(universe.symbols)
    ]
    try:
        answer = margined(plan, rows, assets)
    except sv.SolventError:
        return ()
    return tuple(np.flatnonzero(~answer.unknown).tolist())


def books(
    name: str, rng: np.random.Generator, count: int, *, entered: bool = False
) -> list[dict[str, Any]]:
    """Random accounts of one to five positions; with `entered` half of them tell entry prices."""
    plan, fits, _ = setting(name)
    universe = plan.arrays.universe
    rows = []
    for account in range(count):
        held = rng.choice(fits, size=min(len(fits), int(rng.integers(1, 6))), replace=False)
        for row in held.tolist():
            lots = float(rng.choice((-1.0, 1.0))) * float(rng.integers(1, 400))
            rows.append({"account": f"a{account}", "instrument": universe.symbols[row],
                         "size": lots * float(universe.lot_size[row])})  # fmt: skip
            if entered and rng.random() < 0.5:
                mark = float(plan.arrays.fields["mark"][row])
                rows[-1]["entry_price"] = mark * float(rng.uniform(0.97, 1.03))
    return rows


def adds_up(one: AccountShares, whole: int) -> None:
    """Every column, and every level of the tree."""
    assert one.whole == whole
    assert sum(position.share for position in one.positions) + one.base == whole
    for name, (total, base) in one.charges.items():
        assert sum(position.charges[name] for position in one.positions) + base == total
    for by_node in one.nodes.values():
        assert sum(by_node.values()) == whole - one.base
    assert set(one.methods) == {REQUIREMENT, *one.charges}


def attributed(name: str, seed: int, count: int, **told: Any) -> list[AccountShares]:
    """The shares of random books, which add up; of every book whose requirement is known."""
    plan, _, assets = setting(name)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        rows = books(name, rng, count)
        answer = margined(plan, rows, assets)
        if bool((~answer.unknown).any()):
            break
    known = shared(name, rows, answer, **told)
    assert known, f"{name}: an account is known"
    return known


def shared(
    name: str, rows: list[dict[str, Any]], answer: api.AnyMargin, **told: Any
) -> list[AccountShares]:
    plan, _, assets = setting(name)
    found = attribute(rows, plan, collateral=balances(rows, assets), inputs=inputs_of(plan), **told)
    asked = answer.to_polars()[f"{told.get('measure', 'initial')}_margin"].to_list()
    for one, unknown, whole in zip(found.accounts, answer.unknown, asked, strict=True):
        assert bool(one.reason) == bool(unknown), one.reason
        if not one.reason:
            adds_up(one, round(whole * MICRO))
    return [one for one in found.accounts if not one.reason]


@pytest.mark.parametrize("name", NAMES)
def test_shares_add_up_under_every_rulebook(name: str) -> None:
    attributed(name, 1, ACCOUNTS)


@pytest.mark.parametrize("name", ["deribit-pm", "binance-usdm"])
def test_shares_of_maintenance_add_up(name: str) -> None:
    attributed(name, 1, ACCOUNTS, measure="maintenance")


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_shares_add_up_on_a_thousand_books(name: str) -> None:
    """Of accounts whose requirement is known, some with entry prices, under every rulebook."""
    plan, _, assets = setting(name)
    rng, count = np.random.default_rng(100), 0
    for _ in range(100):
        rows = books(name, rng, 100, entered=True)
        count += len(shared(name, rows, margined(plan, rows, assets)))
        if count >= BOOKS:
            return
    raise AssertionError(f"{name}: {count} of {BOOKS} accounts are known")


def test_shares_where_parts_of_a_book_have_no_margin() -> None:
    """Gains in a coin without a discount are refused, debts of it are not: the ray meets both."""
    plan, _, assets = setting("okx-futures")
    rows = books("okx-futures", np.random.default_rng(1000), 100, entered=True)
    rows = [row for row in rows if row["account"] == "a39"]
    (one,) = shared("okx-futures", rows, margined(plan, rows, assets))
    assert one.methods[REQUIREMENT] == "euler, the rest by size"
    with pytest.raises(sv.BadInput, match="parts of the book"):
        attribute(rows, plan, collateral=balances(rows, assets), inputs=inputs_of(plan),
                  method="aumann-shapley")  # fmt: skip


@pytest.mark.parametrize("name", ["deribit-pm", "binance-usdm"])
def test_incremental_and_marginal_are_exact(name: str) -> None:
    """Each is what the plain call says of the book with a lot more, less, or without a position."""
    plan, _, assets = setting(name)
    (one, *_) = attributed(name, 4, 2)
    rows = [
        {"account": one.account, "instrument": held.symbol, "size": held.size}
        for held in one.positions
    ]

    def required(changed: list[dict[str, Any]]) -> int:
        return int(margined(plan, changed, assets).initial_micro[0]) if changed else 0

    for n, held in enumerate(one.positions):
        lot = float(plan.arrays.universe.lot_size[plan.arrays.universe.row(held.symbol) or 0])
        step = {**rows[n], "size": float(np.sign(held.size)) * lot}
        others = [row for k, row in enumerate(rows) if k != n]
        assert held.alone == required([rows[n]])
        assert held.incremental == one.whole - required(others)
        assert held.one_more == required([*rows, step]) - one.whole
        left = held.size - float(np.sign(held.size)) * lot
        fewer = [*others, {**rows[n], "size": left}] if abs(left) > lot / 2.0 else others
        assert held.one_less == required(fewer) - one.whole


def test_euler_shares_are_those_of_the_binding_scenario() -> None:
    """Where only scenarios count, a share is the position's own loss in the worst of them."""
    rows = capital.positions(np.random.default_rng(3), 8)
    of = capital.plan()
    found = attribute(rows, of)
    assert found.accounts[0].methods[REQUIREMENT] == "euler"
    explained = api.margin(rows, of).explain("book").sets[0]
    binding = {one.symbol: one.initial for one in explained.positions}
    for one in found.accounts[0].positions:
        assert one.share / MICRO == pytest.approx(binding[one.symbol], abs=2e-3)


@pytest.mark.parametrize("tail", [0.9])
def test_euler_shares_of_a_tail(tail: float) -> None:
    rows = capital.positions(np.random.default_rng(3), 8)
    of = capital.plan(tail=tail)
    found = attribute(rows, of, method="euler")
    binding = {one.symbol: one.initial for one in api.margin(rows, of).explain("book").sets[0]
               .positions}  # fmt: skip
    for one in found.accounts[0].positions:
        assert one.share / MICRO == pytest.approx(binding[one.symbol], abs=2e-3)


def test_rules_of_sharing_agree_where_they_must() -> None:
    """Of a sum all three rules give each its own; of a square the ray gives the mean slope."""
    own = np.array([3.0, -2.0, 5.0])
    x = np.array([1.0, 4.0, -2.0])
    linear = lambda lots: (lots @ own)[:, None]  # noqa: E731
    for shares in (euler(linear, x), along_ray(linear, x, 5), shapley(linear, x)):
        assert shares.ravel() == pytest.approx(own * x)
    assert holds(euler(linear, x)[:, 0], float(own @ x))
    square = lambda lots: (lots @ own)[:, None] ** 2  # noqa: E731
    assert not holds(euler(square, x)[:, 0], float(own @ x) ** 2)
    ray = along_ray(square, x, 400).ravel()
    assert ray == pytest.approx(own * x * float(own @ x), rel=1e-9)
    assert shapley(square, x).sum() == pytest.approx(float(own @ x) ** 2)


def test_shapley_equals_its_definition() -> None:
    """The mean increment over all six orders of three positions."""
    from itertools import permutations

    def f(lots: Any) -> Any:
        return np.maximum(lots.sum(axis=1), lots[:, 0] * lots[:, 2])[:, None]

    x = np.array([2.0, -1.0, 3.0])
    expected = np.zeros(3)
    for order in permutations(range(3)):
        held = np.zeros((1, 3))
        for i in order:
            before = float(f(held)[0, 0])
            held[0, i] = x[i]
            expected[i] += (float(f(held)[0, 0]) - before) / 6.0
    assert shapley(f, x).ravel() == pytest.approx(expected)


def test_apportion_keeps_the_whole() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        raw = rng.normal(0.0, 1e6, int(rng.integers(1, 9)))
        whole = round(float(raw.sum())) + int(rng.integers(-3, 4))
        shares = apportion(raw.tolist(), whole)
        assert sum(shares) == whole
        assert np.abs(np.array(shares) - raw).max() <= 4.0


def test_remargin_gives_the_bits_of_margin() -> None:
    """The batch asks what `sv.margin` answers, at what is held and at half of it."""
    for name in ("deribit-pm", "binance-usdm", "dydx-v4"):
        plan, _, assets = setting(name)
        rows = books(name, np.random.default_rng(6), 3)
        rows = [{**row, "size": 2.0 * row["size"]} for row in rows]
        answer = margined(plan, rows, assets)
        half = margined(plan, [{**row, "size": row["size"] / 2.0} for row in rows], assets)
        for account in np.flatnonzero(~answer.unknown).tolist():
            asked = remargin(answer, account)
            told = asked.ask(np.stack([asked.lots, asked.lots / 2.0]))
            assert told.micro.tolist() == [
                int(answer.initial_micro[account]), int(half.initial_micro[account])
            ]  # fmt: skip


def test_tables_and_methods() -> None:
    rows = capital.positions(np.random.default_rng(1), 5)
    of = capital.plan()
    found = sv.attribute(rows, of, measure="maintenance", method="shapley")
    assert found.table()["share"].sum() == pytest.approx(found.accounts[0].whole / MICRO)
    assert found.charges().height >= 5
    assert set(found.nodes()["level"]) == {"group", "book"}
    assert found.accounts[0].methods[REQUIREMENT] == "shapley"
    assert len(found.plot().data) == 1
    many = capital.positions(np.random.default_rng(1), 13)
    with pytest.raises(sv.BadInput, match="12 positions or fewer"):
        attribute(many, of, method="shapley")
    with pytest.raises(sv.BadInput, match="measure"):
        attribute(rows, of, measure="both")  # type: ignore[arg-type]
    with pytest.raises(sv.BadInput, match="nobody"):
        attribute(rows, of, accounts=["nobody"])


def test_an_account_that_is_not_known_says_why() -> None:
    market = rulebook_histories.market()
    rows = [{"account": "a", "instrument": "BTC-PERPETUAL", "size": 100.0}]
    found = attribute(rows, market, "paradex-pm")
    assert found.accounts[0].reason
    assert found.table()["share"].to_list() == [None]
    assert found.table()["reason"][0] == found.accounts[0].reason


def test_haircuts_are_nobodys_share() -> None:
    """Under cross collateral a haircut is part of initial margin; no position causes it."""
    market = rulebook_histories.market()
    rows = [{"account": "a", "instrument": "BTC-PERPETUAL", "size": 1_000.0}]
    money = [{"account": "a", "asset": "USDC", "amount": 1_000.0}]
    plain = attribute(rows, market, "deribit-pm", collateral=money).accounts[0]
    assert plain.base == 0
    told = attribute(rows, market, "deribit-pm", inputs={"spot_margin": 0.01}).accounts[0]
    assert told.base > 0
    assert [one.share for one in told.positions] == [one.share for one in plain.positions]
    assert told.whole == plain.whole + told.base
    staked = [{"account": "a", "asset": "STETH", "amount": 10.0}]
    answer = api.margin(rows, market, "deribit-pm", collateral=staked)
    cut = attribute(rows, market, "deribit-pm", collateral=staked).accounts[0]
    assert cut.whole == int(answer.initial_micro[0])
    assert cut.base == cut.whole - plain.whole
    orders = [{"account": "a", "instrument": "BTC_USDC-PERPETUAL", "side": "buy", "size": 1.0,
               "price": 60_000.0}]  # fmt: skip
    held = attribute(
        [{"account": "a", "instrument": "BTC_USDC-PERPETUAL", "size": 0.01}], market,
        "binance-usdm", collateral=money, orders=orders,
    ).accounts[0]  # fmt: skip
    assert held.base > 0
    assert sum(one.share for one in held.positions) + held.base == held.whole
