"""One way in: idempotency, sequence, time, the chain; images that are whole; the audit."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

import msgspec
import pytest

from solvent.account.ledger import CLEARING, INCOMING, INSURANCE, margin_slot, node, order_slot
from solvent.account.position import Position
from solvent.chains import ORIGIN, link
from solvent.engine import apply as engine_apply
from solvent.engine import image as engine_image
from solvent.engine.apply import Applied, apply, apply_all
from solvent.engine.audit import Audit, audit, node_name, violations
from solvent.engine.image import (
    FORMAT,
    books_hash,
    image,
    image_hash,
    restore,
    sections,
    state_hash,
)
from solvent.engine.refusal import Refused
from solvent.engine.state import Mode, Order, Pending, State
from solvent.errors import InvariantBroken, Reject
from solvent.messages import commands as c
from solvent.messages.codec import Sealed, decode_events, encode_command, encode_events
from solvent.messages.events import Numbered, Rejected, Repeated
from solvent.messages.fields import Command, MarginMode, OpeningPosition, Phase, Side
from tests.venues import BTC, CALL, DOLLAR, FUT, INV, LIN, T0, Venue, new_venue

USDC = c.ListAsset(key="1", actor="op", asset="USDC", decimals=6)


def sealed(state: State, command: Command, time_ms: int = 0) -> Applied:
    return apply(state, Sealed(state.log.sequence + 1, time_ms, command))


# ── the place in history ─────────────────────────────────────────────────────────────────────────


def test_a_command_takes_its_place() -> None:
    state = State()
    found = sealed(state, USDC, 5)
    body, stored = encode_command(USDC), encode_events((Numbered("asset", "USDC", 0),))
    assert found.events == (Numbered("asset", "USDC", 0),)
    assert (found.code, found.kind, found.command, found.stored) == (0, "list_asset", body, stored)
    assert found.chain == link(ORIGIN, 1, 5, body, stored)
    log = state.log
    assert (log.sequence, log.time_ms, log.chain) == (1, 5, found.chain)
    assert decode_events(found.stored) == found.events
    assert [answer[1:] for answer in log.answers.values()] == [(1, 0)]
    assert list(log.answers) == ["2 op1"]
    again = c.Heartbeat(key="2", actor="op")
    second = sealed(state, again, 5)
    assert second.events == ()
    assert second.chain == link(found.chain, 2, 5, encode_command(again), encode_events(()))
    assert second.kind == "heartbeat"


def test_a_body_that_is_at_hand_is_taken() -> None:
    state, other = State(), State()
    sealed(state, USDC)
    apply(other, Sealed(1, 0, USDC), encode_command(USDC))
    assert state_hash(state) == state_hash(other)


def test_commands_come_in_sequence_and_time() -> None:
    state = State()
    with pytest.raises(InvariantBroken) as fault:
        apply(state, Sealed(2, 0, USDC))
    assert str(fault.value) == "commands come in sequence, was 2"
    sealed(state, USDC, 5)
    with pytest.raises(InvariantBroken) as fault:
        sealed(state, c.Heartbeat(key="2", actor="op"), 4)
    assert str(fault.value) == "time does not run backwards, was 4"
    assert state.log.sequence == 1


def test_a_refused_command_takes_its_place_too() -> None:
    state = State()
    sealed(state, USDC, 5)
    before = books_hash(state)
    found = sealed(state, c.ListAsset(key="2", actor="op", asset="USDC", decimals=1), 7)
    detail = "asset 'USDC': expected a new name"
    assert found.events == (Rejected(Reject.NAME_TAKEN, detail),)
    assert found.code == 611
    assert (state.log.sequence, state.log.time_ms) == (2, 7)
    assert decode_events(found.stored) == found.events
    assert books_hash(state) == before


def test_the_same_request_has_the_same_answer() -> None:
    state = State()
    sealed(state, USDC, 5)
    refused = c.ListAsset(key="2", actor="op", asset="USDC", decimals=1)
    sealed(state, refused, 6)
    before = state_hash(state)
    again = sealed(state, USDC, 9)
    assert again == Applied((Repeated(1, 0),), 0, "list_asset", encode_command(USDC), b"", b"")
    assert sealed(state, refused, 9).events == (Repeated(2, Reject.NAME_TAKEN),)
    assert sealed(state, refused, 9).code == Reject.NAME_TAKEN
    # It takes no place in history, not even in time.
    assert state_hash(state) == before
    assert state.log.time_ms == 6


def test_a_key_with_another_body_is_refused() -> None:
    state = State()
    sealed(state, USDC, 5)
    before = state_hash(state)
    found = sealed(state, c.ListAsset(key="1", actor="op", asset="BTC", decimals=6), 9)
    detail = "key '1' of op: expected the request of command 1, found another"
    assert found.events == (Rejected(Reject.KEY_REUSED, detail),)
    assert (found.code, found.chain, found.stored) == (Reject.KEY_REUSED, b"", b"")
    assert state_hash(state) == before


def test_keys_are_each_actors_own() -> None:
    state = State()
    for actor, key in (("a", "b1"), ("ab", "1"), ("a", "1"), ("ab1", "x"), ("1 a", "b")):
        assert sealed(state, c.Heartbeat(key=key, actor=actor)).events == ()
    assert state.log.sequence == 5


@pytest.mark.parametrize(("most", "gone"), [(3, 1), (32, 2), (47, 2), (48, 3)])
def test_the_oldest_keys_are_forgotten_first(
    monkeypatch: pytest.MonkeyPatch, most: int, gone: int
) -> None:
    monkeypatch.setattr(engine_apply, "KEYS_MAX", most)
    state = State()
    beats = [c.Heartbeat(key=str(number), actor="op") for number in range(most + 1)]
    for beat in beats[:most]:
        sealed(state, beat)
    assert sealed(state, beats[0]).events == (Repeated(1, 0),)
    assert len(state.log.answers) == most
    sealed(state, beats[most])
    assert len(state.log.answers) == most + 1 - gone
    assert sealed(state, beats[gone]).events == (Repeated(gone + 1, 0),)
    assert sealed(state, beats[gone - 1]).events == ()


def test_who_refuses_has_changed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def half_done(state: State, *_: Any) -> None:
        state.ledger.move(0, 16 << 30, 1)
        raise Refused(Reject.NAME_TAKEN, "too late")

    def half_told(_: State, __: Command, events: list[Any]) -> None:
        events.append(Numbered("asset", "X", 0))
        raise Refused(Reject.NAME_TAKEN, "too late")

    for handler in (half_done, half_told):
        monkeypatch.setitem(cast("dict[Any, Any]", engine_apply.HANDLERS), c.Heartbeat, handler)
        with pytest.raises(InvariantBroken) as fault:
            sealed(State(), c.Heartbeat(key="1", actor="op"))
        assert str(fault.value) == "who refuses has changed nothing, was 'heartbeat'"


def test_a_batch_is_the_same_as_one_by_one() -> None:
    state, other = State(), State()
    commands: list[Command] = [USDC, c.Heartbeat(key="2", actor="op"), USDC]
    bodies = [encode_command(command) for command in commands]
    batch = apply_all(state, commands, [1, 2, 3], bodies)
    assert batch == [sealed(other, one, t) for one, t in zip(commands, (1, 2, 3), strict=True)]
    assert state_hash(state) == state_hash(other)
    assert (state.ahead.commands, state.ahead.place) == ((), 0)
    with pytest.raises(ValueError, match="zip"):
        apply_all(state, commands, [5, 6], bodies)


# ── images ───────────────────────────────────────────────────────────────────────────────────────


def full_venue() -> Venue:
    """A venue with something of everything."""
    venue = new_venue(scans=True)
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
    venue.account("bob").status = "liquidation"
    venue.account("bob").frozen = True
    venue.refuse(
        Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open",
        c.Deposit, account="zoe", asset="USDC", amount=1,
    )  # fmt: skip
    return venue


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
        skipped = {"plan", "arrays", "rulebook", "spare", "slack", "ahead", "asked"}
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
        "references",
    ):  # fmt: skip
        assert same(getattr(state, name), getattr(again, name)), name
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
    assert version == FORMAT == 1
    with pytest.raises(InvariantBroken) as fault:
        restore(msgspec.msgpack.encode((2, parts)))
    assert str(fault.value) == "an image of this version, was 2"


def _in_position(state: State) -> None:
    state.contracts[0].holders[16].realised += 1


def _in_order(state: State) -> None:
    (state.account(17).orders or {})["a"].price_ticks += 1


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
    lambda s: (s.account(17).orders or {}).update({"n": Order(0, 1, 1)}),
    lambda s: setattr(s.contracts[0], "mark_points", 1),
    lambda s: setattr(s.contracts[0], "settled_points", 1),
    lambda s: setattr(s.contracts[0], "settled", "expired"),
    lambda s: setattr(s.contracts[0], "phase", Phase.HALTED),
    lambda s: setattr(s.contracts[0], "listed_ms", 1),
    lambda s: setattr(s.contracts[0], "orders_count", 5),
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
        "log", "assets", "ledger", "accounts", "positions", "orders", "modes", "contracts",
        "underlyings", "rules", "venue", "pending", "references",
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


# ── the audit ────────────────────────────────────────────────────────────────────────────────────


def test_an_audit_counts() -> None:
    venue = new_venue()
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("alice", "carol", 10, 50_000, symbol=FUT)
    assert audit(venue.state) == Audit(
        assets={"USDC": 0, "BTC": 0}, outside={"USDC": 31_000 * DOLLAR, "BTC": 3 * 10**9},
        positions=4, accounts=4, violations=(),
    )  # fmt: skip
    venue.do(c.ListAsset, asset="DUST", decimals=0)
    venue.state.ledger.balances[16 << 30 | 1] += 3
    assert audit(venue.state).assets == {"USDC": 0, "BTC": 3, "DUST": 0}
    assert audit(State()) == Audit(assets={}, outside={}, positions=0, accounts=0, violations=())


def test_nodes_in_words() -> None:
    state = new_venue().state
    assert node_name(state, node(16, 0, 0)) == "alice general USDC"
    assert node_name(state, node(17, margin_slot(1), BTC)) == f"bob margin {INV} BTC"
    assert node_name(state, node(17, order_slot(0), 0)) == f"bob orders {LIN} USDC"
    assert node_name(state, node(INSURANCE, 0, 0)) == "insurance general USDC"


def broken(change: Callable[[State], object]) -> list[str]:
    venue = new_venue()
    venue.trade("alice", "bob", 10, 50_000)
    venue.do(c.PlaceOrder, account="alice", order="o", symbol=LIN, side=Side.BUY, lots=1,
             price_ticks=1)  # fmt: skip
    venue.do(c.AnnounceDeposit, account="carol", asset="USDC", amount=5, reference="in")
    change(venue.state)
    return list(violations(venue.state))


def _unbalanced(state: State) -> None:
    state.ledger.balances[16 << 30] += 3


def _clearing(state: State) -> None:
    state.ledger.balances[node(CLEARING, 16, 0)] = 3
    state.ledger.balances[16 << 30] -= 3


def _pool(state: State) -> None:
    state.ledger.balances[node(INSURANCE, 0, 0)] = -3
    state.ledger.balances[16 << 30] += 3


def _lots(state: State) -> None:
    state.contracts[0].holders[16].lots += 1


def _basis(state: State) -> None:
    state.contracts[0].basis_total = 7


def _stranger(state: State) -> None:
    (state.account(16).positions or {})[0] = Position(10, 0, 0, 0)


def _nothing_held(state: State) -> None:
    state.account(16).positions = None


def _empty(state: State) -> None:
    for number, name in ((18, "carol"), (19, "member")):
        del name
        position = Position(0, 0, 0, 0)
        state.contracts[2].holders[number] = position
        state.account(number).positions = {2: position}


def _under_way(state: State) -> None:
    state.pending["in"].amount = 4


def _not_under_way(state: State) -> None:
    del state.pending["in"]


def _more_under_way(state: State) -> None:
    state.pending["in2"] = Pending(account=18, asset=0, amount=2, incoming=True)


def _closed(state: State) -> None:
    state.account(16).status = "closed"
    state.account(18).status = "closed"


def _closed_with_orders(state: State) -> None:
    state.account(18).status = "closed"
    state.account(18).orders = {"x": Order(1, 0, 1)}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda _: None, []),
        (_unbalanced, ["asset USDC: expected a sum of 0, found 3"]),
        (_clearing, [f"instrument {LIN}: expected 0 in its clearing, found 3"]),
        (_pool, ["insurance general USDC: expected a pool not below 0, found -3"]),
        (_lots, [f"instrument {LIN}: expected lots that net to 0, found 1"]),
        (_basis, [f"instrument {LIN}: expected a basis of 7, found 0"]),
        (lambda s: setattr(s.contracts[0], "settled", "expired"),
         [f"instrument {LIN}: expected no holders once expired"]),
        (_stranger,
         [f"instrument {LIN}: expected account 16 to hold what it is said to hold"]),
        (_nothing_held,
         [f"instrument {LIN}: expected account 16 to hold what it is said to hold",
          "expected as many positions by account as by instrument, found 1"]),
        (_empty,
         [f"instrument {FUT}: expected no empty position, found one of account 18",
          f"instrument {FUT}: expected no empty position, found one of account 19"]),
        (_closed, ["account alice: expected nothing in a closed account"]),
        (_closed_with_orders,
         ["account carol: expected no empty order",
          "account carol: expected nothing in a closed account",
          f"instrument {INV}: expected 0 orders, found 1"]),
        (lambda s: setattr(s.contracts[0], "orders_count", 3),
         [f"instrument {LIN}: expected 3 orders, found 1"]),
        (_under_way, ["carol incoming USDC: expected 4 under way, found 5"]),
        (_not_under_way, ["carol incoming USDC: expected 0 under way, found 5"]),
        (_more_under_way, ["carol incoming USDC: expected 7 under way, found 5"]),
    ],
)  # fmt: skip
def test_an_audit_names_what_does_not_hold(
    change: Callable[[State], object], found: list[str]
) -> None:
    assert broken(change) == found


def test_a_basis_that_waits_for_its_mark_is_no_empty_position() -> None:
    venue = new_venue('realise = "at_mark"')
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("bob", "alice", 10, 51_000)
    venue.sound()
    assert audit(venue.state).positions == 2


def test_books_that_moved_in_are_sound() -> None:
    venue = new_venue()
    venue.do(c.ImportBooks, balances=(), positions=(
        OpeningPosition("alice", FUT, 3, 500_001), OpeningPosition("bob", FUT, -3, 500_003),
    ))  # fmt: skip
    # A basis of minus 6 tenths: clearing owes 1, rounded up.
    assert venue.clearing(FUT) == 1
    assert venue.held("carol", 0, INCOMING) == 0


def test_an_account_that_is_none() -> None:
    with pytest.raises(LookupError) as fault:
        State().account(9)
    assert fault.value.args == ("no account 9",)


# ── what has happened before ─────────────────────────────────────────────────────────────────────


def test_what_was_recorded_is_done_or_refused_again_and_not_worked_out() -> None:
    venue = new_venue()
    first, again = venue.state, restore(image(venue.state))
    trade = {"symbol": LIN, "price_ticks": 50_000, "aggressor": None, "actor": "op"}
    told = {"account": "alice", "actor": "op"}
    commands: list[Command] = [
        c.SetMarginMode(key="m", symbol=LIN, mode=MarginMode.ISOLATED, leverage="5", **told),
        c.Trade(key="1", buyer="alice", seller="bob", lots=10, **trade),  # type: ignore[arg-type]
        c.Trade(key="2", buyer="member", seller="bob", lots=10**6, **trade),  # type: ignore[arg-type]
        c.PlaceOrder(key="o", order="o", symbol=LIN, side=Side.BUY, lots=1, price_ticks=1, **told),
        c.AddIsolatedMargin(key="a", symbol=LIN, amount=5, **told),
        c.RequestWithdrawal(key="w", asset="USDC", amount=5, reference="w", **told),
        c.AssignRulebook(key="r", rulebook="tenth", **told),
        c.AddIsolatedMargin(key="b", symbol=LIN, amount=2**60, **told),
    ]  # fmt: skip
    bodies = [encode_command(command) for command in commands]
    times = [T0] * len(commands)
    found = apply_all(first, commands, times, bodies)
    assert [one.code for one in found] == [
        0, 0, Reject.MARGIN_INSUFFICIENT, 0, 0, 0, 0, Reject.BALANCE_INSUFFICIENT
    ]  # fmt: skip
    # There are no risk arrays any more, by which margin could be worked out.
    again.rules["tenth"].arrays = again.rules["tenth"].plan = None
    assert apply_all(again, commands, times, bodies, records=[one.stored for one in found]) == found
    assert again.log.chain == first.log.chain
    assert state_hash(again) == state_hash(first)
    # Without a record it is asked for again.
    assert again.decided is False
    last = c.Trade(key="9", buyer="alice", seller="bob", lots=1, **trade)  # type: ignore[arg-type]
    assert sealed(again, last, T0).code == Reject.RISK_UNKNOWN


def test_a_refusal_is_kept_as_one() -> None:
    record = encode_events((Rejected(5, "x"), Rejected(6, "y")))
    state = State()
    with pytest.raises(ValueError, match="unpack"):
        engine_apply._refuse_again(record)
    with pytest.raises(InvariantBroken) as fault:
        engine_apply._refuse_again(encode_events((Repeated(1, 0),)))
    assert str(fault.value) == "a refusal is kept as one"
    # What is done again may be refused nevertheless: then it comes out otherwise than recorded.
    done = encode_events((Numbered("asset", "USDC", 0),))
    sealed(state, USDC)
    other = c.ListAsset(key="2", actor="op", asset="USDC", decimals=6)
    found = apply_all(state, [other], [0], [encode_command(other)], records=[done])
    assert found[0].code == Reject.NAME_TAKEN


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
