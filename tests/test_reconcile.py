"""Our books against statements: what matches, what does not, and why; planted breaks are found."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.engine.state import State
from solvent.errors import BadInput, Reject
from solvent.feeds.accounts.answer import Answer, Holding
from solvent.journal import Row
from solvent.reconcile.causes import Cause
from solvent.reconcile.lines import Key, Kind, Line, Statement, line_of
from solvent.reconcile.match import Match, Report, Status, compare
from solvent.reconcile.movements import Movement, Movements, Why, movements_of
from solvent.reconcile.ours import ours_of
from solvent.reconcile.theirs import of_answer, read_statement
from solvent.reconcile.tolerances import Allowance, Tolerances, read_tolerances
from solvent.recovery import replay
from solvent.units import TimeMs
from tests.histories import HOUSES, History, every_command

T0 = 1_780_000_000_000
CASH = Key(Kind.BALANCE, "a", "USDC")
HELD = Key(Kind.POSITION, "a", "BTC_USDC-PERPETUAL")
MARK = Key(Kind.MARK, "", "BTC_USDC-PERPETUAL")
NEED = Key(Kind.REQUIREMENT, "a", "initial margin")
PLACES = {Kind.BALANCE: 6, Kind.POSITION: 9, Kind.MARK: 9, Kind.REQUIREMENT: 6}


def side(lines: dict[Key, int], time_ms: int | None = T0, **more: Any) -> Statement:
    return Statement(
        source="x", time_ms=time_ms,
        lines={key: Line(key=key, amount=amount, places=PLACES[key.kind], time_ms=time_ms,
                         digits=PLACES[key.kind]) for key, amount in lines.items()}, **more,
    )  # fmt: skip


def one_of(report: Report, key: Key) -> Match:
    (found,) = (one for one in report.matches if one.key == key)
    return found


def cause(match: Match) -> Cause | None:
    return None if match.cause is None else match.cause.cause


# ── planted breaks ───────────────────────────────────────────────────────────────────────────────

WHYS = (Why.FILL, Why.FEE, Why.FUNDING, Why.PAYMENT, Why.INTEREST, Why.VARIATION)
BY_WHY = {
    Why.FILL: Cause.MISSED_FILL, Why.FEE: Cause.FEE, Why.FUNDING: Cause.UNSETTLED_FUNDING,
    Why.PAYMENT: Cause.MISSED_PAYMENT, Why.INTEREST: Cause.MISSED_EVENT,
    Why.VARIATION: Cause.MISSED_EVENT,
}  # fmt: skip


@st.composite
def histories(draw: st.DrawFn, whys: tuple[Why, ...] = WHYS) -> list[Movement]:
    """Movements of one line; every sum of some of them is another number, whatever their signs:
    each is more than twice all before it together."""
    count = draw(st.integers(3, 12))
    chosen = draw(st.lists(st.sampled_from(whys), min_size=count, max_size=count))
    found, total = [], draw(st.integers(20, 1_000))
    for number, why in enumerate(chosen):
        amount = 2 * total + draw(st.integers(1, total))
        total += amount
        amount *= draw(st.sampled_from((1, -1)))
        found.append(Movement(number + 1, T0 - 1_000 + number, why, amount))
    order = draw(st.permutations(range(count)))
    amounts = [found[place].amount for place in order]
    return [one_movement(one, amount) for one, amount in zip(found, amounts, strict=True)]


def one_movement(one: Movement, amount: int) -> Movement:
    return Movement(one.sequence, one.time_ms, one.why, amount)


def against(
    told: list[Movement], change: int, key: Key = CASH, **more: Any
) -> tuple[Match, Report]:
    """A line that came of movements, against the same with something added."""
    total = 7_000_003 + sum(one.amount for one in told)
    moved = Movements(by_key={key: told})
    report = compare(
        side({key: total}, unit_sizes={key.name: (100_000,)}), side({key: total + change}),
        movements=moved, **more,
    )  # fmt: skip
    return one_of(report, key), report


@given(told=histories(), data=st.data())
@settings(max_examples=60)
def test_a_movement_that_they_do_not_have_is_found(told: list[Movement], data: Any) -> None:
    missed = data.draw(st.sampled_from(told))
    match, report = against(told, -missed.amount)
    assert cause(match) is BY_WHY[missed.why]
    assert match.cause is not None
    assert match.cause.sequences == (missed.sequence,)
    assert "not in theirs" in match.cause.evidence
    assert match.status is Status.DIFFERENT
    assert match.difference == -missed.amount
    assert report.counts()[Status.MATCHED] == 0


@given(told=histories(), data=st.data())
@settings(max_examples=40)
def test_a_movement_that_they_have_twice_is_found(told: list[Movement], data: Any) -> None:
    twice = data.draw(st.sampled_from(told))
    match, _ = against(told, twice.amount)
    assert match.cause is not None
    assert (match.cause.cause, match.cause.sequences) == (BY_WHY[twice.why], (twice.sequence,))
    assert "twice in theirs" in match.cause.evidence


@given(told=histories((Why.FUNDING,)), data=st.data())
@settings(max_examples=40)
def test_funding_since_some_time_is_found(told: list[Movement], data: Any) -> None:
    start = data.draw(st.integers(0, len(told) - 1))
    match, _ = against(told, -sum(one.amount for one in told[start:]))
    assert match.cause is not None
    assert match.cause.cause is Cause.UNSETTLED_FUNDING
    assert match.cause.sequences == tuple(one.sequence for one in told[start:])


@given(amounts=st.lists(st.integers(1, 10**4), min_size=1, max_size=6, unique=True),
       fee=st.integers(1, 999), data=st.data())  # fmt: skip
@settings(max_examples=40)
def test_a_fill_is_missed_with_its_fee_or_without(amounts: list[int], fee: int, data: Any) -> None:
    """Fills are of tens of dollars, fees of cents, so that no sum is another's."""
    told = []
    for number, amount in enumerate(amounts):
        told += [Movement(number + 1, T0, Why.FEE, -fee - 1_000 * number),
                 Movement(number + 1, T0, Why.FILL, amount * 10**7)]  # fmt: skip
    missed = data.draw(st.integers(0, len(amounts) - 1))
    for paid in (fee + 1_000 * missed, 0):
        match, _ = against(told, -amounts[missed] * 10**7 + paid)
        assert match.cause is not None
        assert match.cause.cause is Cause.MISSED_FILL
        assert match.cause.sequences == (missed + 1,)


