"""The insurance fund, moves of money and shared losses; incidents that were about them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.errors import InvariantBroken, Refused, Reject
from solvent.liquidation.adl import pro_rata, whole
from solvent.liquidation.fund import (
    Drawdown,
    Source,
    contributed,
    draw,
    drawdown,
    fee,
    improvement,
    pool_spent,
    scope,
)
from solvent.liquidation.moves import Move, ordered, settled
from solvent.liquidation.socialise import Gain, by_gains, paid_gains, with_surplus
from solvent.verify.liquidation import one_by_one

F = Fraction

# ── draws ────────────────────────────────────────────────────────────────────────────────────────

SOURCES = st.lists(st.tuples(st.integers(-10, 60), st.none() | st.integers(0, 40)), max_size=5)


@given(st.integers(0, 200), SOURCES)
def test_draws_keep_their_order_and_their_limits(
    debt: int, told: list[tuple[int, int | None]]
) -> None:
    sources = [Source(f"s{n}", balance, most) for n, (balance, most) in enumerate(told)]
    found = draw(debt, sources)
    may = [max(0, min(balance, balance if most is None else most)) for balance, most in told]
    assert [row.paid for row in found.rows] == slow_queue(may, debt)
    assert found.paid + found.uncovered == debt
    for row, source in zip(found.rows, sources, strict=True):
        assert row.balance == source.balance - row.paid
        assert row.balance >= min(0, source.balance)
    # nobody pays while one before could have paid more
    for earlier, later, have in zip(found.rows, found.rows[1:], may, strict=False):
        assert not later.paid or earlier.paid == have


def slow_queue(have: list[int], total: int) -> list[int]:
    return one_by_one(have, range(len(have)), total)


def test_a_fund_of_nothing() -> None:
    assert draw(5, []) == ((), 5)
    assert draw(5, [Source("a", 0)]).uncovered == 5
    assert draw(0, [Source("a", 9)]).rows[0].paid == 0
    with pytest.raises(InvariantBroken):
        draw(-1, [])


def test_hyperliquid_jelly_a_backstop_never_draws_on_its_siblings() -> None:
    """March 2025: a vault took a position and shared collateral with sibling vaults, so that nobody
    was deleveraged. A fund of one market pays for it alone, up to its own cap."""
    funds = [
        Source("btc vault", 10**9, None, "BTC"),
        Source("jelly vault", 5_000, 3_000, "JELLY"),
        Source("eth vault", 10**9, None, "ETH"),
    ]
    found = draw(4_000_000, scope("JELLY", funds))
    assert [(row.name, row.paid) for row in found.rows] == [("jelly vault", 3_000)]
    assert found.uncovered == 3_997_000
    assert scope("JELLY", [*funds, Source("all", 7)])[-1].name == "all"
    assert scope("", [*funds, Source("all", 7)]) == (Source("all", 7),)


def test_contributions() -> None:
    assert fee(100, F(1, 3)) == 34
    assert fee(100, F(2, 3)) == 67
    assert fee(0, F(2, 3)) == fee(100, F(0)) == 0
    assert contributed(0, balance=5, cap=9) == (0, 0)
    for wrong in ((-1, F(1)), (1, F(-1))):
        with pytest.raises(InvariantBroken):
            fee(*wrong)
    with pytest.raises(InvariantBroken):
        contributed(-1, balance=0)
    assert contributed(10, balance=100, cap=100) == (0, 10)
    assert contributed(10, balance=120, cap=100) == (0, 10)
    assert contributed(10, balance=0, cap=100) == (10, 0)
    assert improvement(received=95, bankruptcy=100) == -5


# ── triggers ─────────────────────────────────────────────────────────────────────────────────────


def bybit(profit: int, *, balance: int = 1_000, was: bool = False, threshold: int = 1) -> bool:
    found = drawdown(
        balance=balance, threshold=threshold, profit=profit, profit_max=0, balance_max=1_000,
        was=was, start=F(-3, 10), stop=F(-1, 4),
    )  # fmt: skip
    return found.deleverage


def test_a_drawdown_starts_deeper_than_it_stops() -> None:
    assert not bybit(-300)
    assert bybit(-301)
    assert bybit(-260, was=True)
    assert bybit(-250, was=True)
    assert not bybit(-249, was=True)
    assert not bybit(-260)
    assert not bybit(-999, balance=50, threshold=50)
    for balance in (0, -5):
        assert bybit(0, balance=balance)
    rule: dict[str, Any] = {"balance": 9, "threshold": 1, "was": False, "start": F(-3, 10)}
    found = drawdown(profit=-5, profit_max=0, balance_max=0, stop=F(-1, 4), **rule)
    assert found == Drawdown(F(0), False, F(0))
    # from its highest: 200 less of 1,000, which is within the limit; of 1 it is beyond
    found = drawdown(profit=100, profit_max=300, balance_max=1_000, stop=F(0), **rule)
    assert found == Drawdown(F(-1, 5), False, F(0))
    found = drawdown(profit=0, profit_max=1, balance_max=1, stop=F(-3, 10), **rule)
    assert found == Drawdown(F(-1), True, F(7, 10))
    for stop in (F(1, 10), F(-4, 10)):
        with pytest.raises(InvariantBroken):
            drawdown(profit=0, profit_max=0, balance_max=1, stop=stop, **rule)


def test_a_pool_below_its_floor() -> None:
    rule: dict[str, Any] = {"share": F(3, 10), "least": 50_000}
    assert pool_spent(279_999, 400_000, **rule)
    assert not pool_spent(280_000, 400_000, **rule)
    # of a small fund the amount counts, not the share
    assert not pool_spent(50_000, 100_000, **rule)
    assert pool_spent(49_999, 100_000, **rule)
    assert pool_spent(0, 0, **rule)
    assert not pool_spent(1, 50_000, **rule)
    assert pool_spent(0, 50_000, **rule)
    assert pool_spent(10**6, 10**6, unmatched=11, unmatched_max=10, **rule)
    assert not pool_spent(10**6, 10**6, unmatched=10, unmatched_max=10, **rule)


# ── moves ────────────────────────────────────────────────────────────────────────────────────────

NAMES = st.sampled_from("abcdef")
MOVES = st.lists(
    st.tuples(NAMES, NAMES, st.integers(0, 50)).filter(lambda one: one[0] != one[1]), max_size=12
).map(lambda rows: [Move(*row, f"m{n}") for n, row in enumerate(rows)])


@given(MOVES, st.dictionaries(NAMES, st.integers(0, 100)), st.sets(NAMES))
def test_what_settles_is_kept_and_never_below_its_floors(
    moves: list[Move], balances: dict[str, int], floored: set[str]
) -> None:
    floors = dict.fromkeys(floored, 0)
    held = dict(balances)
    fails = None
    for number, move in enumerate(moves):
        held[move.source] = held.get(move.source, 0) - move.amount
        held[move.target] = held.get(move.target, 0) + move.amount
        if move.amount and move.source in floored and held[move.source] < 0:
            fails = number
            break
    if fails is not None:
        with pytest.raises(Refused, match=rf"^row {fails + 1}: {moves[fails].source}: ") as refused:
            settled(balances, moves, floors)
        assert refused.value.code is Reject.FUND_INSUFFICIENT
        return
    found = settled(balances, moves, floors)
    assert sum(found.balances.values()) == sum(balances.values())
    assert found.balances == held
    assert all(row.source_after >= 0 for row in found.rows
               if row.move.source in floored and row.move.amount)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(0, 50)), max_size=12),
       st.randoms())  # fmt: skip
def test_a_table_without_circles_settles_whatever_way_it_was_told(
    rows: list[tuple[int, int, int]], chance: Any
) -> None:
    """Places pay only places further on: in order, each has what it pays before it pays it."""
    moves = [Move(f"p{a}", f"p{a + step}", amount, str(n))
             for n, (a, step, amount) in enumerate(rows)]  # fmt: skip
    final = dict.fromkeys((f"p{n}" for n in range(12)), 0)
    for move in moves:
        final[move.source] -= move.amount
        final[move.target] += move.amount
    # what each begins with is what it ends up owing: not a unit more
    begin = {name: max(0, -balance) for name, balance in final.items()}
    chance.shuffle(moves)
    done = ordered(moves)
    assert sorted(done) == sorted(moves)
    assert min(settled(begin, done, dict.fromkeys(final, 0)).balances.values()) >= 0


def test_order_is_kept_where_it_does_not_matter_and_in_circles() -> None:
    free = [Move("a", "x", 1, "1"), Move("b", "y", 1, "2"), Move("c", "z", 1, "3")]
    assert list(ordered(free)) == free
    circle = [Move("a", "b", 1, "1"), Move("b", "a", 1, "2"), Move("c", "a", 1, "3")]
    assert [move.why for move in ordered(circle)] == ["3", "1", "2"]
    with pytest.raises(InvariantBroken):
        settled({}, [Move("a", "b", -1, "")], {})
    with pytest.raises(InvariantBroken):
        settled({}, [Move("a", "a", 1, "")], {})


FUND = 1_000


@pytest.mark.parametrize("shortfall", [0, 1, FUND, FUND + 1])
def test_dydx_october_2025_the_fund_pays_before_the_subaccount_does(shortfall: int) -> None:
    """The whole open interest of an isolated market goes in one fill. What is left of its
    collateral returned to the main pool before the fund had paid in: a negative transfer, and a
    halt of eight hours. In order it settles at every row; what the fund lacks the winners pay."""
    collateral, returned = 500, 500 + shortfall
    floors = dict.fromkeys(("isolated", "insurance", "main", "winners"), 0)
    balances = {"isolated": collateral, "insurance": FUND, "main": 0, "winners": 300}
    drawn = draw(shortfall, [Source("insurance", FUND)])
    shared = by_gains(drawn.uncovered, [200, 100])
    as_it_was = [
        Move("isolated", "main", returned, "collateral back"),
        Move("insurance", "isolated", drawn.paid, "shortfall"),
        Move("winners", "isolated", sum(shared.paid), "deleveraged"),
    ]
    if shortfall:
        with pytest.raises(Refused, match="row 1: isolated: expected at least 0"):
            settled(balances, as_it_was, floors)
    done = settled(balances, ordered(as_it_was), floors)
    assert all(min(row.source_after, row.target_after) >= 0 for row in done.rows)
    assert done.balances["main"] == returned
    assert done.balances["insurance"] == FUND - min(shortfall, FUND)
    assert drawn.paid + sum(shared.paid) == shortfall
    assert "collateral back" in str(done.rows[-1])


# ── shared losses ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("gains", "collected", "paid"),
    [
        ([80, 8_000], 5_080, [50, 5_030]),
        ([80, 2_000, 6_000], 2_580, [25, 638, 1_917]),
        ([800, 7_200, 800], 5_800, [527, 4_745, 528]),
        ([80, 7_200, 800], 7_980, [79, 7_110, 791]),
        ([5_000_000] * 3, 14_793_400, [4_931_133, 4_931_133, 4_931_134]),
    ],
)
def test_vega_shares_losses_as_published(gains: list[int], collected: int, paid: list[int]) -> None:
    told = [Gain(str(n), gain) for n, gain in enumerate(gains)]
    assert list(paid_gains(told, collected).values()) == paid


@given(st.lists(st.integers(0, 99), min_size=1, max_size=6), st.integers(0, 300),
       st.integers(0, 5))  # fmt: skip
def test_vega_pays_all_that_was_collected(gains: list[int], collected: int, network: int) -> None:
    told = [Gain(str(n), gain, n == network) for n, gain in enumerate(gains)]
    paid = paid_gains(told, collected)
    assert sum(paid.values()) == min(collected, sum(gains))
    if collected < sum(gains):
        won = [gain for gain in told if gain.amount]
        rest = next((gain for gain in won if gain.is_network), won[-1])
        for gain in told:
            fair = gain.amount * collected // sum(gains)
            assert paid[gain.party] == fair or (gain is rest and paid[gain.party] > fair)
    else:
        more = with_surplus(told, collected)
        assert sum(more.values()) == collected
        assert all(more[gain.party] >= gain.amount for gain in told)


def test_a_network_that_has_not_gained_gets_nothing() -> None:
    told = [Gain("net", 0, is_network=True), Gain("a", 7), Gain("b", 7)]
    assert paid_gains(told, 9) == {"net": 0, "a": 4, "b": 5}
    assert paid_gains([], 0) == {}
    assert paid_gains([Gain("net", 0, is_network=True)], 0) == {"net": 0}
    assert with_surplus([], 4) == {}
    assert with_surplus([Gain("a", 0), Gain("b", 0)], 1) == {"a": 1, "b": 0}
    with pytest.raises(InvariantBroken):
        with_surplus([Gain("a", 5)], 4)


@given(st.integers(0, 500), st.lists(st.integers(-50, 100), max_size=7),
       st.fractions(0, 1, max_denominator=10))  # fmt: skip
def test_by_gains_takes_from_gains_alone(loss: int, gains: list[int], most: Fraction) -> None:
    found = by_gains(loss, gains, most=most)
    assert sum(found.paid) + found.uncovered == loss
    assert all(0 <= paid <= max(0, gain) * most
               for paid, gain in zip(found.paid, gains, strict=True))  # fmt: skip
    if found.uncovered:
        assert sum(found.paid) == sum(int(max(0, gain) * most) for gain in gains)


@given(st.integers(0, 400), st.lists(st.integers(0, 60), min_size=1, max_size=6),
       st.integers(0, 100), st.lists(st.integers(-30, 60), min_size=1, max_size=6))  # fmt: skip
def test_fund_deleveraging_and_socialised_make_the_shortfall(
    shortfall: int, gains: list[int], fund: int, others: list[int]
) -> None:
    drawn = draw(shortfall, [Source("fund", fund)])
    seized = pro_rata(gains, drawn.uncovered)
    taken = sum(whole(seized))
    shared = by_gains(drawn.uncovered - taken, others)
    assert drawn.paid + taken + sum(shared.paid) + shared.uncovered == shortfall
    assert not taken or drawn.paid == fund
    assert not any(shared.paid) or taken == sum(gains)
