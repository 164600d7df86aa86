"""An account asked again: liquidation prices, comparison, changes, orders, isolated positions."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import solvent as sv
from solvent.cli import main
from solvent.errors import BadInput, RulebookError
from solvent.feeds.synthetic_market import generate_market
from solvent.feeds.write import write_market
from solvent.levels_answer import LevelsMargin
from solvent.margining.boundary import Reach, boundary
from solvent.margining.rulebook import read_rulebook
from solvent.market import Snapshot
from solvent.market.moved import moved, restricted
from solvent.whatif import JOINT
from tests.conftest import ROOT

PERPETUAL, OTHER = "BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL"
RULEBOOKS = ["deribit-pm", "deribit-sm", "binance-usdm", "paradex-pm", "derive-srm", "derive-pmrm2"]


@pytest.fixture(scope="module")
def market() -> Snapshot:
    return generate_market(seed=4, expiries=3, strikes=6)


def rows(market: Snapshot) -> list[dict[str, object]]:
    mark = price(market, PERPETUAL)
    return [
        {"account": "a", "instrument": PERPETUAL, "size": 0.5, "entry_price": mark},
        {"account": "a", "instrument": OTHER, "size": -2, "entry_price": price(market, OTHER)},
    ]


def price(market: Snapshot, symbol: str) -> float:
    row = market.universe.row(symbol)
    assert row is not None
    return float(market.mark[row])


def dollars(amount: float) -> list[dict[str, object]]:
    return [{"account": "a", "asset": "USDC", "amount": amount}]


@pytest.mark.parametrize("rulebook", RULEBOOKS)
def test_health_is_zero_at_the_liquidation_price(market: Snapshot, rulebook: str) -> None:
    """Within a tick: the condition is the account's own at moved prices."""
    held = sv.holdings(rows(market), dollars(9_000))["a"]
    desk = sv.Desk(held, market, rulebook)
    now = desk.now()
    assert now.known
    if now.equity < now.maintenance:
        assert desk.liquidation("BTC", below=True).reach is Reach.ALREADY
        return
    found = desk.liquidation("BTC", below=True)
    assert found.reach is Reach.PRICE
    assert found.price is not None
    index = float(desk.market.index[desk.market.universe.underlyings.index("BTC")])
    tick = 0.5
    at, beyond = (desk.at({"BTC": p / index}) for p in (found.price + tick, found.price - tick))
    assert at.equity >= at.maintenance
    assert beyond.equity < beyond.maintenance


def test_liquidation_price_of_one_linear_future_by_hand() -> None:
    """Equity 9,000 + 0.5 (P − P₀) meets 0.5 P × 0.4 % at P = (0.5 P₀ − 9,000) / 0.498."""
    market = generate_market(seed=4, expiries=2, strikes=4)
    start = price(market, PERPETUAL)
    held = sv.holdings(rows(market)[:1], dollars(9_000))["a"]
    found = sv.Desk(held, market, "binance-usdm").liquidation("BTC", below=True)
    assert found.price is not None
    index = float(market.index[market.universe.underlyings.index("BTC")])
    by_hand = (0.5 * start - 9_000.0) / 0.498
    assert found.price == pytest.approx(by_hand * index / start, rel=1e-9)
    gone = sv.Desk(held, market, "binance-usdm").bankruptcy("BTC", below=True)
    assert gone.price == pytest.approx((start - 18_000.0) * index / start, rel=1e-9)


def test_long_options_are_never_liquidated(market: Snapshot) -> None:
    calls = [one for one in market.universe.symbols if one.endswith("-C")]
    option = next(one for one in calls if one.startswith("BTC_USDC-"))
    held = sv.holdings([{"account": "a", "instrument": option, "size": 1}], dollars(10))["a"]
    desk = sv.Desk(held, market, "deribit-sm")
    for below in (True, False):
        assert desk.liquidation("BTC", below=below).reach is Reach.NONE


def test_boundary_takes_the_nearest_of_several_roots() -> None:
    found = boundary(lambda x: 1.0 if 40 < x < 60 or x > 80 else -1.0, 100.0, below=True)
    assert found.price == pytest.approx(80.0)


