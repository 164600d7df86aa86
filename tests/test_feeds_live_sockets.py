"""Connections over real sockets of this machine: reconnection, silence, overflow; commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from solvent.cli import app
from solvent.cli.console import out
from solvent.cli.demo_live import _spread, _table
from solvent.errors import BadInput
from solvent.feeds.live.binance import Binance
from solvent.feeds.live.connection import Backoff, Connection
from solvent.feeds.live.deribit import Deribit
from solvent.feeds.live.generator import GeneratedTape
from solvent.feeds.live.messages import (
    BookSnapshot,
    Channel,
    Fault,
    FaultKind,
    Funding,
    Message,
    Ticker,
    Want,
)
from solvent.feeds.player import PlayerServer, wants_of
from solvent.feeds.recorder import Recorder
from solvent.feeds.recordings import open_recording
from tests.tapes import folder

X = "BTC-PERPETUAL"
QUICK: dict[str, Any] = {"first_s": 0.01, "most_s": 0.02}


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


class Listening:
    """A connection with its reader, while inside."""

    def __init__(self, connection: Connection, *, reads: bool = True) -> None:
        self.connection, self.messages = connection, list[Message]()
        self._reads = reads

    async def __aenter__(self) -> Listening:
        self._tasks = [asyncio.create_task(self.connection.run())]
        if self._reads:
            self._tasks.append(asyncio.create_task(self._read()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.connection.stop()
        await asyncio.gather(*self._tasks)

    async def _read(self) -> None:
        async for batch in self.connection.batches():
            self.messages += batch

    async def until(self, count: int, kind: type) -> None:
        while sum(isinstance(one, kind) for one in self.messages) < count:
            await asyncio.sleep(0.01)


def test_a_connection_comes_back_and_subscribes_again(tmp_path: Path) -> None:
    """The server ends each connection after its first answer; both times a book is live."""
    from websockets.asyncio.server import ServerConnection, serve

    subscribed: list[str] = []
    data = {"type": "snapshot", "timestamp": 1, "instrument_name": X, "change_id": 1,
            "bids": [["new", 99, 1]], "asks": []}  # fmt: skip
    book = json.dumps(
        {"method": "subscription", "params": {"channel": f"book.{X}.100ms", "data": data}}
    )

    async def client(socket: ServerConnection) -> None:
        async for said in socket:
            if '"public/subscribe"' in str(said):
                subscribed.append(str(said))
                await socket.send(book)
                return

    async def work() -> None:
        async with serve(client, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            with Recorder(tmp_path, name="x") as recorder:
                connection = Connection(
                    Deribit([Want(Channel.BOOK, X)]), url=f"ws://127.0.0.1:{port}",
                    backoff=Backoff(**QUICK), recorder=recorder,
                )  # fmt: skip
                async with Listening(connection) as listening:
                    await listening.until(3, BookSnapshot)
        kinds = [one.kind for one in listening.messages if isinstance(one, Fault)]
        assert kinds.count(FaultKind.LOST) >= 2
        assert connection.adapter.health.connections >= 3
        assert len(subscribed) >= 3

    run(work())
    recorded = [frame.kind for frame in open_recording(tmp_path)]
    assert recorded.count("open") >= 3
    assert recorded.count("close") >= 3
    assert recorded.count("in") >= 3


def test_nobody_listens_there() -> None:
    async def work() -> None:
        connection = Connection(Deribit(), url="ws://127.0.0.1:1", backoff=Backoff(**QUICK))
        async with Listening(connection) as listening:
            await listening.until(3, Fault)
        assert {one.kind for one in listening.messages if isinstance(one, Fault)} == {
            FaultKind.LOST
        }
        assert connection.adapter.health.connections == 0

    run(work())


def test_a_connection_on_which_nothing_comes_is_given_up() -> None:
    from websockets.asyncio.server import ServerConnection, serve

    async def client(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async def work() -> None:
        async with serve(client, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            adapter = Deribit()
            adapter.silence_ms = 50
            connection = Connection(adapter, url=f"ws://127.0.0.1:{port}", backoff=Backoff(**QUICK))
            async with Listening(connection) as listening:
                await listening.until(2, Fault)
        assert adapter.health.connections >= 2

    run(work())


def test_too_much_for_a_slow_reader_begins_books_anew() -> None:
    """Nobody reads until the tape is over; the inbox holds little, the books end right."""
    tape = GeneratedTape(seed=3, steps=25)

    async def work() -> None:
        adapter = Deribit(wants_of(tape))
        adapter.sends_per_s = 1e6
        async with PlayerServer(tape).open() as server:
            connection = Connection(
                adapter, url=server.ws_url, rest_url=server.rest_url, waiting_max=20
            )
            async with Listening(connection, reads=False):
                await server.finished.wait()
                while adapter.book(X) is None or adapter.books[X].asked_ms:
                    await asyncio.sleep(0.01)
            kinds = adapter.health.faults
            assert kinds["overflow"] >= 2
            waiting = connection.inbox.take()
            assert sum(isinstance(one, Ticker) for one in waiting) == len(adapter.tickers)
            assert len([one for one in waiting if not isinstance(one, Ticker)]) < 60
            assert connection.inbox.superseded > 100
            truth = server.stage.truth.book(X)
            mine = adapter.book(X)
            assert truth is not None
            assert mine is not None
            assert (mine.bids(), mine.asks()) == (truth.bids(), truth.asks())

    run(work())


def test_rest_is_served_beside_the_socket() -> None:
    import httpx

    async def work() -> None:
        server = PlayerServer(open_recording(folder() / "DERIBIT"))
        async with server.open(), httpx.AsyncClient() as client:
            where = f"{server.rest_url}/api/v2/public/get_instruments"
            answer = await client.get(f"{where}?currency=ETH&expired=false")
            assert answer.json()["result"][0]["base_currency"] == "ETH"
            assert (await client.get(where)).status_code == 404
            assert (await client.get(f"{where}?currency=XYZ")).status_code == 404

    run(work())


# ── commands ─────────────────────────────────────────────────────────────────────────────────────


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_status_and_play_of_a_recording() -> None:
    source = folder() / "OKX"
    told = json.loads(invoke("feed", "status", source, "--json").stdout)
    assert told["messages"] == {"bookdelta": 287, "booksnapshot": 3, "ticker": 28, "trade": 74}
    assert (told["books"], told["books_live"], told["faults"]) == (3, 3, {})
    played = json.loads(
        invoke("play", source, "--faults", "drop=0.05,corrupt=0.05,seed=2", "--json").stdout
    )
    assert played["injected"]["drop"] > 5
    assert played["status"]["faults"]["malformed"] > 5
    assert played["status"]["resyncs"] > 0
    shown = invoke("play", source)
    assert "3 of 3 end as the tape has them" in shown.output
    assert "latency p50" in shown.output


def test_a_live_market_becomes_a_market_file(tmp_path: Path) -> None:
    file = tmp_path / "market.csv"
    done = invoke("feed", "snapshot", "generated:3", "--out", file, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [len(index["sources"]) for index in found["indices"]] == [1, 1]
    assert (found["reasons"], found["instruments"]) == ([], 144)
    told = json.loads(invoke("market", file, "--json").stdout)
    assert sum(told["instruments"].values()) == 144


def test_several_sources_make_an_index(tmp_path: Path) -> None:
    """Two of three are the same market; the third is another and is left out, or, of two, nobody
    can say which is right: nothing is written."""
    file = tmp_path / "market.csv"
    done = invoke("feed", "snapshot", "generated:3", "generated:3", "generated:4", "--out", file)
    assert done.exit_code == 0, done.output
    assert "deribit#3:BTC-PERPETUAL" in done.output
    assert "outside" in done.output
    assert "its venue is wrong about the index" in done.output
    assert "BTC: 64,146.14 (fine)" in done.output
    two = invoke("feed", "snapshot", "generated:3", "generated:4", "--out", tmp_path / "none.csv")
    assert two.exit_code == 1
    assert "BTC: UNKNOWN (dispersed)" in two.output
    assert "nothing was written" in two.output
    assert not (tmp_path / "none.csv").exists()


def test_an_index_of_ones_own_rules(tmp_path: Path) -> None:
    """Two of three must tell bitcoin's price, and one does: ether alone is written."""
    rules = tmp_path / "rules.toml"
    weights = ", ".join(f'"{name}:BTC-PERPETUAL" = 1' for name in ("deribit", "okx", "x"))
    rules.write_text(
        f'[index.mine]\nsource = "here"\nunderlying = "BTC"\nclamp_ppm = 5_000\nquorum = 2\n'
        f"weights = {{ {weights} }}\n"
    )
    done = invoke("feed", "snapshot", "generated:3", "--rules", rules, "--out",
                  tmp_path / "m.csv")  # fmt: skip
    assert done.exit_code == 1, done.output
    assert "BTC: UNKNOWN (quorum)" in done.output
    assert "silent" in done.output
    assert "instruments left out" in done.output
    told = json.loads(invoke("market", tmp_path / "m.csv", "--json").stdout)
    assert sum(told["instruments"].values()) < 144


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["feed", "snapshot", "generated", "deribit", "BTC"], "venues or recordings"),
        (["feed", "snapshot", "okx", "deribit", "BTC", "--url", "ws://x"], "one venue"),
        (["play", "nowhere"], "a recording"),
        (["play", "generated:x"], "a seed"),
        (["record", "nasdaq", "BTC", "--out", "x"], "one of deribit"),
        (["record", "deribit", "BTC", "--out", "x", "--channels", "all"], "some of ticker"),
        (["play", "generated", "--faults", "drop=7"], "chances"),
    ],
)
def test_bad_arguments_are_told(arguments: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=words):
        CliRunner().invoke(
            app, [str(tmp_path / one) if one == "x" else one for one in arguments],
            catch_exceptions=False,
        )  # fmt: skip


