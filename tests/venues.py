"""A small venue in round numbers, made once a process and restored afresh for every test.

Bitcoin is 50,000 dollars, ether 2,000. Prices of one lot at the marks:

| contract | settles in | a lot at its mark | a value unit is |
|---|---|---|---|
| `LIN` BTC_USDC-PERPETUAL | USDC | 0.001 BTC: 50 USDC | 100 micro |
| `INV` BTC-PERPETUAL | BTC | 10 USD: 200,000 nano | 1/1000 nano |
| `FUT` BTC_USDC-FUT | USDC | 0.000001 BTC: 0.05 USDC | 1/10 micro |
| `CALL` BTC_USDC-50000-C | USDC | 0.01 of a call at 1,000: 10 USDC | 1,000 micro |
| `PUT` BTC-40000-P | BTC | 0.1 of a put at 0.02: 2,000,000 nano | 1,000 nano |
| `QUANTO` ETH_BTC-QUANTO | BTC | 1 ETH at 1 USD = 0.000001 BTC: 2,000,000 nano | 5 nano |
| `SPREAD` BTC-CS | USDC | 0.01 of a call spread at 3,000: 30 USDC | 1,000 micro |

With `more` there are contracts besides that can be combined, at the same index:

| contract | settles in | a lot at its mark | its tick |
|---|---|---|---|
| `NEAR` BTC_USDC-NEAR | USDC | 0.001 BTC to the end of the day: 50.1 USDC | 1 |
| `FAR` BTC_USDC-FAR | USDC | 0.001 BTC, a week later: 50.4 USDC | 0.5 |
| `HIGH` BTC_USDC-52000-C | USDC | 0.01 of a call at 400: 4 USDC | 1 |

Every point is a tenth of a tick. Under the rulebook `tenth` margin is a tenth of the size at the
index, orders counted whole, and half of that for maintenance; of `SPREAD` nothing is
known. `deribit-pm`, where it is asked for, is Deribit's portfolio margin.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np

from solvent.account.ledger import GENERAL, margin_slot, node, order_slot
from solvent.api import rulebook_in_force
from solvent.engine.apply import Applied, apply
from solvent.engine.audit import violations
from solvent.engine.bargain import deal_in
from solvent.engine.dealing import Leg
from solvent.engine.image import books_hash, image, restore
from solvent.engine.reference import instrument_of
from solvent.engine.state import CROSS, LIQUIDATION, Account, Case, Contract, State
from solvent.errors import Reject
from solvent.feeds.library import rulebook_source
from solvent.instruments.contract import moment_of
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rulebook import LevelsRulebook, in_force
from solvent.margining.rulebook import read_rulebook
from solvent.market import Quotes, assemble
from solvent.messages import commands as c
from solvent.messages.codec import Sealed
from solvent.messages.events import Event, Posted, Rejected
from solvent.messages.fields import (
    AccountKind,
    Command,
    IndexPrice,
    MarkPrice,
    Side,
    TermText,
)
from solvent.risk import RiskArrays, publish
from solvent.risk.wire import encode_arrays
from solvent.units import DAY_MS, TimeMs

T0: Final = 1_780_000_000_000
EXPIRY: Final = T0 + DAY_MS
LATER: Final = EXPIRY + 7 * DAY_MS
DAY: Final = "2026-06-01"
LIN, INV, FUT = "BTC_USDC-PERPETUAL", "BTC-PERPETUAL", "BTC_USDC-FUT"
CALL, PUT, QUANTO, SPREAD = "BTC_USDC-50000-C", "BTC-40000-P", "ETH_BTC-QUANTO", "BTC-CS"
NEAR, FAR, HIGH = "BTC_USDC-NEAR", "BTC_USDC-FAR", "BTC_USDC-52000-C"
SYMBOLS: Final = (LIN, INV, FUT, CALL, PUT, QUANTO, SPREAD)
MORE: Final = (NEAR, FAR, HIGH)
MARKS: Final = {
    LIN: 500_000, INV: 1_000_000, FUT: 500_000, CALL: 10_000, PUT: 2_000, QUANTO: 400_000,
    SPREAD: 30_000,
}  # fmt: skip
"""Points: tenths of a tick."""
MARKS_MORE: Final = {NEAR: 501_000, FAR: 1_008_000, HIGH: 4_000}
USDC, BTC = 0, 1
DOLLAR: Final = 10**6
COIN: Final = 10**9
NANO: Final = 10**9

TENTH: Final = """
schema  = 2
name    = "tenth"
title   = "A tenth of everything"
venue   = "none"
family  = "tiered leverage"
summary = "A tenth of the notional, half of it for maintenance."
sources = ["these tests"]
properties = ["requirement_not_negative", "permutes", "isolated_pools"]

