"""Requirements: the fast way against the exact way, the exact way against the venue's formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvent as sv
from solvent import api
from solvent.errors import BadInput, RulebookError
from solvent.feeds.library import shipped_rulebook
from solvent.feeds.synthetic_book import Venue
from solvent.feeds.synthetic_market import generate_market
from solvent.margining.evaluate import arrange, requirements
from solvent.margining.exact import exact_sets
from solvent.margining.plan import Plan
from solvent.margining.requirement import Standing
from solvent.margining.rulebook import check_rulebook
from solvent.market import Snapshot
from solvent.risk import Book, book

BTC, ETH = "BTC", "ETH"


def one_account(plan: Plan, held: dict[str, int]) -> Book:
    rows = [plan.arrays.universe.row(symbol) for symbol in held]
    assert None not in rows
    return book(
        accounts=["a"],
        account=np.zeros(len(held), dtype=np.int32),
        instrument=np.array(rows, dtype=np.int32),
        lots=np.array(list(held.values()), dtype=np.float64),
        universe=plan.arrays.universe,
    )


@pytest.mark.parametrize("rulebook", ["deribit-pm", "deribit-sm"])
def test_book_way_stays_within_a_quantum_per_lot_of_the_exact_way(
    snapshot: Snapshot, venue: Venue, rulebook: str
) -> None:
    """Never understated; overstated by at most one quantum per lot (and one millionth dollar)."""
    plan = api.prepare(snapshot, shipped_rulebook(rulebook))
    answer = requirements(plan, venue.book)
    sets, level = answer.sets, answer.layout.levels[plan.levels.index(plan.top.name)]
    rng = np.random.default_rng(2)
    for one in rng.choice(len(sets), 400, replace=False):
        span = slice(int(level.first[one]), int(level.first[one + 1]))
        rows, lots = answer.layout.instrument[span], answer.layout.lots[span]
        exact = exact_sets(plan, dict(zip(rows.tolist(), lots.tolist(), strict=True)))
        assert len(exact) == 1
        room = 2.0 * float(sets.components["rounding"][one]) + 2e-9
        for fast, slow in (
            (sets.initial[one], exact[0].initial),
            (sets.maintenance[one], exact[0].maintenance),
        ):
            assert slow - 1e-9 <= fast <= slow + room, (one, fast, slow, room)
        dollars = math.ceil(exact[0].initial * exact[0].price * 1e6)
        assert sets.initial_micro[one] >= dollars - 2


def test_portfolio_margin_by_hand(plan: Plan, snapshot: Snapshot) -> None:
    """One inverse perpetual, written out from Deribit's formulas."""
    lots = -1_000
    one = exact_sets(plan, {int(plan.arrays.universe.row("ETH-PERPETUAL") or 0): lots})[0]
    mark = float(snapshot.mark[snapshot.universe.row("ETH-PERPETUAL") or 0])
    coins = lots / mark
    up = coins * (1 - 1 / 1.18)
    assert one.components["risk_matrix"] == pytest.approx(-up, abs=1e-9)
    assert one.components["roll_shock"] == pytest.approx(abs(coins) * 0.005, rel=1e-12)
    matrix = one.components["risk_matrix"] + one.components["roll_shock"]
    assert one.initial == pytest.approx(matrix, abs=1e-9)
    assert one.maintenance == pytest.approx(0.8 * matrix, rel=1e-12)


def test_inverse_future_loses_alike_in_every_far_scenario(plan: Plan) -> None:
    """The extended table is scaled so that a future's loss is that of the range's end."""
    row = plan.arrays.universe.row("BTC-PERPETUAL")
    assert row is not None
    pnl = plan.arrays.pnl_units[row]
    names = np.array(plan.arrays.shocks.set_names)
    far, near = pnl[names == "extended"], pnl[names == "standard"]
    assert far[:2] == pytest.approx(near[0], rel=1e-12)
    assert far[2:] == pytest.approx(near[-1], rel=1e-12)