def test_record_from_a_played_venue(tmp_path: Path) -> None:
    """`solvent record` against the server of `solvent play`: what it writes plays again."""
    import threading

    ready, over = threading.Event(), threading.Event()
    urls: list[str] = []

    async def serving() -> None:
        async with PlayerServer(GeneratedTape(seed=9, steps=30)).open() as server:
            urls.extend((server.ws_url, server.rest_url))
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(serving()))
    thread.start()
    try:
        assert ready.wait(10)
        done = invoke(
            "record", "deribit", "btc", "--out", tmp_path, "--seconds", 1.5, "--url", urls[0],
            "--rest-url", urls[1], "--json",
        )  # fmt: skip
    finally:
        over.set()
        thread.join(10)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["status"]["books_live"] == 1
    assert document["status"]["messages"]["ticker"] > 10
    assert document["status"]["faults"] == {}
    (path,) = document["files"]
    tape = open_recording(path)
    assert {frame.place for frame in tape} == {Deribit.url}
    assert next(iter(tape)).text == urls[0]
    again = json.loads(invoke("feed", "status", tmp_path, "--json").stdout)
    assert again["messages"]["ticker"] == document["status"]["messages"]["ticker"]
    # What was heard from this machine is as old as what it played, not as our clock says.
    made = invoke("feed", "snapshot", tmp_path, "--out", tmp_path / "market.csv", "--json")
    assert made.exit_code == 0, made.output
    (index,) = json.loads(made.stdout)["indices"]
    assert (index["reason"], index["age_ms"]) == ("fine", 0)