[levels]
contract = ["pool", "instrument"]

[inputs.contract.leverage]
about   = "the leverage chosen"
default = 0

[inputs.pool.isolated_margin]
about   = "margin put to an isolated position, dollars"
default = 0

[at.position]
notional   = "abs(size) * contract_size * where(inverse, 1, index)"
unrealised = "size * (worth - entry_worth) * settlement_price"

[at.order]
notional = "size * contract_size * where(inverse, 1, index)"

[at.contract]
exposed  = "position.sum(notional) + order.sum(notional)"
initial  = "exposed / max(leverage, 10)"

[at.asset]
value = "amount * price"

[at.pool]
equity      = "asset.sum(value) + isolated_margin + position.sum(unrealised)"
initial     = "contract.sum(initial)"
maintenance = "0.05 * contract.sum(exposed)"

[answer]
level = "pool"
"""


# ── commands ─────────────────────────────────────────────────────────────────────────────────────


def listing(symbol: str, **changes: Any) -> c.ListInstrument:
    """The listing of one of this venue's contracts, with changes."""
    told: dict[str, Any] = {
        "key": f"list {symbol}", "actor": "op", "symbol": symbol, "kind": "perpetual",
        "base": "BTC", "quote": "USDC", "settlement": "USDC", "lot_size": "0.001",
        "contract_size": "1", "tick_size": "1", "points_per_tick": 10, "inverse": False,
    }  # fmt: skip
    contracts: dict[str, dict[str, Any]] = {
        LIN: {},
        INV: {"quote": "USD", "settlement": "BTC", "lot_size": "10", "tick_size": "0.5",
              "inverse": True},
        FUT: {"kind": "future", "lot_size": "0.000001", "expiry_ms": EXPIRY},
        CALL: {"kind": "option", "lot_size": "0.01", "expiry_ms": EXPIRY, "strike": "50000",
               "option_type": "C"},
        PUT: {"kind": "option", "quote": "USD", "settlement": "BTC", "lot_size": "0.1",
              "tick_size": "0.0001", "inverse": True, "expiry_ms": EXPIRY, "strike": "40000",
              "option_type": "P"},
        QUANTO: {"base": "ETH", "quote": "USD", "settlement": "BTC", "lot_size": "1",
                 "tick_size": "0.05", "quanto_rate": "0.000001"},
        SPREAD: {"kind": "structure", "lot_size": "0.01", "expiry_ms": EXPIRY,
                 "terms": (TermText("call", "60000", "1"), TermText("call", "70000", "-1"))},
        NEAR: {"kind": "future", "expiry_ms": EXPIRY},
        FAR: {"kind": "future", "expiry_ms": LATER, "tick_size": "0.5"},
        HIGH: {"kind": "option", "lot_size": "0.01", "expiry_ms": EXPIRY, "strike": "52000",
               "option_type": "C"},
    }  # fmt: skip
    return c.ListInstrument(**{**told, **contracts.get(symbol, {}), **changes})


OUTSIDE: Final = 'matching = "outside"'
BOOK: Final = 'matching = "book"'


def engine_text(toml: str, engine: str) -> str:
    """A rulebook with an `[engine]` part, which stands at the end. Orders only rest, unless it says
    that they are matched (`BOOK`)."""
    outside = "" if "matching =" in engine else f"{OUTSIDE}\n"
    return f"{toml}\n[engine]\n{outside}{engine}\n"


def adoption(name: str, engine: str = "", *, venue: bool = False, key: str = "") -> c.AdoptRulebook:
    """Put `tenth` or a shipped rulebook in force, with an `[engine]` part."""
    toml = TENTH if name == "tenth" else rulebook_source(name)
    return c.AdoptRulebook(
        key=key or f"adopt {name}", actor="op", name=name, toml=engine_text(toml, engine), day=DAY,
        venue=venue,
    )  # fmt: skip