def test_gains_of_one_settlement_offset_losses_of_the_other_in_part(snapshot: Snapshot) -> None:
    """Long inverse against short linear: ETH gains count 0.6, dollar gains 0.4."""
    plan = api.prepare(snapshot, shipped_rulebook("deribit-pm"))
    universe = plan.arrays.universe
    index = snapshot.index[universe.underlyings.index(ETH)]
    inverse = round(1_000_000 / 1.0)
    linear = -round(1_000_000 / float(index) / 0.001)
    held = {"ETH-PERPETUAL": inverse, "ETH_USDC-PERPETUAL": linear}
    alone = [exact_sets(plan, {universe.row(s) or 0: q})[0] for s, q in held.items()]
    both = exact_sets(plan, {universe.row(s) or 0: q for s, q in held.items()})[0]
    matrix = [one.components["risk_matrix"] for one in (*alone, both)]
    assert matrix[2] < 0.75 * max(matrix[:2])
    assert matrix[2] > 0.3 * max(matrix[:2])
    # At -18 % the inverse book loses N(1/0.82 - 1) coin, the linear one gains 0.4 of 0.18 N.
    coins = inverse / float(snapshot.mark[universe.row("ETH-PERPETUAL") or 0])
    short = -linear * 0.001 * float(snapshot.mark[universe.row("ETH_USDC-PERPETUAL") or 0])
    down = coins * (1 / 0.82 - 1) - 0.4 * 0.18 * short / float(index)
    up = 0.18 * short / float(index) - 0.6 * coins * (1 - 1 / 1.18)
    assert matrix[2] == pytest.approx(max(down, up), rel=1e-6)


def test_a_set_has_the_same_bits_alone_and_in_a_crowd(
    plan: Plan, venue: Venue, snapshot: Snapshot
) -> None:
    crowd = requirements(plan, venue.book)
    held = venue.book
    for account in range(0, 300, 7):
        span = slice(int(held.first[account]), int(held.first[account + 1]))
        alone = book(
            accounts=["x"],
            account=np.zeros(span.stop - span.start, dtype=np.int32),
            instrument=held.instrument[span][::-1],
            lots=held.lots[span][::-1],
            universe=snapshot.universe,
        )
        answer = requirements(plan, alone)
        assert answer.initial[0] == crowd.initial[account]
        assert answer.maintenance[0] == crowd.maintenance[account]
        mine = crowd.sets.account == account
        for name, column in crowd.sets.components.items():
            assert (answer.sets.components[name] == column[mine]).all(), name


def test_threads_change_nothing(plan: Plan, venue: Venue) -> None:
    one, two = (requirements(plan, venue.book, threads=n) for n in (1, 2))
    assert (one.initial == two.initial).all()
    assert (one.maintenance == two.maintenance).all()
    kept = requirements(plan, venue.book, arranged=arrange(plan, venue.book))
    assert (kept.initial == one.initial).all()


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_permuting_splitting_and_merging_rows_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan = _cached_plan()
    symbols = plan.arrays.universe.symbols
    rows: list[dict[str, Any]] = [
        {
            "account": f"a{rng.integers(0, 4)}",
            "instrument": symbols[rng.integers(0, len(symbols))],
            "lots": int(rng.integers(-500, 500)),
        }
        for _ in range(30)
    ]
    lot = plan.arrays.universe.lot_size
    at = {symbol: row for row, symbol in enumerate(symbols)}
    told = [
        {**row, "size": row["lots"] * lot[at[row["instrument"]]]} for row in rows if row["lots"]
    ]
    halves = []
    for row in told:
        part = int(rng.integers(-50, 50))
        sizes = [lots * lot[at[row["instrument"]]] for lots in (row["lots"] - part, part)]
        halves += [{**row, "size": size} for size in sizes]
    order = rng.permutation(len(halves))
    first = sv.margin(told, plan).to_polars().sort("account")
    again = sv.margin([halves[i] for i in order], plan).to_polars().sort("account")
    shared = first.join(again, on="account", how="semi")
    assert shared.drop("reason").equals(again.join(first, on="account", how="semi").drop("reason"))


_PLAN: list[Plan] = []


def _cached_plan() -> Plan:
    if not _PLAN:
        market = generate_market(seed=3, expiries=3, strikes=6)
        _PLAN.append(api.prepare(market, shipped_rulebook("deribit-pm")))
    return _PLAN[0]


def test_closing_everything_gives_zero(plan: Plan, venue: Venue, snapshot: Snapshot) -> None:
    held = venue.book
    both = book(
        accounts=held.accounts,
        account=np.concatenate([held.account, held.account]),
        instrument=np.concatenate([held.instrument, held.instrument]),
        lots=np.concatenate([held.lots, -held.lots]),
        universe=snapshot.universe,
    )
    assert both.positions == 0
    answer = requirements(plan, both)
    assert (answer.initial == 0).all()
    assert (answer.maintenance == 0).all()


