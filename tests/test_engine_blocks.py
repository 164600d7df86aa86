"""Blocks: reported by both sides, done when the reports fit, kept while they do not."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.engine import blocks
from solvent.engine.image import image, restore, state_hash
from solvent.engine.state import Block
from solvent.errors import Reject
from solvent.limits import COMBO_FIRST, LOTS_MAX
from solvent.messages import commands as c
from solvent.messages.events import (
    BlockReported,
    Event,
    FeePaid,
    OrderReduced,
    PositionChanged,
    Traded,
)
from solvent.messages.fields import ComboLeg, MarginMode, OpeningPosition, Phase, Side
from tests.test_engine_contract_rules import by_contract, money
from tests.venues import (
    BOOK,
    CALL,
    DOLLAR,
    EXPIRY,
    FUT,
    HIGH,
    LIN,
    NEAR,
    QUANTO,
    T0,
    Venue,
    book_venue,
    listing,
    new_venue,
)

ALICE, BOB, CAROL, DAVE = 16, 17, 18, 20
ALL = 10_000 * DOLLAR
UNKNOWN = "account 'zoe': expected one that is open"


@pytest.fixture
def venue() -> Venue:
    return book_venue()


def report(account: str, other: str, lots: int, ticks: int, **changes: Any) -> dict[str, Any]:
    """One side of ten lots of `LIN`; negative lots are sold."""
    side = Side.BUY if lots > 0 else Side.SELL
    told = {"account": account, "counterparty": other, "side": side, "symbol": LIN,
            "lots": abs(lots), "price_ticks": ticks, "reference": "b1"}  # fmt: skip
    return {**told, **changes}


def both(venue: Venue, lots: int, ticks: int, **changes: Any) -> tuple[Event, ...]:
    """Alice buys of bob; the events of the second report."""
    venue.do(c.ReportBlock, **report("alice", "bob", lots, ticks, **changes))
    return venue.do(c.ReportBlock, **report("bob", "alice", -lots, ticks, **changes))


# ── done ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("first", ["alice", "bob"])
def test_the_second_report_that_fits_does_the_trade(venue: Venue, first: str) -> None:
    venue.order("carol", "s", -10, 40_000)
    sides = [report("alice", "bob", 10, 50_500), report("bob", "alice", -10, 50_500)]
    sides = sides if first == "alice" else sides[::-1]
    numbers = [ALICE, BOB] if first == "alice" else [BOB, ALICE]
    before = venue.held("alice")
    assert venue.do(c.ReportBlock, **sides[0]) == (BlockReported("b1", numbers[0], "reported"),)
    lots = 10 if first == "alice" else -10
    assert venue.state.blocks == {
        "b1": Block(account=numbers[0], counterparty=numbers[1], instrument=0, lots=lots,
                    price_ticks=50_500)
    }  # fmt: skip
    assert venue.position("alice", LIN) is None
    value = 5_050_000
    # Whatever rests in the book, at a better price or not.
    assert venue.do(c.ReportBlock, **sides[1]) == (
        PositionChanged(ALICE, 0, 10, value, value, 0),
        PositionChanged(BOB, 0, -10, -value, -value, 0),
        Traded(0, 50_500, 10, ALICE, "", BOB, "", ""),
        BlockReported("b1", numbers[1], "done"),
    )  # fmt: skip
    assert venue.state.blocks == {}
    assert venue.held("alice") == before
    # It is no price of the book.
    assert venue.state.desk.last(0) is None
    # The reference is free again.
    venue.do(c.ReportBlock, **sides[0])


def test_both_sides_make() -> None:
    venue = book_venue(
        '[[engine.fees]]\ncomponent = "taker"\nrate = 0.001\n'
        '[[engine.fees]]\ncomponent = "maker"\nrate = 0.0002\npayer = "maker"'
    )
    paid = [one for one in both(venue, 10, 50_000) if isinstance(one, FeePaid)]
    assert paid == [FeePaid(ALICE, "maker", 100_000), FeePaid(BOB, "maker", 100_000)]


def test_a_block_of_a_combination_settles_as_its_legs() -> None:
    venue = book_venue(more=True)
    venue.do(c.ListCombo, symbol="RISE", tick_size="1",
             legs=(ComboLeg(CALL, 1), ComboLeg(HIGH, -1)))  # fmt: skip
    events = both(venue, 5, -100, symbol="RISE")
    assert events[-2:] == (
        Traded(COMBO_FIRST, -100, 5, ALICE, "", BOB, "", ""), BlockReported("b1", BOB, "done")
    )  # fmt: skip
    # Five hundredths of a hundred dollars.
    assert venue.held("alice") == ALL + 5 * DOLLAR
    assert venue.position("alice", CALL) == (5, 15_000, 0, 0)
    assert venue.position("alice", HIGH) == (-5, -20_000, 0, 0)
    both(venue, 5, 0, symbol="RISE")
    assert venue.held("alice") == ALL + 5 * DOLLAR


def test_a_block_fills_contracts_margins() -> None:
    venue = by_contract(BOOK)
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=MarginMode.ISOLATED,
             margin_factor="0.2")  # fmt: skip
    venue.do(c.ReportBlock, **report("dave", "alice", 10, 50_000))
    venue.do(c.ReportBlock, **report("alice", "dave", -10, 50_000))
    assert money(venue, "dave") == (5_000, 0, 5_000)
    assert venue.margin("alice", LIN) == 110 * DOLLAR
    venue.do(c.ReportBlock, **report("bob", "dave", 10, 50_000))
    venue.do(c.ReportBlock, **report("dave", "bob", -10, 50_000))
    assert money(venue, "dave") == (0, 0, 10_000)


def test_a_block_waits_in_the_image(venue: Venue) -> None:
    venue.do(c.ReportBlock, **report("bob", "alice", -10, 50_500))
    again = Venue(restore(image(venue.state)))
    assert again.state.blocks == venue.state.blocks
    for one in (venue, again):
        one.do(c.ReportBlock, **report("alice", "bob", 10, 50_500))
    assert state_hash(again.state) == state_hash(venue.state)


# ── refused ──────────────────────────────────────────────────────────────────────────────────────


def test_reports_are_refused_by_instrument_accounts_terms(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = report("zoe", "yan", 3, 0, symbol="XYZ")
    unknown = "instrument 'XYZ': expected one that is listed"
    venue.refuse(Reject.INSTRUMENT_UNKNOWN, unknown, c.ReportBlock, **told)
    told["symbol"] = QUANTO
    venue.do(c.DelistInstrument, symbol=QUANTO)
    closed = f"instrument {QUANTO}: expected one that is traded, found delisted"
    venue.refuse(Reject.INSTRUMENT_CLOSED, closed, c.ReportBlock, **told)
    parameters = {"lots_step": "2"}
    assert venue.send(listing(NEAR, parameters=parameters)).code == 0
    told["symbol"] = NEAR
    venue.do(c.SetPhase, symbol=NEAR, phase=Phase.HALTED)
    halted = f"instrument {NEAR}: expected trading, found it halted"
    venue.refuse(Reject.INSTRUMENT_HALTED, halted, c.ReportBlock, **told)
    venue.do(c.SetPhase, symbol=NEAR, phase=Phase.CONTINUOUS)
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.ReportBlock, **told)
    told["account"] = "alice"
    venue.do(c.FreezeAccount, account="alice", reason="")
    frozen = "account alice: expected an active one, found frozen"
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.ReportBlock, **told)
    venue.do(c.UnfreezeAccount, account="alice")
    other = UNKNOWN.replace("zoe", "yan")
    venue.refuse(Reject.ACCOUNT_UNKNOWN, other, c.ReportBlock, **told)
    told["counterparty"] = "insurance"
    venue.refuse(
        Reject.ACCOUNT_NOT_FOR_THIS, "account insurance: expected a user's, found the venue's own",
        c.ReportBlock, **told,
    )  # fmt: skip
    told["counterparty"] = "alice"
    same = "account alice: expected another one on each side"
    venue.refuse(Reject.ACCOUNTS_THE_SAME, same, c.ReportBlock, **told)
    told["counterparty"] = "bob"
    price = "block b1: expected a price above 0, found 0"
    venue.refuse(Reject.PRICE_NOT_POSITIVE, price, c.ReportBlock, **told)
    told["price_ticks"] = 1
    step = "block b1: expected a multiple of 2 lots, found 3"
    venue.refuse(Reject.LOTS_OFF_STEP, step, c.ReportBlock, **told)
    told["lots"] = 4
    assert blocks.BLOCKS_MAX == 100_000
    monkeypatch.setattr(blocks, "BLOCKS_MAX", 1)
    venue.do(c.ReportBlock, **told)
    full = "expected at most 1 blocks waiting"
    venue.refuse(Reject.CAPACITY_REACHED, full, c.ReportBlock, **{**told, "reference": "b2"})
    # The other side of what waits is not new.
    second = report("bob", "alice", -4, 2, symbol=NEAR)
    assert venue.tell(c.ReportBlock, **second).code == Reject.BLOCK_MISMATCHED


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"lots": 9}, "account 17's -9 at 50000"),
        ({"price_ticks": 50_001}, "account 17's -10 at 50001"),
        ({"side": Side.BUY}, "account 17's 10 at 50000"),
        ({"symbol": FUT}, "account 17's -10 at 50000"),
        ({"counterparty": "carol"}, "account 17's -10 at 50000"),
        ({"account": "carol"}, "account 18's -10 at 50000"),
        ({"account": "alice", "counterparty": "bob", "side": Side.BUY},
         "account 16's 10 at 50000"),
    ],
)  # fmt: skip
def test_a_report_that_does_not_fit_is_refused(
    venue: Venue, changes: dict[str, Any], found: str
) -> None:
    venue.do(c.ReportBlock, **report("alice", "bob", 10, 50_000))
    venue.refuse(
        Reject.BLOCK_MISMATCHED,
        "block b1: expected the other side of account 16's 10 lots at 50000 ticks with account "
        f"17, found {found}",
        c.ReportBlock, **{**report("bob", "alice", -10, 50_000), **changes},
    )  # fmt: skip
    # What was told first stays, and the right one is done.
    venue.do(c.ReportBlock, **report("bob", "alice", -10, 50_000))


def test_a_block_that_margin_does_not_allow_stays_reported(venue: Venue) -> None:
    venue.open("dave", usdc=50)
    venue.do(c.ReportBlock, **report("dave", "bob", -11, 50_000))
    second = report("bob", "dave", 11, 50_000)
    short = (
        "account dave: expected equity of at least its initial margin by tenth, 55000000 micro, "
        "found 50000000"
    )
    venue.refuse(Reject.MARGIN_INSUFFICIENT, short, c.ReportBlock, **second)
    assert list(venue.state.blocks) == ["b1"]
    # The buyer is looked at first.
    venue.account("bob").status = "frozen"
    frozen = "account bob: expected an active one, found frozen"
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.ReportBlock, **second)
    venue.account("bob").status = "open"
    venue.do(c.Deposit, account="dave", asset="USDC", amount=5 * DOLLAR)
    venue.do(c.ReportBlock, **second)
    assert venue.position("dave", LIN) == (-11, -5_500_000, -5_500_000, 0)


def test_who_was_frozen_meanwhile_is_refused_too(venue: Venue) -> None:
    venue.do(c.ReportBlock, **report("alice", "bob", 10, 50_000))
    venue.do(c.FreezeAccount, account="alice", reason="")
    second = report("bob", "alice", -10, 50_000)
    frozen = "account alice: expected an active one, found frozen"
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.ReportBlock, **second)
    venue.do(c.UnfreezeAccount, account="alice")
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account alice: expected known risk, found none by tenth",
        c.ReportBlock, **second,
    )  # fmt: skip
    venue.publish()
    venue.do(c.ReportBlock, **second)


def test_a_block_beyond_limits_is_refused(venue: Venue) -> None:
    venue.do(c.ImportBooks, balances=(), positions=(
        OpeningPosition("alice", LIN, LOTS_MAX, 1), OpeningPosition("carol", LIN, -LOTS_MAX, 1),
    ))  # fmt: skip
    venue.do(c.ReportBlock, **report("alice", "bob", 1, 1))
    venue.refuse(
        Reject.POSITION_TOO_LARGE,
        f"account alice, {LIN}: expected at most {LOTS_MAX} lots, found {LOTS_MAX + 1}",
        c.ReportBlock, **report("bob", "alice", -1, 1),
    )  # fmt: skip


def test_a_combination_whose_price_no_legs_make_is_refused() -> None:
    venue = book_venue(more=True)
    venue.do(c.ListCombo, symbol="RATIO", tick_size="1",
             legs=(ComboLeg(CALL, 1), ComboLeg(HIGH, -2)))  # fmt: skip
    venue.do(c.ReportBlock, **report("alice", "bob", 1, -800, symbol="RATIO"))
    venue.refuse(
        Reject.PRICES_INCOMPLETE,
        "instrument RATIO: expected marks of all legs, and prices of them that add up to -800 "
        "ticks",
        c.ReportBlock, **report("bob", "alice", -1, -800, symbol="RATIO"),
    )  # fmt: skip
    venue.do(c.WithdrawBlock, account="alice", reference="b1")


# ── withdrawn ────────────────────────────────────────────────────────────────────────────────────


def test_who_has_reported_may_take_it_back(venue: Venue) -> None:
    venue.do(c.ReportBlock, **report("alice", "bob", 10, 50_000))
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.WithdrawBlock, account="zoe", reference="b1")
    for name, reference in (("bob", "b1"), ("alice", "b2")):
        venue.refuse(
            Reject.REFERENCE_UNKNOWN,
            f"block {reference}: expected one that account {name} has reported",
            c.WithdrawBlock, account=name, reference=reference,
        )  # fmt: skip
    # Also when it could not be traded any more.
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    venue.do(c.FreezeAccount, account="alice", reason="")
    events = venue.do(c.WithdrawBlock, account="alice", reference="b1")
    assert events == (BlockReported("b1", ALICE, "withdrawn"),)
    assert venue.state.blocks == {}
    assert dict(venue.state.orders_of(ALICE)) == {}


def test_a_block_in_what_has_expired_is_not_done() -> None:
    venue = new_venue()
    venue.do(c.ReportBlock, **report("alice", "bob", 10, 50_000, symbol=FUT))
    venue.order("carol", "o", 1, 1, symbol=FUT)
    venue.time_ms = EXPIRY
    over = f"instrument {FUT}: expected a time before {EXPIRY}, found {EXPIRY}"
    second = report("bob", "alice", -10, 50_000, symbol=FUT)
    venue.refuse(Reject.INSTRUMENT_EXPIRED, over, c.ReportBlock, **second)
    events = venue.do(c.SettleExpiry, symbol=FUT, price_nano=1)
    assert OrderReduced(CAROL, "o", 0, 0, "closed") in events
    gone = f"instrument {FUT}: expected one that is traded, found expired"
    venue.refuse(Reject.INSTRUMENT_CLOSED, gone, c.ReportBlock, **second)
    venue.do(c.WithdrawBlock, account="alice", reference="b1")