Told = tuple[tuple[str, int], ...]


@cache
def _priced(name: str, *, more: bool, btc: int, told: Told) -> RiskArrays:
    """Risk arrays of all contracts at their marks, but for those that are told."""
    marks = (MARKS | MARKS_MORE if more else MARKS) | dict(told)
    symbols = list(marks)
    listings = [listing(symbol) for symbol in symbols]
    instruments = [instrument_of(one) for one in listings]
    count = len(instruments)
    ticks = np.array([float(one.specification.tick_size) for one in instruments])
    mark = np.array(list(marks.values())) * ticks / 10
    index = np.array([2_000.0 if one.contract.base == "ETH" else btc for one in instruments])
    option = np.array([symbol in (CALL, PUT, HIGH) for symbol in symbols])
    quotes = Quotes(
        instruments=instruments, index=index, forward=index, mark=mark,
        vol=np.where(option, 0.5, np.nan), bid=np.full(count, np.nan), ask=np.full(count, np.nan),
        rate=np.zeros(count), time_ms=np.full(count, T0, dtype=np.int64),
    )  # fmt: skip
    snapshot = assemble(quotes, as_of_ms=TimeMs(T0))
    day = moment_of(TimeMs(T0)).date()
    if name == "tenth":
        text = read_rulebook(TENTH, source=name)
        book: Any = in_force(text, day)  # type: ignore[arg-type]
    else:
        book = rulebook_in_force(name, day)
    shocks = shocking(book) if isinstance(book, LevelsRulebook) else book
    return publish(snapshot, sets=shocks.sets, rules=shocks.rules, tables=shocks.tables)


def arrays(
    name: str, *, as_of_ms: int = T0, key: str = "", more: bool = False, index: int = 50_000,
    marks: Told = (),
) -> c.PublishArrays:  # fmt: skip
    """Risk arrays for a rulebook, as if made at a time."""
    return c.PublishArrays(
        key=key or f"arrays {name} {as_of_ms}", actor="op", rulebook=name,
        arrays=_bytes_of(name, as_of_ms, more=more, btc=index, told=marks),
    )  # fmt: skip


@cache
def _bytes_of(name: str, as_of_ms: int, *, more: bool, btc: int, told: Told) -> bytes:
    priced = _priced(name, more=more, btc=btc, told=told)
    return encode_arrays(replace(priced, as_of_ms=TimeMs(as_of_ms)))


def market(
    *, key: str = "market", index: int = 50_000, more: bool = False, **marks: int
) -> c.PublishMarket:
    """Index prices and marks; a mark in points may be told by the contract's name here (`LIN`)."""
    told = MARKS | MARKS_MORE if more else dict(MARKS)
    told |= {globals()[name]: points for name, points in marks.items()}
    return c.PublishMarket(
        key=key, actor="op",
        index=(IndexPrice("BTC", index * NANO, 0), IndexPrice("ETH", 2_000 * NANO, 0)),
        marks=tuple(MarkPrice(symbol, points, 0) for symbol, points in told.items()),
    )  # fmt: skip


# ── the venue ────────────────────────────────────────────────────────────────────────────────────


