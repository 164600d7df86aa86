"""Images of a state: whole, the same on every machine, and as their hash says."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import msgspec
import pytest

from solvent.account.position import Position
from solvent.chains import ORIGIN
from solvent.engine import image as engine_image
from solvent.engine.image import (
    FORMAT,
    books_hash,
    image,
    image_hash,
    restore,
    sections,
    state_hash,
)
from solvent.engine.state import Mode, Offer, Pending, State
from solvent.errors import InvariantBroken, Reject
from solvent.liquidation.calls import Call
from solvent.messages import commands as c
from solvent.messages.fields import (
    ComboLeg,
    MarginMode,
    Phase,
    SelfTrade,
    Side,
    StopAt,
    TimeInForce,
    Trigger,
)
from solvent.orders.order import Order
from tests.venues import CALL, FAR, FUT, INV, LIN, NEAR, T0, Venue, book_venue, new_venue

STOP = StopAt(Trigger.INDEX, 1, False)


def full_venue() -> Venue:
    """A venue with something of everything."""
    venue = book_venue('relief = "all"\nprice_band = 0.9', scans=True, more=True)
    venue.open("dave", usdc=500, rulebook="deribit-pm", parent="alice")
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=MarginMode.ISOLATED, leverage="3")
    venue.do(c.SetLeverage, account="alice", symbol=INV, leverage="7")
    venue.do(c.SetMarginMode, account="bob", symbol=INV, mode=MarginMode.CROSS)
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("bob", "carol", 4, 51_000)
    venue.trade("carol", "alice", 3, 1_000, symbol=CALL)
    venue.trade("dave", "alice", 7, 100_000, symbol=INV)
    venue.trade("bob", "alice", 3, 50_001, symbol=FUT)
    for name, symbol, side in (("b", LIN, Side.BUY), ("a", FUT, Side.SELL)):
        venue.do(c.PlaceOrder, account="bob", order=name, symbol=symbol, side=side, lots=1,
                 price_ticks=49_000)  # fmt: skip
    _order_all(venue)
    told = {"account": "carol", "asset": "USDC", "amount": 5}
    venue.do(c.AnnounceDeposit, reference="in", **told)
    venue.do(c.RequestWithdrawal, reference="out", **told)
    venue.do(c.RequestWithdrawal, reference="was", **told)
    venue.do(c.ConfirmWithdrawal, reference="was")
    venue.do(c.FreezeAccount, account="carol", reason="")
    venue.time_ms += 7
    venue.do(c.SetPhase, symbol=INV, phase=Phase.AUCTION)
    venue.time_ms += 7
    venue.quote(LIN=490_000)
    venue.do(c.SettleVariation, symbol=FUT)
    venue.do(c.PayFunding, symbol=LIN, until_ms=venue.time_ms, rate="0.0001")
    venue.do(c.AccrueInterest, asset="BTC", until_ms=venue.time_ms, rate="0.1")
    venue.do(c.AccrueInterest, asset="USDC", until_ms=venue.time_ms, rate="0.1")
    venue.wind_up("bob")
    venue.account("bob").frozen = True
    venue.refuse(
        Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open",
        c.Deposit, account="zoe", asset="USDC", amount=1,
    )  # fmt: skip
    return venue


def _order_all(venue: Venue) -> None:
    """Orders of every kind: some rest, some wait, some were filled in part; a block waits too."""
    venue.do(c.SetProtection, account="alice", group="g", window_ms=60_000, frozen_ms=0, lots=9)
    venue.do(c.SetProtection, account="alice", group="h", window_ms=9, frozen_ms=9, delta_nano=1)
    venue.do(c.ListCombo, symbol="ROLL", tick_size="0.5",
             legs=(ComboLeg(FAR, 1), ComboLeg(NEAR, -1)))  # fmt: skip
    venue.do(c.ListCombo, symbol="GONE", tick_size="1",
             legs=(ComboLeg(LIN, 1), ComboLeg(NEAR, -1)))  # fmt: skip
    venue.do(c.DelistInstrument, symbol="GONE")
    orders: dict[str, dict[str, Any]] = {
        "ice": {"lots": 9, "display_lots": 2, "group": "g", "session": "s"},
        "day": {"time_in_force": TimeInForce.GTD, "expire_ms": T0 + 99, "side": Side.SELL,
                "price_ticks": 51_000, "self_trade": SelfTrade.BOTH},
        "post": {"post_only": True, "price_ticks": 48_000},
        "roll": {"symbol": "ROLL", "price_ticks": -3, "lots": 2},
        "stop": {"stop": StopAt(Trigger.MARK, 400_000, False), "side": Side.SELL,
                 "reduce_only": True, "price_ticks": None},
        "last": {"stop": StopAt(Trigger.LAST, 600_000, True), "group": "h",
                 "time_in_force": TimeInForce.GTD, "expire_ms": T0 + 999},
    }  # fmt: skip
    for name, changes in orders.items():
        told = {"account": "alice", "order": name, "symbol": LIN, "side": Side.BUY, "lots": 3,
                "price_ticks": 49_500, **changes}  # fmt: skip
        venue.do(c.PlaceOrder, **told)
    # Five lots come out of the iceberg, which has four left and shows one of two.
    venue.do(c.PlaceOrder, account="carol", order="hit", symbol=LIN, side=Side.SELL, lots=5,
             price_ticks=None)  # fmt: skip
    venue.do(c.ReportBlock, account="carol", counterparty="alice", side=Side.SELL, symbol="ROLL",
             lots=2, price_ticks=-7, reference="blk")  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Whether two parts of a state are the same, down to the last number."""
    if isinstance(one, dict):
        held = any(isinstance(value, Position) for value in one.values())
        in_order = list(one) == list(other) or (held and sorted(one) == sorted(other))
        return in_order and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    if type(one).__module__ == "solvent.engine.state" or isinstance(one, Position):
        names = slots or list(vars(one))
        skipped = {"plan", "arrays", "rulebook", "spare", "slack", "ahead", "asked", "found",
                   "found_by", "alone"}  # fmt: skip
        if type(one).__name__ == "Account":
            skipped -= {"rulebook"}
        return all(same(getattr(one, n), getattr(other, n)) for n in names if n not in skipped)
    return type(one) is type(other) and bool(one == other)


