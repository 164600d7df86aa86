"""Money in and out: every step to the unit, every refusal in its words and its order."""

from __future__ import annotations

import pytest

from solvent.account.ledger import FUND, GENERAL, INCOMING, OUTGOING
from solvent.engine import cash
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.events import PendingChanged, Posted
from solvent.messages.fields import AccountKind, Command
from tests.venues import BTC, COIN, DOLLAR, INV, LIN, T0, USDC, Venue, new_venue

ALL = 10_000 * DOLLAR


@pytest.fixture
def venue() -> Venue:
    return new_venue()


# ── deposits ─────────────────────────────────────────────────────────────────────────────────────


def test_a_deposit_comes_from_outside(venue: Venue) -> None:
    found = venue.tell(c.Deposit, account="alice", asset="BTC", amount=7)
    assert found.events == (Posted(((1, 16 << 30 | 1, 7),)),)
    assert venue.held("alice", BTC) == COIN + 7
    assert venue.held("external", BTC) == -3 * COIN - 7
    assert venue.held("alice") == ALL


@pytest.mark.parametrize("pool", ["insurance", "venue"])
def test_a_deposit_into_a_pool(venue: Venue, pool: str) -> None:
    venue.do(c.Deposit, account=pool, asset="USDC", amount=5)
    assert venue.held(pool) == 5


def test_deposits_are_refused_by_account_then_asset(venue: Venue) -> None:
    venue.refuse(
        Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open",
        c.Deposit, account="zoe", asset="XYZ", amount=1,
    )  # fmt: skip
    venue.refuse(
        Reject.ACCOUNT_NOT_FOR_THIS, "account fees: expected a user's, found the venue's own",
        c.Deposit, account="fees", asset="XYZ", amount=1,
    )  # fmt: skip
    venue.refuse(
        Reject.ASSET_UNKNOWN, "asset 'XYZ': expected one that is listed",
        c.Deposit, account="alice", asset="XYZ", amount=1,
    )  # fmt: skip


def test_a_closed_account_takes_no_deposit_but_a_frozen_one_does(venue: Venue) -> None:
    venue.open("dave")
    venue.do(c.FreezeAccount, account="dave", reason="")
    venue.do(c.Deposit, account="dave", asset="USDC", amount=3)
    assert venue.held("dave") == 3
    venue.open("erin")
    venue.do(c.CloseAccount, account="erin")
    venue.refuse(
        Reject.ACCOUNT_CLOSED, "account erin: expected an open one, found closed",
        c.Deposit, account="erin", asset="USDC", amount=1,
    )  # fmt: skip


def test_a_venue_holds_so_much_and_no_more(venue: Venue) -> None:
    inside = 31_000 * DOLLAR
    room = cash.OUTSIDE_MAX - inside
    assert cash.OUTSIDE_MAX == 2**60
    for kind, more in ((c.Deposit, {}), (c.AnnounceDeposit, {"reference": "r"})):
        venue.refuse(
            Reject.AMOUNT_TOO_LARGE,
            f"asset USDC: expected at most {2**60} in the venue, found {inside} and {room + 1} "
            "more",
            kind, account="alice", asset="USDC", amount=room + 1, **more,
        )  # fmt: skip
    venue.do(c.Deposit, account="alice", asset="USDC", amount=room)
    assert venue.held("external") == -(2**60)


# ── money on its way in ──────────────────────────────────────────────────────────────────────────


def test_an_announced_deposit_counts_when_it_is_confirmed(venue: Venue) -> None:
    events = venue.do(c.AnnounceDeposit, account="alice", asset="USDC", amount=5, reference="r")
    assert events == (PendingChanged("r", "announced"),)
    assert (venue.held("alice"), venue.held("alice", USDC, INCOMING)) == (ALL, 5)
    pending = venue.state.pending["r"]
    assert (pending.account, pending.asset, pending.amount, pending.incoming) == (16, 0, 5, True)
    assert venue.do(c.ConfirmDeposit, reference="r") == (PendingChanged("r", "confirmed"),)
    assert (venue.held("alice"), venue.held("alice", USDC, INCOMING)) == (ALL + 5, 0)
    assert venue.state.pending == {}
    assert venue.state.references == {"r": "confirmed"}


