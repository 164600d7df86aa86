"""What goes wrong with a feed and must show: channels that died, books asked for without end,
frames that no parser expects."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from solvent.cli import app
from solvent.errors import BadInput, SolventError
from solvent.feeds.live import quote_of, word_of
from solvent.feeds.live.adapter import RESYNC_PATIENCE_MS, SILENT_AFTER_MS, Fetch, Taken
from solvent.feeds.live.binance import Binance
from solvent.feeds.live.bybit_v2 import BybitV2
from solvent.feeds.live.clock import Clock
from solvent.feeds.live.connection import Connection, listen
from solvent.feeds.live.deribit import Deribit
from solvent.feeds.live.generator import GeneratedTape
from solvent.feeds.live.market import LiveMarket
from solvent.feeds.live.messages import (
    BadValue,
    BookDelta,
    BookSnapshot,
    Channel,
    Fault,
    FaultKind,
    Ticker,
    Trade,
    Want,
    number,
)
from solvent.feeds.live.okx import Okx
from solvent.feeds.live.unified import UnifiedFeed
from solvent.feeds.market_rules import index_rule
from solvent.feeds.oracle_quotes import indices, read_messages
from solvent.feeds.player import Ending, Rehearsal, stage_of, wants_of
from solvent.feeds.recorder import Frame, Recorder
from solvent.market import Flag

T0 = 1_700_000_000_000
X = "BTC-PERPETUAL"
TWO_MINUTES_MS = 120_000


def kinds(taken: Taken) -> list[FaultKind]:
    return [one.kind for one in taken.messages if isinstance(one, Fault)]


def binance(stream: str, **told: Any) -> str:
    return json.dumps({"stream": f"btcusdt@{stream}", "data": {"s": "BTCUSDT", **told}})


def best(at: int, time_ms: int, bid: str = "100") -> str:
    return binance("bookTicker", u=at, b=bid, B="1", a="101", A="1", T=time_ms)


def mark(time_ms: int) -> str:
    return binance("markPrice@1s", E=time_ms, p="100.5", i="100.4", r="0.0001", T=T0 + 10**7)


def okx(channel: str, symbol: str, **told: str) -> str:
    argument = {"channel": channel, "instId": symbol}
    return json.dumps({"arg": argument, "data": [{"instId": symbol, **told}]})


# ── a channel that died ──────────────────────────────────────────────────────────────────────────


def test_marks_do_not_date_a_dead_quote_anew() -> None:
    adapter, market = Binance(), LiveMarket()
    market.take(adapter.take(best(5, T0), T0).messages)
    for late in range(0, TWO_MINUTES_MS + 1, 1_000):
        market.take(adapter.take(mark(T0 + late), T0 + late).messages)
    ticker, now_ms = adapter.tickers["BTCUSDT"], T0 + TWO_MINUTES_MS
    quote, word = quote_of(ticker), word_of(ticker)
    assert quote is not None
    assert word is not None
    assert (quote.time_ms, word.time_ms, ticker.time_ms) == (T0, now_ms, now_ms)
    assert market.quotes("BTC") == [quote]
    snapshot = market.snapshot(now_ms)
    assert snapshot is not None
    assert list(snapshot.age_ms) == [0]
    assert list(snapshot.mark) == [100.5]
    assert not snapshot.bid[0] > 0.0  # a quote of two minutes ago is none
    assert not snapshot.flags[0] & Flag.STALE


def test_quotes_do_not_date_a_dead_mark_anew() -> None:
    adapter, market = Binance(), LiveMarket()
    market.take(adapter.take(mark(T0), T0).messages)
    now_ms = T0 + TWO_MINUTES_MS
    market.take(adapter.take(best(5, now_ms), now_ms).messages)
    snapshot = market.snapshot(now_ms)
    assert snapshot is not None
    assert list(snapshot.age_ms) == [TWO_MINUTES_MS]
    assert snapshot.flags[0] & Flag.STALE


def test_an_index_does_not_date_a_dead_quote_anew() -> None:
    adapter = Okx([Want(Channel.TICKER, "BTC-USDT-SWAP")])
    quoted = okx("tickers", "BTC-USDT-SWAP", last="100", bidPx="100", bidSz="1", askPx="101",
                 askSz="1", ts=str(T0))  # fmt: skip
    adapter.take(quoted, T0)
    for late in range(0, TWO_MINUTES_MS + 1, 1_000):
        told = okx("index-tickers", "BTC-USDT", idxPx="100.2", ts=str(T0 + late))
        assert kinds(adapter.take(told, T0 + late)) == []
    ticker = adapter.tickers["BTC-USDT-SWAP"]
    quote, word = quote_of(ticker), word_of(ticker)
    assert quote is not None
    assert word is not None
    assert (quote.time_ms, word.time_ms) == (T0, T0 + TWO_MINUTES_MS)
    market = LiveMarket()
    market.take([ticker])
    snapshot = market.snapshot(T0 + TWO_MINUTES_MS)
    assert snapshot is not None
    assert snapshot.flags[0] & Flag.STALE  # no mark is told: it is the middle of the old quotes


def test_a_quote_behind_the_mark_has_its_own_time() -> None:
    """Else a new price would come under a time that was told already."""
    adapter = Binance()
    times = []
    adapter.take(mark(T0 + 900), T0 + 900)
    for at, late in ((1, 100), (2, 400), (3, 850)):
        adapter.take(best(at, T0 + late, bid=f"{99 + at}"), T0 + 950)
        quote = quote_of(adapter.tickers["BTCUSDT"])
        assert quote is not None
        times.append(quote.time_ms - T0)
    assert times == [100, 400, 850]


def told(venue: str, symbol: str, time_ms: int, received_ms: int, **prices: int) -> Ticker:
    return Ticker(venue=venue, symbol=symbol, time_ms=time_ms, received_ms=received_ms,
                  **{name: Decimal(one) for name, one in prices.items()})  # type: ignore[arg-type]  # fmt: skip


def test_of_two_venues_the_newest_word_counts_and_not_the_last_to_come() -> None:
    market, hour = LiveMarket(), 3_600_000
    fresh = told("okx", "BTC-USDT-SWAP", T0 - 10, T0 - 5, mark=40_000)
    market.take([fresh, told("bybit", "BTCUSDT", T0 - hour, T0, mark=30_000)])
    snapshot = market.snapshot(T0)
    assert snapshot is not None
    assert list(snapshot.mark) == [40_000.0]
    believed = {("BTC", "bybit")}  # who is believed and silent does not count before who is fresh
    assert [one.venue for _, one in market.rows(T0, believed)] == ["okx"]
    ahead = told("bybit", "BTCUSDT", T0 + hour, T0 - 20, mark=30_000)
    market.take([ahead, replace(fresh, time_ms=T0)])
    assert [one.venue for _, one in market.rows(T0)] == ["okx"]


def test_a_crossed_quote_has_no_middle() -> None:
    market = LiveMarket()
    market.take([told("okx", "BTC-USDT-SWAP", T0, T0, bid=101, ask=99)])
    snapshot = market.snapshot(T0)
    assert snapshot is not None
    assert not snapshot.mark[0] > 0.0


# ── frames that no parser expects ────────────────────────────────────────────────────────────────


def deribit_book(at: int, before: int | None, bids: list[Any]) -> str:
    data = {"type": "change" if before else "snapshot", "timestamp": T0, "instrument_name": X,
            "change_id": at, "prev_change_id": before, "bids": bids, "asks": []}  # fmt: skip
    return json.dumps({"method": "subscription",
                       "params": {"channel": f"book.{X}.100ms", "data": data}})  # fmt: skip


@pytest.mark.parametrize("amount", ["Infinity", "sNaN", "-1", "NaN"])
def test_a_size_that_cannot_be_deletes_nothing(amount: str) -> None:
    adapter = Deribit()
    adapter.take(deribit_book(1, None, [["new", 100, 5]]), T0)
    taken = adapter.take(deribit_book(2, 1, [["delete", 100, amount]]), T0)
    assert kinds(taken) == [FaultKind.BAD_VALUE]
    assert adapter.book(X) is None


@pytest.mark.parametrize("stamp", ["1e-400000", "1.5", "", "9" * 5_000])
def test_a_stamp_that_cannot_be_is_a_fault(stamp: str) -> None:
    frame = {"topic": "orderBookL2_25.BTCUSD", "type": "snapshot", "data": [], "cross_seq": 1,
             "timestamp_e6": stamp}  # fmt: skip
    assert kinds(BybitV2().take(json.dumps(frame), T0)) == [FaultKind.BAD_VALUE]


@pytest.mark.parametrize("fault", [InvalidOperation(), ValueError("x"), OverflowError("y")])
def test_nothing_that_numbers_raise_gets_out(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = Binance([Want(Channel.BOOK, "BTCUSDT")])
    adapter.open(T0)

    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(adapter, "_read", broken)
    monkeypatch.setattr(adapter, "_read_answer", broken)
    assert kinds(adapter.take("{}", T0)) == [FaultKind.BAD_VALUE]
    assert kinds(adapter.answered(Fetch("/x", "BTCUSDT"), "{}", T0)) == [FaultKind.BAD_VALUE]


def test_digits_have_an_end() -> None:
    assert number("1." + "3" * 30, "x") == Decimal("1." + "3" * 30)
    with pytest.raises(BadValue, match="digits"):
        number("1." + "3" * 5_000, "x")


# ── books that are asked for ─────────────────────────────────────────────────────────────────────


def test_a_silent_book_that_is_asked_for_is_dropped_by_an_overflow() -> None:
    """Its reader lost a change: no other may follow before the whole book does."""
    adapter = Deribit([Want(Channel.BOOK, X)])
    adapter.open(T0)
    adapter.take(deribit_book(1, None, [["new", 100, 5]]), T0)
    now_ms = T0 + SILENT_AFTER_MS
    assert len(adapter.beat(now_ms).sends) == 2
    taken = adapter.resync(None, FaultKind.OVERFLOW, now_ms)
    assert kinds(taken) == [FaultKind.OVERFLOW]
    assert taken.sends == []  # it is on its way
    assert adapter.take(deribit_book(2, 1, [["new", 101, 5]]), now_ms).messages == []
    (whole,) = adapter.take(deribit_book(3, None, [["new", 101, 5]]), now_ms).messages
    assert isinstance(whole, BookSnapshot)
    assert kinds(adapter.resync(None, FaultKind.OVERFLOW, now_ms)) == [FaultKind.OVERFLOW]


def test_what_follows_an_overflow_in_its_frame_goes_too() -> None:
    connection = Connection(Deribit([Want(Channel.BOOK, X)]), waiting_max=2)
    same: dict[str, Any] = {"venue": "v", "symbol": X, "time_ms": T0, "received_ms": T0}
    deltas = [BookDelta(**same, sequence=at, bids=(), asks=()) for at in range(4)]
    trade = Trade(**same, price=Decimal(1), size=Decimal(1), side="buy", number="1")
    ticker = Ticker(**same, last=Decimal(1))
    client: Any = None
    connection._handle(Taken(messages=[*deltas, trade, ticker]), client)
    waiting = connection.inbox.take()
    assert ticker in waiting
    assert not any(isinstance(one, BookDelta | Trade) for one in waiting)
    assert connection.inbox.trades_lost == 1


def many(count: int) -> Okx:
    """A venue's adapter with so many live books, none of which ever changes."""
    adapter = Okx([Want(Channel.BOOK, f"C{n}-USDT") for n in range(count)])
    adapter.open(T0)
    for want in adapter.wants:
        argument = {"channel": "books", "instId": want.symbol}
        data = {"bids": [["1", "1"]], "asks": [["2", "1"]], "ts": str(T0), "seqId": 1}
        frame = {"arg": argument, "action": "snapshot", "data": [data]}
        adapter.take(json.dumps(frame), T0)
    return adapter