def test_the_part_of_a_market_margins_as_the_whole(market: Snapshot) -> None:
    names = [str(row["instrument"]) for row in rows(market)]
    part = restricted(market, [r for n in names if (r := market.universe.row(n)) is not None])
    whole = sv.margin(rows(market), market, "deribit-pm", collateral=dollars(9_000))
    alone = sv.margin(rows(market), part, "deribit-pm", collateral=dollars(9_000))
    columns = ["account", "status", "equity", "initial_margin", "maintenance_margin"]
    assert whole.to_polars()[columns].equals(alone.to_polars()[columns])


def test_moved_prices_move_all_that_is_priced(market: Snapshot) -> None:
    up = moved(market, {"BTC": 1.1})
    btc = np.array([name.startswith("BTC") for name in market.universe.symbols])
    assert up.forward[btc] == pytest.approx(1.1 * market.forward[btc])
    assert (up.forward[~btc] == market.forward[~btc]).all()
    assert (up.vol == market.vol).all()


def test_what_if_leaves_equity_and_changes_margin(market: Snapshot) -> None:
    held = sv.holdings(rows(market), dollars(9_000))["a"]
    desk = sv.Desk(held, market, "deribit-pm")
    before = desk.now()
    more = desk.after(held.changed(add={PERPETUAL: 0.5}))
    assert more.equity == pytest.approx(before.equity, abs=1e-3)
    assert more.initial > before.initial
    closed = desk.after(held.changed(close=[PERPETUAL, OTHER]))
    assert (closed.initial, closed.maintenance) == (0.0, 0.0)
    paid = desk.after(held.changed(deposit={"USDC": -1_000}))
    assert paid.equity == pytest.approx(before.equity - 1_000)
    each = desk.after_each([held, held.changed(add={PERPETUAL: 0.5})])
    assert each == [before, more]
    double = desk.after(held.changed(scale=2.0))
    assert double.maintenance == pytest.approx(2 * before.maintenance, rel=0.02)
    with pytest.raises(BadInput, match="expected a position that is held"):
        held.changed(close=["BTC-PERPETUAL"])


def test_compare_has_a_row_a_rulebook_and_says_what_is_not_known(market: Snapshot) -> None:
    frame = sv.compare(
        rows(market), market, [*RULEBOOKS, "bybit-uta"], collateral=dollars(9_000)
    ).to_polars()
    assert frame["rulebook"].to_list() == [*RULEBOOKS, "bybit-uta"]
    known = frame.filter(frame["rulebook"] != "bybit-uta")
    assert known["initial_margin"].null_count() == 0
    assert (known["maintenance_margin"] <= known["initial_margin"]).all()
    told = dict(zip(frame["rulebook"], frame["binding"], strict=True))
    assert told["paradex-pm"].startswith("BTC: spot -")
    assert told["binance-usdm"] == "unrealised"
    assert "risk_limit" in frame["reason"][-1]


def test_orders_need_margin_and_isolated_positions_stand_alone(market: Snapshot) -> None:
    order = [{"account": "a", "instrument": PERPETUAL, "side": "buy", "size": 1, "price": 60_000}]
    mode = [
        {"account": "a", "instrument": PERPETUAL, "mode": "isolated", "leverage": 10,
         "isolated_margin": 3_500}
    ]  # fmt: skip
    plain, ordered, apart = (
        sv.margin(
            rows(market), market, "binance-usdm", collateral=dollars(9_000), orders=o, modes=m
        )
        for o, m in ((None, None), (order, None), (None, mode))
    )
    assert isinstance(plain, LevelsMargin)
    assert isinstance(ordered, LevelsMargin)
    assert isinstance(apart, LevelsMargin)
    assert ordered.answer.initial[0] == pytest.approx(plain.answer.initial[0] + 3_000)
    pools = apart.explain("a").table("pool").sort("equity")
    assert pools["equity"].to_list() == pytest.approx([3_500, 9_000])
    mark = price(market, PERPETUAL)
    assert pools["initial"].to_list()[0] == pytest.approx(0.5 * mark / 10)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"instrument": "X"}, "instrument of the market"),
        ({"side": "up"}, "buy or sell"),
        ({"size": -1}, "field 'size'"),
        ({"price": None}, "field 'price'"),
    ],
)
def test_bad_orders_are_named(market: Snapshot, wrong: dict[str, object], words: str) -> None:
    order = {"account": "a", "instrument": PERPETUAL, "side": "buy", "size": 1, "price": 1}
    with pytest.raises(BadInput, match=words):
        sv.margin(rows(market), market, "binance-usdm", orders=[order | wrong])


