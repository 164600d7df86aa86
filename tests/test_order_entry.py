"""Orders in the venue's own units: what people tell an engine, and what they are told."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import solvent as sv
from solvent.engine.image import state_hash
from solvent.engine.state import Standing
from solvent.errors import BadInput, Problem, Reject
from solvent.host import Engine
from solvent.journal import Journal
from solvent.market_feed import (
    BookChange,
    BookSnapshot,
    Follower,
    LevelSize,
    MarkOutRow,
    Print,
    mark_outs,
)
from solvent.messages import commands as c
from solvent.messages.codec import decode_command
from solvent.messages.events import BlockReported, PhaseChanged, ProtectionTripped, Uncrossed
from solvent.messages.fields import (
    AccountKind,
    Command,
    SelfTrade,
    Side,
    StopAt,
    TimeInForce,
    Trigger,
)
from solvent.order_rows import (
    Impact,
    OpenOrder,
    ReliefPlan,
    ReliefStep,
    ShownBook,
    ShownLevel,
)
from solvent.order_units import decimal_of, grid_of
from solvent.outcomes import Fill
from tests.venues import (
    BOOK,
    COIN,
    DOLLAR,
    FAR,
    FUT,
    INV,
    LIN,
    MORE,
    NEAR,
    QUANTO,
    SYMBOLS,
    T0,
    adoption,
    arrays,
    listing,
    market,
)

D = Decimal
PARAMETERS = {INV: {"lots_step": "5", "price_step": "2", "price_band": "0.2"}}


def founding() -> Iterator[Command]:
    """The venue of `tests.venues`, for an engine: alice, bob and carol trade on it."""
    yield c.ListAsset(key="usdc", actor="op", asset="USDC", decimals=6)
    yield c.ListAsset(key="btc", actor="op", asset="BTC", decimals=9)
    for symbol in (*SYMBOLS, *MORE):
        yield listing(symbol, parameters=PARAMETERS.get(symbol, {}))
    yield adoption("tenth", BOOK, venue=True)
    yield market(more=True)
    yield arrays("tenth", more=True)
    for name in ("alice", "bob", "carol"):
        yield c.OpenAccount(
            key=f"open {name}", actor="op", account=name, kind=AccountKind.USER, rulebook="tenth"
        )
        for asset, amount in (("USDC", 10_000 * DOLLAR), ("BTC", COIN)):
            yield c.Deposit(
                key=f"{asset} {name}", actor="op", account=name, asset=asset, amount=amount
            )


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("orders") / "venue"
    with Engine.create(where, clock=lambda: T0) as engine:
        for answer in engine.submit_all(founding()):
            assert answer.accepted, answer.events
        engine.snapshot()
    return where


@pytest.fixture
def where(founded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(founded, tmp_path / "venue"))


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.time_ms = T0

    def __call__(self) -> int:
        return self.time_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(where: Path, clock: Clock) -> Iterator[Engine]:
    with Engine.open(where, clock=clock) as opened:
        yield opened


def last_command(engine: Engine) -> Any:
    """The command that was journaled last."""
    row = engine.journal.find(engine.state.log.sequence)
    assert row is not None
    return decode_command(row.command)


def problem(call: Any, *told: Any, **more: Any) -> Problem:
    """What is wrong with what was told; no command was made of it."""
    engine = getattr(call, "__self__", None)
    before = engine.state.log.sequence if isinstance(engine, Engine) else 0
    with pytest.raises(BadInput) as caught:
        call(*told, **more)
    if isinstance(engine, Engine):
        assert engine.state.log.sequence == before
    return caught.value.problems[0]


# ── units ────────────────────────────────────────────────────────────────────────────────────────


def test_sizes_and_prices_become_lots_and_ticks(engine: Engine) -> None:
    """A lot of LIN is 0.001 BTC and its tick a dollar; of INV 10 dollars and half a dollar."""
    for size, price in (("0.25", "49000"), (D("0.250"), D("4.9E4")), ("0.25", 49_000),
                        ("00.250", "49000.")):  # fmt: skip
        engine.place("alice", LIN, "buy", size, price)
        told = last_command(engine)
        assert (told.side, told.lots, told.price_ticks) == (Side.BUY, 250, 49_000)
        engine.cancel_all("alice")
    engine.place("alice", INV, "sell", 100, "50001")
    told = last_command(engine)
    assert (told.side, told.lots, told.price_ticks) == (Side.SELL, 10, 100_002)
    engine.place("alice", LIN, "buy", ".3", 49_000, display="0.1")
    assert (last_command(engine).lots, last_command(engine).display_lots) == (300, 100)


@pytest.mark.parametrize(
    ("told", "field", "code", "expected", "found"),
    [
        ({"size": 0.1}, "size", "FIELD_NOT_A_NUMBER",
         "a decimal in text, a Decimal or a whole number", "the float 0.1"),
        ({"price": 49_000.0}, "price", "FIELD_NOT_A_NUMBER",
         "a decimal in text, a Decimal or a whole number", "the float 49000.0"),
        ({"size": True}, "size", "FIELD_NOT_A_NUMBER",
         "a decimal in text, a Decimal or a whole number", "True"),
        ({"size": "1e3"}, "size", "FIELD_NOT_A_NUMBER",
         "a decimal in text, a Decimal or a whole number", "'1e3'"),
        ({"size": "1,000"}, "size", "FIELD_NOT_A_NUMBER",
         "a decimal in text, a Decimal or a whole number", "'1,000'"),
        ({"size": "٣"}, "size", "FIELD_NOT_A_NUMBER",
         "a decimal in text, a Decimal or a whole number", "'٣'"),
        ({"size": D("NaN")}, "size", "FIELD_NOT_A_NUMBER",
         "a decimal in text, a Decimal or a whole number", "Decimal('NaN')"),
        ({"size": D("1e999999999")}, "size", "FIELD_NOT_A_NUMBER",
         "a decimal in text, a Decimal or a whole number", "Decimal('1E+999999999')"),
        ({"size": D("0e-999999999")}, "size", "FIELD_NOT_A_NUMBER",
         "a decimal in text, a Decimal or a whole number", "Decimal('0E-999999999')"),
        ({"size": "9" * 41}, "size", "FIELD_NOT_A_NUMBER",
         "a decimal in text, a Decimal or a whole number", repr("9" * 41)),
        ({"size": "0"}, "size", "ORDER_TOO_SMALL", "a size above 0", "0"),
        ({"size": "-1"}, "size", "ORDER_TOO_SMALL", "a size above 0", "-1"),
        ({"size": "0.0015"}, "size", "LOTS_OFF_STEP", "a multiple of 0.001", "0.0015"),
        ({"size": "1099511627.777"}, "size", "ORDER_TOO_LARGE", "at most 1099511627.776",
         "1099511627.777"),
        ({"price": "49000.5"}, "price", "PRICE_OFF_STEP", "a multiple of 1", "49000.5"),
        ({"price": "9007199254740993"}, "price", "AMOUNT_TOO_LARGE", "at most 9007199254740992",
         "9007199254740993"),
        ({"display": "0.0001"}, "display", "LOTS_OFF_STEP", "a multiple of 0.001", "0.0001"),
        ({"symbol": INV, "size": "20"}, "size", "LOTS_OFF_STEP", "a multiple of 50", "20"),
        ({"symbol": INV, "size": "50", "price": "49000.5"}, "price", "PRICE_OFF_STEP",
         "a multiple of 1", "49000.5"),
        ({"symbol": "BTC_USDC_PERPETUAL"}, "symbol", "INSTRUMENT_UNKNOWN",
         "one of 10 listed instruments, such as BTC_USDC-PERPETUAL, BTC-PERPETUAL, BTC_USDC-NEAR",
         "'BTC_USDC_PERPETUAL'"),
        ({"symbol": "?"}, "symbol", "INSTRUMENT_UNKNOWN", "one of 10 listed instruments", "'?'"),
        ({"side": "long"}, "side", "SIDE_UNKNOWN", "buy or sell", "'long'"),
        ({"price": None}, "price", "FIELD_MISSING", "a price, or the type market", "neither"),
        ({"order_type": "market"}, "price", "ORDER_TERMS_INVALID", "none of a market order",
         "49000"),
        ({"order_type": "limit", "price": None}, "price", "FIELD_MISSING", "one of a limit order",
         "none"),
        ({"order_type": "stop", "price": None}, "stop_price", "FIELD_MISSING",
         "one of a stop order", "none"),
        ({"order_type": "limit", "stop_price": 1}, "stop_price", "ORDER_TERMS_INVALID",
         "none of a limit order", "1"),
        ({"order_type": "iceberg"}, "order_type", "COMMAND_MALFORMED",
         "one of market, limit, stop, stop-limit, take-profit, take-profit-limit", "'iceberg'"),
        ({"time_in_force": "day"}, "time_in_force", "COMMAND_MALFORMED",
         "one of gtc, gtd, ioc, fok", "'day'"),
        ({"self_trade": "none"}, "self_trade", "COMMAND_MALFORMED",
         "one of newest, oldest, both, decrement", "'none'"),
        ({"stop_price": "60000", "stop_trigger": "mid"}, "stop_trigger", "COMMAND_MALFORMED",
         "one of mark, index, last", "'mid'"),
        ({"stop_price": "60000.05"}, "stop_price", "PRICE_OFF_STEP", "a multiple of 0.1",
         "60000.05"),
        ({"stop_price": "60000.0000000001", "stop_trigger": "index"}, "stop_price",
         "PRICE_OFF_STEP", "a multiple of 0.000000001", "60000.0000000001"),
        ({"expire": datetime(2026, 7, 1)}, "expire", "TIME_INVALID", "a moment with a zone",  # noqa: DTZ001
         "2026-07-01 00:00:00"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_cannot_be_read_is_no_command(
    engine: Engine, told: dict[str, Any], field: str, code: str, expected: str, found: str
) -> None:
    order = {"symbol": LIN, "side": "buy", "size": "0.1", "price": "49000", **told}
    seen = problem(engine.place, "alice", **order)
    assert (seen.field, seen.code.name, seen.expected, seen.found) == (field, code, expected, found)


def test_decimals_are_exact_where_there_is_one() -> None:
    assert str(decimal_of(64_400)) == "64400"
    assert decimal_of(-3) / 8 == D("-0.375")


def test_a_combination_has_the_lots_of_its_legs(engine: Engine) -> None:
    assert engine.combo("ROLL", {FAR: 1, NEAR: -1}, "0.5").accepted
    grid = grid_of(engine.state, "ROLL")
    assert (grid.size(250), grid.price(-3)) == (D("0.25"), D("-1.5"))
    engine.place("alice", "ROLL", "buy", "0.02", "-1.5")
    assert (last_command(engine).lots, last_command(engine).price_ticks) == (20, -3)
    assert engine.book("ROLL").bids == (ShownLevel(D("-1.5"), D("0.02"), 1),)
    assert (engine.book("ROLL").mark, engine.book("ROLL").index) == (None, None)
    assert last_command(engine).symbol == "ROLL"
    refused = engine.combo("ROLL", {FAR: 1, NEAR: -1}, 1)
    assert Reject(refused.code) is Reject.NAME_TAKEN


# ── what came of an order ────────────────────────────────────────────────────────────────────────


def test_outcomes(engine: Engine) -> None:
    """0.3 meets 0.1 at 50,000 and 0.15 at 50,010: the rest waits at its price."""
    for name, size, price in (("q1", "0.1", "50000"), ("q2", "0.15", "50010")):
        quote = engine.place("bob", LIN, "sell", size, price, order=name)
        assert (quote.status, quote.order, quote.left) == ("resting", name, D(size))
    taken = engine.place("alice", LIN, "buy", "0.3", "50010")
    assert (taken.status, taken.side, taken.symbol) == ("resting", "buy", LIN)
    assert (taken.filled, taken.left, taken.why) == (D("0.25"), D("0.05"), "")
    assert taken.fills == (
        Fill(D(50_000), D("0.1"), "taker", "bob", "q1"),
        Fill(D(50_010), D("0.15"), "taker", "bob", "q2"),
    )
    assert taken.average == D(50_006)
    assert (taken.accepted, taken.code, taken.detail) == (True, None, "")
    made = engine.place("bob", LIN, "sell", "0.05", order_type="market")
    assert (made.status, made.filled, made.left) == ("filled", D("0.05"), D(0))
    assert made.fills == (Fill(D(50_010), D("0.05"), "taker", "alice", taken.order),)
    over = engine.place("bob", LIN, "sell", "0.05", "50000", time_in_force="ioc")
    assert (over.status, over.why, over.left) == ("ended", "immediate", D("0.05"))
    assert (over.filled, over.average, over.fills) == (D(0), None, ())


def test_what_is_refused_has_its_code(engine: Engine) -> None:
    far = engine.place("alice", LIN, "buy", "13", "50000")
    assert (far.accepted, far.status, far.code) == (False, "rejected", Reject.MARGIN_INSUFFICIENT)
    assert far.detail.startswith("account alice: expected equity of at least its initial margin")
    assert (far.filled, far.left, far.fills) == (D(0), D(0), ())
    assert engine.state.log.sequence == far.answer.sequence
    nobody = engine.place("nobody", LIN, "buy", "0.1", "50000")
    assert nobody.code is Reject.ACCOUNT_UNKNOWN


def test_an_order_of_its_own_account_ends_it(engine: Engine) -> None:
    engine.place("alice", LIN, "sell", "0.1", "50000", order="own")
    newest = engine.place("alice", LIN, "buy", "0.1", "50000")
    assert (newest.status, newest.why, newest.left) == ("ended", "self_trade", D("0.1"))
    oldest = engine.place("alice", LIN, "buy", "0.1", "50000", self_trade=SelfTrade.OLDEST)
    assert oldest.status == "resting"
    assert [one.order for one in engine.orders("alice")] == [oldest.order]


def test_a_market_maker_is_filled_and_pulled_in_one_command(engine: Engine) -> None:
    """The order that trips the protection is gone when its own command ends."""
    assert engine.protect("bob", "mm", window_ms=1_000, frozen_ms=5_000, lots=50).accepted
    engine.place("bob", LIN, "sell", "0.1", "50000", order="q1", group="mm")
    engine.place("bob", LIN, "sell", "0.1", "50010", order="q2", group="mm")
    taken = engine.place("alice", LIN, "buy", "0.06", "50000")
    assert taken.status == "filled"
    assert [one for one in taken.answer.events if isinstance(one, ProtectionTripped)] == [
        ProtectionTripped(engine.state.account_numbers["bob"], "mm", T0 + 5_000)
    ]
    assert engine.orders() == []
    again = engine.place("bob", LIN, "sell", "0.1", "50000", group="mm")
    assert again.code is Reject.PROTECTION_TRIPPED
    assert engine.reset_protection("bob", "mm").accepted
    assert engine.place("bob", LIN, "sell", "0.1", "50000", group="mm").status == "resting"
    engine.protect("bob", "mm", window_ms=1, frozen_ms=0, delta="0.000000001")
    assert (last_command(engine).delta_nano, last_command(engine).lots) == (1, None)
    for delta in ("0.0000000001", "0", "-1"):
        seen = problem(engine.protect, "bob", "mm", window_ms=1, frozen_ms=0, delta=delta)
        assert (seen.field, seen.expected) == ("delta", "a positive multiple of 0.000000001")


def test_amending(engine: Engine) -> None:
    placed = engine.place("alice", LIN, "buy", "0.2", "49000", order="a")
    engine.place("bob", LIN, "sell", "0.05", order_type="market")
    smaller = engine.amend("alice", "a", size="0.15")
    assert (smaller.status, smaller.left, smaller.side) == ("resting", D("0.1"), "buy")
    assert engine.orders("alice")[0].filled == D("0.05")
    moved = engine.amend("alice", "a", price=49_500)
    assert (moved.status, moved.left, moved.symbol) == ("resting", D("0.1"), LIN)
    assert engine.book(LIN).best_bid == D(49_500)
    engine.place("bob", LIN, "sell", "0.04", "50000")
    crossed = engine.amend("alice", "a", price="50000")
    assert (crossed.status, crossed.filled, crossed.left) == ("resting", D("0.04"), D("0.06"))
    below = engine.amend("alice", "a", size="0.09")
    assert (below.status, below.code) == ("rejected", Reject.AMEND_BELOW_FILLED)
    assert engine.amend("alice", "b", size="1", price="1").code is Reject.ORDER_UNKNOWN
    assert engine.amend("nobody", "b", size="1").code is Reject.ACCOUNT_UNKNOWN
    assert engine.amend("alice", "a").code is Reject.ORDER_TERMS_INVALID
    assert problem(engine.amend, "alice", "a", price="0.5").code is Reject.PRICE_OFF_STEP
    ended = engine.amend("alice", "a", size="0.5", key="k", actor="desk")
    assert (ended.status, ended.left) == ("resting", D("0.41"))
    assert (last_command(engine).key, last_command(engine).actor) == ("k", "desk")
    assert placed.order == "a"


@pytest.mark.parametrize(
    ("side", "kind", "price", "stop_price", "rises"),
    [
        ("buy", "stop", None, "51000", True),
        ("sell", "stop", None, "49000.1", False),
        ("buy", "stop-limit", "51500", "51000", True),
        ("buy", "take-profit", None, "49000", False),
        ("sell", "take-profit-limit", "50900", "51000", True),
        ("sell", None, None, "49000", False),
        ("sell", None, "48000", "49000", False),
    ],
)
def test_stops(
    engine: Engine, side: str, kind: str | None, price: str | None, stop_price: str, rises: bool
) -> None:
    found = engine.place(
        "alice", LIN, side, "0.1", price, order_type=kind, stop_price=stop_price, order="s"
    )
    assert (found.status, found.left) == ("waiting", D("0.1"))
    assert last_command(engine).stop == StopAt(Trigger.MARK, int(D(stop_price) * 10), rises)
    (row,) = engine.orders("alice")
    assert (row.status, row.stop_trigger, row.stop_price) == ("waiting", "mark", D(stop_price))
    assert (row.stop_rises, row.price) == (rises, None if price is None else D(price))
    assert row.time_in_force == ("ioc" if price is None else "gtc")
    assert engine.amend("alice", "s", size="0.2").code is Reject.ORDER_WAITING
    assert engine.cancel("alice", "s").accepted
    assert engine.orders() == []


def test_a_stop_by_the_index_is_in_its_billionths(engine: Engine) -> None:
    engine.place("alice", LIN, "sell", "0.1", order_type="stop", stop_price="48000.000000001",
                 stop_trigger="index")  # fmt: skip
    assert last_command(engine).stop == StopAt(Trigger.INDEX, 48_000_000_000_001, False)
    assert engine.orders()[0].stop_price == D("48000.000000001")


def test_expiry(engine: Engine, clock: Clock) -> None:
    moment = datetime.fromtimestamp(T0 / 1_000, UTC)
    engine.place("alice", LIN, "buy", "0.1", "49000", order="ms", expire=T0 + 10)
    engine.place(
        "alice", LIN, "buy", "0.1", "49000", order="moment",
        expire=moment + timedelta(milliseconds=20, microseconds=999),
    )  # fmt: skip
    assert last_command(engine).expire_ms == T0 + 20
    assert [(one.order, one.expire_ms, one.time_in_force) for one in engine.orders()] == [
        ("ms", T0 + 10, "gtd"), ("moment", T0 + 20, "gtd"),
    ]  # fmt: skip
    clock.time_ms = T0 + 15
    engine.protect("bob", "mm", window_ms=1, frozen_ms=1, lots=1)
    assert [one.status for one in engine.orders()] == ["expired", "resting"]
    engine.submit(c.Heartbeat(key="beat", actor="op"))
    assert [one.order for one in engine.orders()] == ["moment"]
    late = engine.place("alice", LIN, "buy", "0.1", "49000", expire=T0 + 15)
    assert late.code is Reject.ORDER_EXPIRED
    wrong = engine.place("alice", LIN, "buy", "0.1", "49000", expire=T0 + 30, time_in_force="gtc")
    assert wrong.code is Reject.ORDER_TERMS_INVALID
    assert last_command(engine).time_in_force is TimeInForce.GTC


# ── names and keys ───────────────────────────────────────────────────────────────────────────────


def test_names_and_keys_come_from_the_sequence(engine: Engine) -> None:
    sequence = engine.state.log.sequence + 1
    first = engine.place("alice", LIN, "buy", "0.1", "49000")
    told = last_command(engine)
    assert (first.order, told.key, told.actor) == (f"o{sequence}", f"place-{sequence}", "alice")
    # Names and keys that are taken are passed over.
    engine.place("alice", LIN, "buy", "0.1", "49000", order=f"o{sequence + 2}",
                 key=f"place-{sequence + 2}")  # fmt: skip
    third = engine.place("alice", LIN, "buy", "0.1", "49000")
    assert third.order == f"o{sequence + 3}"
    assert last_command(engine).key == f"place-{sequence + 3}"
    engine.cancel_all(symbol=LIN)
    assert last_command(engine).actor == "operator"
    assert engine.orders() == []


def test_a_key_makes_a_request_safe_to_repeat(engine: Engine) -> None:
    engine.place("bob", LIN, "sell", "0.1", "50000")
    first = engine.place("alice", LIN, "buy", "0.1", "50000", key="mine")
    assert (first.order, first.status, first.filled) == ("mine", "filled", D("0.1"))
    sequence = engine.state.log.sequence
    again = engine.place("alice", LIN, "buy", "0.1", "50000", key="mine")
    assert again == first
    assert engine.state.log.sequence == sequence
    other = engine.place("alice", LIN, "buy", "0.2", "50000", key="mine")
    assert other.code is Reject.KEY_REUSED


def test_times_are_told_or_the_clock_s(engine: Engine, clock: Clock) -> None:
    clock.time_ms = T0 + 7
    engine.place("alice", LIN, "buy", "0.1", "49000")
    assert engine.state.log.time_ms == T0 + 7
    engine.cancel_all("alice", time_ms=T0 + 9)
    assert engine.state.log.time_ms == T0 + 9


# ── many orders ──────────────────────────────────────────────────────────────────────────────────


def test_mass_cancel_and_sessions(engine: Engine) -> None:
    def left() -> list[str]:
        return [one.order for one in engine.orders()]

    engine.place("alice", LIN, "buy", "0.01", "49000", order="a", session="s1")
    engine.place("alice", LIN, "sell", "0.01", "51000", order="b")
    engine.place("alice", QUANTO, "buy", "1", "1900", order="c", session="s1")
    engine.place("bob", LIN, "buy", "0.01", "48000", order="d")
    engine.place("bob", LIN, "buy", "0.01", order_type="stop", stop_price="60000", order="e")
    assert left() == ["a", "b", "c", "d", "e"]
    assert engine.cancel_all(underlying="ETH").accepted
    assert left() == ["a", "b", "d", "e"]
    assert engine.cancel_all("alice", side="sell").accepted
    assert left() == ["a", "d", "e"]
    assert engine.cancel_all(side=Side.BUY, symbol=LIN, account="bob").accepted
    assert left() == ["a"]
    assert engine.disconnect("alice", "s2").accepted
    assert left() == ["a"]
    assert engine.disconnect("alice", "s1").accepted
    assert left() == []
    assert Reject(engine.cancel_all().code) is Reject.ORDER_TERMS_INVALID
    assert Reject(engine.cancel("alice", "a").code) is Reject.ORDER_UNKNOWN
    assert engine.cancel_all(group="g").accepted
    assert problem(engine.cancel_all, side="both").field == "side"


def test_rows_of_orders(engine: Engine) -> None:
    engine.protect("alice", "mm", window_ms=1, frozen_ms=1, lots=5_000)
    engine.place("alice", LIN, "sell", "0.1", "50500", order="ice", display="0.02", post_only=True,
                 group="mm", session="s", self_trade="both")  # fmt: skip
    engine.place("bob", FUT, "buy", "0.000001", "49000", order="b")
    assert engine.orders("alice") == [
        OpenOrder(
            account="alice", order="ice", symbol=LIN, side="sell", size=D("0.1"), price=D(50_500),
            filled=D(0), shown=D("0.02"), status="resting", stop_trigger="", stop_price=None,
            stop_rises=None, time_in_force="gtc", expire_ms=0, post_only=True, reduce_only=False,
            self_trade="both", group="mm", session="s", lots=100, price_ticks=50_500,
        )
    ]  # fmt: skip
    assert [one.order for one in engine.orders(symbol=FUT)] == ["b"]
    assert engine.orders("carol") == []
    seen = problem(engine.orders, "dave")
    assert (seen.code, seen.expected) == (
        Reject.ACCOUNT_UNKNOWN, "one of 3 accounts, such as alice, bob, carol",
    )  # fmt: skip
    assert problem(engine.orders, symbol="x").code is Reject.INSTRUMENT_UNKNOWN


# ── looking at a book ────────────────────────────────────────────────────────────────────────────


def test_a_book(engine: Engine) -> None:
    for price, size in (("49900", "0.01"), ("49900", "0.02"), ("49800", "0.05")):
        engine.place("alice", LIN, "buy", size, price)
    engine.place("bob", LIN, "sell", "0.04", "50100", display="0.01")
    engine.place("bob", LIN, "sell", "0.03", "50200")
    assert engine.book(LIN) == ShownBook(
        symbol=LIN, phase="continuous", sequence=engine.state.log.sequence, time_ms=T0,
        bids=(ShownLevel(D(49_900), D("0.03"), 2), ShownLevel(D(49_800), D("0.05"), 1)),
        asks=(ShownLevel(D(50_100), D("0.01"), 1), ShownLevel(D(50_200), D("0.03"), 1)),
        last=None, mark=D(50_000), index=D(50_000), band=None, uncrossing=None,
    )  # fmt: skip
    top = engine.book(LIN, 1)
    assert (len(top.bids), len(top.asks)) == (1, 1)
    assert (top.best_bid, top.best_ask) == (D(49_900), D(50_100))
    engine.place("alice", LIN, "buy", "0.01", "50100")
    assert engine.book(LIN).last == D(50_100)
    empty = engine.book(INV)
    assert (empty.best_bid, empty.best_ask, empty.bids) == (None, None, ())
    assert empty.band == (D(40_000), D(60_000))
    assert problem(engine.book, "x").code is Reject.INSTRUMENT_UNKNOWN
    assert engine.submit(c.DelistInstrument(key="d", actor="op", symbol=QUANTO)).accepted
    assert problem(engine.book, QUANTO).code is Reject.INSTRUMENT_CLOSED
    assert problem(engine.impact, QUANTO, "buy", "1").code is Reject.INSTRUMENT_CLOSED


def test_impact(engine: Engine) -> None:
    """0.04 at 50,100 (hidden or not) and 0.02 of 0.03 at 50,200: 50,133⅓ on average."""
    engine.place("bob", LIN, "sell", "0.04", "50100", display="0.01")
    engine.place("bob", LIN, "sell", "0.03", "50200")
    assert engine.impact(LIN, "buy", "0.06") == Impact(
        symbol=LIN, side="buy", size=D("0.06"), filled=D("0.06"),
        average=D("50133.333333333333"), worst=D(50_200),
    )  # fmt: skip
    more = engine.impact(LIN, "buy", "1")
    assert (more.filled, more.worst) == (D("0.07"), D(50_200))
    none = engine.impact(LIN, "sell", "1")
    assert (none.filled, none.average, none.worst) == (D(0), None, None)
    assert problem(engine.impact, LIN, "buy", 0.5).code is Reject.FIELD_NOT_A_NUMBER


def test_an_auction(engine: Engine) -> None:
    assert [type(one) for one in engine.phase(LIN, "auction").events] == [PhaseChanged]
    engine.place("alice", LIN, "buy", "0.03", "50200")
    engine.place("bob", LIN, "sell", "0.02", "49900")
    book = engine.book(LIN)
    assert (book.phase, book.uncrossing) == ("auction", (D(50_200), D("0.02")))
    none = engine.place("bob", LIN, "sell", "0.02", order_type="market")
    assert none.code is Reject.ORDER_NOT_FOR_AUCTION
    ended = engine.phase(LIN, "continuous")
    (uncrossed,) = [one for one in ended.events if isinstance(one, Uncrossed)]
    assert (uncrossed.price_ticks, uncrossed.lots) == (50_200, 20)
    assert engine.book(LIN).uncrossing is None
    assert engine.phase(LIN, "halted").accepted
    assert engine.place("bob", LIN, "sell", "0.02", "50000").code is Reject.INSTRUMENT_HALTED
    assert problem(engine.phase, LIN, "closed").field == "phase"


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────


def test_blocks(engine: Engine) -> None:
    def status(answer: Any) -> str:
        (one,) = [event for event in answer.events if isinstance(event, BlockReported)]
        return one.status

    told = engine.block("alice", "bob", LIN, "buy", "0.05", "50050", reference="b1")
    assert status(told) == "reported"
    assert (last_command(engine).lots, last_command(engine).price_ticks) == (50, 50_050)
    other = engine.block("bob", "alice", LIN, "sell", "0.06", "50050", reference="b1")
    assert Reject(other.code) is Reject.BLOCK_MISMATCHED
    done = engine.block("bob", "alice", LIN, "sell", "0.05", "50050", reference="b1")
    assert status(done) == "done"
    engine.block("alice", "bob", LIN, "buy", "0.05", "50050", reference="b2")
    assert status(engine.withdraw_block("alice", "b2")) == "withdrawn"
    assert Reject(engine.withdraw_block("alice", "b2").code) is Reject.REFERENCE_UNKNOWN
    seen = problem(engine.block, "alice", "bob", LIN, "buy", 0.05, "50050", reference="b3")
    assert (seen.source, seen.field) == ("block b3", "size")


# ── relief ───────────────────────────────────────────────────────────────────────────────────────


def test_relief_is_a_plan_until_it_is_carried_out(engine: Engine) -> None:
    """Alice is long a coin at 50,000 and asks for 8 more; margin is a tenth at the index. It falls
    to 30,000: her equity is 1,000 + 30,000 - 20,000, her margin 27,000. The order of 4 frees 12,000
    of it, that of 3 another 9,000."""
    seen = problem(engine.relief, "alice")
    assert seen == Problem(
        code=Reject.ACCOUNT_NOT_SHORT_OF_MARGIN, source="account alice",
        expected="equity below its initial margin, 0 micro", found="60000000000",
    )  # fmt: skip
    assert problem(engine.relief, "dave").found == "none"
    engine.place("bob", LIN, "sell", "1", "50000")
    engine.place("alice", LIN, "buy", "1", "50000")
    for size in (1, 3, 4):
        assert engine.place("alice", LIN, "buy", size, "20000", order=f"o{size}").accepted
    withdrawn = c.RequestWithdrawal(
        key="w", actor="alice", account="alice", asset="USDC", amount=9_000 * DOLLAR, reference="w"
    )
    assert engine.submit(withdrawn).accepted
    fall(engine)
    plan = engine.relief("alice")
    assert plan == ReliefPlan(
        account="alice",
        before=Standing(11_000 * DOLLAR, 27_000 * DOLLAR, 13_500 * DOLLAR, True, True, True),
        after=Standing(11_000 * DOLLAR, 6_000 * DOLLAR, 3_000 * DOLLAR, True, False, False),
        orders=(
            ReliefStep(order="o4", symbol=LIN, side="buy", size=D(4), price=D(20_000),
                       available=D(-4_000)),
            ReliefStep(order="o3", symbol=LIN, side="buy", size=D(3), price=D(20_000),
                       available=D(5_000)),
        ),
    )  # fmt: skip
    # It is a plan: nothing has gone.
    assert [one.order for one in engine.orders("alice")] == ["o1", "o3", "o4"]
    assert engine.relieve("alice").accepted
    assert [one.order for one in engine.orders("alice")] == ["o1"]
    assert last_command(engine).actor == "operator"
    assert Reject(engine.relieve("alice").code) is Reject.ACCOUNT_NOT_SHORT_OF_MARGIN


def fall(engine: Engine) -> None:
    """Bitcoin falls to 30,000."""
    for command in (
        market(key="fall", index=30_000, more=True, LIN=300_000),
        arrays("tenth", key="fallen", more=True, index=30_000, marks=((LIN, 300_000),)),
    ):
        assert engine.submit(command).accepted


def test_what_only_reduces_is_accepted_below_initial_margin(engine: Engine) -> None:
    """Long 8 coins, 20,000 down on each: alice may sell, and may not buy."""
    engine.place("bob", LIN, "sell", "8", "50000")
    engine.place("alice", LIN, "buy", "8", "50000")
    fall(engine)
    assert engine.place("alice", LIN, "buy", "0.001", "30000").code is Reject.MARGIN_INSUFFICIENT
    less = engine.place("alice", LIN, "sell", "1", "30000", reduce_only=True)
    assert less.status == "resting"
    assert engine.place("alice", LIN, "sell", "7", "30000").status == "resting"


# ── market data ──────────────────────────────────────────────────────────────────────────────────


def rebuilt(start: BookSnapshot, changes: list[BookChange]) -> tuple[dict[Decimal, Decimal], ...]:
    """Bids and asks by price, as one who has the snapshot and every change has them."""
    sides = {"buy": dict(start.bids), "sell": dict(start.asks)}
    sequence = start.sequence
    for change in changes:
        assert change.sequence == sequence + 1
        sequence = change.sequence
        for level in change.levels:
            if level.size:
                sides[level.side][level.price] = level.size
            else:
                del sides[level.side][level.price]
    return sides["buy"], sides["sell"]


def test_a_feed_tells_what_changes(engine: Engine) -> None:
    engine.place("alice", LIN, "buy", "0.03", "49900", display="0.01", order="ice")
    engine.place("alice", LIN, "sell", "0.02", "50300")
    feed = engine.feed()
    start = feed.snapshot(LIN)
    assert start == BookSnapshot(
        symbol=LIN, sequence=1, bids=((D(49_900), D("0.01")),), asks=((D(50_300), D("0.02")),)
    )
    assert feed.changes() == []
    engine.place("bob", LIN, "sell", "0.015", "49900")
    assert feed.changes() == [
        BookChange(
            symbol=LIN, sequence=2, levels=(LevelSize("buy", D(49_900), D("0.005")),),
            trades=(
                Print(D(49_900), D("0.01"), "sell"), Print(D(49_900), D("0.005"), "sell"),
            ),
        )
    ]  # fmt: skip
    engine.place("carol", INV, "buy", "50", "40000")
    (other,) = feed.changes()
    assert (other.symbol, other.sequence) == (INV, 1)
    engine.submit(c.Heartbeat(key="beat", actor="op"))
    assert feed.changes() == []
    engine.phase(LIN, "auction")
    engine.place("bob", LIN, "sell", "0.001", "49000")
    engine.phase(LIN, "continuous")
    trade = feed.changes()[-1].trades
    assert trade == (Print(D(49_900), D("0.001"), ""),)


def test_who_follows_a_feed_has_the_book(engine: Engine) -> None:
    engine.place("alice", LIN, "buy", "0.02", "49500")
    feed = engine.feed()
    start = feed.snapshot(LIN)
    for place in range(12):
        price = 49_500 + 100 * (place % 4)
        engine.place("alice", LIN, "buy", "0.01", price, order=f"a{place}", display="0.005")
        engine.place("bob", LIN, "sell", "0.015", price + 200, order=f"b{place}")
        if place % 3 == 2:
            engine.amend("bob", f"b{place}", size="0.012")
            engine.cancel("alice", f"a{place - 1}")
    book = engine.book(LIN)
    bids, asks = rebuilt(start, feed.changes())
    assert bids == {level.price: level.size for level in book.bids}
    assert asks == {level.price: level.size for level in book.asks}
    assert len(book.bids) >= 2
    whole = feed.snapshot(LIN)
    assert dict(whole.bids) == bids
    assert whole.bids[0][0] == book.best_bid
    assert feed.snapshot(LIN, 1).asks == whole.asks[:1]


def test_a_feed_hears_what_happens_once(engine: Engine) -> None:
    feed, other = engine.feed(), engine.feed()
    engine.place("alice", LIN, "buy", "0.02", "49500", key="once")
    engine.place("alice", LIN, "buy", "0.02", "49500", key="once")
    assert len(feed.changes()) == 1
    other.close()
    engine.cancel("alice", "once")
    assert len(feed.changes()) == 1
    assert other.changes() == []
    # A refused command changes no book.
    assert not engine.place("nobody", LIN, "buy", "0.02", "49500").accepted
    assert feed.changes() == []


def test_another_process_may_follow(engine: Engine, where: Path) -> None:
    engine.place("alice", LIN, "buy", "0.02", "49500", order="a")
    with Journal.open(where, read_only=True) as journal:
        follower = Follower(journal)
        assert follower.advance() == 0
        start = follower.feed.snapshot(LIN)
        assert start.bids == ((D(49_500), D("0.02")),)
        engine.place("bob", LIN, "sell", "0.05", "49500")
        engine.place("nobody", LIN, "sell", "0.05", "49500")
        engine.protect("bob", "mm", window_ms=1, frozen_ms=1, lots=1)
        assert follower.advance() == 3
        assert state_hash(follower.state) == engine.hash()
        (change,) = follower.feed.changes()
        assert change.trades == (Print(D(49_500), D("0.02"), "sell"),)
        assert rebuilt(start, [change]) == ({}, {D(49_500): D("0.03")})
        assert follower.advance() == 0


def test_mark_outs(engine: Engine, clock: Clock) -> None:
    """A taker buys 0.02 with the mark at 50,000; it is 50,010 a second later and 49,970 in ten. A
    taker sells 0.01 three seconds after the first trade, with the mark at 50,010."""

    def mark(points: int, after_ms: int) -> None:
        clock.time_ms = T0 + after_ms
        told = market(key=f"mark {after_ms}", more=True, LIN=points)
        assert engine.submit(told).accepted

    engine.place("bob", LIN, "sell", "0.02", "50001")
    engine.place("alice", LIN, "buy", "0.02", "50001")
    mark(500_100, 900)
    clock.time_ms = T0 + 3_000
    told = c.Trade(
        key="t", actor="op", buyer="bob", seller="alice", symbol=LIN, lots=10, price_ticks=50_005,
        aggressor=Side.SELL,
    )  # fmt: skip
    assert engine.submit(told).accepted
    mark(499_700, 9_000)
    mark(499_900, 12_000)
    assert mark_outs(engine.journal, horizons_ms=(1_000, 10_000)) == [
        MarkOutRow(symbol=LIN, horizon_ms=1_000, trades=2, size=D("0.03"),
                   move=D("6.666666666667")),
        MarkOutRow(symbol=LIN, horizon_ms=10_000, trades=1, size=D("0.02"), move=D(-30)),
    ]  # fmt: skip
    (one,) = mark_outs(engine.journal, horizons_ms=(60_000,), symbol=LIN)
    assert (one.trades, one.size, one.move) == (0, D(0), None)
    (none,) = sv.mark_outs(engine.journal, horizons_ms=(1,), symbol=INV)
    assert none.trades == 0


def test_trades_without_a_taker_have_no_mark_out(engine: Engine) -> None:
    engine.phase(LIN, "auction")
    engine.place("bob", LIN, "sell", "0.02", "50000")
    engine.place("alice", LIN, "buy", "0.02", "50000")
    engine.phase(LIN, "continuous")
    assert engine.book(LIN).last == D(50_000)
    assert mark_outs(engine.journal) == []


def test_names_of_the_package() -> None:
    from solvent.order_entry import OrderType

    assert sv.OrderType is OrderType
    assert {"Feed", "OpenOrder", "Outcome"} <= set(dir(sv))
    assert sv.Outcome.__module__ == "solvent.outcomes"