def test_long_options_cost_at_most_what_they_are_worth(plan: Plan, snapshot: Snapshot) -> None:
    for row in np.flatnonzero(snapshot.universe.is_option & snapshot.universe.inverse)[::9]:
        one = exact_sets(plan, {int(row): 10.0})[0]
        value = 10.0 * float(plan.arrays.units["value"][row])
        assert one.components["risk_matrix"] <= value + 1e-9


def test_inputs_enter_initial_margin_only(plan: Plan) -> None:
    held = {int(plan.arrays.universe.row("BTC-PERPETUAL") or 0): 100.0}
    base = exact_sets(plan, held)[0]
    more = exact_sets(plan, held, {"mmp_margin": {BTC: 0.5}, "open_orders_margin": {BTC: 0.25}})[0]
    assert more.initial == pytest.approx(base.initial + 0.75, abs=2e-9)
    assert more.maintenance == base.maintenance


def test_delta_shock_charges_only_beyond_its_threshold(plan: Plan, snapshot: Snapshot) -> None:
    row = int(plan.arrays.universe.row("BTC-PERPETUAL") or 0)
    mark = float(snapshot.mark[row])
    small = exact_sets(plan, {row: 10_000_000 / 10})[0]
    large = exact_sets(plan, {row: 60_000_000 / 10})[0]
    assert small.components["delta_shock"] == 0.0
    coins = 60_000_000 / mark
    excess = coins - 20_000_000 / float(snapshot.index[0])
    assert large.components["delta_shock"] == pytest.approx(coins * 5e-5 * excess, rel=1e-9)


def test_unknown_positions_freeze_their_account_alone() -> None:
    """A coin without parameters makes an account UNKNOWN, with the reason, and no other."""
    market = generate_market(seed=2, coins=("BTC", "SOL"), expiries=2, strikes=4)
    rows = [
        {"account": "a", "instrument": "BTC-PERPETUAL", "size": 1_000},
        {"account": "b", "instrument": "SOL_USDC-PERPETUAL", "size": 10},
    ]
    answer = sv.margin(rows, market, collateral=[{"account": "a", "asset": "BTC", "amount": 1}])
    table = {row["account"]: row for row in answer.to_polars().iter_rows(named=True)}
    assert table["a"]["status"] == "healthy"
    assert table["b"]["status"] == "unknown"
    assert table["b"]["initial_margin"] is None
    assert table["b"]["reason"] == "deribit-pm has no pair parameters for SOL"
    assert "1 unknown" in repr(answer)


def test_a_row_that_lacks_one_number_is_no_row() -> None:
    """An unset entry that only a comparison reads would else be taken for *not less*."""
    text = sv.load_rulebook("deribit-pm").model_dump(by_alias=True)
    for row in text["tables"]["pair"]["rows"]:
        if "ETH" in row["keys"]:
            del row["values"]["short_term_vega_power"]
    rulebook = check_rulebook(text, source="mine")
    rows = [
        {"account": "a", "instrument": "BTC-PERPETUAL", "size": 1_000},
        {"account": "b", "instrument": "ETH-PERPETUAL", "size": 1_000},
    ]
    market = generate_market(seed=2, expiries=1, strikes=2)
    answer = sv.margin(rows, market, rulebook=rulebook).to_polars()
    assert answer["status"].to_list() == ["unfunded", "unknown"]
    assert answer["reason"][1] == "deribit-pm has no pair.short_term_vega_power for ETH"


def test_missing_vol_freezes_an_account(snapshot: Snapshot) -> None:
    flags = snapshot.flags.copy()
    row = int(np.flatnonzero(snapshot.universe.is_option)[0])
    flags[row] |= 4
    broken = replace(snapshot, flags=flags)
    symbol = snapshot.universe.symbols[row]
    size = float(snapshot.universe.lot_size[row])
    answer = sv.margin([{"account": "a", "instrument": symbol, "size": size}], broken)
    assert answer.standings[0] is Standing.UNKNOWN
    assert symbol in answer.to_polars()["reason"][0]


