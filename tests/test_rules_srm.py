"""Derive's standard risk manager: worked by hand, properties, and the published cases."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.conform import conform
from solvent.conform.derive_srm import portfolio
from solvent.conform.levels import number, sheet
from solvent.margining.levels.rows import Sheet, Unset
from tests.conftest import need_shared

SPOT = 2_000


def option(size: Any, strike: Any, *, call: bool, **facts: Any) -> dict[str, Any]:
    """An ETH option at expiry, so that it is worth what it is in the money."""
    return {
        "instrument": f"ETH-{strike}-{'C' if call else 'P'}",
        "underlying": "ETH",
        "expiry": 1,
        "kind": "option",
        "size": size,
        "contract_size": 1,
        "is_option": 1,
        "inverse": 0,
        "is_call": int(call),
        "index": SPOT,
        "forward": SPOT,
        "strike": strike,
        "iv": 1,
        "years": 0,
        **facts,
    }


def perpetual(size: Any, **facts: Any) -> dict[str, Any]:
    return {
        "instrument": "ETH-PERP",
        "underlying": "ETH",
        "kind": "perpetual",
        "size": size,
        "contract_size": 1,
        "is_option": 0,
        "inverse": 0,
        "is_call": 0,
        "index": SPOT,
        "mark": 2_010,
        "entry_price": 2_000,
        **facts,
    }


def account(
    *positions: dict[str, Any],
    cash: Any = 0,
    coins: Any = 0,
    confidence: Any = 1,
    stable_price: Any = 1,
) -> Sheet:
    return sheet(
        "derive-srm",
        account=[{"account": "", "stable_price": stable_price}],
        underlying=[{"underlying": "ETH", "spot_confidence": confidence}],
        position=list(positions),
        asset=[{"asset": "USDC", "amount": cash}, {"asset": "ETH", "amount": coins, "price": SPOT}],
    )


def value(one: Sheet, column: str) -> Fraction:
    return number(one.value("account", column))


def nets(one: Sheet) -> tuple[Any, Any]:
    return value(one, "net_initial"), value(one, "net_maintenance")


# ── worked by hand, under the parameters at deployment ───────────────────────────────────────


def test_a_short_call_by_itself() -> None:
    # 2,100 is 5 % out: initial max(15 % − 5 %, 13 %) of 2,000, maintenance 9 %. No worth.
    assert nets(account(option(-1, 2_100, call=True))) == (-260, -180)
    # 2,000 is at the money: 15 %. Inside by 100: its worth as well.
    assert nets(account(option(-1, 2_000, call=True))) == (-300, -180)
    assert nets(account(option(-1, 1_900, call=True))) == (-400, -280)


def test_a_short_put_by_itself() -> None:
    # 3,000: worth 1,000. Maintenance max(180, 9 % of 1,000) + 1,000; initial
    # max(15 % of 2,000 + 1,000, 1.05 × 1,180).
    assert nets(account(option(-1, 3_000, call=False))) == (-1_300, -1_180)
    # 5,000: worth 3,000. Maintenance 9 % of 3,000 + 3,000; initial 1.05 of that.
    deep = account(option(-1, 5_000, call=False))
    assert nets(deep) == (-Fraction("3433.5"), -3_270)


def test_a_put_spread_needs_no_more_than_it_can_lose() -> None:
    wide = [option(1, 1_000, call=False), option(-1, 2_000, call=False)]
    assert nets(account(*wide)) == (-300, -180)
    narrow = [option(1, 1_900, call=False), option(-1, 2_000, call=False)]
    assert nets(account(*narrow)) == (-100, -100)


def test_calls_that_no_call_covers_count_at_the_forward() -> None:
    # 0.01 of a call is short of cover: 1.2 and 1.1 of 20 dollars, beside the loss at 1,200:
    # 1.01 × 100 of the lower strike.
    legs = [option(-Fraction("1.01"), 1_100, call=True), option(1, 1_200, call=True)]
    assert nets(account(*legs)) == (-101 - 24, -101 - 22)


def test_a_perpetual_needs_a_share_of_its_mark() -> None:
    # Gain 2 × 10; funding −2 × (7 − 4). Notional 4,020: 10 % and 6.5 %.
    one = account(perpetual(2, funding_index=7, funding_paid=4))
    assert value(one, "equity") == 14
    assert nets(one) == (14 - 402, 14 - Fraction("261.3"))


def test_coins_count_in_part() -> None:
    one = account(coins=3, cash=10, stable_price=Fraction(4, 5))
    # 6,000 dollars: 80 % for maintenance, 93.75 % of that for initial; worth 7,500 USDC.
    assert nets(one) == (10 + 4_500, 10 + 4_800)
    assert value(one, "equity") == 10 + 7_500


def test_a_feed_in_doubt_adds_to_initial_margin() -> None:
    # Confidence 0.5 is below 0.55: half of 2,000 a unit of shorts, of perpetuals, of coins.
    assert nets(account(option(-1, 2_100, call=True), confidence=Fraction(1, 2))) == (-1_260, -180)
    assert nets(account(option(-1, 2_100, call=True, confidence=Fraction(1, 2)))) == (-1_260, -180)
    assert value(account(perpetual(-2, confidence=0)), "oracle_contingency") == 4_000
    doubted = account(coins=1, confidence=Fraction(1, 2))
    assert nets(doubted) == (1_500 - 1_000, 1_600)
    # At the threshold itself, and for longs, there is none.
    at = Fraction("0.55")
    assert nets(account(option(-1, 2_100, call=True), confidence=at)) == (-260, -180)
    assert nets(account(option(1, 2_100, call=True), confidence=0)) == (0, 0)


def test_a_lost_peg_adds_to_initial_margin() -> None:
    # (0.99 − 0.94) × 2 of 2,000 dollars for each short option and unit of perpetual.
    legs = [option(-1, 2_100, call=True), option(5, 2_200, call=True), perpetual(-2)]
    one = account(*legs, stable_price=Fraction("0.94"))
    assert value(one, "depeg_contingency") == 3 * 200


def test_amounts_are_cut_off_at_eighteen_decimals() -> None:
    third = Fraction(10**18 // 3, 10**18)
    one = account(perpetual(third, mark=3, entry_price=3))
    # A third of 3 dollars is 0.999…; a tenth of it loses its last digit.
    assert value(one, "perp_initial") == Fraction(10**17 - 1, 10**18)


def test_what_the_venue_does_not_list_is_not_known() -> None:
    with pytest.raises(Unset, match=r"listed\.unit of kind 'future' is not set"):
        nets(account(perpetual(1, kind="future")))
    with pytest.raises(Unset, match="inverse"):
        nets(account(perpetual(1, inverse=1)))
    stranger = option(-1, 5, call=True, underlying="DOGE", instrument="DOGE-5-C")
    with pytest.raises(Unset, match="of underlying 'DOGE' is not set"):
        nets(account(stranger))


# ── properties ───────────────────────────────────────────────────────────────────────────────

hundredths = st.integers(0, 10_000).map(lambda n: Fraction(n, 100))
legs = st.lists(
    st.builds(
        option,
        st.fractions(-5, 5, max_denominator=100),
        st.integers(10, 40).map(lambda n: n * 100),
        call=st.booleans(),
        years=st.sampled_from([0, Fraction(1, 12)]),
    ),
    max_size=6,
    unique_by=lambda row: row["instrument"],
)


@settings(max_examples=40)
@given(legs)
def test_initial_asks_more_than_maintenance_and_neither_more_than_each_alone(
    book: list[dict[str, Any]],
) -> None:
    whole = nets(account(*book))
    alone = [nets(account(one)) for one in book]
    assert whole[0] <= whole[1] <= 0
    assert whole[0] >= sum(one[0] for one in alone)
    assert whole[1] >= sum(one[1] for one in alone)


@settings(max_examples=25)
@given(legs, hundredths, hundredths)
def test_more_collateral_never_hurts_and_order_does_not_matter(
    book: list[dict[str, Any]], cash: Fraction, coins: Fraction
) -> None:
    less, more = account(*book), account(*reversed(book), cash=cash, coins=coins)
    assert value(more, "net_initial") == value(less, "net_initial") + cash + coins * 1_500
    assert value(more, "net_maintenance") == value(less, "net_maintenance") + cash + coins * 1_600


# ── published ────────────────────────────────────────────────────────────────────────────────


def test_published_cases() -> None:
    folder = need_shared("vectors", "derive")
    result = conform([folder / "srm_cases.json", folder / "srm_portfolio_cases.json"])
    assert (result.failed, result.unknown) == (0, 0)
    assert result.passed == 35


def test_published_parts() -> None:
    """What the margins of the cases are made of."""
    file = json.loads(need_shared("vectors", "derive", "srm_cases.json").read_text("utf-8"))
    for row in file["cases"]:
        one, detail = portfolio(row, file["params"]), row["expected"]["detail"]
        parts = {
            "option_initial": -Fraction(detail["ETHOptionIM"]) - Fraction(detail["BTCOptionIM"]),
            "option_maintenance": -Fraction(detail["ETHOptionMM"])
            - Fraction(detail["BTCOptionMM"]),
            "perp_maintenance": -Fraction(detail["PerpMargin"]),
            "perp_cash": Fraction(detail["UnrealizedPNL"]) + Fraction(detail["UnsettledFunding"]),
            "coin_maintenance": Fraction(detail["BaseMargin"]),
            "oracle_contingency": -Fraction(detail["OracleConts"]),
            "depeg_contingency": -Fraction(detail["DepegIMs"]),
        }
        for column, expected in parts.items():
            assert float(value(one, column)) == pytest.approx(float(expected), rel=1e-12, abs=1e-9)
