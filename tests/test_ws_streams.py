"""Streams over a WebSocket: snapshots and what follows them, going on without gap or duplicate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.sync.client import ClientConnection, connect

from solvent import publishing
from solvent.market.moved import moved
from solvent.messages import commands as c
from solvent.messages.fields import Side
from solvent.service.ws.outbox import Outbox
from solvent.units import TimeMs
from tests.engines import ACTOR, RULEBOOK, market
from tests.services import PERPETUAL, Served, made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(made(tmp_path_factory.mktemp("ws"))) as found:
        yield found


class Socket:
    """A client that knows nothing but JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def say(self, **told: Any) -> None:
        self._connection.send(json.dumps(told))

    def next(self, timeout_s: float = 10.0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._connection.recv(timeout_s))
        return found

    def until(self, **wanted: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """What comes before the message that says this, and that."""
        before: list[dict[str, Any]] = []
        while True:
            found = self.next()
            if all(found.get(name) == value for name, value in wanted.items()):
                return before, found
            before.append(found)

    def subscribe(self, *channels: Any) -> dict[str, Any]:
        self.say(op="subscribe", id=1, channels=list(channels))
        before, found = self.until(op="subscribed")
        return {"began": {one["channel"]: one["sequence"] for one in found["channels"]},
                "first": {one["channel"]: one for one in before}}  # fmt: skip


@contextmanager
def socket(served: Served) -> Iterator[Socket]:
    with connect(served.url.replace("http", "ws") + "/v1/ws") as connection:
        yield Socket(connection)


def deal(served: Served, key: str, *, lots: int = 3) -> int:
    """A trade between two accounts at the mark; its place in history."""
    state = served.app.state.board.now.state
    contract = state.contracts[state.contract_numbers[PERPETUAL]]
    ticks = contract.mark_points // contract.deal.points_per_tick
    told = c.Trade(
        key=key, actor=ACTOR, buyer="u7", seller="u8", symbol=PERPETUAL, lots=lots,
        price_ticks=ticks, aggressor=Side.BUY,
    )  # fmt: skip
    (answer,) = served.venue.submit_from_thread([told])
    assert answer.accepted
    return int(answer.sequence)


def test_a_trade_is_told_to_both_and_to_everybody(served: Served) -> None:
    with socket(served) as one:
        one.subscribe("fills.u7", "fills.u8", f"trades.{PERPETUAL}", "positions.u7")
        sequence = deal(served, "told", lots=5)
        found: dict[str, dict[str, Any]] = {}
        while len(found) < 4:
            message = one.next()
            found[message["channel"]] = message
    assert {message["sequence"] for message in found.values()} == {sequence}
    (buy,), (sell,) = found["fills.u7"]["data"], found["fills.u8"]["data"]
    assert (buy["side"], buy["maker"], sell["side"], sell["maker"]) == ("buy", False, "sell", True)
    (told,) = found[f"trades.{PERPETUAL}"]["data"]
    assert told["price"] == buy["price"] == sell["price"]
    assert told["aggressor"] == "buy"
    assert not {"u7", "u8"} & {str(value) for value in told.values()}
    assert found["positions.u7"]["data"][0]["lots"] >= 5


def test_orders_begin_with_what_rests(served: Served) -> None:
    client = served.client()
    state = served.app.state.board.now.state
    contract = state.contracts[state.contract_numbers[PERPETUAL]]
    low = (contract.mark_points // contract.deal.points_per_tick) * 8 // 10

    def place(order: str) -> c.PlaceOrder:
        return c.PlaceOrder(
            key=order, actor=ACTOR, account="u9", order=order, symbol=PERPETUAL, side=Side.BUY,
            lots=4, price_ticks=low,
        )  # fmt: skip

    served.venue.submit_from_thread([place("rests")])
    with socket(served) as one:
        told = one.subscribe("orders.u9")
        (row,) = told["first"]["orders.u9"]["data"]
        assert (row["order"], row["what"], row["side"]) == ("rests", "rested", "buy")
        served.venue.submit_from_thread([place("later")])
        message = one.next()
        assert message["sequence"] > told["began"]["orders.u9"]
        assert [row["order"] for row in message["data"]] == ["later"]
        cancel = c.CancelOrder(key="gone", actor=ACTOR, account="u9", order="later")
        served.venue.submit_from_thread([cancel])
        (ended,) = one.next()["data"]
        assert (ended["what"], ended["order"]) == ("ended", "later")
    client.close()


def test_going_on_after_a_sequence_misses_and_repeats_nothing(served: Served) -> None:
    """While others trade: what was missed, then what happens, each once and in order."""
    with socket(served) as one:
        began = one.subscribe("fills.u7")["began"]["fills.u7"]
        seen = [deal(served, f"first {n}") for n in range(5)]
        heard = [one.next()["sequence"] for _ in range(5)]
    assert heard == seen
    missed = [deal(served, f"missed {n}") for n in range(7)]
    with socket(served) as one:
        one.say(op="subscribe", id=2, channels=[["fills.u7", seen[2]]])
        later = [deal(served, f"later {n}") for n in range(6)]
        heard = []
        while len(heard) < 2 + 7 + 6:
            message = one.next()
            if "channel" in message:
                heard.append(message["sequence"])
    assert heard == seen[3:] + missed + later
    with socket(served) as one:
        one.say(op="subscribe", id=3, channels=[["fills.u7", began]])
        before, _ = one.until(op="subscribed")
        assert [message["sequence"] for message in before] == seen + missed + later


def test_a_sequence_that_is_not_there_is_refused(served: Served) -> None:
    with socket(served) as one:
        one.say(op="subscribe", id=9, channels=[["fills.u7", 10**9]])
        _, found = one.until(op="error")
    assert (found["id"], found["code"]) == (9, "TOO_FAR")


def test_prices_arrays_and_accounts_are_told_as_they_are(served: Served) -> None:
    with socket(served) as one:
        told = one.subscribe("marks", f"arrays.{RULEBOOK}", "account.u7")
        marks = told["first"]["marks"]["data"]
        facts = told["first"][f"arrays.{RULEBOOK}"]["data"]
        assert facts["etag"] == served.app.state.board.now.digests[RULEBOOK]
        new = replace(moved(market(), {"BTC": 1.01}), as_of_ms=TimeMs(market().as_of_ms + 1))
        served.venue.submit_from_thread([
            publishing.market(new, key="moved", actor=ACTOR),
            publishing.arrays(new, RULEBOOK, name=RULEBOOK, key="moved arrays", actor=ACTOR),
        ])  # fmt: skip
        found: dict[str, dict[str, Any]] = {}
        while len(found) < 3:
            message = one.next()
            if message.get("channel") != "account.u7" or message["sequence"] > told["began"].get(
                "account.u7", 0
            ):
                found[message["channel"]] = message
    changed = found["marks"]["data"]
    assert float(changed["index BTC"]) == pytest.approx(1.01 * float(marks["index BTC"]))
    assert "index ETH" not in changed
    rows = found[f"arrays.{RULEBOOK}"]["data"]["rows"]
    assert any(name.startswith("BTC") for name in rows)
    arrays = served.app.state.board.now.rules[RULEBOOK].arrays
    row = arrays.universe.symbols.index("BTC-PERPETUAL")
    assert rows["BTC-PERPETUAL"] == arrays.pnl[row, : arrays.scenarios].tolist()
    assert found["account.u7"]["data"]["standing"]["status"] in ("healthy", "unknown")


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"op": "subscribe", "channels": ["nothing"]}, "MALFORMED"),
        ({"op": "subscribe", "channels": []}, "MALFORMED"),
        ({"op": "subscribe", "channels": ["fills."]}, "MALFORMED"),
        ({"op": "dance"}, "MALFORMED"),
        ({"op": "subscribe", "channels": [["marks"]]}, "MALFORMED"),
        ({"op": "subscribe", "more": 1}, "MALFORMED"),
        ({"channels": ["marks"]}, "MALFORMED"),
    ],
)
def test_what_is_no_message_is_told_so(served: Served, told: dict[str, Any], code: str) -> None:
    with socket(served) as one:
        one.say(**told)
        assert one.next()["code"] == code
        one.say(op="ping", id="p")
        assert one.next()["op"] == "pong"


