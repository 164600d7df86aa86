"""A Dutch auction from its start to its end; what accrues beside it; vectors."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.conform import conform
from solvent.errors import InvariantBroken, Refused, Reject
from solvent.liquidation import accrual, auction
from solvent.liquidation.auction import Auction, Terms, Worth
from solvent.liquidation.socialise import PooledCash
from tests.conftest import need_shared

F = Fraction
TERMS = Terms(start=F(1), cut=F(4, 5), fast_s=600, slow_s=7_200, insolvent_s=600, fee=F(1, 50),
              buffer=F(1, 10))  # fmt: skip
AT_LOSS = Worth(mm=F(-300), mtm=F(-100))
BELOW = Worth(mm=F(-100), mtm=F(300))


def after(worth: Worth, done: auction.Bid, reserved: Fraction) -> Worth:
    """What is left of an account that is in proportion to what it holds."""
    left = 1 - done.share
    cash = reserved + done.paid
    return Worth(mm=(worth.mm - reserved) * left + cash, mtm=(worth.mtm - reserved) * left + cash)


def test_the_start_and_its_fee() -> None:
    running, fee = auction.start(BELOW, TERMS, 7)
    assert running == Auction(terms=TERMS, solvent=True, started_s=7)
    # buffer margin −140: 140/440 of the account would go at no discount
    assert fee == F(140, 440) * 300 / 50
    insolvent, none = auction.start(AT_LOSS, TERMS, 7)
    assert (insolvent.solvent, insolvent.owed, none) == (False, F(300), F(0))
    whole, most = auction.start(BELOW, replace(TERMS, whole_below=F(301)), 7)
    assert whole.solvent
    assert most == 6
    with pytest.raises(Refused) as refused:
        auction.start(Worth(mm=F(0), mtm=F(1)), TERMS, 0)
    assert refused.value.code is Reject.ACCOUNT_NOT_LIQUIDATABLE


def test_the_largest_bid_restores_the_buffer_exactly_and_ends_it() -> None:
    running = Auction(terms=TERMS, solvent=True, started_s=0)
    done = auction.bid(running, BELOW, want=F(1), time_s=300, security=F(0))
    assert done.price == 270
    assert done.share == F(14, 41)
    assert done.paid == F(14, 41) * 270
    assert done.must_hold == done.paid + 140 * done.share
    assert done.auction.ended
    assert done.auction.reserved == done.paid
    assert auction.buffer_margin(after(BELOW, done, F(0)), TERMS) == 0


@given(st.lists(st.tuples(st.fractions(F(1, 100), F(1, 4)), st.integers(0, 700)), max_size=6),
       st.fractions(-500, -1), st.fractions(1, 1_000))  # fmt: skip
def test_bids_in_parts_come_to_the_buffer_and_not_beyond(
    bids: list[tuple[Fraction, int]], mm: Fraction, mtm: Fraction
) -> None:
    worth = Worth(mm=mm, mtm=mtm)
    running, time = Auction(terms=TERMS, solvent=True, started_s=0), 0
    for want, later in [*bids, (F(1), 1)]:
        time += later
        done = auction.bid(running, worth, want=want, time_s=time, security=F(0))
        worth = after(worth, done, running.reserved)
        running = done.auction
        assert auction.buffer_margin(worth, TERMS) <= 0
        if running.ended:
            assert auction.buffer_margin(worth, TERMS) == 0
            break
    assert running.ended
    assert auction.may_end(running, worth, time)
    with pytest.raises(Refused, match="one that goes on"):
        auction.bid(running, worth, want=F(1), time_s=time, security=F(0))


def test_what_cannot_be_sold() -> None:
    running = Auction(terms=TERMS, solvent=True, started_s=0)
    for want in (F(0), F(-1), F(3, 2)):
        with pytest.raises(Refused, match=r"\(0, 1\]"):
            auction.bid(running, BELOW, want=want, time_s=0, security=F(0))
    with pytest.raises(Refused, match="something for sale") as over:
        auction.bid(running, BELOW, want=F(1), time_s=7_800, security=F(0))
    assert over.value.code is Reject.ACCOUNT_STILL_LIQUIDATABLE
    with pytest.raises(Refused, match="something for sale") as healthy:
        auction.bid(running, Worth(mm=F(40), mtm=F(300)), want=F(1), time_s=1, security=F(0))
    assert healthy.value.code is Reject.ACCOUNT_NOT_LIQUIDATABLE
    with pytest.raises(Refused, match="above the reserved cash"):
        auction.bid(replace(running, reserved=F(301)), BELOW, want=F(1), time_s=1, security=F(0))
    # all that it is worth is reserved: the price is 0, and there is nothing to buy
    with pytest.raises(Refused, match="something for sale"):
        auction.bid(replace(running, reserved=F(300)), BELOW, want=F(1), time_s=1, security=F(0))
    assert auction.solvent_price(replace(running, reserved=F(300)), BELOW, 1) == 0
    with pytest.raises(InvariantBroken, match="not negative"):
        Worth(mm=F(1), mtm=F(0))
    assert Worth(mm=F(1), mtm=F(1)).mm == 1
    with pytest.raises(InvariantBroken, match="owes nothing"):
        auction.bid(running, BELOW, want=F(1), time_s=1, security=F(-1))


def test_who_is_taken_whole() -> None:
    parts = [auction.max_proportion(F(300), F(-140), discount=F(1), mtm_cutoff=F(cutoff))
             for cutoff in (300, 301)]  # fmt: skip
    assert parts == [F(140, 440), 1]
    # what is reserved is not for sale: a larger share of the rest has to go
    some = auction.max_proportion(F(300), F(-140), discount=F(1, 2), reserved=F(100))
    assert some == F(140, 140 + 150 + 50)
    # worth less than nothing, but not by as much as its margin lacks
    assert auction.max_proportion(F(-10), F(-140), discount=F(1, 2)) == 1
    assert auction.max_proportion(F(-300), F(-140), discount=F(1, 2)) == 1
    small = replace(TERMS, whole_below=F(301))
    running = Auction(terms=small, solvent=True, started_s=0)
    done = auction.bid(running, BELOW, want=F(1), time_s=300, security=F(0))
    assert (done.share, done.paid) == (F(1), F(270))


def test_an_insolvent_bid_is_paid_by_the_security_module_first() -> None:
    running = Auction(terms=TERMS, solvent=False, started_s=0, owed=F(300))
    done = auction.bid(running, AT_LOSS, want=F(1, 2), time_s=300, security=F(70))
    assert (done.price, done.paid) == (F(-200), F(0))
    assert (done.from_security, done.socialised, done.received) == (F(70), F(30), F(100))
    assert done.must_hold == 50
    assert not done.auction.ended
    rest = auction.bid(done.auction, Worth(mm=F(-150), mtm=F(-50)), want=F(1), time_s=900,
                       security=F(0))  # fmt: skip
    assert (rest.socialised, rest.must_hold, rest.auction.ended) == (F(150), F(0), True)
    well = auction.bid(running, Worth(mm=F(5), mtm=F(9)), want=F(1), time_s=9, security=F(70))
    assert well.received == 0
    pool = PooledCash(stable=1_000, supply=1_000).socialised(int(done.socialised))
    assert pool.exchange_rate() == F(1_000, 1_030)


def test_nobody_bids() -> None:
    """A one-sided auction: the price falls to 0, and it goes on as an insolvent one."""
    running = Auction(terms=TERMS, solvent=True, started_s=0)
    assert not auction.time_is_over(running, 7_799)
    with pytest.raises(Refused):
        auction.to_insolvent(running, BELOW, 7_799)
    assert auction.time_is_over(running, 7_800)
    with pytest.raises(Refused):
        auction.to_insolvent(running, Worth(mm=F(0), mtm=F(300)), 7_800)
    later = auction.to_insolvent(running, BELOW, 7_800)
    assert (later.solvent, later.started_s, later.owed) == (False, 7_800, F(100))
    prices = [auction.bid(later, BELOW, want=F(1), time_s=7_800 + t, security=F(10**6)).price
              for t in (0, 300, 600, 9_000)]  # fmt: skip
    assert prices == [0, -50, -100, -100]
    assert auction.withdrawals_blocked(later.owed, F(99))
    assert not auction.withdrawals_blocked(later.owed, F(100))


@pytest.mark.parametrize(
    ("solvent", "time", "mm", "mtm", "reserved", "may"),
    [
        (False, 0, -1, 5, 0, False),
        (False, 0, 0, 5, 0, True),
        (True, 0, 0, 5, 0, False),  # its buffer is not there yet: −0.5
        (True, 0, 1, 11, 0, True),
        (True, 7_800, 0, 5, 0, True),
        (True, 7_800, -1, 5, 0, False),
        (True, 0, -5, -1, 0, True),
        (True, 0, -5, 4, 4, True),
        (True, 0, -5, 4, 3, False),
    ],
)
def test_who_may_end(solvent: bool, time: int, mm: int, mtm: int, reserved: int, may: bool) -> None:
    running = Auction(terms=TERMS, solvent=solvent, started_s=0, reserved=F(reserved))
    assert auction.may_end(running, Worth(mm=F(mm), mtm=F(mtm)), time) is may


@given(st.integers(0, 9_000), st.integers(0, 9_000))
def test_the_longer_it_goes_the_cheaper_it_is(first: int, later: int) -> None:
    early, late = sorted((first, later))
    assert 0 <= auction.discount(TERMS, late) <= auction.discount(TERMS, early) <= 1
    for worth in (AT_LOSS, BELOW):
        prices = [auction.insolvent_price(TERMS, worth, t) for t in (late, early)]
        assert worth.mm <= prices[0] <= prices[1] <= 0


def test_terms_that_cannot_be() -> None:
    for change in ({"cut": F(2)}, {"start": F(2)}, {"slow_s": 0}, {"fee": F(-1)}):
        with pytest.raises(InvariantBroken):
            replace(TERMS, **change)


# ── beside it ────────────────────────────────────────────────────────────────────────────────────


def test_a_fund_that_is_used_in_full_costs_its_optimum_and_beyond() -> None:
    rates = accrual.Rates(least=F(2, 100), slope=F(8, 100), steep=F(90, 100), optimum=F(85, 100))
    assert rates.yearly(supply=F(100), borrowed=F(85)) == F(2, 100) + F(68, 1_000)
    assert rates.yearly(supply=F(100), borrowed=F(300)) == F(223, 1_000)
    assert rates.yearly(supply=F(0), borrowed=F(5)) == F(2, 100)
    assert accrual.interest(F(1, 2), 0) == 0
    grown = accrual.interest(F(1), 365 * 86_400)
    assert float(grown) == pytest.approx(1.718281828459045, abs=1e-15)


def test_cash_that_is_backed_is_worth_its_coin() -> None:
    pool = PooledCash(stable=2_000, supply=1_500, borrowed=600)
    assert pool.exchange_rate() == 1
    assert pool.withdrawn(500) == (replace(pool, stable=1_500, supply=1_000), 500)
    short = PooledCash(stable=700, supply=1_500, borrowed=600, fees=100)
    assert short.exchange_rate() == F(7, 10)
    rest, burnt = short.withdrawn(1)
    assert burnt == 2  # in whole units, against who withdraws
    assert rest.exchange_rate() >= short.exchange_rate()
    assert short.socialised(100).fees == 0
    with pytest.raises(InvariantBroken):
        short.withdrawn(701)
    assert PooledCash(stable=0, supply=0).exchange_rate() == 1


# ── vectors ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "cases"),
    [("derive/auction_sim_cases", 12), ("derive/unit_vectors", 29), ("tradfi/adl_vectors", 18),
     ("tradfi/default_waterfall_vectors", 15)],
)  # fmt: skip
def test_vectors(path: str, cases: int) -> None:
    found = conform([need_shared("vectors", f"{path}.json")])
    assert (found.failed, found.unknown) == (0, 0)
    assert found.passed >= cases


def test_simulations_of_the_old_contract_are_left_out(tmp_path: Path) -> None:
    """Its source keeps two insolvent ones commented out: they are of another pricing rule."""
    told = json.loads(need_shared("vectors", "derive", "auction_sim_cases.json").read_text("utf-8"))
    idle = [row for row in told["cases"] if not row["upstream_active"]]
    assert {row["id"] for row in idle} == {"InsolventTest1", "InsolventTest2"}
    folder = tmp_path / "derive"
    folder.mkdir()
    (folder / "auction_sim_cases.json").write_text(json.dumps({**told, "cases": idle}))
    found = conform([folder])
    assert (found.passed, found.failed, found.unknown) == (0, 0, 0)


def test_a_wrong_number_is_noticed(tmp_path: Path) -> None:
    told = json.loads(need_shared("vectors", "derive", "auction_sim_cases.json").read_text("utf-8"))
    told["cases"] = told["cases"][:1]
    expected = told["cases"][0]["actions"][0]["expected"]
    expected["PostMM"] = str(float(expected["PostMM"]) + 1e-9)
    folder = tmp_path / "derive"
    folder.mkdir()
    (folder / "auction_sim_cases.json").write_text(json.dumps(told))
    found = conform([folder])
    assert (found.passed, found.failed) == (1, 1)