def test_quiet_books_are_asked_for_together_and_once() -> None:
    adapter = many(100)
    taken = adapter.beat(T0 + SILENT_AFTER_MS)
    assert "ping" in taken.sends
    assert taken.urgent == {"ping"}
    assert len(taken.sends) <= 1 + 2 * 4
    assert sum(one.count("instId") for one in taken.sends) == 200
    # While they wait to be sent they are not late; then their patience begins.
    sent_ms = T0 + SILENT_AFTER_MS + 60_000
    for now_ms in range(T0 + SILENT_AFTER_MS + 1_000, sent_ms + 1, 1_000):
        found = adapter.beat(now_ms, unsent=True).sends
        assert set(found) <= {"ping"}
    assert adapter.beat(sent_ms + RESYNC_PATIENCE_MS - 1).sends == []
    assert len(adapter.beat(sent_ms + RESYNC_PATIENCE_MS).sends) > 1


def test_what_waits_to_be_sent_has_a_bound() -> None:
    """Half an hour of a venue that answers nothing, at the rate at which it may be asked."""
    adapter = many(100)
    connection = Connection(adapter)
    client: Any = None
    most = 0
    for second in range(1, 1_801):
        unsent = not connection._sends.empty()
        connection._handle(adapter.beat(T0 + second * 1_000, unsent=unsent), client)
        most = max(most, connection._sends.qsize())
        for _ in range(int(adapter.sends_per_s)):
            if not connection._sends.empty():
                connection._sends.get_nowait()
    assert 0 < most < 20


