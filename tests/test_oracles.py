"""Oracles: what is held against a source, and that no minority moves an index."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from statistics import median as floats_median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import InvariantBroken
from solvent.market.index import (
    How,
    IndexRule,
    Reason,
    Weighing,
    begin,
    capped,
    listen,
    median,
    publish_index,
    weighted_median,
)
from solvent.market.oracles import (
    NANO,
    PPM,
    Fault,
    Quote,
    Record,
    SourceRule,
    fault_of,
    heard,
    judged,
    leaps,
    nano_of,
    settled,
)
from solvent.verify.market import clustered
from tests.oracled import FAULTS, FROM, Oracles, at, played, rule_of, told, wander, worst_ppm

STEPS = 18


# ── no minority, and no majority while one good source is heard ──────────────────────────────────


def scenario(seed: int, count: int, bad: int) -> dict[str, str]:
    """Who is bad and how: each in its own way, or all in one."""
    rng = random.Random(f"{seed} {count} {bad}")
    names = rng.sample([f"s{n}" for n in range(count)], bad)
    together = rng.random() < 0.5
    kinds = [rng.choice(list(FAULTS))] * bad if together else rng.choices(list(FAULTS), k=bad)
    return dict(zip(names, kinds, strict=True))


@pytest.mark.parametrize("block", range(4))
def test_the_index_is_within_the_clamp_of_every_good_source_or_unknown(block: int) -> None:
    """200 scenarios of faults, each with 1 to n − 1 bad sources of n: 50 a block."""
    reasons: Counter[Reason] = Counter()
    for seed in range(50 * block, 50 * block + 50):
        count = 3 + seed % 5
        rule = rule_of(count)
        for bad in range(1, count):
            kinds = scenario(seed, count, bad)
            rng = random.Random(seed)
            truth = wander(rng, STEPS)
            found = played(rule, truth, {n: FAULTS[k] for n, k in kinds.items()}, rng)
            assert worst_ppm(found) <= rule.clamp_ppm, (seed, count, bad, kinds)
            for index, _ in found[: FROM - 1]:
                assert index.known, (seed, count, bad, index)
            reasons.update(index.reason for index, _ in found[FROM - 1 :])
    assert {Reason.FINE, Reason.QUORUM, Reason.DISSENT} <= set(reasons)
    assert reasons[Reason.FINE] > 400


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("crash", [None, FROM, FROM + 3])
def test_where_nothing_is_tolerated_one_good_source_suffices(fault: str, crash: int | None) -> None:
    """Also while the truth itself crashes by 30 % in a second: n − 1 that do not follow it are not
    believed, and the one that does is not either."""
    for count in (3, 6):
        rule = rule_of(count, leapers=0)
        for bad in range(1, count):
            rng = random.Random(bad)
            truth = wander(rng, STEPS, crash=crash)
            names = {f"s{n}": FAULTS[fault] for n in range(bad)}
            found = played(rule, truth, names, rng)
            assert worst_ppm(found) <= rule.clamp_ppm, (fault, crash, count, bad)


@pytest.mark.parametrize("tolerated", [1, 2])
def test_who_tolerates_some_is_safe_while_more_than_that_are_good(tolerated: int) -> None:
    """Seven sources, of which all but the tolerated and one more are bad in one way."""
    rule = rule_of(7, tolerated=tolerated)
    for bad in range(1, 7 - tolerated):
        for fault in FAULTS:
            rng = random.Random(bad)
            truth = wander(rng, STEPS)
            names = {f"s{n}": FAULTS[fault] for n in range(bad)}
            found = played(rule, truth, names, rng)
            far = [
                min(abs(index.price_nano - price) / price for price in said.values())
                for index, said in found
                if index.price_nano is not None
            ]
            assert max(far) * PPM <= rule.clamp_ppm, (fault, bad)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_minority_that_is_found_out_does_not_stop_the_index(fault: str) -> None:
    """It holds all the way, but where some that were good go off slowly, or stay behind until they
    are stale: who is right then is for a person to say, and the rule may tolerate as many."""
    for count, bad in ((3, 1), (5, 2), (7, 3)):
        rng = random.Random(7)
        truth = wander(rng, STEPS)
        names = {f"s{n}": FAULTS[fault] for n in range(bad)}
        found = played(rule_of(count), truth, names, rng)
        unknown = [index.reason for index, _ in found if not index.known]
        if fault in ("drift", "fast_drift", "frozen", "stale", "disappears", "returns"):
            assert set(unknown) <= {Reason.DISSENT}
        else:
            assert unknown == [], fault
        rng = random.Random(7)
        tolerant = played(
            rule_of(count, tolerated=count - count // 2 - 1), wander(rng, STEPS), names, rng
        )
        assert all(index.known for index, _ in tolerant), fault
        assert worst_ppm(tolerant) <= 5_000


@settings(max_examples=120)
@given(
    good=st.lists(st.integers(-500, 500), min_size=3, max_size=9),
    bad=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=4),
    how=st.sampled_from(How),
    tolerated=st.booleans(),
)
def test_any_minority_at_any_value(
    good: list[int], bad: list[float], how: How, tolerated: bool
) -> None:
    """At once, from nothing: whatever a minority says, the index is near a good source."""
    bad = bad[: len(good) - 1]
    count = len(good) + len(bad)
    rule = rule_of(count, how=how, tolerated=(count - count // 2 - 1) if tolerated else 0)
    prices = [50_000.0 * (1 + one / 1e6) for one in good]
    quotes = [told(f"s{n}", 1, price) for n, price in enumerate([*prices, *bad])]
    index = Oracles(rule).hear(quotes, step=1)
    if index.price_nano is not None:
        price = index.price_nano / NANO
        assert min(abs(price - one) / one for one in prices) <= rule.clamp_ppm / PPM + 1e-12
    twin = clustered(
        [one if one is None else Fraction(one, NANO) for one in map(nano_of, [*prices, *bad])],
        clamp=Fraction(rule.clamp_ppm, PPM), quorum=rule.quorum,
    )  # fmt: skip
    agreeing = [row.agrees for row in index.sources]
    assert (sum(agreeing) >= rule.quorum) == (twin is not None)
    if twin is not None:
        assert agreeing == twin[1]
        if how is How.MEDIAN and index.price_nano is not None:
            assert abs(Fraction(index.price_nano, NANO) - twin[0]) <= Fraction(1, 2 * NANO)


# ── what is held against a source ────────────────────────────────────────────────────────────────

RULE = SourceRule()


def after(*quotes: Quote, rule: SourceRule = RULE, now: int = 5) -> Record:
    record = Record()
    for quote in quotes:
        record = heard(rule, record, quote, now_ms=at(now), begun_ms=at(0))
    return record


def test_a_good_quote_is_taken() -> None:
    record = after(told("a", 5, 100.5, bid=100.0, ask=101.0, confidence=1.0, weight=7))
    assert (record.price_nano, record.time_ms, record.weight) == (100_500_000_000, at(5), 7)
    assert fault_of(RULE, record, now_ms=at(5)) is None


def test_without_a_price_the_middle_counts() -> None:
    assert after(told("a", 5, None, bid=100.0, ask=102.0)).price_nano == 101 * NANO
    assert after(told("a", 5, None, bid=100.0)).word is Fault.NOT_A_PRICE


@pytest.mark.parametrize(
    ("quote", "fault"),
    [
        (told("a", 5, float("nan")), Fault.NOT_A_PRICE),
        (told("a", 5, float("-inf")), Fault.NOT_A_PRICE),
        (told("a", 5, 0.0), Fault.NOT_A_PRICE),
        (told("a", 5, -0.0), Fault.NOT_A_PRICE),
        (told("a", 5, 1e-300), Fault.NOT_A_PRICE),
        (told("a", 5, 1e300), Fault.NOT_A_PRICE),
        (told("a", 5, 100.0, bid=float("nan"), ask=101.0), Fault.NOT_A_PRICE),
        (told("a", 5, 100.0, bid=0.0, ask=101.0), Fault.NOT_A_PRICE),
        (told("a", 5, 100.0, bid=102.0, ask=101.0), Fault.CROSSED),
        (told("a", 5, 100.0, confidence=1.001), Fault.UNSURE),
        (told("a", 5, 100.0, confidence=float("nan")), Fault.UNSURE),
        (told("a", 5, 100.0, confidence=-1.0), Fault.UNSURE),
        (told("a", 8, 100.0), Fault.AHEAD),
        (told("a", -1, 100.0), Fault.EARLY),
        (told("a", 2, 100.0), Fault.BACKWARD),
        (told("a", 3, 100.0), Fault.REPEATED),
    ],
)
def test_a_bad_quote_is_not(quote: Quote, fault: Fault) -> None:
    good = told("a", 3, 99.0)
    record = after(good, quote)
    assert fault_of(RULE, record, now_ms=at(5)) is fault
    assert record.price_nano == 99 * NANO
    assert fault_of(RULE, after(good, quote, told("a", 5, 99.5)), now_ms=at(5)) is None


def test_bounds_are_the_last_that_hold() -> None:
    assert after(told("a", 5, 100.0, bid=100.0, ask=100.0)).word is None
    assert after(told("a", 5, 100.0, confidence=1.0)).word is None
    assert after(told("a", 7, 100.0)).word is None
    assert after(told("a", 0, 100.0)).word is None


def test_a_message_told_twice_changes_nothing() -> None:
    once = after(told("a", 3, 99.0))
    assert heard(RULE, once, told("a", 3, 99.0), now_ms=at(5)) is once


def test_stale_and_frozen_are_counted_from_the_sources_own_times() -> None:
    rule = SourceRule(stale_ms=4_000, frozen_ms=6_000)
    record = after(*(told("a", n, 99.0) for n in range(1, 7)), rule=rule, now=10)
    assert fault_of(rule, record, now_ms=at(7)) is None
    assert fault_of(rule, record, now_ms=at(8)) is Fault.FROZEN
    assert fault_of(replace(rule, frozen_ms=0), record, now_ms=at(10)) is None
    assert fault_of(rule, record, now_ms=at(11)) is Fault.STALE
    moved = heard(rule, record, told("a", 8, 99.1), now_ms=at(8))
    assert fault_of(rule, moved, now_ms=at(8)) is None


def test_flapping_is_turning_back_by_much_and_often() -> None:
    rule = SourceRule(turns_max=2, turns_ms=10_000)
    prices = [100.0, 101.0, 100.0, 101.0, 100.0]
    rows = [told("a", n, price) for n, price in enumerate(prices)]
    assert fault_of(rule, after(*rows[:4], rule=rule, now=9), now_ms=at(4)) is None
    record = after(*rows, rule=rule, now=9)
    assert fault_of(rule, record, now_ms=at(4)) is Fault.FLAPPING
    # The first of three turns is ten seconds ago: two are not too many.
    later = heard(rule, record, told("a", 12, 100.001), now_ms=at(12))
    assert fault_of(rule, later, now_ms=at(12)) is None
    little = [told("a", n, 100.0 + 0.4 * (n % 2)) for n in range(9)]
    assert fault_of(rule, after(*little, rule=rule, now=9), now_ms=at(8)) is None
    one_way = [told("a", n, 100.0 * 1.02**n) for n in range(9)]
    assert fault_of(rule, after(*one_way, rule=rule, now=9), now_ms=at(8)) is None


def test_health_falls_by_a_share_and_is_won_back_in_time() -> None:
    rule = SourceRule(loss_ppm=250_000, recover_ms=10_000, silent_ppm=500_000, heard_ppm=800_000)
    record, faults = after(told("a", 0, 99.0), rule=rule), []
    for step in range(1, 4):
        record = heard(rule, record, told("a", step, float("nan")), now_ms=at(step))
        record, fault = judged(rule, record, now_ms=at(step))
        faults.append((fault, record.trust_ppm))
    assert faults == [
        (Fault.NOT_A_PRICE, 750_000), (Fault.NOT_A_PRICE, 562_500), (Fault.NOT_A_PRICE, 421_875),
    ]  # fmt: skip
    assert record.probation
    for step, found in ((4, Fault.PROBATION), (6, Fault.PROBATION), (7, None)):
        record = heard(rule, record, told("a", step, 99.0), now_ms=at(step))
        record, fault = judged(rule, record, now_ms=at(step))
        assert fault is found, step
    assert record.trust_ppm == 821_875
    assert judged(rule, record, now_ms=at(60))[0].trust_ppm == 821_875 - 821_875 // 4


def test_who_said_nothing_yet_loses_no_health() -> None:
    record, fault = judged(RULE, Record(), now_ms=at(9))
    assert (fault, record.trust_ppm) == (Fault.SILENT, PPM)


def test_a_leap_is_measured_from_what_was_settled() -> None:
    rule = SourceRule(leap_ppm=10_000, speed_ppm=1_000)
    record = settled(after(told("a", 0, 100.0), rule=rule), now_ms=at(0))
    moved = heard(rule, record, told("a", 1, 101.2), now_ms=at(1))
    assert leaps(rule, moved, now_ms=at(1))
    assert not leaps(rule, moved, now_ms=at(2))
    assert not leaps(rule, after(told("a", 0, 100.0)), now_ms=at(1))


# ── an index ─────────────────────────────────────────────────────────────────────────────────────


def all_at(price: float, step: int, count: int = 5) -> list[Quote]:
    return [told(f"s{n}", step, price * (1 + n / 1e6)) for n in range(count)]


def test_too_few_sources_and_why_each_is_not_heard() -> None:
    oracles = Oracles(rule_of(5))
    quotes = [told("s0", 1, 100.0), told("s1", 1, 100.0), told("s2", 1, -1.0), told("zz", 1, 1.0)]
    index = oracles.hear(quotes, step=1)
    assert (index.price_nano, index.reason) == (None, Reason.QUORUM)
    assert [row.fault for row in index.sources] == [
        None, None, Fault.NOT_A_PRICE, Fault.SILENT, Fault.SILENT,
    ]  # fmt: skip


def test_agreement_of_less_than_a_quorum_is_none() -> None:
    quotes = [told(f"s{n}", 1, price) for n, price in enumerate([100.0, 100.0, 120.0, 130.0])]
    assert Oracles(rule_of(4)).hear(quotes, step=1).reason is Reason.DISPERSED


def test_a_quorum_is_of_all_sources_not_of_those_heard() -> None:
    quotes = [told(f"s{n}", 1, price) for n, price in enumerate([100.0, 100.0, 130.0])]
    rule = rule_of(5, tolerated=2)
    assert Oracles(rule).hear(quotes, step=1).reason is Reason.DISPERSED
    quotes[2] = told("s2", 1, 100.0)
    assert Oracles(rule).hear(quotes, step=1).price_nano == 100 * NANO


@pytest.mark.parametrize(("lowest", "agree"), [(80.0, True), (79.999_999_999, False)])
def test_the_farthest_that_agree_are_a_clamp_apart(lowest: float, agree: bool) -> None:
    """By half a clamp of c = 1/2: within 20 of 100, as 120 is half as much again as 80."""
    rule = rule_of(3, clamp_ppm=500_000, how=How.MEAN)
    quotes = [told(f"s{n}", 1, price) for n, price in enumerate([lowest, 100.0, 120.0])]
    index = Oracles(rule).hear(quotes, step=1)
    assert index.sources[0].agrees is agree
    assert index.sources[2].agrees
    assert index.known is agree


def test_one_steady_dissenter_is_tolerated_only_where_the_rule_says_so() -> None:
    quotes = [*all_at(100.0, 1)[1:], told("s0", 1, 102.0)]
    strict = Oracles(rule_of(5)).hear(quotes, step=1)
    assert (strict.price_nano, strict.reason) == (None, Reason.DISSENT)
    index = Oracles(rule_of(5, tolerated=1)).hear(quotes, step=1)
    assert index.price_nano == 100_000_250_000
    assert [row.agrees for row in index.sources] == [False, True, True, True, True]
    assert index.sources[0].off_ppm == 19_997


def test_a_leap_of_all_is_believed_when_it_lasts() -> None:
    oracles = Oracles(rule_of(5, confirm_ms=2_000))
    assert oracles.hear(all_at(100.0, 1), step=1).known
    reasons = [oracles.hear(all_at(80.0 + n / 10, n), step=n).reason for n in range(2, 7)]
    assert reasons == [Reason.LEAP, Reason.LEAP, Reason.FINE, Reason.FINE, Reason.FINE]
    assert oracles.sources.last_ms == at(6)


def test_a_leap_that_goes_back_is_forgotten() -> None:
    oracles = Oracles(rule_of(5, confirm_ms=2_000))
    for step, price in ((1, 100.0), (2, 80.0), (3, 100.0), (4, 80.0), (5, 80.01)):
        index = oracles.hear(all_at(price, step), step=step)
        assert index.known == (price == 100.0), step


def test_a_leap_that_one_steady_source_does_not_follow_is_never_believed() -> None:
    oracles = Oracles(rule_of(5, tolerated=2, confirm_ms=0))
    assert oracles.hear(all_at(100.0, 1), step=1).known
    for step in range(2, 9):
        quotes = [*all_at(80.0 + step / 1e4, step)[1:], told("s0", step, 100.0 + step / 1e4)]
        assert oracles.hear(quotes, step=step).reason is Reason.LEAP


def test_the_last_price_does_not_stand_in() -> None:
    oracles = Oracles(rule_of(3))
    assert oracles.hear(all_at(100.0, 1, 3), step=1).known
    index = oracles.hear([], step=20)
    assert (index.price_nano, index.reason, index.age_ms) == (None, Reason.QUORUM, 0)
    assert {row.fault for row in index.sources} == {Fault.STALE}


def test_after_a_restart_what_lay_in_the_queue_does_not_count() -> None:
    rule = rule_of(3)
    sources = begin(rule, now_ms=at(100))
    queue = [told(f"s{n}", step, 90.0) for n in range(3) for step in range(90, 100)]
    sources = listen(rule, sources, queue, now_ms=at(100))
    sources, index = publish_index(rule, sources, now_ms=at(100))
    assert (index.reason, index.sources[0].fault) == (Reason.QUORUM, Fault.EARLY)
    sources = listen(rule, sources, all_at(100.0, 101, 3), now_ms=at(101))
    assert publish_index(rule, sources, now_ms=at(101))[1].price_nano == 100_000_100_000


def test_ways_to_one_price() -> None:
    prices = [100.0, 100.1, 100.2, 100.3, 100.0]
    weights = {f"s{n}": weight for n, weight in enumerate([1, 1, 1, 6, 1])}
    quotes = [told(f"s{n}", 1, price, weight=n) for n, price in enumerate(prices)]

    def found(how: How, **more: Any) -> float:
        rule = replace(rule_of(5), weights=weights, how=how, **more)
        price = Oracles(rule).hear(quotes, step=1).price_nano
        assert price is not None
        return price / NANO

    assert found(How.MEDIAN) == 100.1
    assert found(How.TRIMMED) == 100.1
    assert found(How.MEAN) == 100.21
    assert found(How.MEAN, weighing=Weighing.VOLUME) == 100.14
    assert found(How.WEIGHTED_MEDIAN) == 100.3
    assert found(How.WEIGHTED_MEDIAN, weight_max_ppm=200_000) == 100.1


def test_volumes_of_nothing_are_one_each() -> None:
    rule = rule_of(3, how=How.MEAN, weighing=Weighing.VOLUME)
    quotes = [told(f"s{n}", 1, 100.0 + n / 10, weight=0) for n in range(3)]
    assert Oracles(rule).hear(quotes, step=1).price_nano == 100_100_000_000


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 50)), min_size=1, max_size=12),
    st.integers(1, PPM),
)
def test_weights_and_medians(rows: list[tuple[int, int]], most: int) -> None:
    values, weights = [one for one, _ in rows], [one for _, one in rows]
    assert abs(median(values) - floats_median(values)) <= 0.5
    if any(weights):
        alike = [value for value, weight in rows for _ in range(weight)]
        assert abs(weighted_median(values, weights) - floats_median(alike)) <= 0.5
    cut = capped(weights, most_ppm=most)
    assert [one > 0 for one in cut] == [one > 0 for one in weights]
    count = sum(one > 0 for one in weights)
    if count * most > PPM:
        assert all(one * PPM <= most * sum(cut) + PPM for one in cut)


@pytest.mark.parametrize(
    "changes",
    [{"quorum": 2}, {"quorum": 6}, {"clamp_ppm": 0}, {"tolerated": 3}, {"leapers": 3},
     {"weights": {}}, {"weights": {"a": 0}}, {"confirm_ms": -1}, {"weight_max_ppm": 0}],
)  # fmt: skip
def test_a_rule_that_could_not_be_safe_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(InvariantBroken):
        replace(rule_of(5), **changes)


def test_rules_of_sources_make_sense() -> None:
    for wrong in ({"stale_ms": 0}, {"loss_ppm": 2 * PPM}, {"silent_ppm": PPM, "heard_ppm": 0},
                  {"leap_ppm": -1}, {"frozen_ms": -1}):  # fmt: skip
        with pytest.raises(InvariantBroken):
            SourceRule(**wrong)
    assert isinstance(rule_of(3), IndexRule)