def test_standings_and_equity(plan: Plan, snapshot: Snapshot) -> None:
    size = 100_000
    row = int(plan.arrays.universe.row("BTC-PERPETUAL") or 0)
    mark = float(snapshot.mark[row])
    position = {"instrument": "BTC-PERPETUAL", "size": size, "entry_price": mark * 0.99}
    rows = [{"account": name, **position} for name in ("rich", "low", "poor")]
    requirement = sv.margin(rows, plan).to_polars()
    initial, maintenance = requirement["initial_margin"][0], requirement["maintenance_margin"][0]
    gain = size * (1 / (mark * 0.99) - 1 / mark) * float(snapshot.index[0])
    balances = [
        {"account": "rich", "asset": "USDC", "amount": initial - gain + 1},
        {"account": "low", "asset": "USDC", "amount": initial - gain - 1},
        {"account": "poor", "asset": "USDC", "amount": maintenance - gain - 1},
        {"account": "idle", "asset": "BTC", "amount": 2},
    ]
    answer = sv.margin(rows, plan, collateral=balances)
    table = {row["account"]: row for row in answer.to_polars().iter_rows(named=True)}
    assert [table[name]["status"] for name in ("rich", "low", "poor", "idle")] == [
        "healthy", "call", "liquidate", "healthy",
    ]  # fmt: skip
    assert table["rich"]["unrealised"] == pytest.approx(gain, abs=1e-4)
    assert table["rich"]["available"] == pytest.approx(1, abs=1e-3)
    assert table["idle"]["initial_margin"] == 0
    assert table["idle"]["equity"] == pytest.approx(2 * float(snapshot.index[0]), abs=1e-5)


def test_haircut_counts_for_initial_margin_and_never_shrinks_a_debt() -> None:
    market = generate_market(seed=4, coins=("BTC", "ETH"), expiries=1, strikes=2)
    rows = [{"account": "a", "instrument": "ETH-PERPETUAL", "size": 1_000}]
    plain = sv.margin(rows, market, collateral=[{"account": "a", "asset": "ETH", "amount": 5}])
    debt = sv.margin(
        rows, market,
        collateral=[
            {"account": "a", "asset": "ETH", "amount": 5},
            {"account": "a", "asset": "USDC", "amount": -100},
        ],
    )  # fmt: skip
    assert debt.to_polars()["equity"][0] == pytest.approx(plain.to_polars()["equity"][0] - 100)
    bitcoin = generate_market(seed=4, coins=("BTC",), expiries=1, strikes=2)
    with pytest.raises(BadInput, match="expected an asset that the market has an index for"):
        sv.margin(
            [{**rows[0], "instrument": "BTC-PERPETUAL"}], bitcoin,
            collateral=[{"account": "a", "asset": "STETH", "amount": 1}],
        )  # fmt: skip
    with pytest.raises(BadInput, match=r"COLLATERAL_NOT_ACCEPTED"):
        sv.margin(rows, market, collateral=[{"account": "a", "asset": "DOGE", "amount": 1}])


def test_shares_sum_to_the_requirement(plan: Plan, venue: Venue) -> None:
    answer = sv.margin(venue.book, plan)
    for account in range(0, 1_000, 29):
        view = answer.explain(venue.book.accounts[account])
        for margin, share in (("initial", "initial"), ("maintenance", "maintenance")):
            total = sum(getattr(p, share) for one in view.sets for p in one.positions)
            assert total == pytest.approx(getattr(view, margin), rel=1e-6, abs=1e-4)
        for one in view.sets:
            scan = one.scans[0]
            worst = float(scan.total.min())
            assert one.components["risk_matrix"] == pytest.approx(max(0, -worst), abs=1e-4)
            assert sum(one.components[c] for c in ("risk_matrix", "roll_shock")) <= one.initial + 1


def test_explain_refuses_an_unknown_account(plan: Plan, venue: Venue) -> None:
    with pytest.raises(BadInput, match="expected one of 3000 accounts"):
        sv.margin(venue.book, plan).explain("nobody")


def test_tables_and_notebook(plan: Plan, venue: Venue) -> None:
    answer = sv.margin(venue.book, plan, collateral=venue.collateral)
    table = answer.to_polars()
    assert table.height == len(venue.book)
    assert {"account", "status", "equity", "initial_margin", "worst_scenario"} <= set(table.columns)
    assert answer.sets().height >= table.height * 0.9
    per_account = answer.sets().group_by("account").agg(pl.col("initial_margin").sum())
    joined = table.join(per_account, on="account")
    gap = (joined["initial_margin"] - joined["initial_margin_right"]).abs().to_numpy()
    assert gap.max() < 1e-5
    assert "<table" in answer._repr_html_()
    assert "3,000 accounts" in repr(answer)


def test_unknown_rulebook_is_named() -> None:
    with pytest.raises(RulebookError, match=r"no rulebook 'nope'; there are .*deribit-pm"):
        sv.load_rulebook("nope")