def test_a_heartbeat_waits_behind_nothing() -> None:
    connection = Connection(Deribit())
    client: Any = None
    connection._handle(Taken(sends=["a", "b"]), client)
    connection._handle(Taken(sends=["c", "ping"], urgent={"ping"}), client)
    order = [connection._sends.get_nowait()[2] for _ in range(4)]
    assert order == ["ping", "a", "b", "c"]
    asked = Deribit().take('{"method":"heartbeat","params":{"type":"test_request"}}', T0)
    assert asked.urgent == set(asked.sends)


def test_nothing_is_fetched_twice_at_a_time() -> None:
    class Hanging:
        async def get(self, _: str) -> None:
            await asyncio.sleep(60)

    async def work() -> None:
        adapter = Binance([Want(Channel.BOOK, f"C{n}") for n in range(50)])
        connection = Connection(adapter)
        client: Any = Hanging()
        connection._handle(adapter.open(T0), client)
        for second in range(1, 200):
            connection._handle(adapter.beat(T0 + second * 1_000), client)
        assert len(connection._fetching) == 50
        for task in connection._fetching:
            task.cancel()

    asyncio.run(work())


def test_a_refused_ticker_is_asked_for_again() -> None:
    adapter = Deribit([Want(Channel.TICKER, X), Want(Channel.TICKER, "ETH-PERPETUAL")])
    frame = next(one for one in adapter.open(T0).sends if "subscribe" in one)
    channels = [f"ticker.{X}.100ms"]
    answer = {"id": json.loads(frame)["id"], "result": channels}
    assert kinds(adapter.take(json.dumps(answer), T0)) == [FaultKind.REFUSED]
    assert adapter.beat(T0 + 59_999).sends == []
    (again,) = adapter.beat(T0 + 60_000).sends
    assert json.loads(again)["params"] == {"channels": ["ticker.ETH-PERPETUAL.100ms"]}
    told = {"id": json.loads(again)["id"], "error": {"code": 10_028, "message": "too many"}}
    adapter.take(json.dumps(told), T0 + 60_001)
    assert adapter.beat(T0 + 60_002).sends == []
    assert len(adapter.beat(T0 + 120_001).sends) == 1