def test_an_image_is_the_whole_state() -> None:
    venue = full_venue()
    state = venue.state
    again = restore(image(state))
    for name in (
        "log", "assets", "asset_numbers", "accounts", "account_numbers", "contracts",
        "contract_numbers", "underlyings", "rules", "venue_rulebook", "house", "pending",
        "references", "combos", "blocks",
    ):  # fmt: skip
        assert same(getattr(state, name), getattr(again, name)), name
    assert again.desk.image() == state.desk.image()
    assert again.open.asked == state.open.asked
    assert again.open.sides == state.open.sides
    assert list(again.open.sides) == list(state.open.sides)
    assert again.open.moved == []
    for number, book in state.desk.books.items():
        assert again.desk.books[number].terms == book.terms
        assert again.desk.depth(number) == state.desk.depth(number)
    assert again.interest_ms == state.interest_ms
    kept = {which: amount for which, amount in state.ledger.balances.items() if amount}
    assert again.ledger.balances == kept
    assert list(again.ledger.balances) == sorted(kept)
    assert image(again) == image(state)
    assert state_hash(again) == state_hash(state) == image_hash(image(state))
    for name, rules in again.rules.items():
        mine = state.rules[name]
        assert rules.arrays is not None
        assert mine.arrays is not None
        assert rules.arrays.as_of_ms == mine.arrays.as_of_ms
        assert type(rules.plan) is type(mine.plan)
        assert rules.rulebook.digest == mine.rulebook.digest
        assert rules.spare == mine.spare
    # The positions of accounts are those of contracts.
    for contract in again.contracts:
        for number, position in contract.holders.items():
            assert (again.account(number).positions or {})[contract.number] is position


def test_an_image_goes_on_as_the_state() -> None:
    venue = full_venue()
    again = Venue(restore(image(venue.state)), venue.time_ms)
    for one in (venue, again):
        one.do(c.Heartbeat)
        one.do(c.UnfreezeAccount, account="carol")
        one.trade("carol", "alice", 1, 50_000)
        one.quote(LIN=395_000)
        one.do(c.AmendOrder, account="alice", order="ice", lots=8)
        one.do(c.PlaceOrder, account="carol", order="more", symbol=LIN, side=Side.SELL, lots=6,
               price_ticks=49_500)  # fmt: skip
        one.do(c.ReportBlock, account="alice", counterparty="carol", side=Side.BUY, symbol="ROLL",
               lots=2, price_ticks=-7, reference="blk")  # fmt: skip
        one.time_ms = T0 + 1_000
        one.do(c.Heartbeat)
        one.tell(c.Trade, buyer="alice", seller="dave", symbol=INV, lots=10**6, price_ticks=1,
                 aggressor=None)  # fmt: skip
    assert again.state.log.chain == venue.state.log.chain
    assert state_hash(again.state) == state_hash(venue.state)