def test_rulebooks_of_scans_take_no_orders(market: Snapshot) -> None:
    order = [{"account": "a", "instrument": PERPETUAL, "side": "buy", "size": 1, "price": 1}]
    with pytest.raises(BadInput, match="order margin as an input"):
        sv.margin(rows(market), market, "deribit-pm", orders=order)


@pytest.mark.parametrize(
    ("rows_of_modes", "words"),
    [
        ([{"account": "b", "instrument": PERPETUAL, "mode": "isolated"}], "which holds nothing"),
        (
            [{"account": "a", "instrument": PERPETUAL, "mode": "cross", "lever": 3}],
            "takes no lever",
        ),
    ],
)
def test_modes_that_do_not_fit_are_refused(
    market: Snapshot, rows_of_modes: list[dict[str, object]], words: str
) -> None:
    with pytest.raises(RulebookError, match=words):
        sv.margin(rows(market), market, "binance-usdm", modes=rows_of_modes)


def test_hedge_mode_holds_long_and_short_apart(market: Snapshot) -> None:
    """Netted they need nothing; apart each has its bracket, and they gain and lose alike."""
    both = [
        {"account": "a", "instrument": PERPETUAL, "size": size, "entry_price": 60_000}
        for size in (0.2, -0.2, 0.1)
    ]
    mode = [{"account": "a", "instrument": PERPETUAL, "mode": "hedge"}]
    netted, apart = (
        sv.margin(both, market, "binance-usdm", collateral=dollars(50_000), modes=m)
        for m in (None, mode)
    )
    assert isinstance(netted, LevelsMargin)
    assert isinstance(apart, LevelsMargin)
    mark = price(market, PERPETUAL)
    rate = 0.004
    assert netted.answer.maintenance[0] == pytest.approx(0.1 * mark * rate)
    assert apart.answer.maintenance[0] == pytest.approx((0.3 + 0.2) * mark * rate)
    assert apart.answer.equity[0] == pytest.approx(netted.answer.equity[0])
    sizes = apart.explain("a").table("position").sort("size")["size"].to_list()
    assert sizes == pytest.approx([-0.2, 0.3])
    desk = sv.Desk(sv.holdings(both, dollars(50_000), modes=mode)["a"], market, "binance-usdm")
    assert desk.now().maintenance == pytest.approx(apart.answer.maintenance[0], abs=2e-6)


def test_an_isolated_position_is_liquidated_by_itself(market: Snapshot) -> None:
    """Margin 3,500: 3,500 + 0.5 (P − P₀) = 0.5 P × 0.4 % at P = (0.5 P₀ − 3,500) / 0.498."""
    mode = {"account": "a", "instrument": PERPETUAL, "mode": "isolated", "isolated_margin": 3_500}
    found = sv.liquidation_prices(
        rows(market), market, "binance-usdm", collateral=dollars(9_000), modes=[mode]
    )
    start = price(market, PERPETUAL)
    index = float(market.index[market.universe.underlyings.index("BTC")])
    below = found.filter(found["underlying"] == "BTC")["below"][0]
    assert below == pytest.approx((0.5 * start - 3_500) / 0.498 * index / start, rel=1e-6)


def test_a_rulebook_that_holds_nothing_apart_takes_no_isolated_mode(market: Snapshot) -> None:
    mode = [{"account": "a", "instrument": PERPETUAL, "mode": "isolated"}]
    with pytest.raises(RulebookError, match="holds no position apart"):
        sv.margin(rows(market), market, "okx-pm", modes=mode)