def test_a_clocks_bounds_grow_old() -> None:
    clock = Clock()
    clock.round_trip(sent_ms=T0, time_ms=T0, received_ms=T0 + 2)
    clock.round_trip(sent_ms=T0 + 500_000, time_ms=T0, received_ms=T0 + 500_100)
    assert clock.skew_ms == 1
    clock.round_trip(sent_ms=T0 + 900_000, time_ms=T0 + 899_000, received_ms=T0 + 900_100)
    assert clock.skew_ms == 1_050


# ── commands, and what they say ──────────────────────────────────────────────────────────────────


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_an_address_that_is_none_is_not_tried_again() -> None:
    with pytest.raises(SolventError, match="foo: expected an address"):
        listen([Connection(Deribit(), url="foo")], seconds=20.0, each=len)


def test_a_channel_that_ends_unexpectedly_ends_the_feed() -> None:
    pytest.importorskip("ccxt", reason="ccxt is not installed: uv sync --group peers")

    class Client:
        id = "double"

        async def watch_ticker(self, _: str) -> None:
            raise RuntimeError("no client raises this")

        async def close(self) -> None:
            pass

    feed = UnifiedFeed(Client(), [Want(Channel.TICKER, "BTC/USD")])
    with pytest.raises(RuntimeError, match="no client"):
        listen([feed], seconds=20.0, each=len)


