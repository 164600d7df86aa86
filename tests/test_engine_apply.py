"""One way in: idempotency, sequence, time, the chain; what was recorded is done again."""

from __future__ import annotations

from typing import Any, cast

import pytest

from solvent.chains import ORIGIN, link
from solvent.engine import apply as engine_apply
from solvent.engine.apply import Applied, apply, apply_all
from solvent.engine.image import (
    books_hash,
    image,
    restore,
    state_hash,
)
from solvent.engine.state import ANSWER, State
from solvent.errors import InvariantBroken, Refused, Reject
from solvent.messages import commands as c
from solvent.messages.codec import Sealed, decode_events, encode_command, encode_events
from solvent.messages.events import Numbered, Rejected, Repeated
from solvent.messages.fields import Command, MarginMode, Side
from tests.venues import LIN, T0, new_venue

USDC = c.ListAsset(key="1", actor="op", asset="USDC", decimals=6)


def sealed(state: State, command: Command, time_ms: int = 0) -> Applied:
    return apply(state, Sealed(state.log.sequence + 1, time_ms, command))


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
    assert [ANSWER.unpack(answer)[1:] for answer in log.answers.values()] == [(1, 0)]
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


def test_what_was_recorded_is_done_or_refused_again_and_not_worked_out() -> None:
    venue = new_venue()
    first, again = venue.state, restore(image(venue.state))
    trade = {"symbol": LIN, "price_ticks": 50_000, "aggressor": None, "actor": "op"}
    told: dict[str, Any] = {"account": "alice", "actor": "op"}
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