class Venue:
    """A venue's books under a test's hands; `time_ms` is the time of the next command."""

    def __init__(self, state: State, time_ms: int = T0) -> None:
        self.state = state
        self.time_ms = time_ms

    def send(self, command: Command) -> Applied:
        """Apply a command, whatever comes of it."""
        return apply(self.state, Sealed(self.state.log.sequence + 1, self.time_ms, command))

    def tell(self, kind: type[Command], /, **fields: Any) -> Applied:
        """Apply a command of a kind under a new key."""
        fields = {"key": f"k{self.state.log.sequence}", "actor": "op", **fields}
        return self.send(kind(**fields))

    def do(self, kind: type[Command], /, **fields: Any) -> tuple[Event, ...]:
        """A command that is done; its events but the postings. The books are sound after it."""
        found = self.tell(kind, **fields)
        assert found.code == 0, found.events
        self.sound()
        return tuple(one for one in found.events if not isinstance(one, Posted))

    def refuse(self, code: Reject, detail: str, kind: type[Command], /, **fields: Any) -> None:
        """A command that is refused in exactly these words, and leaves the books as they were."""
        before = books_hash(self.state)
        found = self.tell(kind, **fields)
        assert found.events == (Rejected(int(code), detail),), found.events
        assert found.code == code
        assert books_hash(self.state) == before

    @property
    def _more(self) -> bool:
        return MORE[0] in self.state.contract_numbers

    def sound(self) -> None:
        """The audit finds nothing."""
        assert list(violations(self.state)) == []

    # ── looking ──────────────────────────────────────────────────────────────────────────────────

    def account(self, name: str) -> Account:
        """An account by name."""
        return self.state.account(self.state.account_numbers[name])

    def contract(self, symbol: str) -> Contract:
        """A contract by symbol."""
        return self.state.contracts[self.state.contract_numbers[symbol]]

    def held(self, name: str, asset: int = USDC, slot: int = GENERAL) -> int:
        """A balance of an account."""
        return self.state.ledger.balance(node(self.state.account_numbers[name], slot, asset))

    def margin(self, name: str, symbol: str) -> int:
        """The balance of an isolated position's margin."""
        contract = self.contract(symbol)
        return self.held(name, contract.deal.asset, margin_slot(contract.number))

    def reserved(self, name: str, symbol: str) -> int:
        """The balance of what is set aside for a contract's orders."""
        contract = self.contract(symbol)
        return self.held(name, contract.deal.asset, order_slot(contract.number))

    def clearing(self, symbol: str) -> int:
        """What a contract's clearing holds."""
        return self.margin("clearing", symbol)

    def position(self, name: str, symbol: str) -> tuple[int, int, int, int] | None:
        """Lots, entry value, basis value and realised gains of a position."""
        one = self.contract(symbol).holders.get(self.state.account_numbers[name])
        return None if one is None else (one.lots, one.entry_value, one.basis_value, one.realised)

    # ── doing ────────────────────────────────────────────────────────────────────────────────────

    def wind_up(self, name: str, *, to_the_end: bool = False) -> None:
        """Put an account under liquidation, and all of it, whatever its margin says. `to_the_end`:
        its rulebook closes everything, also what is well."""
        account = self.account(name)
        account.status = LIQUIDATION
        self.state.cases[account.number] = Case(
            begun_ms=self.time_ms, equity_micro=0, maintenance_micro=0,
            pools=[CROSS, *(account.positions or ())],
        )  # fmt: skip
        if to_the_end:
            self.adopt('[liquidation.reduce]\ntarget = "flat"')

    def open(self, name: str, *, usdc: int = 0, btc: int = 0, rulebook: str = "tenth",
             kind: AccountKind = AccountKind.USER, parent: str | None = None) -> int:  # fmt: skip
        """Open an account with whole dollars and billionths of a bitcoin; its number."""
        self.do(c.OpenAccount, account=name, kind=kind, rulebook=rulebook, parent=parent)
        if usdc:
            self.do(c.Deposit, account=name, asset="USDC", amount=usdc * DOLLAR)
        if btc:
            self.do(c.Deposit, account=name, asset="BTC", amount=btc)
        return self.state.account_numbers[name]

    def trade(self, buyer: str, seller: str, lots: int, ticks: int, *, symbol: str = LIN,
              aggressor: Side | None = None, **fields: Any) -> tuple[Event, ...]:  # fmt: skip
        """A trade that is done."""
        return self.do(c.Trade, buyer=buyer, seller=seller, symbol=symbol, lots=lots,
                       price_ticks=ticks, aggressor=aggressor, **fields)  # fmt: skip

    def order(self, account: str, name: str, lots: int, ticks: int | None, *, symbol: str = LIN,
              **fields: Any) -> tuple[Event, ...]:  # fmt: skip
        """An order that is taken; negative lots sell."""
        return self.do(
            c.PlaceOrder, **order_of(account, name, lots, ticks, symbol=symbol, **fields)
        )

    def adopt(self, engine: str, *, name: str = "tenth") -> None:
        """Put the venue's rulebook in force with another `[engine]`, and publish its arrays."""
        found = self.send(adoption(name, engine, venue=True, key=f"a{self.state.log.sequence}"))
        assert found.code == 0, found.events
        self.publish(name)

    def publish(self, name: str = "tenth", *, index: int = 50_000, **marks: int) -> None:
        """Risk arrays of now, at an index of bitcoin and marks as `quote` takes them."""
        told = tuple((globals()[short], points) for short, points in marks.items())
        found = self.send(
            arrays(name, as_of_ms=self.time_ms, key=f"p{name}{self.state.log.sequence}",
                   more=self._more, index=index, marks=told)
        )  # fmt: skip
        assert found.code == 0, found.events

    def quote(self, *, index: int = 50_000, **marks: int) -> None:
        """New prices; what is not told is as at the start."""
        told: dict[str, Any] = {"index": index, "more": self._more, **marks}
        command = market(**told)
        kept = tuple(one for one in command.marks if not self.contract(one.symbol).settled)
        found = self.tell(c.PublishMarket, index=command.index, marks=kept)
        assert found.code == 0, found.events


