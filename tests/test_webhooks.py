"""Webhooks: where they may go, what they say, that each arrives whatever stops in between."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from solvent import publishing
from solvent.errors import BadInput
from solvent.market.moved import moved
from solvent.messages import commands as c
from solvent.service.security.masking import Secret
from solvent.service.security.vault import Vault
from solvent.service.venue import Venue
from solvent.service.webhook_targets import NotAllowed, check_url, resolved
from solvent.service.webhook_worker import Webhooks
from solvent.service.webhooks import KINDS, Hook, News, Outbox, pause_ms, signed, verify
from tests.engines import RULEBOOK, found, market, opened
from tests.secured import Clock
from tests.services import PERPETUAL

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
WAIT_S = 20.0


class Receiver:
    """Somebody who is told: answers with `statuses` in turn, then with 200."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.heard.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status = outer.statuses.pop(0) if outer.statuses else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("location", outer.url)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def events(self) -> list[str]:
        return [headers["solvent-event"] for headers, _ in self.heard]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    found = Vault.create(tmp_path / "vault")
    yield found
    found.close()


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_S / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


def news(number: int, kind: str = "margin.called") -> News:
    return News(
        id=f"{number}-0", kind=kind, sequence=number, time_ms=number, account="alice", details={}
    )


# ── where they may go ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/", "ftp://hooks.example.com/", "https://", "//hooks.example.com",
        "https://127.0.0.1/", "https://10.0.0.1/", "https://192.168.1.1/", "https://169.254.169.254/",
        "https://[::1]/", "https://[fd00::1]/", "https://[fe80::1]/", "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/", "https://[2002:a00:1::]/", "https://0.0.0.0/",
        "https://224.0.0.1/", "https://100.64.0.1/", "https://user:pw@hooks.example.com/",
        "https://hooks.example.com/#x", "https://hooks.example.com/ x", "https://hooks.example.com:99999/",
        "https://" + "a" * 2_050,
    ],
)  # fmt: skip
def test_targets_that_are_refused(url: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        check_url(url)
    assert "pw" not in str(caught.value)


def test_names_that_lead_inside_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def looked_up(told: list[str]) -> Any:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
            del host, options
            return [(0, 0, 0, "", (one, port)) for one in told]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        return await resolved("https://hooks.example.com/x")

    assert str(asyncio.run(looked_up(["1.1.1.1", "1.0.0.1"])).address) == "1.1.1.1"
    for inside in (["10.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::1"], ["fe80::1%eth0"]):
        with pytest.raises(NotAllowed):
            asyncio.run(looked_up(inside))


def test_networks_are_allowed_by_name(receiver: Receiver, vault: Vault) -> None:
    with pytest.raises(NotAllowed):
        Outbox(vault).create(receiver.url, ())
    hook, _ = Outbox(vault, allowed=LOOPBACK).create(receiver.url, ())
    assert hook.kinds == KINDS
    assert hook.shown()["where"] == "http://127.0.0.1"
    with pytest.raises(NotAllowed):
        Outbox(vault, allowed=LOOPBACK).create("http://10.0.0.1/", ())
    with pytest.raises(BadInput, match="kinds"):
        Outbox(vault, allowed=LOOPBACK).create(receiver.url, ("everything",))


# ── how they are told ────────────────────────────────────────────────────────────────────────────


def test_signatures() -> None:
    secret, body = Secret("svw_x"), b'{"id":"1-0"}'
    header = signed(secret, body, 1_000)
    assert verify(secret, header, body, 1_300)
    assert not verify(secret, header, body, 1_301)
    assert not verify(secret, header, body + b" ", 1_000)
    for wrong in ("", "t=", "t=1000", header[:-1], header.replace("t=1000", "t=1001"), "t=١,v1="):
        assert not verify(secret, wrong, body, 1_000)


def test_pauses_grow_and_differ() -> None:
    assert [pause_ms(tries, lambda: 0.0) for tries in (1, 2, 13)] == [500, 1_000, 1_800_000]
    assert len({pause_ms(5) for _ in range(50)}) > 10


def test_the_outbox_keeps_each_once(vault: Vault) -> None:
    clock = Clock(1_000_000)
    outbox = Outbox(vault, tries_max=3, clock=clock)
    all_of_it, _ = outbox.create("https://1.1.1.1/a", ())
    calls, secret = outbox.create("https://1.1.1.1/b", ("margin.called",))
    assert secret.reveal() == outbox.secret(calls).reveal()
    assert outbox.place() is None
    told = [news(7), news(8, "liquidation.begun")]
    assert outbox.take(told, 8) == 3
    assert outbox.take([*told, news(9)], 9) == 2
    assert outbox.take((), 5) == 0
    assert outbox.place() == 9
    due = outbox.due(100)
    assert sorted((one.event, one.hook.id) for one in due) == sorted(
        [("7-0", all_of_it.id), ("8-0", all_of_it.id), ("9-0", all_of_it.id), ("7-0", calls.id),
         ("9-0", calls.id)]
    )  # fmt: skip
    first = due[0]
    outbox.ended(first, fault="")
    for tries in range(2):
        again = next(one for one in outbox.due(100) if one.event == due[1].event
                     and one.hook == due[1].hook)  # fmt: skip
        assert again.tries == tries
        outbox.ended(again, fault="status 500")
        assert all((one.event, one.hook) != (again.event, again.hook) for one in outbox.due(100))
        clock.now_ms += pause_ms(tries + 1, lambda: 1.0)
    last = next(one for one in outbox.due(100) if one.tries == 2)
    outbox.ended(last, fault="status 500")
    outbox.ended(due[2], fault="status 410", final=True)
    assert outbox.counted() == {"waiting": 2, "dead": 2, "delivered": 1}
    assert {one["detail"] for one in outbox.dead()} == {"status 500", "status 410"}
    assert outbox.counts == {"delivered": 1, "failed": 2, "dead": 2}
    assert outbox.resend("hook_none") == 0
    assert outbox.resend() == 2
    assert outbox.counted()["waiting"] == 4
    assert outbox.remove(calls.id)
    assert not outbox.remove(calls.id)
    assert {one.hook.id for one in outbox.due(100)} == {all_of_it.id}
    assert isinstance(all_of_it, Hook)


# ── from a venue to who is told ──────────────────────────────────────────────────────────────────


def made(home: Path) -> str:
    """A venue in which a poor account is long as much as it may, before prices fall."""
    url = str(home / "venue")
    found(url)
    with opened(url) as engine:
        contract = engine.state.contracts[engine.state.contract_numbers[PERPETUAL]]
        told = publishing.market(market(), key="m", actor="a").marks
        (points,) = [int(one.mark_points) for one in told if one.symbol == PERPETUAL]
        for lots in (100_000, 30_000, 10_000, 3_000, 1_000, 300, 100, 30, 10, 3, 1):
            trade = c.Trade(
                key=f"t{lots}", actor="venue", buyer="u0", seller="u5", symbol=PERPETUAL,
                lots=lots, price_ticks=points // contract.deal.points_per_tick, aggressor=None,
            )  # fmt: skip
            if engine.submit_all([trade])[0].accepted:
                return url
    raise AssertionError("no trade was taken")


def falls(key: str, factor: float) -> list[Any]:
    """Prices fall."""
    lower = moved(market(), {"BTC": factor})
    return [
        publishing.market(lower, key=f"market {key}", actor="venue"),
        publishing.arrays(lower, RULEBOOK, name=RULEBOOK, key=f"arrays {key}", actor="venue"),
    ]


def kinds_of(receiver: Receiver) -> list[str]:
    return [json.loads(body)["kind"] for _, body in receiver.heard]


def test_each_event_arrives_across_restarts(
    tmp_path: Path, vault: Vault, receiver: Receiver
) -> None:
    url = made(tmp_path)
    outbox = Outbox(vault, allowed=LOOPBACK)
    _, secret = outbox.create(receiver.url, ())

    def served(run: Callable[[Venue, Webhooks], Awaitable[None]]) -> None:
        async def live() -> None:
            async with Venue(url, clock=None) as venue:
                webhooks = Webhooks(venue, outbox, look_s=0.05)
                webhooks.start()
                try:
                    await run(venue, webhooks)
                finally:
                    await webhooks.stop()

        asyncio.run(live())

    async def nothing_yet(venue: Venue, webhooks: Webhooks) -> None:
        del venue, webhooks
        await until(lambda: outbox.place() is not None)

    served(nothing_yet)
    # Nobody listens while prices fall and the account is taken over: it is told afterwards.
    with opened(url) as engine:
        engine.submit_all(falls("one", 0.6))
        engine.tend()
        head = engine.state.log.sequence
    assert receiver.heard == []
    receiver.statuses = [500, 302]

    async def told(venue: Venue, webhooks: Webhooks) -> None:
        del webhooks
        await until(lambda: "liquidation.begun" in kinds_of(receiver))
        await until(lambda: outbox.counted()["waiting"] == 0)
        assert outbox.place() == head == venue.head

    served(told)
    # The first two tries failed, a redirect among them: both were told again under the same id.
    assert len(receiver.events) - len(set(receiver.events)) == 2
    for headers, body in receiver.heard:
        assert verify(secret, headers["solvent-signature"], body, outbox.clock() // 1_000)
        document = json.loads(body)
        assert document["id"] == headers["solvent-event"]
        assert document["account"] == "u0"
        assert document["kind"] in KINDS
    before = list(receiver.events)

    async def quiet(venue: Venue, webhooks: Webhooks) -> None:
        del webhooks
        await venue.submit([c.Heartbeat(key="beat", actor="venue")])
        await asyncio.sleep(0.3)

    served(quiet)
    assert receiver.events == before
    # A process that died before its place was durable tells nothing twice.
    vault.write("UPDATE places SET sequence=1")

    async def again(venue: Venue, webhooks: Webhooks) -> None:
        del webhooks
        await until(lambda: (outbox.place() or 0) >= head)
        assert venue.head > head
        await asyncio.sleep(0.2)

    served(again)
    assert receiver.events == before


def test_what_happens_while_it_listens(tmp_path: Path, vault: Vault, receiver: Receiver) -> None:
    url, outbox = made(tmp_path), Outbox(vault, allowed=LOOPBACK)
    outbox.create(receiver.url, ("liquidation.begun",))

    async def live() -> None:
        async with Venue(url, clock=None) as venue:
            webhooks = Webhooks(venue, outbox, look_s=0.05)
            webhooks.start()
            await until(lambda: outbox.place() is not None)
            await venue.submit(falls("live", 0.6))
            await venue.read(lambda engine: engine.tend())
            await until(lambda: len(receiver.heard) == 1)
            await webhooks.stop()

    asyncio.run(live())
    assert kinds_of(receiver) == ["liquidation.begun"]
