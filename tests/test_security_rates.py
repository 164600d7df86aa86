"""Token buckets against what they must be, and the table of who may do what."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.messages import commands as c
from solvent.messages.fields import Command
from solvent.service.callers import Action, Caller, Forbidden, Role, Unauthorised
from solvent.service.security.rates import NANO, Buckets, Limit, network_of, take_all
from solvent.service.security.rules import (
    ACTION_OF,
    RULES,
    TWO_PERSONS,
    VENUES_OWN,
    WEIGHT_MAX,
    Cell,
    cell,
    check,
    check_commands,
)
from solvent.service.settings import load_settings

asks = st.lists(st.tuples(st.integers(0, 3 * NANO), st.integers(1, 20)), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 5_000), st.integers(20, 5_000), asks)
def test_a_bucket_is_exact(per_s: int, burst: int, told: list[tuple[int, int]]) -> None:
    """Against a bucket in fractions: the same yes and no, and the wait is right to a nanosecond."""
    buckets = Buckets(Limit(per_s, burst))
    level, now_ns = Fraction(burst), 0
    for step_ns, weight in told:
        now_ns += step_ns
        level = min(Fraction(burst), level + Fraction(step_ns * per_s, NANO))
        wait_ns = buckets.wait_ns("a", weight, now_ns)
        assert (wait_ns == 0) == (level >= weight)
        if wait_ns:
            assert buckets.wait_ns("a", weight, now_ns + wait_ns) == 0
            assert buckets.wait_ns("a", weight, now_ns + wait_ns - 1) == 1
        else:
            buckets.take("a", weight, now_ns)
            level -= weight


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 100), st.integers(2, 100), st.integers(1, 10**8), st.integers(1, 5))
def test_no_more_than_allowed_to_one(per_s: int, burst: int, step_ns: int, seconds: int) -> None:
    """Asked all the time: burst and what the time brings, to one."""
    buckets, taken = Buckets(Limit(per_s, burst)), 0
    # Steps in which a bucket does not overflow, or what is lost would not be counted.
    step_ns = min(max(step_ns, seconds * NANO // 200), (burst - 1) * NANO // per_s)
    now_ns = 0
    for _ in range(200):
        while not buckets.wait_ns("a", 1, now_ns):
            buckets.take("a", 1, now_ns)
            taken += 1
        now_ns += step_ns
    most = burst + Fraction((now_ns - step_ns) * per_s, NANO)
    assert most - 1 < taken <= most


def test_all_or_none_is_taken() -> None:
    one, two = Buckets(Limit(1, 10)), Buckets(Limit(1, 2))
    assert take_all([(one, "a"), (two, "b")], 2, 0) == 0
    assert take_all([(one, "a"), (two, "b")], 2, 0) == 2 * NANO
    assert one.wait_ns("a", 8, 0) == 0
    # A clock that goes back gives nothing.
    assert two.wait_ns("b", 1, -NANO) == NANO


def test_buckets_are_bounded() -> None:
    buckets = Buckets(Limit(1, 2), kept_max=100)
    for number in range(1_000):
        buckets.take(str(number), 1, number)
    assert len(buckets) == 100
    with pytest.raises(Exception, match="tokens are there"):
        buckets.take("999", 2, 999)


def test_addresses_of_one_network_are_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::2")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("testclient") == "testclient"


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def test_the_table_has_every_action_and_role() -> None:
    assert set(RULES) == set(Action)
    for action, rule in RULES.items():
        assert set(rule.cells) == set(Role), action
        assert rule.cells[Role.PUBLIC] is (Cell.ALL if action is Action.MARKET_READ else Cell.NO), (
            action
        )
    # A request of any weight fits into the smallest bucket that settings allow.
    assert WEIGHT_MAX <= 20 <= load_settings(flags={"rate_burst": 20}).rate_burst


def test_readers_change_nothing() -> None:
    reads = {Action.MARKET_READ, Action.ASK, Action.ACCOUNT_READ, Action.SELF_READ}
    assert {one for one in Action if cell(Role.READER, one) is not Cell.NO} == reads


def test_what_is_in_no_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = Caller(name="a", role=Role.ADMIN, accounts=None)
    monkeypatch.delitem(RULES, Action.COMMAND)
    with pytest.raises(Forbidden):
        check(admin, Action.COMMAND, None)


def test_nobody_needs_to_say_who_they_are_to_be_told_so() -> None:
    with pytest.raises(Unauthorised):
        check(Caller(name="public", role=Role.PUBLIC), Action.ACCOUNT_READ, "u1")


def test_every_command_has_its_place() -> None:
    kinds = {
        one for one in vars(c).values()
        if isinstance(one, type) and issubclass(one, Command) and one is not Command
    }  # fmt: skip
    listed = [*TWO_PERSONS, *VENUES_OWN, *ACTION_OF]
    assert len(listed) == len(set(listed))
    assert set(listed) == kinds
    admin = Caller(name="a", role=Role.ADMIN, accounts=None)
    for kind in kinds:
        if kind in TWO_PERSONS:
            with pytest.raises(Forbidden, match="two persons"):
                check_commands(admin, [c.Heartbeat, kind])
        else:
            check_commands(admin, [c.Heartbeat, kind])
