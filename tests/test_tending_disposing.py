"""The insurance fund sells what it took over, by its schedule, through the books."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from solvent.account.ledger import INSURANCE
from solvent.cli.liquidations import _print_plan
from solvent.conform.vega_engine import WAYS
from solvent.engine.apply import Applied, apply
from solvent.engine.image import books_hash, image, restore, state_hash
from solvent.engine.state import State
from solvent.feeds.library import rulebook_source
from solvent.host import Engine
from solvent.margining.closing import DisposalText
from solvent.messages import commands as c
from solvent.messages.codec import decode_command, decode_events
from solvent.messages.fields import AccountKind, OpeningBalance, OpeningPosition, Phase
from solvent.sim.checker import Checker
from solvent.tending.plans import Plan
from solvent.tending.told import Step, Teller
from solvent.verify.books import check_books
from tests.tended import Tended, bid, stages_of, tended
from tests.venues import (
    BOOK,
    DOLLAR,
    EXPIRY,
    FUT,
    LIN,
    SYMBOLS,
    T0,
    Venue,
    adoption,
    arrays,
    listing,
    market,
    order_of,
    own,
)

STEP = 10_000
VEGAS = """
[liquidation.fund.disposal]
every_ms   = 10_000
fraction   = 0.5
full_lots  = 50
book_share = 0.01
slippage   = 0.1
"""
"""The schedule of Vega's scenario 0012-POSR-013."""


def taken_over(more: str = VEGAS, *, fund: int = 5_000) -> Tended:
    """The fund has taken 280 lots of dave's at 48,000 ticks, and 10,000 lots are asked for."""
    engine = tended('["fund"]', more, fund=fund, lots=280, money=560)
    own(engine.venue, "carol", 100_000 * DOLLAR)
    bid(engine, "bid", 10_000, 49_000)
    engine.tend()
    assert engine.kinds()[:3] == ["BeginLiquidation", "TakeOver", "EndLiquidation"]
    return engine


def holds(engine: Tended) -> int:
    found = engine.venue.position("insurance", LIN)
    return 0 if found is None else found[0]


def sold(engine: Tended) -> list[int]:
    return [one["lots"] for one in engine.sent(c.LiquidateInBook)]


def later(engine: Tended, ms: int = STEP) -> None:
    """Time passes, and the venue publishes anew."""
    engine.venue.time_ms += ms
    engine.venue.publish()


def waiting(plans: list[Plan]) -> list[tuple[str, str]]:
    """Of what the fund cannot sell, and why."""
    assert all(one.stage == "dispose" and not one.rows for one in plans)
    return [(one.pool, one.open) for one in plans]


def test_vegas_schedule() -> None:
    """280 lots go as 100, 90, 45 and 45, ten seconds apart, the first ten seconds after it took
    them. What it gains, a dollar a lot, comes out of clearing; nothing is made or lost."""
    engine = taken_over()
    state, venue = engine.state, engine.venue
    assert waiting(engine.plans()) == [(LIN, "its cooldown")]
    names = ("insurance", "carol", "bob", "dave")
    had, cleared = [venue.held(name) for name in names], venue.clearing(LIN)
    held = []
    for _ in range(4):
        before = books_hash(state)
        assert waiting(engine.tend().open) == [(LIN, "its cooldown")]
        assert books_hash(state) == before
        later(engine)
        (plan,) = engine.plans()
        assert stages_of([plan]) == [("insurance", "dispose")]
        done = engine.tend()
        assert (done.plans["dispose"], done.refused) == (1, 0)
        held.append(holds(engine))
        assert engine.tend().nothing
    assert sold(engine) == [100, 90, 45, 45]
    assert held == [180, 90, 45, 0]
    assert engine.plans() == []
    gained = 280 * DOLLAR
    assert [venue.held(name) - was for name, was in zip(names, had, strict=True)] == [
        gained,
        0,
        0,
        0,
    ]
    assert venue.clearing(LIN) == cleared - gained
    assert sum(state.ledger.balances.values()) == 0


def test_it_goes_on_after_a_restart_in_the_middle() -> None:
    whole, part = taken_over(), taken_over()
    for step in range(4):
        part = Tended(Venue(restore(image(part.state)), part.venue.time_ms))
        for engine in (whole, part):
            later(engine, STEP - 1)
            assert engine.tend().plans["dispose"] == 0
            later(engine, 1)
            engine.tend()
        assert state_hash(part.state) == state_hash(whole.state), step
    assert (sold(whole), holds(part)) == ([100, 90, 45, 45], 0)


def test_without_a_rule_it_keeps_what_it_has() -> None:
    engine = taken_over("")
    later(engine)
    assert engine.plans() == []
    assert engine.tend().nothing
    assert holds(engine) == 280