PEOPLE: Final = ("alice", "bob", "carol")


@cache
def _image(engine: str, *, scans: bool, more: bool) -> bytes:
    """The venue at its start: all contracts, prices and arrays, three people with money."""
    venue = Venue(State())
    venue.do(c.ListAsset, asset="USDC", decimals=6)
    venue.do(c.ListAsset, asset="BTC", decimals=9)
    symbols = (*SYMBOLS, *MORE) if more else SYMBOLS
    commands: list[Command] = [listing(symbol) for symbol in symbols]
    commands += [
        adoption("tenth", engine, venue=True), market(more=more), arrays("tenth", more=more)
    ]  # fmt: skip
    if scans:
        commands += [adoption("deribit-pm"), arrays("deribit-pm", more=more)]
    for command in commands:
        found = venue.send(command)
        assert found.code == 0, found.events
    for name in PEOPLE:
        venue.open(name, usdc=10_000, btc=COIN)
    venue.open("member", usdc=1_000, kind=AccountKind.MEMBER)
    return image(venue.state)


def new_venue(engine: str = "", *, scans: bool = False, more: bool = False) -> Venue:
    """A fresh copy of the venue: `alice`, `bob` and `carol` have 10,000 USDC and 1 BTC each,
    `member` 1,000 USDC. `engine` is the `[engine]` part of the venue's rulebook; with `scans`
    there is `deribit-pm` besides. Orders only rest in it, unless `engine` says `BOOK`. `more`: with
    the contracts of `MORE`."""
    return Venue(restore(_image(engine, scans=scans, more=more)))


def book_venue(engine: str = "", *, scans: bool = False, more: bool = False) -> Venue:
    """The same, where orders that meet trade."""
    return new_venue(f"{BOOK}\n{engine}", scans=scans, more=more)


def order_of(
    account: str, name: str, lots: int, ticks: int | None, *, symbol: str = LIN, **fields: Any
) -> dict[str, Any]:
    """What tells of an order: negative lots sell, no ticks are a market order."""
    side = Side.BUY if lots > 0 else Side.SELL
    told = {"account": account, "order": name, "symbol": symbol, "side": side, "lots": abs(lots)}
    return {**told, "price_ticks": ticks, **fields}


def trade_of(venue: Venue, buyer: str, seller: str, lots: int, **more: Any) -> c.Trade:
    """A trade that has not been told yet: of `LIN` at its mark, unless more is said."""
    fields = {"symbol": LIN, "price_ticks": 50_000, "aggressor": None, **more}
    key = f"{buyer}{seller}{lots}{len(more)}{venue.state.log.sequence}"
    return c.Trade(key=key, actor="op", buyer=buyer, seller=seller, lots=lots, **fields)


def leg_of(venue: Venue, lots: int, ticks: int, *, symbol: str = LIN, fees: int = 0) -> Leg:
    """Alice's side of a trade with bob; negative lots are sold."""
    pair = ("alice", "bob") if lots > 0 else ("bob", "alice")
    trade = trade_of(venue, *pair, abs(lots), symbol=symbol, price_ticks=ticks)
    leg = deal_in(venue.state, trade).legs[0 if lots > 0 else 1]
    leg.fees = fees
    return leg


def own(venue: Venue, name: str, amount: int, asset: int = USDC) -> None:
    """What an account has, from or to nowhere in particular."""
    which = node(venue.state.account_numbers[name], GENERAL, asset)
    venue.state.ledger.pay(which, asset, amount - venue.state.ledger.balance(which))
    venue.state.ledger.take_posted()
    venue.state.slack.clear()