def test_a_cancelled_deposit_goes_back(venue: Venue) -> None:
    venue.do(c.AnnounceDeposit, account="alice", asset="USDC", amount=5, reference="r")
    assert venue.do(c.CancelDeposit, reference="r") == (PendingChanged("r", "cancelled"),)
    assert (venue.held("alice"), venue.held("alice", USDC, INCOMING)) == (ALL, 0)
    assert venue.held("external") == -31_000 * DOLLAR
    assert venue.state.references == {"r": "cancelled"}


def test_announcements_are_refused_by_account_asset_room_reference(venue: Venue) -> None:
    venue.do(c.AnnounceDeposit, account="alice", asset="USDC", amount=5, reference="r")
    told = {"account": "zoe", "asset": "XYZ", "amount": 2**61, "reference": "r"}
    venue.refuse(
        Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open",
        c.AnnounceDeposit, **told,
    )  # fmt: skip
    told["account"] = "alice"
    venue.refuse(
        Reject.ASSET_UNKNOWN, "asset 'XYZ': expected one that is listed", c.AnnounceDeposit, **told
    )
    told |= {"asset": "USDC", "amount": 1}
    duplicate = "reference 'r': expected one not used before"
    venue.refuse(Reject.REFERENCE_DUPLICATED, duplicate, c.AnnounceDeposit, **told)
    venue.refuse(Reject.REFERENCE_DUPLICATED, duplicate, c.RequestWithdrawal, **told)
    venue.do(c.ConfirmDeposit, reference="r")
    venue.refuse(Reject.REFERENCE_DUPLICATED, duplicate, c.AnnounceDeposit, **told)
    venue.refuse(Reject.REFERENCE_DUPLICATED, duplicate, c.RequestWithdrawal, **told)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (c.ConfirmDeposit, "deposit"), (c.CancelDeposit, "deposit"),
        (c.ConfirmWithdrawal, "withdrawal"), (c.CancelWithdrawal, "withdrawal"),
    ],
)  # fmt: skip
def test_only_what_is_under_way_can_end(venue: Venue, kind: type[Command], what: str) -> None:
    venue.refuse(
        Reject.REFERENCE_UNKNOWN, f"reference 'r': expected a {what} under way, found none",
        kind, reference="r",
    )  # fmt: skip
    told = {"account": "alice", "asset": "USDC", "amount": 1, "reference": "r"}
    other = {"deposit": c.RequestWithdrawal, "withdrawal": c.AnnounceDeposit}[what]
    venue.do(other, **told)
    venue.refuse(
        Reject.REFERENCE_UNKNOWN, f"reference 'r': expected a {what} under way, found none",
        kind, reference="r",
    )  # fmt: skip
    venue.do({"deposit": c.CancelWithdrawal, "withdrawal": c.CancelDeposit}[what], reference="r")
    venue.refuse(
        Reject.REFERENCE_UNKNOWN, f"reference 'r': expected a {what} under way, found cancelled",
        kind, reference="r",
    )  # fmt: skip


# ── withdrawals ──────────────────────────────────────────────────────────────────────────────────


def test_a_withdrawal_is_set_aside_and_then_gone(venue: Venue) -> None:
    told = {"account": "alice", "asset": "USDC", "amount": ALL, "reference": "w"}
    assert venue.do(c.RequestWithdrawal, **told) == (PendingChanged("w", "requested"),)
    assert (venue.held("alice"), venue.held("alice", USDC, OUTGOING)) == (0, ALL)
    pending = venue.state.pending["w"]
    assert (pending.account, pending.asset, pending.amount, pending.incoming) == (16, 0, ALL, False)
    assert venue.do(c.ConfirmWithdrawal, reference="w") == (PendingChanged("w", "confirmed"),)
    assert (venue.held("alice"), venue.held("alice", USDC, OUTGOING)) == (0, 0)
    assert venue.held("external") == -21_000 * DOLLAR
    assert venue.state.references == {"w": "confirmed"}