def test_what_stays_is_told() -> None:
    engine = taken_over()
    venue = engine.venue
    later(engine)

    def left() -> str:
        ((symbol, why),) = waiting(engine.plans())
        assert symbol == LIN
        # No command is sent in vain.
        assert engine.tend().nothing
        return why

    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    assert left() == "its phase is halted"
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.CONTINUOUS)
    venue.contract(LIN).mark_points = None
    assert left() == "its mark is not known"
    venue.contract(LIN).mark_points = 500_000
    venue.time_ms += 60_001
    venue.do(c.Heartbeat)
    assert left() == "risk arrays are not known, or too old"
    venue.publish()
    venue.do(c.CancelOrders, account="carol")
    bid(engine, "far", 1_000, 44_999)
    assert left() == "nothing is within its reach"
    bid(engine, "near", 10, 45_000)
    engine.tend()
    # A hundredth of ten lots, rounded up.
    assert sold(engine) == [1]


def test_what_expires_is_settled_and_not_sold() -> None:
    engine = taken_over()
    engine.venue.trade("insurance", "bob", 5, 50_000, symbol=FUT)
    engine.venue.order("carol", "f", 100, 50_000, symbol=FUT)
    engine.venue.time_ms = EXPIRY
    engine.venue.publish()
    assert waiting(engine.plans()[1:]) == [(FUT, "it has expired")]


def test_several_contracts_and_a_short_one() -> None:
    """One plan for all; who is short buys, at most a tenth above the mark."""
    engine = taken_over()
    venue = engine.venue
    venue.trade("bob", "insurance", 60, 50_000, symbol=FUT)
    venue.order("carol", "f", -1_000, 55_000, symbol=FUT)
    venue.order("carol", "g", -9_000, 55_001, symbol=FUT)
    later(engine)
    (plan,) = engine.plans()
    assert [one.command.symbol for one in plan.rows] == [LIN, FUT]  # type: ignore[attr-defined]
    engine.tend()
    (first, second) = engine.sent(c.LiquidateInBook)
    assert (first["side"], first["lots"], first["price_ticks"]) == ("sell", 100, 45_000)
    assert (second["side"], second["lots"], second["price_ticks"]) == ("buy", 10, 55_000)


@pytest.mark.parametrize(("steps", "found"), [
    ({"price_step": 7, "lots_step": 8}, (96, 45_003)), ({"lots_max": 30}, (30, 45_000)),
    ({"lots_min": 100}, (100, 45_000)), ({"lots_min": 101}, "too little rests within its reach"),
])  # fmt: skip
def test_prices_and_lots_that_the_book_takes(steps: dict[str, Any], found: Any) -> None:
    engine = taken_over()
    book = engine.state.desk.books[0]
    for name, value in steps.items():
        book.terms = replace(book.terms, **{name: value})
    later(engine)
    (plan,) = engine.plans()
    if isinstance(found, str):
        assert plan.open == found
    else:
        command: Any = plan.rows[0].command
        assert (command.lots, command.price_ticks) == found


def test_never_beyond_the_band_nor_below_a_tick() -> None:
    engine = taken_over(f"{VEGAS.replace('0.1', '2.0')}")
    later(engine)
    assert engine.plans()[0].rows[0].command.price_ticks == 1  # type: ignore[attr-defined]
    engine = tended('["fund"]', VEGAS, fund=5_000, lots=280, money=560, engine="price_band = 0.01")
    bid(engine, "bid", 100, 49_500, who="alice")
    engine.tend()
    later(engine)
    engine.tend()
    assert engine.sent(c.LiquidateInBook)[0]["price_ticks"] == 49_500
    assert engine.sent(c.LiquidateInBook)[0]["lots"] == 1


def test_where_orders_only_rest_it_waits() -> None:
    engine = taken_over()
    engine.venue.adopt(f'[liquidation]\nstages = ["fund"]\n{VEGAS}')
    later(engine)
    assert waiting(engine.plans()) == [(LIN, "its orders are not matched here")]


def test_a_fund_that_cannot_pay_waits_like_any_other() -> None:
    """Below its price each lot would lose: nothing goes, and it tries again ten seconds later."""
    engine = taken_over()
    own(engine.venue, "insurance", 0)
    engine.venue.do(c.CancelOrders, account="carol")
    bid(engine, "low", 10_000, 47_000)
    later(engine)
    assert engine.tend().plans["dispose"] == 1
    assert engine.tend().nothing
    assert holds(engine) == 280
    assert engine.state.disposals == {0: engine.venue.time_ms}


def test_what_the_engine_refuses_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = taken_over()
    monkeypatch.setattr("solvent.tending.disposing.next_ms", lambda *_: 0)
    done = engine.tend()
    assert (done.accepted, done.refused, done.plans["dispose"]) == (0, 1, 1)
    assert engine.kinds()[-1] == "(LiquidateInBook)"