def test_what_is_left_is_not_told(served: Served) -> None:
    with socket(served) as one:
        one.subscribe("fills.u7")
        one.say(op="unsubscribe", channels=["fills.u7"])
        one.until(op="unsubscribed")
        deal(served, "unheard")
        one.say(op="ping")
        before, _ = one.until(op="pong")
        assert before == []
    assert served.app.state.streams.hub.listeners("fills.u7") == 0


def test_streams_go_on_after_a_restart(tmp_path: Path) -> None:
    """The journal is the stream: a new process tells what an old one has not."""
    url = made(tmp_path)
    with Served(url) as one, socket(one) as client:
        client.subscribe("fills.u7")
        seen = [deal(one, f"before {n}") for n in range(4)]
        assert [client.next()["sequence"] for _ in range(2)] == seen[:2]
    with Served(url) as one, socket(one) as client:
        client.say(op="subscribe", channels=[["fills.u7", seen[1]]])
        before, _ = client.until(op="subscribed")
        later = deal(one, "after")
        assert [found["sequence"] for found in before] == seen[2:]
        assert client.next()["sequence"] == later


# ── what waits ───────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("pmt"), st.integers(0, 5)), max_size=40))
def test_an_outbox_loses_nothing_that_happened_and_tells_the_newest_state(
    steps: list[tuple[str, int]],
) -> None:
    box = Outbox(messages_max=1_000)
    put, taken = [], []
    state: dict[str, int] = {}
    seen: dict[str, int] = {}

    def encode(values: Any) -> bytes:
        return b"=" + json.dumps(dict(values)).encode()

    def take() -> None:
        for message in box.taken():
            if message.startswith(b"="):
                seen.update(json.loads(message[1:]))
            else:
                taken.append(message)

    for step, (kind, number) in enumerate(steps):
        if kind == "p":
            put.append(str(step).encode())
            assert box.put(put[-1])
        elif kind == "m":
            values = {str(number): step}
            state.update(values)
            box.merge("marks", encode(values), values, encode)
        else:
            take()
    take()
    assert taken == put
    assert seen == state
    assert len(box) == box.nbytes == 0


def test_an_outbox_without_room_gives_up_once_and_for_all() -> None:
    box = Outbox(bytes_max=10)
    assert box.put(b"x" * 50)
    assert not box.put(b"y")
    assert (box.full, len(box), box.nbytes) == (True, 0, 0)
    box.replace("marks", b"1")
    assert not box.put(b"z")
    assert len(box) == 0