def test_a_cancelled_withdrawal_comes_back(venue: Venue) -> None:
    venue.do(c.RequestWithdrawal, account="alice", asset="BTC", amount=3, reference="w")
    assert venue.do(c.CancelWithdrawal, reference="w") == (PendingChanged("w", "cancelled"),)
    assert (venue.held("alice", BTC), venue.held("alice", BTC, OUTGOING)) == (COIN, 0)
    assert venue.state.references == {"w": "cancelled"}


def test_a_balance_can_be_taken_to_its_last_unit(venue: Venue) -> None:
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        f"account alice: expected {ALL + 1} of USDC, found {ALL}",
        c.RequestWithdrawal, account="alice", asset="USDC", amount=ALL + 1, reference="w",
    )  # fmt: skip
    venue.do(c.RequestWithdrawal, account="alice", asset="USDC", amount=ALL, reference="w")


def test_withdrawals_are_refused_by_account_asset_status_balance(venue: Venue) -> None:
    told = {"account": "zoe", "asset": "XYZ", "amount": 2**61, "reference": "w"}
    venue.refuse(
        Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open",
        c.RequestWithdrawal, **told,
    )  # fmt: skip
    venue.do(c.FreezeAccount, account="alice", reason="")
    told["account"] = "alice"
    venue.refuse(
        Reject.ASSET_UNKNOWN, "asset 'XYZ': expected one that is listed",
        c.RequestWithdrawal, **told,
    )  # fmt: skip
    told["asset"] = "USDC"
    venue.refuse(
        Reject.ACCOUNT_FROZEN, "account alice: expected an active one, found frozen",
        c.RequestWithdrawal, **told,
    )  # fmt: skip


def test_margin_is_not_given_away(venue: Venue) -> None:
    # 200 lots are 10,000 dollars: 1,000 are asked, of 10,000 USDC and a coin of 50,000.
    venue.trade("alice", "bob", 200, 50_000)
    venue.do(c.RequestWithdrawal, account="alice", asset="BTC", amount=COIN, reference="coin")
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        "account alice: expected equity of at least its initial margin by tenth, 1000000000 "
        "micro, found 999999999",
        c.RequestWithdrawal, account="alice", asset="USDC", amount=9_000 * DOLLAR + 1,
        reference="w",
    )  # fmt: skip
    venue.do(
        c.RequestWithdrawal, account="alice", asset="USDC", amount=9_000 * DOLLAR, reference="w"
    )
    assert venue.held("alice") == 1_000 * DOLLAR


def test_with_risk_that_is_not_known_nothing_leaves(venue: Venue) -> None:
    venue.trade("alice", "bob", 1, 50_000)
    venue.time_ms = T0 + 60_000
    venue.do(c.RequestWithdrawal, account="alice", asset="USDC", amount=1, reference="w")
    venue.time_ms += 1
    unknown = "account alice: expected known risk, found none by tenth"
    for kind, more in (
        (c.RequestWithdrawal, {"account": "alice", "reference": "x"}),
        (c.Transfer, {"source": "alice", "target": "carol"}),
    ):
        venue.refuse(Reject.RISK_UNKNOWN, unknown, kind, asset="USDC", amount=1, **more)
    # Who has no risk needs no risk arrays.
    venue.do(c.RequestWithdrawal, account="carol", asset="USDC", amount=1, reference="y")


def test_a_debt_is_a_risk(venue: Venue) -> None:
    # Alice loses 1,000 dollars in coin-margined contracts while she has no coin left.
    venue.do(c.Transfer, source="alice", target="carol", asset="BTC", amount=COIN)
    venue.trade("alice", "bob", 100, 100_000, symbol=INV)
    venue.trade("bob", "alice", 100, 80_000, symbol=INV)
    assert venue.held("alice", BTC) == -5_000_000
    # 0.005 coin are 250 dollars of debt; she has 10,000.
    venue.do(c.RequestWithdrawal, account="alice", asset="USDC", amount=9_750 * DOLLAR,
             reference="w")  # fmt: skip
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        "account alice: expected equity of at least its initial margin by tenth, 0 micro, found "
        "-1",
        c.RequestWithdrawal, account="alice", asset="USDC", amount=1, reference="x",
    )  # fmt: skip


# ── transfers ────────────────────────────────────────────────────────────────────────────────────