def test_a_plan_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """No margin is asked of the fund: its plan tells of none."""
    engine = taken_over()
    _print_plan(engine.plans()[0])
    later(engine)
    _print_plan(engine.plans()[0])
    assert capsys.readouterr().out.splitlines() == [
        f"insurance ({LIN}): dispose, the insurance fund sells what it took over",
        "  its cooldown",
        "insurance: dispose, the insurance fund sells what it took over",
        "  LiquidateInBook: its share of 10,000 lots within reach: from 280 to 180 lots",
    ]


# ── a journal of it ──────────────────────────────────────────────────────────────────────────────


def opening() -> list[Any]:
    """A venue of two, whose fund holds 280 lots that it bought at the mark."""
    commands: list[Any] = [
        c.ListAsset(key="usdc", actor="op", asset="USDC", decimals=6),
        c.ListAsset(key="btc", actor="op", asset="BTC", decimals=9),
        *(listing(symbol) for symbol in SYMBOLS),
        adoption("tenth", f"{BOOK}\n{VEGAS}", venue=True), market(), arrays("tenth"),
    ]  # fmt: skip
    commands += [
        c.OpenAccount(key=name, actor="op", account=name, kind=AccountKind.USER, rulebook="tenth")
        for name in ("alice", "bob")
    ]
    balances = tuple(OpeningBalance(name, "USDC", 10**12) for name in ("alice", "bob", "insurance"))
    held = tuple(
        OpeningPosition(name, LIN, lots, 500_000)
        for name, lots in (("insurance", 280), ("bob", -280))
    )
    bids = order_of("alice", "bid", 10_000, 49_900)
    return [
        *commands,
        c.ImportBooks(key="books", actor="op", balances=balances, positions=held),
        c.PlaceOrder(key="bid", actor="op", **bids),
    ]


def test_a_journal_of_it_is_read_by_all(tmp_path: Path) -> None:
    """By the engine that opens it again in the middle, by the books that are kept in fractions, by
    the checker, and by the report."""
    commands = opening()
    with Engine.create(tmp_path / "venue", clock=lambda: T0) as engine:
        assert all(one.accepted for one in engine.submit_all(commands))
        engine.tend()
        engine.snapshot()
    for step in range(1, 4):
        with Engine.open(tmp_path / "venue", clock=lambda: T0) as engine:
            assert engine.tend(time_ms=T0 + step * STEP).plans["dispose"] == 1
            assert engine.tend().nothing
            found = engine.hash()
    with Engine.open(tmp_path / "venue", clock=lambda: T0) as engine:
        assert engine.hash() == found
        rows, state = list(engine.journal.read()), engine.state
    assert INSURANCE not in state.contracts[0].holders
    twin = check_books(rows, image=image(state))
    assert [str(one) for one in twin.problems] == []
    assert twin.agrees
    checker = Checker(state)
    for row in rows:
        assert checker.see(decode_command(row.command), decode_events(row.events)) == []
    told: list[Step] = list(Teller(state).take(rows))
    assert [(one.account, one.stage, one.before, one.after) for one in told] == [
        ("insurance", "dispose", before, after)
        for before, after in ((280, 180), (180, 90), (90, 45), (45, 0))
    ]
    assert {(one.price, one.mark, one.who, one.fee_micro) for one in told} == {
        ("49900", "50000", "alice", 0)
    }
    assert [one.lost_micro for one in told] == [10_000_000, 9_000_000, 4_500_000, 4_500_000]


@pytest.mark.parametrize("held", [280, -280])
def test_vegas_own_rulebook(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contracts that are ruled by themselves, of which the fund holds either side."""
    rows: list[Any] = []

    def recorded(state: State, sealed: Any) -> Applied:
        done = apply(state, sealed)
        rows.append((sealed.sequence, sealed.time_ms, done.kind, done.command, done.stored,
                     done.chain))  # fmt: skip
        return done

    monkeypatch.setattr("solvent.conform.vega_venue.apply", recorded)
    found = WAYS["network_disposal"].run({
        "network_position": held, "disposal_fraction": "0.5", "full_disposal_size": 50,
        "max_fraction_consumed": "0.01", "available_volume": 10_000,
    })  # fmt: skip
    assert found is not None
    assert (found.values, found.faults) == ({"disposals": [100, 90, 45, 45]}, ())
    assert check_books(rows).agrees


# ── rulebooks ────────────────────────────────────────────────────────────────────────────────────


def test_vegas_defaults() -> None:
    assert DisposalText() == DisposalText(
        every_ms=10_000, fraction=0.1, full_lots=20, book_share=0.05, slippage=0.1
    )
    assert "[liquidation.fund.disposal]" in rulebook_source("vega")