def rehearsed(tape: GeneratedTape) -> Rehearsal:
    rehearsal = Rehearsal(stage_of(tape), Deribit(wants_of(tape)))
    for _ in rehearsal.play(tape):
        pass
    return rehearsal


def test_a_book_that_lacks_nothing_and_is_another_is_wrong() -> None:
    rehearsal = rehearsed(GeneratedTape(seed=3, steps=5))
    assert set(rehearsal.endings().values()) == {Ending.EQUAL}
    book = rehearsal.adapter.books[X].book
    book.change(bids=((Decimal(1), Decimal(1)),), asks=(), sequence=book.sequence,
                time_ms=book.time_ms)  # fmt: skip
    assert rehearsal.endings()[X] is Ending.WRONG
    book.sequence -= 1
    assert rehearsal.endings()[X] is Ending.BEHIND
    book.drop()
    assert rehearsal.endings()[X] is Ending.BEHIND


def test_play_tells_how_the_books_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = invoke("play", "generated:3", "--json")
    books = json.loads(fine.stdout)["books"]
    assert fine.exit_code == 0
    assert books["books"] == books["equal"] > 0
    lost = invoke("play", "generated:3", "--faults", "drop=1")
    assert lost.exit_code == 0
    assert "books: 0 of" in lost.output
    assert "only after asking for them again" in lost.output
    monkeypatch.setattr(Rehearsal, "endings", lambda _: {X: Ending.WRONG})
    wrong = invoke("play", "generated:3")
    assert wrong.exit_code == 1
    assert "1 are NOT as the tape has them" in wrong.output


def deribit_tape(where: Path, frames: list[Frame]) -> None:
    with Recorder(where, name="deribit") as recorder:
        for frame in frames:
            recorder.write(frame)


def test_a_tape_without_books_says_so(tmp_path: Path) -> None:
    frames = [one for one in GeneratedTape(seed=3, steps=3) if '"book.' not in one.text]
    deribit_tape(tmp_path, frames)
    shown = invoke("play", tmp_path)
    assert shown.exit_code == 0
    assert "the tape has none" in shown.output


@pytest.mark.parametrize("cut", [0, 12])
def test_a_tape_without_frames_says_so(cut: int, tmp_path: Path) -> None:
    deribit_tape(tmp_path, list(GeneratedTape(seed=3, steps=1)))
    (file,) = tmp_path.glob("*.frames.gz")
    file.write_bytes(file.read_bytes()[:cut])
    for command in (("play",), ("feed", "status"), ("feed", "snapshot")):
        done = invoke(*command, tmp_path)
        assert isinstance(done.exception, BadInput)  # exit code 2
        assert "no frame" in str(done.exception)


def test_a_played_venue_that_was_recorded_is_not_years_late() -> None:
    """Its frames are stamped with its own time, not with that of who recorded it."""
    years_ns = 2 * 365 * 86_400 * 10**9
    tape = [Frame(one.at_ns + years_ns, one.kind, one.place, one.text)
            for one in GeneratedTape(seed=3, steps=5)]  # fmt: skip
    adapter = Deribit(wants_of(tape))
    end_ms = max(one.received_ms for one in Rehearsal(stage_of(tape), adapter).play(tape))
    latency = adapter.status(end_ms).latency_ms["p50"]
    assert latency is not None
    assert latency < 1_000


def test_an_index_made_seldom_is_judged_when_it_was_last_heard(tmp_path: Path) -> None:
    path = tmp_path / "quotes.jsonl"
    rule = index_rule("guarded")
    lines = [
        json.dumps({"source": source, "time_ms": T0 + at, "price": 100.0})
        for at in range(0, 5_000, 1_000) for source in rule.weights
    ]  # fmt: skip
    path.write_text("\n".join(lines), "utf-8")
    steps = [one for one, _ in indices(rule, read_messages(path), every_ms=60_000)]
    assert [(one.known, one.time_ms) for one in steps] == [(True, T0 + 4_000)]
