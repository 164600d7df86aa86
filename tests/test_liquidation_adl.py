"""Auto-deleveraging: who, how much, and how well; against twins that go the slow way."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.errors import InvariantBroken
from solvent.liquidation import adl, ranks
from solvent.liquidation.shares import filled, largest_remainder, shared
from solvent.verify import liquidation as slow

F = Fraction
NUMBERS = st.fractions(0, 1_000, max_denominator=60)
ROWS = st.lists(st.tuples(NUMBERS, st.none() | NUMBERS), min_size=1, max_size=8)

# ── shares ───────────────────────────────────────────────────────────────────────────────────────


@given(ROWS, NUMBERS)
def test_filled_is_what_the_slow_way_pours(
    rows: list[tuple[Fraction, Fraction | None]], total: Fraction
) -> None:
    weights, caps = zip(*rows, strict=True)
    found = filled(weights, caps, total)
    room = [cap for weight, cap in rows if weight]
    if None in room:
        assert sum(found) == total
    else:
        assert sum(found) == min(total, sum(cap for cap in room if cap is not None))
    if sum(found) == total:
        assert list(found) == slow.poured(weights, caps, total)
    # one level τ for all that are not full
    levels = {x / w for x, (w, cap) in zip(found, rows, strict=True)
              if w and (cap is None or x < cap)}  # fmt: skip
    assert len(levels) <= 1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 200))
def test_whole_shares_add_up_and_stay_within_a_unit(weights: list[int], total: int) -> None:
    found = shared(total, weights)
    assert sum(found) == (total if any(weights) else 0)
    if any(weights):
        exact = [F(total * weight, sum(weights)) for weight in weights]
        assert all(abs(one - share) < 1 for one, share in zip(found, exact, strict=True))
        assert list(found) == slow.whole_units(exact)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), min_size=1, max_size=8),
       st.integers(0, 300))  # fmt: skip
def test_caps_are_kept(rows: list[tuple[int, int]], total: int) -> None:
    weights, caps = [w for w, _ in rows], [c for _, c in rows]
    found = shared(total, weights, caps)
    assert all(0 <= one <= cap for one, cap in zip(found, caps, strict=True))
    assert sum(found) == min(total, sum(cap for weight, cap in rows if weight))


def test_remainders() -> None:
    assert largest_remainder([F(1, 3), F(1, 3), F(1, 3)]) == (1, 0, 0)
    assert largest_remainder([F(3, 10)] * 3) == (0, 0, 0)
    assert largest_remainder([]) == ()
    for told in ([[-1], [None], 1], [[1], [-1], 1], [[1], [None], -1], [[1], [], 1]):
        with pytest.raises(InvariantBroken):
            filled(*told)  # type: ignore[arg-type]


# ── allocations ──────────────────────────────────────────────────────────────────────────────────

TRADERS = st.lists(
    st.tuples(st.integers(0, 40), st.fractions(0, 1, max_denominator=10), st.integers(0, 9)),
    min_size=1, max_size=6,
)  # fmt: skip


@given(TRADERS, st.integers(0, 120))
def test_every_rule_takes_what_is_needed_from_those_who_have_it(
    rows: list[tuple[int, Fraction, int]], budget: int
) -> None:
    gains, caps, risk = ([row[n] for row in rows] for n in range(3))
    order = sorted(range(len(rows)), key=lambda row: (-risk[row], row))
    by_rule: dict[str, adl.Allocation] = {
        "queue": adl.queue(gains, order, budget),
        "capped queue": adl.queue(gains, order, budget, caps),
        "pro rata": adl.pro_rata(gains, budget),
        "capped": adl.pro_rata(gains, budget, caps),
        "risk": adl.risk_aware(gains, risk, budget, caps),
    }
    for name, found in by_rule.items():
        mine = caps if name in ("capped queue", "capped", "risk") else [1] * len(rows)
        assert sum(found.paid) + found.residual == budget
        assert all(0 <= h <= cap for h, cap in zip(found.haircuts(gains), mine, strict=True))
        whole = adl.whole(found)
        assert sum(whole) == sum(found.paid) // 1
        assert all(abs(one - exact) < 1 for one, exact in zip(whole, found.paid, strict=True))
        if found.residual and name != "risk":
            assert all(paid == gain * cap for paid, gain, cap
                       in zip(found.paid, gains, mine, strict=True))  # fmt: skip


@given(TRADERS, st.integers(0, 120))
def test_a_queue_spares_nobody_ahead_of_one_it_takes_from(
    rows: list[tuple[int, Fraction, int]], budget: int
) -> None:
    gains = [row[0] for row in rows]
    order = sorted(range(len(rows)), key=lambda row: (-rows[row][2], row))
    found = adl.queue(gains, order, budget)
    assert list(found.paid) == slow.one_by_one(gains, order, budget)
    reached = [row for row in order if found.paid[row]]
    if reached:
        last = order.index(reached[-1])
        assert all(found.paid[row] == gains[row] for row in order[:last])


@given(TRADERS, st.integers(0, 120))
def test_risk_aware_is_what_the_slow_way_pours(
    rows: list[tuple[int, Fraction, int]], budget: int
) -> None:
    gains, caps, risk = ([row[n] for row in rows] for n in range(3))
    found = adl.risk_aware(gains, risk, budget, caps)
    if not found.residual:
        weights = [gain * one for gain, one in zip(gains, risk, strict=True)]
        most = [gain * cap for gain, cap in zip(gains, caps, strict=True)]
        assert list(found.paid) == slow.poured(weights, most, budget)
    # nobody pays who has no risk
    assert all(paid == 0 for paid, one in zip(found.paid, risk, strict=True) if not one)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=7), st.integers(0, 400), st.randoms())
def test_lots(held: list[int], lots: int, chance: Any) -> None:
    order = list(range(len(held)))
    chance.shuffle(order)
    queued, even = adl.queue_lots(held, order, lots), adl.pro_rata_lots(held, lots)
    for closed in (queued, even):
        assert sum(closed) == min(lots, sum(held))
        assert all(0 <= one <= have for one, have in zip(closed, held, strict=True))
    assert list(queued) == slow.one_by_one(held, order, lots)
    if 0 < lots <= sum(held):
        exact = [F(lots * have, sum(held)) for have in held]
        assert list(even) == slow.whole_units(exact)


@given(TRADERS, st.integers(0, 120), st.integers(0, 30))
def test_nobody_is_taken_below_a_floor(
    rows: list[tuple[int, Fraction, int]], budget: int, least: int
) -> None:
    """Rows are a gain, and what each has beside it."""
    gains, equity = [row[0] for row in rows], [row[0] + row[2] for row in rows]
    caps = adl.caps_above(equity, gains, least)
    found = adl.pro_rata(gains, budget, caps)
    for paid, gain, of in zip(found.paid, gains, equity, strict=True):
        assert paid <= gain
        assert of - paid >= min(of, least)
    if found.residual:
        assert all(of - paid == max(of - gain, min(of, least)) or not gain
                   for paid, gain, of in zip(found.paid, gains, equity, strict=True))  # fmt: skip


def test_nobody_is_there_to_deleverage() -> None:
    assert adl.queue([], [], 5) == adl.Allocation((), F(5))
    assert adl.pro_rata([0, 0], 5) == adl.Allocation((F(0), F(0)), F(5))
    assert adl.pro_rata_lots([], 5) == adl.queue_lots([], [], 5) == ()


# ── quality ──────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), min_size=1, max_size=6),
       st.integers(0, 150), st.integers(0, 150))  # fmt: skip
def test_regret_is_against_the_least_worst_share(
    rows: list[tuple[int, int]], budget: int, wanted: int
) -> None:
    equity, gains = [one for one, _ in rows], [gain for _, gain in rows]
    paid = adl.queue(gains, range(len(rows)), budget).paid
    found = adl.quality(paid, needed=wanted, equity=equity, endowment=gains)
    assert found.overshoot == sum(paid) - wanted
    assert found.fairest_share == slow.least_worst(sum(paid), equity, gains)
    assert found.worst_share >= found.fairest_share
    assert found.regret == (found.worst_share - found.fairest_share) * sum(paid)
    fairest = filled(equity, gains, sum(paid))
    assert adl.quality(fairest, needed=wanted, equity=equity, endowment=gains).regret == 0


def test_what_is_needed() -> None:
    """Three lots sold five below the mark, two bought one above it."""
    assert adl.needed([(-3, 100, 95), (2, 50, 51)]) == 17
    assert adl.needed([]) == 0
    nobody = adl.quality([5], needed=5, equity=[0], endowment=[9])
    assert (nobody.worst_share, nobody.fairest_share, nobody.regret) == (F(0), F(0), F(0))
    for wrong in (([1], [0], -1), ([-1], [0], 1), ([1, 1], [0, 0], 1)):
        with pytest.raises(InvariantBroken):
            adl.queue_lots(*wrong)
    with pytest.raises(InvariantBroken):
        adl.pro_rata_lots([1], -1)
    for cap in (F(2), F(-1)):
        with pytest.raises(InvariantBroken):
            adl.pro_rata([9], 5, [cap])


def test_the_five_accounts_of_the_paper() -> None:
    equity, gains = (10, 5, 1, -3, -12), (8, 4, F(1, 2), 0, 0)
    queued, even = adl.queue(gains, (1, 0, 2, 3, 4), F(15, 2)), adl.pro_rata(gains, F(15, 2))
    assert queued.paid == (F(7, 2), F(4), F(0), F(0), F(0))
    assert even.paid == (F(24, 5), F(12, 5), F(3, 10), F(0), F(0))
    regrets = [adl.quality(found.paid, needed=F(15, 2), equity=equity, endowment=gains).regret
               for found in (queued, even)]  # fmt: skip
    assert regrets[0] == (F(4, 5) - F(15, 2) / 16) * F(15, 2)
    assert regrets[1] < regrets[0]


# ── ranks ────────────────────────────────────────────────────────────────────────────────────────


def test_scores_of_losses() -> None:
    assert ranks.bitmex(mark_value=90, entry_value=100, bankruptcy_value=45) == F(-1, 20)
    assert ranks.binance(unrealised=-10, wallet=100, maintenance=5) == 0
    assert ranks.binance(unrealised=10, wallet=0, maintenance=5) == 5
    assert ranks.binance(unrealised=-100, wallet=100, maintenance=5) == 0
    assert ranks.okx(gained=0, margin_ratio=3) == 0
    with pytest.raises(InvariantBroken):
        ranks.okx(gained=1, margin_ratio=0)
    assert ranks.leveraged_return(unrealised=-5, margin=10) == F(-1, 2)
    short = ranks.hyperliquid(side=-1, mark=80, entry=100, notional=800, value=200)
    assert short == F(100, 80) * 4
    with pytest.raises(InvariantBroken):
        ranks.hyperliquid(side=1, mark=80, entry=100, notional=800, value=0)
    with pytest.raises(InvariantBroken):
        ranks.bitmex(mark_value=90, entry_value=100, bankruptcy_value=95)


@given(st.dictionaries(st.integers(0, 99), st.fractions(-5, 5, max_denominator=4), max_size=12))
def test_the_order_is_the_same_however_it_is_told(scores: dict[int, Fraction]) -> None:
    order = ranks.by_score(scores)
    assert order == ranks.by_score(dict(reversed(scores.items())))
    assert sorted(order) == sorted(scores)
    for ahead, behind in pairwise(order):
        assert (-scores[ahead], ahead) < (-scores[behind], behind)


def test_an_order_from_a_seed() -> None:
    accounts = [9, 4, 6, 1]
    starts = Counter(ranks.from_seed(accounts, b"block %d" % n)[0] for n in range(4_000))
    assert set(starts) == set(accounts)
    assert all(850 <= count <= 1_150 for count in starts.values())
    order = ranks.from_seed(accounts, b"x")
    assert order == ranks.from_seed(sorted(accounts), b"x")
    ring = [1, 4, 6, 9]
    first = ring.index(order[0])
    assert list(order) == ring[first:] + ring[:first]
    assert ranks.from_seed([], b"x") == ()
    with pytest.raises(InvariantBroken):
        ranks.from_seed([1, 1], b"x")


def test_a_number_from_a_seed_is_what_was_published() -> None:
    """Others compute it too: the digest of the seed and eight bytes of zero."""
    import hashlib

    digest = hashlib.sha256(b"seed" + bytes(8)).digest()
    assert ranks.drawn(1_000, b"seed") == int.from_bytes(digest, "big") % 1_000


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_places(lots: list[int]) -> None:
    order = list(range(len(lots)))
    found = ranks.places(order, dict(enumerate(lots)))
    assert [place.rank for place in found] == list(range(1, len(lots) + 1))
    fifths = [place.quintile for place in found]
    assert fifths == sorted(fifths)
    assert all(1 <= one <= 5 for one in fifths)
    assert all(place.lights == 6 - place.quintile for place in found)
    if sum(lots):
        assert found[-1].quintile == 5