def test_a_transfer(venue: Venue) -> None:
    found = venue.tell(c.Transfer, source="alice", target="bob", asset="USDC", amount=ALL)
    assert found.events == (Posted(((16 << 30, 17 << 30, ALL),)),)
    assert (venue.held("alice"), venue.held("bob")) == (0, 2 * ALL)


def test_transfers_are_refused_by_source_target_same_asset_money(venue: Venue) -> None:
    told = {"source": "zoe", "target": "yan", "asset": "XYZ", "amount": ALL + 1}
    steps = [
        (Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open", {"source": "alice"}),
        (Reject.ACCOUNT_UNKNOWN, "account 'yan': expected one that is open", {"target": "alice"}),
        (Reject.ACCOUNTS_THE_SAME, "account alice: expected another one as target",
         {"target": "bob"}),
        (Reject.ASSET_UNKNOWN, "asset 'XYZ': expected one that is listed", {"asset": "USDC"}),
        (Reject.BALANCE_INSUFFICIENT, f"account alice: expected {ALL + 1} of USDC, found {ALL}",
         {"amount": ALL}),
    ]  # fmt: skip
    for code, detail, change in steps:
        venue.refuse(code, detail, c.Transfer, **told)
        told.update(change)  # type: ignore[call-overload]
    venue.do(c.Transfer, **told)


def test_a_frozen_account_receives_but_does_not_send(venue: Venue) -> None:
    venue.do(c.FreezeAccount, account="bob", reason="")
    venue.do(c.Transfer, source="alice", target="bob", asset="USDC", amount=1)
    venue.refuse(
        Reject.ACCOUNT_FROZEN, "account bob: expected an active one, found frozen",
        c.Transfer, source="bob", target="alice", asset="USDC", amount=1,
    )  # fmt: skip


# ── the default fund ─────────────────────────────────────────────────────────────────────────────


def test_a_member_contributes_and_gets_back(venue: Venue) -> None:
    venue.do(c.ContributeFund, account="member", asset="USDC", amount=300)
    assert venue.held("member", USDC, FUND) == 300
    assert venue.held("member", USDC, GENERAL) == 1_000 * DOLLAR - 300
    venue.refuse(
        Reject.FUND_INSUFFICIENT, "account member: expected a contribution of 301, found 300",
        c.ReturnFund, account="member", asset="USDC", amount=301,
    )  # fmt: skip
    venue.do(c.ReturnFund, account="member", asset="USDC", amount=300)
    assert venue.held("member", USDC, FUND) == 0
    assert venue.held("member") == 1_000 * DOLLAR


def test_only_members_and_only_what_they_have(venue: Venue) -> None:
    for kind in (c.ContributeFund, c.ReturnFund):
        venue.refuse(
            Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open",
            kind, account="zoe", asset="XYZ", amount=1,
        )  # fmt: skip
        venue.refuse(
            Reject.ACCOUNT_NOT_A_MEMBER, "account alice: expected a member, found user",
            kind, account="alice", asset="XYZ", amount=1,
        )  # fmt: skip
        venue.refuse(
            Reject.ASSET_UNKNOWN, "asset 'XYZ': expected one that is listed",
            kind, account="member", asset="XYZ", amount=1,
        )  # fmt: skip
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        "account member: expected 1000000001 of USDC, found 1000000000",
        c.ContributeFund, account="member", asset="USDC", amount=1_000 * DOLLAR + 1,
    )  # fmt: skip
    venue.do(c.ContributeFund, account="member", asset="USDC", amount=1_000 * DOLLAR)


def test_what_is_in_the_fund_backs_no_position(venue: Venue) -> None:
    venue.trade("member", "bob", 100, 50_000, symbol=LIN)
    # 5,000 dollars are held: 500 of 1,000 are needed.
    venue.do(c.ContributeFund, account="member", asset="USDC", amount=500 * DOLLAR)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        "account member: expected equity of at least its initial margin by tenth, 500000000 "
        "micro, found 499999999",
        c.ContributeFund, account="member", asset="USDC", amount=1,
    )  # fmt: skip


def test_a_member_is_of_its_kind() -> None:
    venue = new_venue()
    venue.open("clearer", kind=AccountKind.MEMBER)
    assert venue.account("clearer").kind == "member"
    assert venue.account("alice").kind == "user"
