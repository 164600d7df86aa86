"""Opening, closing, freezing; modes of holding a contract and the margin of isolated positions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from solvent.account.ledger import margin_slot, node, order_slot
from solvent.engine import accounts
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.events import ModeChanged, Numbered, RulebookAssigned, StatusChanged
from solvent.messages.fields import AccountKind, Command, MarginMode, Side
from tests.venues import BTC, COIN, DOLLAR, FUT, INV, LIN, T0, USDC, Venue, new_venue

ALL = 10_000 * DOLLAR
ISOLATED, CROSS = MarginMode.ISOLATED, MarginMode.CROSS
FROZEN = "account alice: expected an active one, found frozen"
UNKNOWN = "account 'zoe': expected one that is open"


@pytest.fixture
def venue() -> Venue:
    return new_venue()


# ── opening and closing ──────────────────────────────────────────────────────────────────────────


def test_an_account_gets_the_next_number(venue: Venue) -> None:
    told = {"account": "dave", "kind": AccountKind.USER, "rulebook": "tenth"}
    assert venue.do(c.OpenAccount, **told) == (Numbered("account", "dave", 20),)
    dave = venue.account("dave")
    assert (dave.number, dave.name, dave.kind, dave.parent) == (20, "dave", "user", -1)
    assert (dave.rulebook, dave.status, dave.frozen, dave.subaccounts) == (
        "tenth",
        "open",
        False,
        0,
    )
    assert (dave.positions, dave.modes) == (None, None)
    assert dict(venue.state.orders_of(20)) == {}


def test_openings_are_refused_by_name_parent_rulebook_room(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {"account": "alice", "kind": AccountKind.USER, "rulebook": "none",
                            "parent": "zoe"}  # fmt: skip
    for name in ("alice", "fees"):
        told["account"] = name
        venue.refuse(
            Reject.NAME_TAKEN, f"account {name!r}: expected a new name", c.OpenAccount, **told
        )
    told["account"] = "dave"
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.OpenAccount, **told)
    told["parent"] = "alice"
    venue.refuse(
        Reject.RULEBOOK_NOT_ADOPTED, "rulebook 'none': expected one in force", c.OpenAccount, **told
    )
    told["rulebook"] = "tenth"
    monkeypatch.setattr(accounts, "ACCOUNTS_MAX", 20)
    venue.refuse(Reject.CAPACITY_REACHED, "expected at most 20 accounts", c.OpenAccount, **told)
    monkeypatch.setattr(accounts, "ACCOUNTS_MAX", 21)
    venue.do(c.OpenAccount, **told)
    assert venue.account("dave").parent == 16
    assert venue.account("alice").subaccounts == 1


def test_a_closed_name_is_not_used_again(venue: Venue) -> None:
    venue.open("dave")
    assert venue.do(c.CloseAccount, account="dave") == (StatusChanged(20, "closed"),)
    closed = "account dave: expected an open one, found closed"
    venue.refuse(
        Reject.NAME_TAKEN, "account 'dave': expected a new name",
        c.OpenAccount, account="dave", kind=AccountKind.USER, rulebook="tenth",
    )  # fmt: skip
    for kind, more in (
        (c.CloseAccount, {}), (c.UnfreezeAccount, {}), (c.FreezeAccount, {"reason": ""}),
        (c.AssignRulebook, {"rulebook": "tenth"}),
    ):  # fmt: skip
        venue.refuse(Reject.ACCOUNT_CLOSED, closed, kind, account="dave", **more)


def test_a_subaccount_holds_its_parent_open(venue: Venue) -> None:
    venue.open("dave")
    venue.open("sub", parent="dave")
    venue.open("two", parent="dave")
    full = "account dave: expected it empty, found positions, orders or subaccounts"
    venue.refuse(Reject.ACCOUNT_NOT_EMPTY, full, c.CloseAccount, account="dave")
    venue.do(c.CloseAccount, account="sub")
    venue.refuse(Reject.ACCOUNT_NOT_EMPTY, full, c.CloseAccount, account="dave")
    venue.do(c.CloseAccount, account="two")
    venue.do(c.CloseAccount, account="dave")


def test_only_an_empty_account_is_closed(venue: Venue) -> None:
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.CloseAccount, account="zoe")
    venue.open("dave")
    number = venue.state.account_numbers["dave"]
    names = {
        (slot, asset): f"{7} of {name}"
        for asset, name in ((USDC, "USDC"), (BTC, "BTC"))
        for slot in range(4)
    }
    names[margin_slot(0), USDC] = f"7 in {LIN}"
    names[order_slot(0), USDC] = f"7 in {LIN}"
    names[margin_slot(1), BTC] = f"7 in {INV}"
    for (slot, asset), found in names.items():
        which = node(number, slot, asset)
        venue.state.ledger.move(0, which, 7)
        venue.state.ledger.take_posted()
        venue.refuse(
            Reject.ACCOUNT_NOT_EMPTY, f"account dave: expected it empty, found {found}",
            c.CloseAccount, account="dave",
        )  # fmt: skip
        venue.state.ledger.move(which, 0, 7)
        venue.state.ledger.take_posted()
    venue.do(c.Transfer, source="alice", target="dave", asset="USDC", amount=500 * DOLLAR)
    venue.trade("dave", "bob", 1, 50_000)
    full = "account dave: expected it empty, found positions, orders or subaccounts"
    venue.refuse(Reject.ACCOUNT_NOT_EMPTY, full, c.CloseAccount, account="dave")
    venue.trade("bob", "dave", 1, 50_000)
    venue.do(c.PlaceOrder, account="dave", order="o", symbol=LIN, side=Side.BUY, lots=1,
             price_ticks=1)  # fmt: skip
    venue.refuse(Reject.ACCOUNT_NOT_EMPTY, full, c.CloseAccount, account="dave")
    venue.do(c.CancelOrder, account="dave", order="o")
    venue.do(c.Transfer, source="dave", target="bob", asset="USDC", amount=500 * DOLLAR)
    venue.do(c.FreezeAccount, account="dave", reason="")
    venue.refuse(
        Reject.ACCOUNT_FROZEN, "account dave: expected an active one, found frozen",
        c.CloseAccount, account="dave",
    )  # fmt: skip


# ── freezing ─────────────────────────────────────────────────────────────────────────────────────


def test_freezing_and_unfreezing_again_is_no_fault(venue: Venue) -> None:
    for _ in range(2):
        events = venue.do(c.FreezeAccount, account="alice", reason="a reason")
        assert events == (StatusChanged(16, "frozen"),)
        assert (venue.account("alice").status, venue.account("alice").frozen) == ("frozen", True)
    for _ in range(2):
        assert venue.do(c.UnfreezeAccount, account="alice") == (StatusChanged(16, "open"),)
        assert (venue.account("alice").status, venue.account("alice").frozen) == ("open", False)
    for kind, more in ((c.FreezeAccount, {"reason": ""}), (c.UnfreezeAccount, {})):
        venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, kind, account="zoe", **more)


def test_liquidation_hides_a_freeze(venue: Venue) -> None:
    venue.wind_up("alice")
    events = venue.do(c.FreezeAccount, account="alice", reason="")
    assert events == (StatusChanged(16, "liquidation"),)
    assert venue.account("alice").frozen is True
    assert venue.do(c.UnfreezeAccount, account="alice") == (StatusChanged(16, "liquidation"),)
    assert venue.account("alice").frozen is False


# ── rulebooks ────────────────────────────────────────────────────────────────────────────────────


def test_a_rulebook_under_which_the_margin_is_enough() -> None:
    venue = new_venue(scans=True)
    told = {"account": "alice", "rulebook": "deribit-pm"}
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.AssignRulebook, account="zoe", rulebook="none")
    venue.refuse(
        Reject.RULEBOOK_NOT_ADOPTED, "rulebook 'none': expected one in force",
        c.AssignRulebook, account="alice", rulebook="none",
    )  # fmt: skip
    # Who holds nothing may have any.
    assert venue.do(c.AssignRulebook, **told) == (RulebookAssigned(16, "deribit-pm"),)
    assert venue.account("alice").rulebook == "deribit-pm"
    venue.do(c.AssignRulebook, account="alice", rulebook="tenth")
    # 500 lots at 25,500 dollars by Deribit's rules need more than a tenth.
    venue.do(c.Transfer, source="alice", target="bob", asset="BTC", amount=COIN)
    venue.do(c.Transfer, source="alice", target="bob", asset="USDC", amount=ALL - 2_500 * DOLLAR)
    venue.trade("alice", "bob", 500, 50_000)
    found = venue.tell(c.AssignRulebook, **told)
    assert found.code == Reject.MARGIN_INSUFFICIENT
    assert venue.account("alice").rulebook == "tenth"
    venue.do(c.Transfer, source="bob", target="alice", asset="USDC", amount=2_500 * DOLLAR)
    venue.do(c.AssignRulebook, **told)
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account alice: expected known risk, found none by tenth",
        c.AssignRulebook, account="alice", rulebook="tenth",
    )  # fmt: skip
    assert venue.account("alice").rulebook == "deribit-pm"
    venue.do(c.FreezeAccount, account="alice", reason="")
    venue.refuse(Reject.ACCOUNT_FROZEN, FROZEN, c.AssignRulebook, account="alice", rulebook="none")


# ── leverage ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("leverage", "factor", "found"),
    [
        ("10", None, Fraction(1, 10)), ("1000", None, Fraction(1, 1000)),
        ("0.001", None, Fraction(1000)), ("0.0000001", None, Fraction(10**7)),
        (None, "0.001", Fraction(1, 1000)), (None, "1000", Fraction(1000)),
        (None, "0.3", Fraction(3, 10)), (None, None, None),
    ],
)  # fmt: skip
def test_margin_over_entry_value(
    leverage: str | None, factor: str | None, found: Fraction | None
) -> None:
    assert accounts.margin_factor(leverage, factor) == found


@pytest.mark.parametrize(
    ("leverage", "factor", "detail"),
    [
        ("1", "1", "expected a leverage or a margin factor, found both"),
        ("0", None, "leverage: expected above 0 and at most 1000, found 0"),
        ("-1", None, "leverage: expected above 0 and at most 1000, found -1"),
        ("1000.1", None, "leverage: expected above 0 and at most 1000, found 1000.1"),
        (None, "0.0009", "margin factor: expected 0.001 to 1000, found 0.0009"),
        (None, "1000.1", "margin factor: expected 0.001 to 1000, found 1000.1"),
    ],
)
def test_leverages_that_make_no_sense(
    venue: Venue, leverage: str | None, factor: str | None, detail: str
) -> None:
    told = {"account": "alice", "symbol": LIN, "leverage": leverage, "margin_factor": factor}
    for mode in MarginMode:
        venue.refuse(Reject.LEVERAGE_INVALID, detail, c.SetMarginMode, mode=mode, **told)
    venue.refuse(Reject.LEVERAGE_INVALID, detail, c.SetLeverage, **told)


@pytest.mark.parametrize("kind", [c.SetMarginMode, c.SetLeverage])
def test_modes_are_refused_by_account_contract_leverage(venue: Venue, kind: type[Command]) -> None:
    told: dict[str, Any] = {"account": "zoe", "symbol": "XYZ", "leverage": "0"}
    missing = "a leverage for isolated margin"
    if kind is c.SetMarginMode:
        told["mode"] = ISOLATED
    else:
        missing = "a leverage, found none"
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, kind, **told)
    told["account"] = "alice"
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed", kind, **told
    )
    told |= {"symbol": LIN, "leverage": None}
    venue.refuse(Reject.LEVERAGE_INVALID, f"{LIN}: expected {missing}", kind, **told)
    venue.do(c.FreezeAccount, account="alice", reason="")
    venue.refuse(Reject.ACCOUNT_FROZEN, FROZEN, kind, **told)


def test_leverage_is_kept_beside_the_mode(venue: Venue) -> None:
    events = venue.do(c.SetLeverage, account="alice", symbol=LIN, leverage="3")
    assert events == (ModeChanged(16, 0, False, "1/3"),)
    events = venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=ISOLATED, leverage="4")
    assert events == (ModeChanged(16, 0, True, "1/4"),)
    events = venue.do(c.SetLeverage, account="alice", symbol=LIN, margin_factor="0.5")
    assert events == (ModeChanged(16, 0, True, "1/2"),)
    events = venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=CROSS)
    assert events == (ModeChanged(16, 0, False, ""),)
    mode = venue.account("alice").mode(0)
    assert mode is not None
    assert (mode.isolated, mode.factor) == (False, None)
    assert venue.account("alice").mode(1) is None
    assert venue.account("bob").mode(0) is None
    assert not venue.account("bob").isolates(0)


# ── isolating what is held ───────────────────────────────────────────────────────────────────────


def test_a_rulebook_that_isolates_nothing() -> None:
    venue = new_venue(scans=True)
    venue.do(c.AssignRulebook, account="alice", rulebook="deribit-pm")
    venue.refuse(
        Reject.MODE_UNSUPPORTED,
        "account alice: expected a rulebook that isolates positions, found deribit-pm",
        c.SetMarginMode, account="alice", symbol=LIN, mode=ISOLATED, leverage="5",
    )  # fmt: skip
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=CROSS, leverage="5")


def test_isolating_takes_margin_and_giving_up_brings_it_back(venue: Venue) -> None:
    venue.trade("alice", "bob", 10, 50_000)
    told = {"account": "alice", "symbol": LIN}
    found = venue.tell(c.SetMarginMode, mode=ISOLATED, leverage="3", **told)
    # 500 dollars over three, rounded up.
    assert venue.margin("alice", LIN) == 166_666_667
    assert venue.held("alice") == ALL - 166_666_667
    assert found.events[0] == ModeChanged(16, 0, True, "1/3")
    venue.do(c.SetLeverage, leverage="2", **told)
    assert venue.margin("alice", LIN) == 250_000_000
    venue.do(c.SetLeverage, leverage="5", **told)
    assert venue.margin("alice", LIN) == 100_000_000
    venue.do(c.SetMarginMode, mode=CROSS, **told)
    assert (venue.margin("alice", LIN), venue.held("alice")) == (0, ALL)


def test_a_short_is_isolated_too(venue: Venue) -> None:
    venue.trade("bob", "alice", 10, 50_000)
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=ISOLATED, leverage="4")
    assert venue.margin("alice", LIN) == 125_000_000


def test_isolating_needs_the_money(venue: Venue) -> None:
    venue.trade("alice", "bob", 300, 50_000)
    told = {"account": "alice", "symbol": LIN, "mode": ISOLATED}
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        f"account alice, {LIN}: expected 15000000000 more for its margin, found {ALL}",
        c.SetMarginMode, leverage="1", **told,
    )  # fmt: skip
    venue.do(c.SetMarginMode, leverage="1.5", **told)
    assert (venue.held("alice"), venue.margin("alice", LIN)) == (0, ALL)
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        f"account alice, {LIN}: expected 714285715 more for its margin, found 0",
        c.SetLeverage, account="alice", symbol=LIN, leverage="1.4",
    )  # fmt: skip
    venue.state.ledger.move(16 << 30, 17 << 30, 5)
    venue.state.ledger.take_posted()
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        f"account alice, {LIN}: expected 714285715 more for its margin, found -5",
        c.SetLeverage, account="alice", symbol=LIN, leverage="1.4",
    )  # fmt: skip


def test_isolating_leaves_every_pool_its_margin(venue: Venue) -> None:
    venue.trade("alice", "bob", 200, 55_000)
    told = {"account": "alice", "symbol": LIN, "mode": ISOLATED}
    # A tenth of 11,000 dollars, of which 1,000 are lost already: 100, where 1,000 are asked.
    found = venue.tell(c.SetMarginMode, leverage="10", **told)
    assert found.code == Reject.MARGIN_INSUFFICIENT
    assert venue.account("alice").modes is None
    venue.do(c.SetMarginMode, leverage="5", **told)
    assert venue.margin("alice", LIN) == 2_200 * DOLLAR
    found = venue.tell(c.SetLeverage, account="alice", symbol=LIN, leverage="5.6")
    assert found.code == Reject.MARGIN_INSUFFICIENT
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account alice: expected known risk, found none by tenth",
        c.SetLeverage, account="alice", symbol=LIN, leverage="5",
    )  # fmt: skip
    # Who holds nothing may choose at any time.
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=ISOLATED, leverage="5")
    assert venue.account("carol").isolates(0)


def test_what_is_isolated_no_longer_backs_the_rest(venue: Venue) -> None:
    venue.do(c.Transfer, source="alice", target="bob", asset="BTC", amount=COIN)
    # A coin and a half in micro lots: 75,000 dollars, 7,500 of margin; and 100 lots of 50.
    venue.trade("alice", "bob", 1_500_000, 50_000, symbol=FUT)
    venue.trade("alice", "bob", 100, 50_000)
    told = {"account": "alice", "symbol": LIN}
    # Half of 5,000 dollars leaves 7,500 for the rest; a cent more would not.
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        "account alice: expected equity of at least its initial margin by tenth, 8000000000 "
        "micro, found 10000000000",
        c.SetMarginMode, mode=ISOLATED, margin_factor="0.51", **told,
    )  # fmt: skip
    venue.do(c.SetMarginMode, mode=ISOLATED, margin_factor="0.5", **told)
    assert (venue.held("alice"), venue.margin("alice", LIN)) == (7_500 * DOLLAR, 2_500 * DOLLAR)
    # The money that is left is all in use.
    found = venue.tell(c.AddIsolatedMargin, amount=1, **told)
    assert found.code == Reject.MARGIN_INSUFFICIENT
    venue.do(c.RemoveIsolatedMargin, amount=1, **told)
    venue.do(c.AddIsolatedMargin, amount=1, **told)


# ── margin of isolated positions ─────────────────────────────────────────────────────────────────


def test_margin_is_added_and_removed(venue: Venue) -> None:
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=ISOLATED, leverage="5")
    venue.trade("alice", "bob", 10, 50_000)
    told = {"account": "alice", "symbol": LIN}
    assert venue.do(c.AddIsolatedMargin, amount=7, **told) == ()
    assert venue.margin("alice", LIN) == 100_000_007
    assert venue.held("alice") == ALL - 100_000_007
    # 50 dollars are needed.
    found = venue.tell(c.RemoveIsolatedMargin, amount=50_000_008, **told)
    assert found.code == Reject.MARGIN_INSUFFICIENT
    venue.do(c.RemoveIsolatedMargin, amount=50_000_007, **told)
    assert (venue.held("alice"), venue.margin("alice", LIN)) == (ALL - 50_000_000, 50_000_000)
    venue.refuse(
        Reject.ISOLATED_MARGIN_INSUFFICIENT,
        f"account alice, {LIN}: expected a margin of 50000001, found 50000000",
        c.RemoveIsolatedMargin, amount=50_000_001, **told,
    )  # fmt: skip
    assert venue.tell(c.RemoveIsolatedMargin, amount=50_000_000, **told).code == (
        Reject.MARGIN_INSUFFICIENT
    )
    left = ALL - 50_000_000
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        f"account alice: expected {left + 1} for {LIN}, found {left}",
        c.AddIsolatedMargin, amount=left + 1, **told,
    )  # fmt: skip
    venue.do(c.AddIsolatedMargin, amount=left, **told)
    assert venue.held("alice") == 0


@pytest.mark.parametrize("kind", [c.AddIsolatedMargin, c.RemoveIsolatedMargin])
def test_only_an_isolated_position_has_margin_of_its_own(venue: Venue, kind: type[Command]) -> None:
    told = {"account": "zoe", "symbol": "XYZ", "amount": 2**61}
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, kind, **told)
    told["account"] = "alice"
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed", kind, **told
    )
    told["symbol"] = LIN
    detail = f"account alice, {LIN}: expected an isolated position whose margin may be changed"
    venue.refuse(Reject.MODE_UNSUPPORTED, detail, kind, **told)
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=ISOLATED, leverage="5")
    venue.refuse(Reject.MODE_UNSUPPORTED, detail, kind, **told)
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=CROSS)
    venue.trade("alice", "bob", 10, 50_000)
    venue.refuse(Reject.MODE_UNSUPPORTED, detail, kind, **told)
    venue.do(c.FreezeAccount, account="alice", reason="")
    venue.refuse(Reject.ACCOUNT_FROZEN, FROZEN, kind, **told)


def test_who_isolates_stays_with_rulebooks_that_do() -> None:
    venue = new_venue(scans=True)
    told = {"account": "alice", "rulebook": "deribit-pm"}
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=ISOLATED, leverage="5")
    venue.refuse(
        Reject.MODE_UNSUPPORTED,
        "account alice: expected a rulebook that isolates positions, found deribit-pm",
        c.AssignRulebook, **told,
    )  # fmt: skip
    venue.do(c.AssignRulebook, account="alice", rulebook="tenth")
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=CROSS)
    venue.do(c.AssignRulebook, **told)


def test_a_closed_account_tells_so(venue: Venue) -> None:
    venue.open("dave")
    venue.open("sub", parent="dave")
    assert venue.do(c.CloseAccount, account="sub") == (StatusChanged(21, "closed"),)
    assert venue.account("sub").status == "closed"
    assert venue.account("dave").subaccounts == 0


def test_more_margin_takes_only_what_is_more(venue: Venue) -> None:
    venue.trade("alice", "bob", 200, 50_000)
    told = {"account": "alice", "symbol": LIN}
    venue.do(c.SetMarginMode, mode=ISOLATED, leverage="2", **told)
    assert venue.margin("alice", LIN) == 5_000 * DOLLAR
    venue.do(c.SetLeverage, leverage="1", **told)
    assert (venue.held("alice"), venue.margin("alice", LIN)) == (0, 10_000 * DOLLAR)
    # One micro more, and there is none: 0.0000000001 of ten thousand dollars.
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        f"account alice, {LIN}: expected 1 more for its margin, found 0",
        c.SetLeverage, margin_factor="1.0000000001", **told,
    )  # fmt: skip


def test_margin_comes_back_to_who_has_nothing_else(venue: Venue) -> None:
    venue.do(c.Transfer, source="alice", target="bob", asset="BTC", amount=COIN)
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=ISOLATED, leverage="1")
    venue.trade("alice", "bob", 200, 50_000)
    assert venue.held("alice") == 0
    venue.do(c.RemoveIsolatedMargin, account="alice", symbol=LIN, amount=5 * DOLLAR)
    assert (venue.held("alice"), venue.margin("alice", LIN)) == (5 * DOLLAR, ALL - 5 * DOLLAR)