def test_demo_of_a_moving_market() -> None:
    rows = json.loads(invoke("demo", "live", "--accounts", 200, "--seed", 3, "--json").stdout)
    assert len(rows) == 40
    known = [row["index"]["BTC"] for row in rows if row["index"]["BTC"] is not None]
    assert len(set(known)) == len(known) == 34
    assert all(row["index"]["ETH"] for row in rows)
    for number, row in enumerate(rows):
        agreeing = 4 if 9 <= number < 15 else 3 if number < 20 else 0
        assert row["agreeing"]["BTC"] == (agreeing if 9 <= number < 26 else 5), number
        unknown = row["index"]["BTC"] is None
        assert unknown == (20 <= number < 26)
        assert (row["reason"]["BTC"] == "fine") != unknown
        assert (row["standings"]["unknown"] > 100) == unknown
    assert all(sum(row["standings"].values()) == 200 for row in rows)
    assert len({tuple(row["standings"].values()) for row in rows}) > 3
    with out.capture() as shown:
        out.print(_table(_spread(rows)))
    lines = shown.get().splitlines()
    assert len(lines) == 2 + 8
    assert "liquidate" in lines[1]
    assert lines[-1].startswith("19:45")


def test_funding_through_a_server_is_that_of_the_tape() -> None:
    """No recording of the four venues has funding; a generated one has, told by each perpetual."""
    tape = GeneratedTape(seed=8, steps=10)
    expected = []
    for frame in tape:
        data = json.loads(frame.text)["params"]["data"] if frame.kind == "in" else {}
        if isinstance(data, dict) and "funding_8h" in data:
            expected.append((data["instrument_name"], data["timestamp"], str(data["funding_8h"])))
    assert len(expected) == 20

    async def work() -> None:
        async with PlayerServer(tape).open() as server:
            adapter = Deribit(wants_of(tape))
            adapter.sends_per_s = 1e6
            connection = Connection(adapter, url=server.ws_url)
            # Nobody takes a funding between two reads that a newer one has not replaced.
            async with Listening(connection) as listening:
                await server.finished.wait()
                await asyncio.sleep(0.1)
        told = [one for one in listening.messages if isinstance(one, Funding)]
        assert adapter.health.messages["funding"] == len(expected)
        assert len(told) + connection.inbox.superseded >= len(expected)
        last = {one.symbol: (one.symbol, one.time_ms, one.rate) for one in told}
        for symbol, time_ms, rate in expected[-2:]:
            assert last[symbol] == (symbol, time_ms, Decimal(rate))

    run(work())


def test_a_rest_answer_that_is_refused_is_asked_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solvent.feeds.live.adapter.RESYNC_PATIENCE_MS", 50)
    tape = open_recording(folder() / "BINANCE_FUTURES")
    asked: list[str] = []

    async def work() -> None:
        async with PlayerServer(tape).open() as server:
            true = server.stage.rest

            def rest(target: str) -> str | None:
                asked.append(target)
                return None if len(asked) <= 2 else true(target)

            monkeypatch.setattr(server.stage, "rest", rest)
            adapter = Binance(wants_of(tape))
            adapter.sends_per_s = adapter.fetches_per_s = 1e6
            connection = Connection(
                adapter, url=server.ws_url, rest_url=server.rest_url, beat_s=0.05
            )
            async with Listening(connection):
                await server.finished.wait()
                while not all(held.book.live for held in adapter.books.values()):
                    await asyncio.sleep(0.01)
            assert adapter.health.faults["refused"] == 2
            assert len(adapter.books) == 4

    run(work())
    assert len(asked) >= 6