def test_an_empty_state_has_an_image() -> None:
    state = State()
    again = restore(image(state))
    assert state_hash(again) == state_hash(state)
    assert again.account_numbers == state.account_numbers
    assert again.venue_rulebook == ""


def test_images_of_another_version_are_not_read() -> None:
    version, parts = msgspec.msgpack.decode(image(State()))
    assert version == FORMAT
    with pytest.raises(InvariantBroken) as fault:
        restore(msgspec.msgpack.encode((1, parts)))
    assert str(fault.value) == "an image of this version, was 1"


def _in_position(state: State) -> None:
    state.contracts[0].holders[16].realised += 1


def _in_order(state: State) -> None:
    state.desk.orders[17]["a"].price_ticks = 7


def _in_balance(state: State) -> None:
    state.ledger.balances[16 << 30] += 1


CHANGES: list[Callable[[State], object]] = [
    lambda s: s.interest_ms.update({0: 1}),
    lambda s: s.assets.append(("X", 1)),
    _in_balance, _in_position, _in_order,
    lambda s: setattr(s.account(18), "status", "open"),
    lambda s: setattr(s.account(18), "frozen", False),
    lambda s: setattr(s.account(18), "subaccounts", 1),
    lambda s: setattr(s.account(18), "parent", 16),
    lambda s: setattr(s.account(18), "kind", "member"),
    lambda s: setattr(s.account(18), "rulebook", "deribit-pm"),
    lambda s: (s.account(16).modes or {}).update({0: Mode(isolated=True, factor=Fraction(1))}),
    lambda s: (s.account(16).modes or {}).update({0: Mode(isolated=True, factor=None)}),
    lambda s: s.desk.rest(Order(17, "n", 0, 1, 1), []),
    lambda s: s.desk.wait(Order(16, "n", 0, 1, 1, stop=STOP), []),
    lambda s: setattr(s.desk, "rank", 999),
    lambda s: setattr(s.desk.books[0], "last", 7),
    lambda s: setattr(s.desk.books[0], "phase", Phase.HALTED),
    lambda s: s.desk.close_book(5, events=[]),
    lambda s: s.desk.reset_protection(16, "g"),
    lambda s: s.desk.groups[16, "h"].trip(T0),
    lambda s: setattr(s.desk.orders[16]["ice"], "shown", 2),
    lambda s: setattr(s.desk.orders[16]["ice"], "filled", 4),
    lambda s: setattr(s.desk.orders[16]["ice"], "session", ""),
    lambda s: s.combos.pop(),
    lambda s: s.blocks.pop("blk"),
    lambda s: s.blocks.update(blk=replace(s.blocks["blk"], lots=-3)),
    lambda s: setattr(s.contracts[0], "mark_points", 1),
    lambda s: setattr(s.contracts[0], "settled_points", 1),
    lambda s: setattr(s.contracts[0], "settled", "expired"),
    lambda s: setattr(s.contracts[0], "phase", Phase.HALTED),
    lambda s: setattr(s.contracts[0], "listed_ms", 1),
    lambda s: setattr(s.contracts[0], "basis_total", 5),
    lambda s: setattr(s.contracts[0], "funded_ms", 5),
    lambda s: setattr(s.contracts[0], "phase_ms", 5),
    lambda s: setattr(s.contracts[0], "auction_ms", 5),
    lambda s: setattr(s.contracts[0].future, "area", 10**30),
    lambda s: setattr(s.contracts[0].spot, "span_ms", 5),
    lambda s: setattr(s.contracts[0].spot, "known", False),
    lambda s: setattr(s.underlyings["BTC"], "price_nano", 5),
    lambda s: s.underlyings["BTC"].seen.append((1, 1)),
    lambda s: setattr(s.rules["tenth"], "arrays_bytes", b""),
    lambda s: setattr(s.rules["tenth"], "day", "2026-06-02"),
    lambda s: setattr(s, "venue_rulebook", "deribit-pm"),
    lambda s: s.pending.update({"x": Pending(account=16, asset=0, amount=1, incoming=True)}),
    lambda s: setattr(s.pending["in"], "incoming", False),
    lambda s: s.references.update({"was": "cancelled"}),
    lambda s: s.calls.update({16: Call(level=1, since_ms=5)}),
    lambda s: s.calls.update({16: Call(level=2, since_ms=5)}),
    lambda s: s.calls.update({16: Call(level=2, since_ms=5, amount_micro=1, deadline_ms=9)}),
    lambda s: s.calls.update({16: Call(level=2, since_ms=5, pool=0)}),
    lambda s: setattr(s.account(16), "given", {0: 1}),
    lambda s: setattr(s.account(16), "given", {1: 1}),
    lambda s: s.calls.update({16: Call(level=2, since_ms=5, amount_micro=1, deadline_ms=9,
                                       overdue=True)}),
    lambda s: s.cases.pop(17),
    lambda s: s.cases[17].pools.append(5),
    lambda s: setattr(s.cases[17], "begun_ms", 5),
    lambda s: setattr(s.cases[17], "equity_micro", 5),
    lambda s: setattr(s.cases[17], "maintenance_micro", 5),
    lambda s: setattr(s.cases[17], "stepped_ms", 5),
    lambda s: setattr(s.cases[17], "steps", 5),
    lambda s: s.cases[17].stepped.update({0: 5}),
    lambda s: s.cases[17].takers.append(5),
    lambda s: s.auctions.update({17: Offer(begun_ms=5, solvent=True, cash=0)}),
    lambda s: s.auctions.update({17: Offer(begun_ms=5, solvent=False, cash=0)}),
    lambda s: s.auctions.update({17: Offer(begun_ms=5, solvent=False, cash=1)}),
    lambda s: s.auctions.update({17: Offer(begun_ms=5, solvent=False, cash=1, reserved=7)}),
    lambda s: s.auctions.update({17: Offer(begun_ms=5, solvent=False, cash=1, sold_ppb=7)}),
    lambda s: s.backstops.update({18: 5}),
    lambda s: s.fund_highs.update({0: deque([(1, 5)])}),
    lambda s: s.disposals.update({0: 5}),
    lambda s: s.disposals.update({1: 5}),
]  # fmt: skip