def test_rows_left_out_make_their_account_unknown(market: Snapshot) -> None:
    good = {"account": "a", "instrument": PERPETUAL, "side": "buy", "size": 1, "price": 1}
    answer = sv.margin(
        rows(market), market, "binance-usdm", collateral=dollars(9_000),
        orders=[good, good | {"side": "up"}], skip_bad=True,
    )  # fmt: skip
    assert answer.dropped == 1
    assert answer.to_polars()["status"].to_list() == ["unknown"]


def test_inputs_of_positions_reach_both_ways(market: Snapshot) -> None:
    inputs = {"instrument.funding_index": 500.0, "position.funding_paid": 490.0}
    answer = sv.margin(
        rows(market)[:1], market, "derive-srm", collateral=dollars(9_000), inputs=inputs
    )
    assert isinstance(answer, LevelsMargin)
    level = answer.plan.rulebook.text.answer.level
    exact = answer.sheet("a").value(level, "equity")
    assert isinstance(exact, Fraction)
    assert answer.answer.equity[0] == pytest.approx(float(exact), rel=1e-12)
    with pytest.raises(RulebookError, match="no instrument 'NOPE'"):
        sv.margin(
            rows(market), market, "derive-srm", inputs={"instrument.funding_index": {"NOPE": 1}}
        )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("marginal(tier.rate, notional)", "tier.rate * notional", "has tiers: say lookup"),
        ("contract.sum(maintenance)", "position.sum(size * g.pnl)", "a number a scenario"),
        ("abs(size * delta) * index", "lookup(tier.rate, size * g.pnl)", "one number a row"),
        ("abs(size * delta) * index", "worst(g.pnl + h.pnl)", "do not go together"),
        ("rate = [0.05, 0.10]", "rate = [-0.05, 0.10]", "not negative"),
        ("[at.contract]", "[at.contrct]", "no such level"),
    ],
)
def test_rulebooks_that_cannot_be_computed_are_refused(old: str, new: str, words: str) -> None:
    page = (ROOT / "docs" / "rulebooks.md").read_text("utf-8")
    text = next(one for one in re.findall(r"```toml\n(.*?)```", page, re.S) if "third-on" in one)
    sets = "\n[scenarios.g]\nmoves = [0.1]\n[scenarios.h]\nmoves = [0.1, 0.2]\n"
    assert old in text
    read_rulebook(text + sets, source="page")
    with pytest.raises(RulebookError, match=words):
        read_rulebook(text.replace(old, new) + sets, source="page")


def test_a_rulebook_on_another_day(market: Snapshot) -> None:
    old, new = (
        sv.prepare(market, f"deribit-pm@{day}").rulebook.tables
        for day in ("2024-07-01", "2026-03-01")
    )
    assert old != new
    with pytest.raises(RulebookError, match="expected a day"):
        sv.prepare(market, "deribit-pm@soon")


def test_commands(market: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                  capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    write_market(market, tmp_path / "m.csv")
    (tmp_path / "p.csv").write_text(
        f"account,instrument,size,entry_price\na,{PERPETUAL},0.5,60000\na,{OTHER},-2,1900\n"
    )
    (tmp_path / "c.csv").write_text("account,asset,amount\na,USDC,9000\n")
    files = ["--market", "m.csv", "--positions", "p.csv", "--collateral", "c.csv", "--json"]
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> dict[str, object]:
        monkeypatch.setattr("sys.argv", ["solvent", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None)
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    compared = run("compare", *files, "--rulebooks", ",".join(RULEBOOKS))
    assert len(compared["rows"]) == len(RULEBOOKS)  # type: ignore[arg-type]
    changed = run("whatif", *files, "--account", "a", "--add", f"{PERPETUAL}=-0.5")
    before, after = changed["before"], changed["after"]
    assert after["initial_margin"] < before["initial_margin"]  # type: ignore[index]
    found = run("liquidation", *files)
    assert [row["underlying"] for row in found["rows"]] == ["BTC", "ETH", JOINT]  # type: ignore[attr-defined]
    shown = run("rulebooks", "diff", "deribit-pm@2024-07-01", "deribit-pm@2026-03-01", "--json")
    assert any("pnl_offset" in row["key"] for row in shown["rows"])  # type: ignore[attr-defined]
    assert "$defs" in run("rulebooks", "schema")
    assert run("rulebooks", "check", "deribit-pm", "--json")["ok"] is True
