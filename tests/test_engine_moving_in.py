"""Books of another system: all of them or none, in sums that hold."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.errors import Reject
from solvent.limits import LOTS_MAX
from solvent.messages import commands as c
from solvent.messages.events import Imported, PositionChanged, Posted
from solvent.messages.fields import OpeningBalance, OpeningPosition
from tests.venues import (
    BTC,
    CALL,
    COIN,
    DOLLAR,
    FUT,
    INV,
    LIN,
    USDC,
    Venue,
    new_venue,
)

ALL = 10_000 * DOLLAR
MOST = 2**60


@pytest.fixture
def venue() -> Venue:
    return new_venue()


def books(*rows: OpeningBalance | OpeningPosition) -> dict[str, Any]:
    return {
        "balances": tuple(one for one in rows if isinstance(one, OpeningBalance)),
        "positions": tuple(one for one in rows if isinstance(one, OpeningPosition)),
    }


def test_balances_and_positions_move_in(venue: Venue) -> None:
    found = venue.tell(c.ImportBooks, **books(
        OpeningBalance("alice", "USDC", 5), OpeningBalance("bob", "BTC", -7),
        OpeningBalance("insurance", "USDC", 11), OpeningBalance("venue", "BTC", 13),
        OpeningBalance("alice", "USDC", 17, LIN), OpeningBalance("alice", "USDC", 19, LIN, True),
        OpeningBalance("bob", "BTC", 23, INV),
        OpeningPosition("alice", LIN, 10, 500_000), OpeningPosition("bob", LIN, -10, 510_000),
        OpeningPosition("insurance", CALL, 2, 1_000), OpeningPosition("carol", CALL, -2, 1_000),
    ))  # fmt: skip
    assert found.events[:5] == (
        PositionChanged(16, 0, 10, 5_000_000, 5_000_000, 0),
        PositionChanged(17, 0, -10, -5_100_000, -5_100_000, 0),
        PositionChanged(5, 3, 2, 2_000, 0, 0),
        PositionChanged(18, 3, -2, -2_000, 0, 0),
        Imported(7, 4),
    )
    assert isinstance(found.events[5], Posted)
    venue.sound()
    assert (venue.held("alice"), venue.held("bob", BTC)) == (ALL + 5, COIN - 7)
    assert (venue.held("insurance"), venue.held("venue", BTC)) == (11, 13)
    assert (venue.margin("alice", LIN), venue.reserved("alice", LIN)) == (17, 19)
    assert venue.margin("bob", INV) == 23
    # What the positions have at stake came from outside too.
    assert venue.clearing(LIN) == 10_000_000
    assert venue.held("external") == -31_000 * DOLLAR - 5 - 11 - 17 - 19 - 10_000_000
    assert venue.held("external", BTC) == -3 * COIN + 7 - 13 - 23


def test_a_stake_that_is_there_is_not_brought_twice(venue: Venue) -> None:
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("bob", "carol", 10, 51_000)
    assert venue.clearing(LIN) == 10_000_000
    venue.open("dave")
    venue.open("erin")
    venue.do(c.ImportBooks, **books(
        OpeningPosition("dave", LIN, 1, 500_000), OpeningPosition("erin", LIN, -1, 520_000)
    ))  # fmt: skip
    assert venue.clearing(LIN) == 12_000_000
    venue.do(c.ImportBooks, **books(
        OpeningPosition("dave", FUT, 1, 500_003), OpeningPosition("erin", FUT, -1, 500_000)
    ))  # fmt: skip
    # A basis of 3 tenths: minus that, up, is nothing.
    assert venue.clearing(FUT) == 0


def test_nothing_moves_in(venue: Venue) -> None:
    assert venue.do(c.ImportBooks, balances=(), positions=()) == (Imported(0, 0),)


FOR_THIS = "instrument {}: expected a user's margin in what it settles in, found {} of {}"


@pytest.mark.parametrize(
    ("row", "code", "detail"),
    [
        (OpeningBalance("zoe", "XYZ", 1), Reject.ASSET_UNKNOWN,
         "asset 'XYZ': expected one that is listed"),
        (OpeningBalance("zoe", "USDC", 1), Reject.ACCOUNT_UNKNOWN,
         "account 'zoe': expected one that is open"),
        (OpeningBalance("fees", "USDC", 1), Reject.ACCOUNT_NOT_FOR_THIS,
         "account fees: expected a user's, found the venue's own"),
        (OpeningBalance("alice", "USDC", 1, "XYZ"), Reject.INSTRUMENT_UNKNOWN,
         "instrument 'XYZ': expected one that is listed"),
        (OpeningBalance("alice", "USDC", 1, INV), Reject.INSTRUMENT_NOT_FOR_THIS,
         FOR_THIS.format(INV, "USDC", "alice")),
        (OpeningBalance("venue", "USDC", 1, LIN), Reject.INSTRUMENT_NOT_FOR_THIS,
         FOR_THIS.format(LIN, "USDC", "venue")),
        (OpeningPosition("zoe", "XYZ", 1, 1), Reject.ACCOUNT_UNKNOWN,
         "account 'zoe': expected one that is open"),
        (OpeningPosition("venue", "XYZ", 1, 1), Reject.ACCOUNT_NOT_FOR_THIS,
         "account venue: expected a user's, found the venue's own"),
        (OpeningPosition("insurance", "XYZ", 1, 1), Reject.INSTRUMENT_UNKNOWN,
         "instrument 'XYZ': expected one that is listed"),
        (OpeningPosition("alice", LIN, 0, 1), Reject.POSITION_NOT_HELD,
         f"account alice, {LIN}: expected lots and a price, found 0 at 1"),
        (OpeningPosition("alice", INV, 3, 0), Reject.POSITION_NOT_HELD,
         f"account alice, {INV}: expected lots and a price, found 3 at 0"),
        (OpeningPosition("alice", LIN, LOTS_MAX, 2**20), Reject.AMOUNT_TOO_LARGE,
         f"account alice, {LIN}: expected values below {MOST}, found {MOST}"),
        (OpeningPosition("alice", LIN, -LOTS_MAX, 2**20), Reject.AMOUNT_TOO_LARGE,
         f"account alice, {LIN}: expected values below {MOST}, found {-MOST}"),
        (OpeningPosition("alice", LIN, 3, 1), Reject.POSITIONS_UNBALANCED,
         f"instrument {LIN}: expected lots that net to zero, found 3"),
        (OpeningBalance("insurance", "USDC", -1), Reject.FUND_INSUFFICIENT,
         "insurance: expected no pool below zero"),
        (OpeningBalance("venue", "BTC", -1), Reject.FUND_INSUFFICIENT,
         "venue: expected no pool below zero"),
        (OpeningBalance("alice", "BTC", MOST - 3 * COIN + 1), Reject.AMOUNT_TOO_LARGE,
         f"asset BTC: expected at most {MOST} in the venue"),
        (OpeningBalance("alice", "BTC", -MOST + 3 * COIN - 1), Reject.AMOUNT_TOO_LARGE,
         f"asset BTC: expected at most {MOST} in the venue"),
    ],
)  # fmt: skip
def test_books_that_are_refused(
    venue: Venue, row: OpeningBalance | OpeningPosition, code: Reject, detail: str
) -> None:
    # What is right beside it does not come in either.
    fine = OpeningBalance("carol", "USDC", 3)
    venue.refuse(code, detail, c.ImportBooks, **books(fine, row))


def test_books_at_their_bounds(venue: Venue) -> None:
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=5)
    venue.do(c.ImportBooks, **books(
        OpeningBalance("alice", "BTC", MOST - 3 * COIN - 4), OpeningBalance("bob", "BTC", -4),
        OpeningBalance("insurance", "USDC", -3), OpeningBalance("insurance", "USDC", -2),
        OpeningPosition("alice", FUT, 1, 0), OpeningPosition("bob", FUT, -1, 0),
        OpeningPosition("alice", CALL, 1, 0), OpeningPosition("bob", CALL, -1, 0),
    ))  # fmt: skip
    assert venue.held("alice", BTC) == MOST - 2 * COIN - 4
    assert venue.held("insurance", USDC) == 0


def test_positions_come_in_once_where_there_were_none(venue: Venue) -> None:
    detail = f"account alice: expected no position in {LIN} yet"
    one, other = OpeningPosition("alice", LIN, 1, 1), OpeningPosition("bob", LIN, -2, 1)
    venue.refuse(Reject.BOOKS_NOT_EMPTY, detail, c.ImportBooks, **books(one, one, other))
    venue.do(c.ImportBooks, **books(
        OpeningPosition("alice", FUT, 1, 1), OpeningPosition("bob", FUT, -1, 1)
    ))  # fmt: skip
    venue.do(c.ImportBooks, **books(
        OpeningPosition("alice", LIN, 1, 1), OpeningPosition("bob", LIN, -1, 1)
    ))  # fmt: skip
    venue.refuse(
        Reject.BOOKS_NOT_EMPTY, detail,
        c.ImportBooks, **books(one, OpeningPosition("carol", LIN, -1, 1)),
    )  # fmt: skip


def test_refusals_come_in_order(venue: Venue) -> None:
    """Names, then limits of balances, then positions that are there, then what does not net."""
    large = OpeningBalance("alice", "BTC", MOST)
    pool = OpeningBalance("insurance", "USDC", -1)
    twice = OpeningPosition("alice", LIN, 1, 1)
    unknown = OpeningPosition("alice", "XYZ", 1, 1)
    rows: list[Any] = [large, pool, twice, twice, unknown]
    for code, gone in (
        (Reject.INSTRUMENT_UNKNOWN, unknown), (Reject.AMOUNT_TOO_LARGE, large),
        (Reject.FUND_INSUFFICIENT, pool), (Reject.BOOKS_NOT_EMPTY, twice),
        (Reject.POSITIONS_UNBALANCED, twice),
    ):  # fmt: skip
        assert venue.tell(c.ImportBooks, **books(*rows)).code == code
        rows.remove(gone)
    venue.do(c.ImportBooks, **books(*rows))


def test_balances_are_counted_together(venue: Venue) -> None:
    half = (MOST - 3 * COIN) // 2
    rows = [OpeningBalance("alice", "BTC", half), OpeningBalance("bob", "BTC", half)]
    venue.refuse(
        Reject.AMOUNT_TOO_LARGE, f"asset BTC: expected at most {MOST} in the venue",
        c.ImportBooks, **books(*rows, OpeningBalance("carol", "BTC", 1)),
    )  # fmt: skip
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=5)
    pools = [OpeningBalance("insurance", "USDC", -3), OpeningBalance("insurance", "USDC", -3)]
    venue.refuse(
        Reject.FUND_INSUFFICIENT, "insurance: expected no pool below zero",
        c.ImportBooks, **books(*pools),
    )  # fmt: skip
    venue.do(c.ImportBooks, **books(*rows, *pools, OpeningBalance("insurance", "USDC", 1)))
    assert venue.held("insurance") == 0


def test_values_just_below_their_limit(venue: Venue) -> None:
    points = MOST // 2**30 - 1
    venue.do(c.ImportBooks, **books(
        OpeningPosition("alice", LIN, 2**30, points), OpeningPosition("bob", LIN, -(2**30), points)
    ))  # fmt: skip
    assert venue.position("alice", LIN) == (2**30, MOST - 2**30, MOST - 2**30, 0)
