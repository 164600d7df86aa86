"""Strategy-based margin: worked strategies, and 1,000 portfolios against margin-estimator."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from solvent.conform.levels import number, sheet
from solvent.margining.levels.rows import Sheet, Unset

HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Leg:
    """An option position in contracts of a hundred; prices per share in dollars."""

    size: int
    strike: str
    is_call: bool
    premium: str


def account(
    legs: Sequence[Leg],
    spot: str,
    *,
    shares: int = 0,
    days: int = 30,
    underlying: str = "XYZ",
    cash: int = 0,
) -> Sheet:
    positions: list[dict[str, Any]] = [
        {
            "instrument": f"{underlying}-{days}-{leg.strike}-{'C' if leg.is_call else 'P'}",
            "underlying": underlying,
            "expiry": days,
            "right": "call" if leg.is_call else "put",
            "size": leg.size,
            "contract_size": HUNDRED,
            "is_option": 1,
            "is_call": int(leg.is_call),
            "index": spot,
            "strike": leg.strike,
            "mark": leg.premium,
            "settlement_price": 1,
            "days": days,
        }
        for leg in legs
    ]
    assets: list[dict[str, Any]] = [{"asset": "USD", "amount": cash, "price": 1}]
    if shares:
        assets.append({"asset": underlying, "amount": shares, "price": spot})
    return sheet("strategy-based", position=positions, asset=assets)


def value(one: Sheet, column: str, level: str = "account") -> Fraction:
    return number(one.value(level, column))


# ── worked by hand ───────────────────────────────────────────────────────────────────────────


def test_a_naked_put_needs_its_premium_and_a_fifth_of_the_price() -> None:
    # 0.45 + 20 % of 11.03 − 0.03 out of the money (11.03 > 11) = 2.626 → 2.63 a share.
    one = account([Leg(-1, "11", False, "0.45")], "11.03")
    assert value(one, "deposit") == 263


def test_a_fund_of_three_times_a_broad_index_needs_three_times_its_share() -> None:
    # 15 % × 3 of 100 − 10 out of the money + 2 = 37; the least is 2 + 10 % × 3 of 100 = 32.
    one = account([Leg(-1, "110", True, "2")], "100", underlying="TQQQ")
    assert value(one, "deposit") == 3_700


def test_a_naked_option_far_out_of_the_money_needs_the_least_share() -> None:
    # Call: 0.05 + 10 % of the price 100. Put: 0.05 + 10 % of the strike 50.
    assert value(account([Leg(-1, "200", True, "0.05")], "100"), "initial") == 1_005
    assert value(account([Leg(-1, "50", False, "0.05")], "100"), "initial") == 505


def test_an_iron_condor_needs_its_wider_wing_less_the_credit() -> None:
    legs = [
        Leg(1, "567", False, "2.20"), Leg(-1, "572", False, "3.10"),
        Leg(-1, "602", True, "2.50"), Leg(1, "607", True, "1.02"),
    ]  # fmt: skip
    one = account(legs, "587.88", underlying="SPY")
    # Credit 3.10 + 2.50 − 2.20 − 1.02 = 2.38; the wings are 5 wide and only one can lose.
    assert value(one, "initial") == 500
    assert value(one, "deposit") == 500 - 238


def test_vertical_butterfly_and_box() -> None:
    credit = [Leg(-1, "100", True, "4"), Leg(1, "110", True, "1")]
    assert value(account(credit, "100"), "initial") == 1_000
    debit = [Leg(1, "100", True, "4"), Leg(-1, "110", True, "1")]
    assert value(account(debit, "100"), "initial") == 0
    assert value(account(debit, "100"), "deposit") == 300
    butterfly = [Leg(1, "90", True, "12"), Leg(-2, "100", True, "5"), Leg(1, "110", True, "1")]
    assert value(account(butterfly, "100"), "initial") == 0
    short_box = [
        Leg(-1, "90", True, "12"), Leg(1, "110", True, "1"),
        Leg(1, "90", False, "1"), Leg(-1, "110", False, "11"),
    ]  # fmt: skip
    assert value(account(short_box, "100"), "initial") == 2_000


def test_a_strangle_needs_the_larger_side_and_the_premium_of_the_other() -> None:
    legs = [Leg(-1, "110", True, "1"), Leg(-1, "95", False, "2")]
    # Call: 1 + max(20 − 10, 10) = 11. Put: 2 + max(20 − 5, 9.5) = 17.
    assert value(account(legs, "100"), "initial") == 1_800
    # One more call stands by itself.
    assert value(account([Leg(-2, "110", True, "1"), legs[1]], "100"), "initial") == 1_800 + 1_100


def test_shares_cover_whole_contracts() -> None:
    calls = [Leg(-2, "110", True, "1")]
    one = account(calls, "100", shares=150)
    # A hundred shares cover one call; the other needs 1 + 10. Shares need half their value.
    assert value(one, "initial") == 1_100 + 7_500
    assert value(one, "maintenance") == 1_100 + 3_750
    assert value(one, "equity") == 15_000
    in_the_money = account([Leg(-1, "80", True, "21")], "100", shares=100)
    assert value(in_the_money, "equity") == 8_000


def test_a_short_ratio_leaves_the_later_strike_naked() -> None:
    legs = [Leg(-1, "100", True, "4"), Leg(-1, "105", True, "2"), Leg(1, "110", True, "1")]
    # The 100 is covered by the 110: 10 wide. The 105 is naked: 2 + max(20 − 5, 10) = 17.
    assert value(account(legs, "100"), "initial") == 1_000 + 1_700


def test_a_future_is_no_strategy() -> None:
    one = sheet(
        "strategy-based",
        position=[
            {
                "instrument": "F",
                "underlying": "XYZ",
                "size": 1,
                "contract_size": 1,
                "is_option": 0,
                "is_call": 0,
                "days": 9,
                "strike": 0,
                "mark": 9,
                "settlement_price": 1,
            }
        ],
    )
    with pytest.raises(Unset, match="is_option does not hold at position F"):
        one.value("account", "initial")


def test_a_calendar_is_naked() -> None:
    """Pinned: margin-estimator lets the later call cover the earlier one, and asks 3 for it."""
    estimator = pytest.importorskip("margin_estimator")
    near, far = Leg(-1, "100", True, "2"), Leg(1, "100", True, "5")
    first, second = account([near], "100"), account([far], "100", days=60)
    ours = value(first, "deposit") + value(second, "deposit")
    assert ours == 2_200 + 500
    today = datetime.now().astimezone().date()
    theirs = estimator.calculate_margin(
        [_peer_leg(estimator, near, 30, today), _peer_leg(estimator, far, 60, today)],
        estimator.Underlying(price=Decimal(100)),
    )
    assert theirs.margin_requirement == 300


# ── the peer ─────────────────────────────────────────────────────────────────────────────────


def _peer_leg(estimator: Any, leg: Leg, days: int, today: date) -> Any:
    return estimator.Option(
        expiration=today + timedelta(days=days),
        price=Decimal(leg.premium),
        quantity=leg.size,
        strike=Decimal(leg.strike),
        type=estimator.OptionType.CALL if leg.is_call else estimator.OptionType.PUT,
    )


def _random_legs(random: np.random.Generator, spot: Decimal) -> list[Leg]:
    listed = [(strike, is_call) for strike in range(80, 125, 5) for is_call in (True, False)]
    chosen = random.choice(len(listed), size=int(random.integers(1, 7)), replace=False)
    legs = []
    for strike, is_call in (listed[n] for n in chosen):
        inside = max(spot - strike if is_call else strike - spot, Decimal(0))
        premium = inside + Decimal(int(random.integers(5, 900))) / 100
        size = int(random.integers(1, 4)) * (1 if random.random() < 0.5 else -1)
        legs.append(Leg(size, str(strike), is_call, str(premium)))
    return legs


def _column(one: Sheet, name: str) -> list[Fraction]:
    rows = range(len(one.rows("position")))
    return [number(one.value("position", name, row)) for row in rows]


def _always_paid(one: Sheet, legs: Sequence[Leg]) -> Fraction:
    """What spreads pay at least, over held strikes; the peer takes its absolute value as a loss."""
    held = [(leg, size) for leg, size in zip(legs, _column(one, "spread"), strict=True) if size]
    pays = [
        sum(size * max(at - int(leg.strike) if leg.is_call else int(leg.strike) - at, 0)
            for leg, size in held)
        for at in {int(leg.strike) for leg, _ in held}
    ]  # fmt: skip
    return max(Fraction(min(pays, default=0)), Fraction(0))


def _peer_strangles(one: Sheet, legs: Sequence[Leg]) -> Fraction:
    """Naked calls and puts as the peer pairs them. A pair of q strangles needs q × (q × the larger
    need + the other's premium): q once too often."""
    naked, needs = _column(one, "naked"), _column(one, "each_need")
    queue = sorted(
        (int(leg.strike), leg.is_call, quantity / HUNDRED, need, Fraction(leg.premium))
        for leg, quantity, need in zip(legs, naked, needs, strict=True)
        if quantity
    )
    calls = deque(row[2:] for row in queue if row[1])
    puts = deque(row[2:] for row in queue if not row[1])
    total = Fraction(0)
    while calls and puts:
        call, put = calls.popleft(), puts.popleft()
        pairs = min(call[0], put[0])
        larger, other = (call, put) if call[1] > put[1] else (put, call)
        total += pairs * HUNDRED * (pairs * larger[1] + other[2])
        for side, rest in ((calls, call), (puts, put)):
            if rest[0] > pairs:
                side.appendleft((rest[0] - pairs, *rest[1:]))
    return total + sum(count * HUNDRED * need for count, need, _ in (*calls, *puts))


def test_a_thousand_portfolios_agree_with_margin_estimator() -> None:
    """To the cent, once its two slips are put right; most portfolios meet neither."""
    estimator = pytest.importorskip("margin_estimator")
    random = np.random.default_rng(7)
    today, plain = datetime.now().astimezone().date(), 0
    for _ in range(1_000):
        spot = Decimal(int(random.integers(4_500, 5_500)) * 2) / 100
        legs = _random_legs(random, spot)
        shares = int(random.choice([0, 0, 0, 100, 150, 300, -100, -250]))
        days = int(random.choice([20, 45, 89, 90, 200]))
        one = account(legs, str(spot), shares=shares, days=days)
        peer_legs: list[Any] = [_peer_leg(estimator, leg, days, today) for leg in legs]
        if shares:
            peer_legs.append(estimator.Shares(price=spot, quantity=shares))
        theirs = estimator.calculate_margin(peer_legs, estimator.Underlying(price=spot))
        slips = _always_paid(one, legs) + _peer_strangles(one, legs) - value(one, "naked")
        assert value(one, "deposit") + slips == Fraction(theirs.margin_requirement)
        plain += slips == 0
    assert plain == 945, "portfolios that need no explanation"


@pytest.mark.parametrize("seed", range(20))
def test_needs_are_not_negative_and_the_order_of_rows_does_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    legs = _random_legs(random, Decimal(100))
    one, other = account(legs, "100", shares=100), account(legs[::-1], "100", shares=100)
    for column in ("initial", "maintenance", "equity", "deposit"):
        assert value(one, column) == value(other, column)
    assert 0 <= value(one, "maintenance") <= value(one, "initial")