def test_the_hash_tells_everything_apart() -> None:
    stored = image(full_venue().state)
    hashes = {books_hash(restore(stored))}
    for change in CHANGES:
        state = restore(stored)
        change(state)
        hashes.add(books_hash(state))
    assert len(hashes) == len(CHANGES) + 1
    # What is not in it: the place in history.
    state = restore(stored)
    for name, value in (("sequence", 1), ("time_ms", T0 + 99), ("chain", ORIGIN), ("answers", {})):
        setattr(state.log, name, value)
        assert books_hash(state) in hashes
    assert state_hash(state) != state_hash(restore(stored))


def test_every_part_of_an_image_has_its_name() -> None:
    assert list(sections(State())) == [
        "log", "assets", "ledger", "accounts", "positions", "combos", "desk", "blocks", "modes",
        "given", "contracts", "underlyings", "rules", "venue", "pending", "references", "calls",
        "cases", "auctions", "backstops", "fund_highs",
        "disposals",
    ]  # fmt: skip


def test_money_that_was_and_is_not_leaves_no_trace() -> None:
    state = State()
    before = state_hash(state)
    state.ledger.move(0, 16 << 30, 1)
    state.ledger.move(16 << 30, 0, 1)
    assert state_hash(state) == before


def test_images_of_accounts_have_no_gap() -> None:
    venue = new_venue()
    venue.account("carol").number = 25
    with pytest.raises(InvariantBroken) as fault:
        restore(image(venue.state))
    assert str(fault.value) == "accounts are numbered without a gap, was 25"


def test_integers_of_any_size_are_kept() -> None:
    venue = new_venue()
    venue.trade("alice", "bob", 10, 50_000)
    position = venue.contract(LIN).holders[16]
    for number in (2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**40):
        position.realised = number
        again = restore(image(venue.state))
        assert again.contracts[0].holders[16].realised == number
        assert image(again) == image(venue.state)


def test_images_are_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    column = array("q", [1, -2])
    assert (
        engine_image._column([1, -2])
        == column.tobytes()
        == b"\1" + b"\0" * 7 + b"\xfe" + (b"\xff" * 7)
    )
    monkeypatch.setattr(sys, "byteorder", "big")
    # Where integers are the other way round they are turned, out and in.
    column.byteswap()
    assert engine_image._column([1, -2]) == column.tobytes()
    assert list(engine_image._numbers(column.tobytes())) == [1, -2]