@given(size=st.integers(1, 10**12).filter(lambda n: n % 10), power=st.integers(1, 6))
@settings(max_examples=40)
def test_wrong_sign_and_wrong_size(size: int, power: int) -> None:
    def of(ours: int, theirs: int, *units: int) -> Match:
        held = side({HELD: ours}, unit_sizes={HELD.name: units})
        return one_of(compare(held, side({HELD: theirs})), HELD)

    assert cause(of(size, -size)) is Cause.WRONG_SIGN
    assert cause(of(size * 10**power, size)) is Cause.WRONG_CONTRACT_SIZE
    assert cause(of(size, size * 10**power)) is Cause.WRONG_CONTRACT_SIZE
    # Of a contract of 0.003: told in contracts, and with the other sign besides.
    assert cause(of(size * 3_000_000, size * 10**9, 3_000_000)) is Cause.WRONG_CONTRACT_SIZE
    both = of(size * 3_000_000, -size * 10**9, 3_000_000)
    assert cause(both) is Cause.WRONG_CONTRACT_SIZE
    assert both.cause is not None
    assert "0.003 of a unit" in both.cause.evidence


@given(amount=st.integers(10**9, 10**14), digits=st.integers(0, 5), how=st.integers(-1, 1))
@settings(max_examples=60)
def test_a_rounded_statement_is_rounding(amount: int, digits: int, how: int) -> None:
    step = 10 ** (6 - digits)
    theirs = {-1: amount // step, 0: round(Decimal(amount) / step), 1: -(-amount // step)}[how]
    line = Line(key=CASH, amount=theirs * step, places=6, digits=digits, time_ms=T0)
    statement = replace(side({}), lines={CASH: line})
    match = one_of(compare(side({CASH: amount}), statement), CASH)
    if theirs * step == amount:
        assert not match.broken
    else:
        hidden = abs(theirs * step - amount) <= 10_000  # a cent
        assert cause(match) is (Cause.ROUNDING if hidden else Cause.UNKNOWN)


def test_half_a_dollar_is_no_rounding(tmp_path: Path) -> None:
    path = written(tmp_path / "s.csv", "account,asset,amount\na,USDC,1000\nb,USDC,10.001\n")
    theirs = read_statement([path])
    other = CASH._replace(account="b")
    for ours in (1_000_490_000, 1_000_004_900):
        found = compare(side({CASH: ours, other: 10_001_000}), theirs)
        assert cause(one_of(found, CASH)) is Cause.UNKNOWN  # "1000" is told to three decimals
    assert theirs.lines[CASH].digits == 3


def test_fewer_movements_come_before_more_and_later_before_earlier() -> None:
    told = [Movement(n, T0, Why.FUNDING, amount)
            for n, amount in enumerate((40, 60, 100, 7, 100, 9), start=1)]  # fmt: skip
    match, _ = against(told, -100)
    assert match.cause is not None
    assert match.cause.sequences == (5,)
    pair, _ = against(told, -109)
    assert pair.cause is not None
    assert (pair.cause.sequences, pair.cause.evidence) == (
        (5, 6), "2 of funding, not in theirs: command 5 to 6",
    )  # fmt: skip


def test_roundings_of_many_movements() -> None:
    told = [Movement(n, T0, Why.FUNDING, 1_000 + n) for n in range(1, 6)]
    match, _ = against(told, 3)
    assert cause(match) is Cause.ROUNDING
    assert cause(against(told, 5)[0]) is Cause.UNKNOWN


@given(marks=st.lists(st.integers(1, 10**15), min_size=2, max_size=8, unique=True), data=st.data())
@settings(max_examples=40)
def test_a_mark_of_before_is_stale(marks: list[int], data: Any) -> None:
    told = [Movement(n + 1, T0 - 1_000 * (len(marks) - n), Why.MARK, mark)
            for n, mark in enumerate(marks)]  # fmt: skip
    old = data.draw(st.integers(0, len(marks) - 2))
    moved = Movements(by_key={MARK: told})
    ours = side({MARK: marks[-1]})
    match = one_of(compare(ours, side({MARK: marks[old]}), movements=moved), MARK)
    assert match.cause is not None
    assert (match.cause.cause, match.cause.sequences) == (Cause.STALE_MARK, (old + 1,))
    assert not one_of(compare(ours, side({MARK: marks[-1]}), movements=moved), MARK).broken


def test_our_own_mark_may_be_the_stale_one() -> None:
    moved = Movements(by_key={MARK: [Movement(1, T0 - 400_000, Why.MARK, 10**12)]})
    match = one_of(compare(side({MARK: 10**12}), side({MARK: 10**12 + 7}), movements=moved), MARK)
    assert match.cause is not None
    assert match.cause.evidence == "ours is 400000 ms old, of 1"
    young = Tolerances(mark_ms_max=400_000)
    other = compare(side({MARK: 10**12}), side({MARK: 10**12 + 7}), movements=moved,
                    tolerances=young)  # fmt: skip
    assert cause(one_of(other, MARK)) is Cause.UNKNOWN


def test_a_requirement_follows_from_what_else_differs() -> None:
    ours, theirs = {CASH: 5_000_000, NEED: 9 * 10**6}, {CASH: 4_900_000, NEED: 8 * 10**6}
    both = compare(side(ours), side(theirs))
    assert cause(one_of(both, NEED)) is Cause.FOLLOWS
    alone = compare(side(ours), side({**theirs, CASH: 5_000_000}))
    assert cause(one_of(alone, NEED)) is Cause.UNKNOWN


@pytest.mark.parametrize("size", [0, 3])
def test_a_requirement_follows_from_the_mark_of_what_is_held(size: int) -> None:
    ours = {MARK: 10**12, NEED: 9 * 10**6, HELD: size, HELD._replace(account="b"): 5}
    theirs = {**ours, MARK: 10**12 + 7, NEED: 8 * 10**6}
    expected = Cause.FOLLOWS if size else Cause.UNKNOWN
    assert cause(one_of(compare(side(ours), side(theirs)), NEED)) is expected


# ── age ──────────────────────────────────────────────────────────────────────────────────────────


@given(told=histories(), data=st.data())
@settings(max_examples=60)
def test_what_moved_after_the_statement_explains(told: list[Movement], data: Any) -> None:
    """Ours is taken back to the statement's time, wherever that lies."""
    then = data.draw(st.integers(0, len(told)))
    total = sum(one.amount for one in told)
    as_of = T0 - 1_000 + then - 1
    moved = Movements(by_key={CASH: told})
    report = compare(
        side({CASH: total}), side({CASH: sum(one.amount for one in told[:then])}, as_of),
        movements=moved,
    )  # fmt: skip
    match = one_of(report, CASH)
    assert not match.broken
    assert (match.later, match.ours) == (len(told) - then, total)


@given(told=histories(), data=st.data())
@settings(max_examples=40)
def test_what_is_in_theirs_before_its_time_is_timing(told: list[Movement], data: Any) -> None:
    then = data.draw(st.integers(1, len(told) - 1))
    early = told[then]
    as_of = T0 - 1_000 + then - 1
    report = compare(
        side({CASH: sum(one.amount for one in told)}),
        side({CASH: sum(one.amount for one in told[:then]) + early.amount}, as_of),
        movements=Movements(by_key={CASH: told}),
    )  # fmt: skip
    match = one_of(report, CASH)
    assert match.cause is not None
    assert (match.cause.cause, match.cause.sequences) == (Cause.TIMING, (early.sequence,))


# ── what is matched, and what is missing ─────────────────────────────────────────────────────────

names = st.sampled_from(["a", "b", "c"])
keys = st.builds(
    Key, st.sampled_from([Kind.BALANCE, Kind.POSITION]), names, st.sampled_from(["X", "Y"])
)
books = st.dictionaries(keys, st.integers(-(10**15), 10**15), max_size=10)


@given(ours=books, theirs=books)
@settings(max_examples=100)
def test_counts_and_totals_add_up(ours: dict[Key, int], theirs: dict[Key, int]) -> None:
    ours[CASH] = theirs[CASH] = 1
    report = compare(side(ours), side(theirs))
    kinds = {key.kind for key in theirs}
    asked = {key for key in ours if key.kind in kinds} | theirs.keys()
    assert {one.key for one in report.matches} == asked
    assert sum(report.counts().values()) == len(asked)
    assert sum(report.causes().values()) == len(report.breaks)
    for (kind, name), (mine, other, difference) in report.totals().items():
        of = [key for key in asked if (key.kind, key.name) == (kind, name)]
        assert mine == sum(ours.get(key, 0) for key in of)
        assert other == sum(theirs.get(key, 0) for key in of)
        assert difference == other - mine
    for one in report.matches:
        same = ours.get(one.key, 0) == theirs.get(one.key, 0)
        assert one.broken == (not same)
        if one.broken:
            expected = (
                Status.MISSING_OURS if one.key not in ours
                else Status.MISSING_THEIRS if one.key not in theirs else Status.DIFFERENT
            )  # fmt: skip
            assert one.status is expected


@given(ours=books)
@settings(max_examples=40)
def test_nothing_is_reported_of_what_is_the_same(ours: dict[Key, int]) -> None:
    ours[CASH] = 1
    report = compare(side(ours), side(dict(ours)))
    assert not report.breaks
    assert not report.causes()


@given(amount=st.integers(-(10**12), 10**12), change=st.integers(-500, 500),
       units=st.integers(0, 300), ppm=st.integers(0, 300))  # fmt: skip
def test_tolerances(amount: int, change: int, units: int, ppm: int) -> None:
    allowed = Tolerances(by_name={(Kind.BALANCE, "USDC"): Allowance(units, ppm)})
    report = compare(side({CASH: amount}), side({CASH: amount + change}), tolerances=allowed)
    limit = max(units, abs(amount) * ppm // 10**6)
    assert one_of(report, CASH).broken == (abs(change) > limit)
    assert one_of(report, CASH).allowed == limit


def test_only_what_the_statement_is_about_is_asked_of_it() -> None:
    ours = side({CASH: 5, HELD: 7, MARK: 9, NEED: 11})
    report = compare(ours, side({CASH: 5}))
    assert [one.key for one in report.matches] == [CASH]
    other = CASH._replace(account="b")
    report = compare(side({CASH: 5, other: 6}), side({CASH: 5}))
    assert one_of(report, other).status is Status.MISSING_THEIRS
    alone = compare(side({CASH: 5, other: 6}), side({CASH: 5}), accounts=frozenset({"a"}))
    assert [one.key for one in alone.matches] == [CASH]


def test_statements_of_another_account_or_day_are_refused() -> None:
    with pytest.raises(BadInput, match="an account that we have") as caught:
        compare(side({CASH: 5}), side({CASH._replace(account="z"): 5}))
    assert caught.value.problems[0].code is Reject.ACCOUNT_UNKNOWN
    for days in (-3, 3):
        with pytest.raises(BadInput, match="within") as caught:
            compare(side({CASH: 5}), side({CASH: 5}, T0 + days * 86_400_000))
        assert caught.value.problems[0].code is Reject.TIME_INVALID


# ── movements of a journal ───────────────────────────────────────────────────────────────────────


@cache
def history(house: str) -> History:
    return every_command(house)


def rows_of(found: History) -> list[Row]:
    return [Row(*row) for row in found.rows]


def money_and_positions(found: Statement) -> dict[Key, int]:
    kinds = (Kind.BALANCE, Kind.POSITION)
    return {key: line.amount for key, line in found.lines.items()
            if key.kind in kinds and line.amount}  # fmt: skip


@pytest.mark.parametrize(
    "house",
    [name if name in ("debt", "vega") else pytest.param(name, marks=pytest.mark.soak)
     for name in HOUSES],
)  # fmt: skip
def test_movements_come_to_what_there_is(house: str) -> None:
    """The sum of all movements of a line is the line: every command is accounted for."""
    found = history(house)
    moved = movements_of(found.state, rows_of(found))
    sums = {
        key: total for key, told in moved.by_key.items()
        if key.kind is not Kind.MARK and (total := sum(one.amount for one in told))
    }  # fmt: skip
    assert sums == money_and_positions(ours_of(found.state, house))
    whys = {one.why for told in moved.by_key.values() for one in told}
    assert {Why.FILL, Why.FEE, Why.FUNDING, Why.PAYMENT, Why.MARK} <= whys
    last = {key: told[-1].amount for key, told in moved.by_key.items() if key.kind is Kind.MARK}
    marks = {key: line.amount for key, line in ours_of(found.state, house).lines.items()
             if key.kind is Kind.MARK}  # fmt: skip
    assert marks.items() <= last.items()


def test_an_old_statement_of_a_true_book_has_no_breaks() -> None:
    """The books as they were after any command, held against the books as they are."""
    found = history("debt")
    rows = rows_of(found)
    moved = movements_of(found.state, rows)
    head = ours_of(found.state, "head")
    days = Tolerances(statement_ms_max=10**12)
    for count in range(20, len(rows), len(rows) // 5):
        # Whole moments: a statement does not tell what of one moment it has.
        while count < len(rows) and rows[count].time_ms == rows[count - 1].time_ms:
            count += 1
        state = State()
        replay(state, rows[:count], decisions=False)
        then = ours_of(state, "then")
        kinds = (Kind.BALANCE, Kind.POSITION)
        lines = {key: line for key, line in then.lines.items() if key.kind in kinds}
        if not any(key.kind is Kind.POSITION for key in lines):
            continue
        report = compare(head, replace(then, lines=lines), movements=moved, tolerances=days)
        assert not report.breaks, (count, report.breaks[:2])
        assert count == len(rows) or any(one.later for one in report.matches)


def test_fees_are_told_apart() -> None:
    """What the ledger's own fee events say, and nothing else, is a fee."""
    from solvent.messages.codec import decode_events
    from solvent.messages.events import FeePaid

    found = history("debt")
    paid: dict[str, int] = {}
    for row in found.rows:
        for event in decode_events(row[4]):
            if isinstance(event, FeePaid) and event.account >= 16:
                account = found.state.accounts[event.account]
                assert account is not None
                paid[account.name] = paid.get(account.name, 0) - event.amount
    moved = movements_of(found.state, rows_of(found))
    told: dict[str, int] = {}
    for key, some in moved.by_key.items():
        fees = sum(one.amount for one in some if one.why is Why.FEE)
        told[key.account] = told.get(key.account, 0) + fees
    assert {name: fee for name, fee in told.items() if fee} == {n: f for n, f in paid.items() if f}


def without(found: History, key: Key, why: Why) -> tuple[Match, Movement]:
    """The statement of someone who has not booked the last such movement of a line."""
    moved = movements_of(found.state, rows_of(found))
    last = [one for one in moved.of(key) if one.why is why][-1]
    ours = ours_of(found.state, "ours")
    lines = dict(ours.lines)
    line = lines.get(key) or Line(key=key, amount=0, places=PLACES[key.kind], digits=9)
    lines[key] = replace(line, amount=line.amount - last.amount)
    report = compare(ours, replace(ours, lines=lines), movements=moved)
    assert [one.key for one in report.breaks] == [key]
    return one_of(report, key), last


@pytest.mark.parametrize(
    ("why", "expected"),
    [(Why.FEE, Cause.FEE), (Why.FUNDING, Cause.UNSETTLED_FUNDING),
     (Why.FILL, Cause.MISSED_FILL), (Why.PAYMENT, Cause.MISSED_PAYMENT)],
)  # fmt: skip
def test_a_planted_break_in_a_journal_is_found(why: Why, expected: Cause) -> None:
    found = history("debt")
    moved = movements_of(found.state, rows_of(found))
    kind = Kind.POSITION if why is Why.FILL else Kind.BALANCE
    tried = [key for key, told in moved.by_key.items()
             if key.kind is kind and any(one.why is why for one in told)]  # fmt: skip
    assert tried
    for key in tried[:5]:
        match, _ = without(found, key, why)
        assert match.cause is not None
        assert expected in {match.cause.cause, *match.also}, (key, match)


# ── statements in files ──────────────────────────────────────────────────────────────────────────


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_tables_of_custodians_and_clearing_houses(tmp_path: Path) -> None:
    cash = written(tmp_path / "cash.csv", "client,currency,balance,date\n"
                   "a,usdc,1.5,2026-06-01T08:00\n"
                   "b,BTC,-0.000000001,2026-06-01T09:00\n")  # fmt: skip
    held = written(tmp_path / "held.csv", "account,contract,net_position,settlement_price\n"
                   "a,BTC/USDC:USDC,0.25,50000.5\n"
                   "b,BTC_USDC-PERPETUAL,-0.25,50000.5\n")  # fmt: skip
    need = written(tmp_path / "need.csv", "account,initial_margin,maintenance_margin\na,7,3.5\n")
    found = read_statement([cash, held, need])
    amounts = {str(key): line.amount for key, line in found.lines.items()}
    assert amounts == {
        "balance a USDC": 1_500_000, "balance b BTC": -1,
        "position a BTC_USDC-PERPETUAL": 250_000_000,
        "position b BTC_USDC-PERPETUAL": -250_000_000,
        "mark BTC_USDC-PERPETUAL": 50_000_500_000_000,
        "requirement a initial margin": 7_000_000,
        "requirement a maintenance margin": 3_500_000,
    }  # fmt: skip
    assert found.time_ms == 1_780_304_400_000
    told = written(tmp_path / "told.csv", "account,kind,name,amount\na,position,Q-1,3\n")
    assert read_statement([told], contracts={"Q-1"}).lines[Key(Kind.POSITION, "a", "Q-1")].amount


@pytest.mark.parametrize(
    ("text", "code", "row", "field"),
    [
        ("account,asset,amount\na,USDC,1\na,USDC,1\n", Reject.ROW_DUPLICATED, 2,
         "balance a USDC"),
        ("account,asset,amount\na,USDC,1\nb,USDC,nan\n", Reject.FIELD_NOT_FINITE, 2, "amount"),
        ("account,asset,amount\na,USDC,1\nb,USDC,x\n", Reject.FIELD_NOT_A_NUMBER, 2, "amount"),
        ("account,asset,amount\na,USDC,1\nb,USDC,\n", Reject.FIELD_MISSING, 2, "amount"),
        ("account,asset,amount\na,USDC,1\n,USDC,1\n", Reject.FIELD_MISSING, 2, "account"),
        ("account,asset,amount\na,USDC,1\nb,USDC,1e20\nb,X,1e20\n", Reject.AMOUNT_TOO_LARGE, 3,
         "balance b X"),
        ("account,instrument,size\na,BTC-PERPETUAL,1\na,NOPE,1\n", Reject.SYMBOL_UNKNOWN, 2,
         "instrument"),
        ("account,instrument,size,mark_price\na,BTC-PERPETUAL,1,5\nb,BTC-PERPETUAL,1,6\n",
         Reject.ROW_DUPLICATED, 2, "mark BTC-PERPETUAL"),
        ("account,instrument,size,mark_price\na,BTC-PERPETUAL,1,5\nb,ETH-PERPETUAL,1,-6\n",
         Reject.PRICE_NOT_POSITIVE, 2, "mark_price"),
        ("asset,amount\nUSDC,1\nBTC,1\n", Reject.FIELD_MISSING, 1, "account"),
        ("account,asset,amount,time\na,USDC,1,1\nb,USDC,1,yesterday\n", Reject.TIME_INVALID, 1,
         "time"),
        ("a,b\n1,2\n", Reject.FIELD_MISSING, None, None),
        ("account,kind,name,amount\na,balance,USDC,1\na,cash,USDC,1\n", Reject.ROW_MALFORMED, 2,
         "kind"),
        ("account,asset,amount\na,USDC,1,9,9\n", Reject.ROW_MALFORMED, 1, None),
        ("account,asset,amount\n", Reject.SOURCE_EMPTY, None, None),
    ],
)  # fmt: skip
def test_bad_statements_name_file_row_and_field(
    text: str, code: Reject, row: int | None, field: str | None, tmp_path: Path
) -> None:
    path = written(tmp_path / "statement.csv", text)
    with pytest.raises(BadInput, match=r"statement\.csv") as caught:
        read_statement([path])
    problem = caught.value.problems[0]
    assert (problem.code, problem.row, problem.field) == (code, row, field), str(problem)


def test_a_statement_of_somebody_else(tmp_path: Path) -> None:
    path = written(tmp_path / "s.csv", "account,asset,amount\na,USDC,1\nb,USDC,2\n")
    assert read_statement([path], account="a").lines.keys() == {CASH}
    with pytest.raises(BadInput, match="a statement of z"):
        read_statement([path], account="z")
    path = written(tmp_path / "s.csv", "asset,amount\nUSDC,1\n")
    assert read_statement([path], account="a").accounts == {"a"}


def test_a_table_of_several_things_is_read_whole(tmp_path: Path) -> None:
    """Every column that says what there is, is taken or refused."""

    def amounts(text: str) -> dict[str, int]:
        found = read_statement([written(tmp_path / "s.csv", text)])
        return {str(key): line.amount for key, line in found.lines.items()}

    head = "account,instrument,size,initial_margin,maintenance_margin\n"
    assert amounts(head + "a,BTC-PERPETUAL,2,7,3\n") == {
        "position a BTC-PERPETUAL": 2 * 10**9, "requirement a initial margin": 7_000_000,
        "requirement a maintenance margin": 3_000_000,
    }  # fmt: skip
    with pytest.raises(BadInput, match="told once"):
        amounts(head + "a,BTC-PERPETUAL,2,7,3\na,ETH-PERPETUAL,2,7,3\n")
    both = {"balance a USDC": 5_000_000, "position a BTC-PERPETUAL": 2 * 10**9}
    head = "account,asset,amount,instrument,size\n"
    assert amounts(head + "a,USDC,5,BTC-PERPETUAL,2\n") == both
    assert amounts(head + "a,USDC,5,,\na,,,BTC-PERPETUAL,2\n") == both
    with pytest.raises(BadInput, match="an empty row"):
        amounts(head + "a,USDC,5,,\na,,,,\n")
    with pytest.raises(BadInput, match="'asset': expected a name"):
        amounts(head + "a,,5,BTC-PERPETUAL,2\n")
    head = "account,asset,balance,contract,quantity\n"
    assert amounts(head + "a,USDC,5,BTC-PERPETUAL,2\n") == both
    for head, left in (
        ("account,contract,currency,quantity", "found currency, beside"),
        ("account,asset,amount,mark_price", "found mark_price, beside"),
        ("account,asset,balance,total", "found total, beside"),
        ("account,asset,amount,instrument", "found instrument, beside"),
        ("account,kind,name,amount,equity", "found equity, beside"),
    ):
        with pytest.raises(BadInput, match=left):
            amounts(f"{head}\na,BTC-PERPETUAL,BTC,3,4\n"[: None if head.count(",") > 3 else -3])


def test_a_home_after_the_name_of_a_venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path / "s.json", '{"total": {"BTC": 1}, "free": {"BTC": 1}, "BTC": {"total": 1}}')
    assert read_statement(["ccxt:~/s.json"], account="a").kinds == {Kind.BALANCE}


def test_an_answer_of_a_venue_is_a_statement() -> None:
    from tests.test_accounts_in import path_of

    name = "bybit/http_get_positions.json"
    path_of(name)
    linear = path_of("bybit/http_get_instruments_linear.json")
    found = read_statement([f"bybit:{path_of(name)}", f"bybit:{linear}"], account="me")
    assert found.lines[Key(Kind.POSITION, "me", "ETH_USDT-PERPETUAL")].amount == -5 * 10**9
    assert found.lines[Key(Kind.MARK, "", "BTC_USDT-PERPETUAL")].amount == 50_500 * 10**9


def test_when_a_position_last_changed_is_not_when_it_was_told() -> None:
    """Else a fill that they never booked would be undone in ours, and nothing would differ."""
    held = Holding(symbol=HELD.name, size=Decimal(2), time_ms=TimeMs(T0 - 5_000))
    lines = of_answer(Answer(holdings=(held,)), "a", "x", as_of_ms=T0)
    theirs = Statement(source="x", lines={one.key: one for one in lines}, time_ms=T0)
    moved = Movements(by_key={HELD: [Movement(1, T0 - 9_000, Why.FILL, 2 * 10**9),
                                     Movement(2, T0 - 1_000, Why.FILL, 3 * 10**9)]})  # fmt: skip
    match = one_of(compare(side({HELD: 5 * 10**9}), theirs, movements=moved), HELD)
    assert match.cause is not None
    assert (match.cause.cause, match.cause.sequences) == (Cause.MISSED_FILL, (2,))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("balance = 3", "a table"), ("[balance]\nunits = -1", "0 or more"),
        ("[balance]\nunits = 1.5", "0 or more"), ("[balance]\nunit = 1", "units, ppm"),
        ("[cash]\nunits = 1", "balance"), ("[balance", "TOML"), ("[age]\nx = 1", "mark_ms_max"),
        ("[balance]\nunits = true", "0 or more"), ("age = 1", "a table"),
    ],
)  # fmt: skip
def test_tolerances_that_are_wrong(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=words):
        read_tolerances(written(tmp_path / "t.toml", text))


def test_tolerances_are_read(tmp_path: Path) -> None:
    text = "[balance]\nunits = 3\n[balance.BTC]\nppm = 7\n[age]\nmark_ms_max = 5\n"
    found = read_tolerances(written(tmp_path / "t.toml", text))
    assert found.of(CASH, 10**9) == 3
    assert found.of(CASH._replace(name="BTC"), 10**9) == 7_000
    assert (found.mark_ms_max, found.of(NEED, 0)) == (5, 10_000)


@given(units=st.integers(-(10**24), 10**24), digits=st.integers(0, 12))
@settings(max_examples=60)
def test_amounts_are_rounded_half_even_once(units: int, digits: int) -> None:
    told = Decimal(units).scaleb(-digits - 6)
    line = line_of(CASH, told, 6, time_ms=None, row=None, source="x")
    assert abs(told - line.told) <= Decimal("0.0000005")
    assert line.amount == round(told * 10**6)
