"""From frames to a published market: faults in sources, marks by rule, and what an engine does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from solvent import publishing
from solvent.engine.standing import standing, view
from solvent.errors import InvariantBroken
from solvent.feeds.faults import Injection, Injector
from solvent.feeds.live import GeneratedVenue, Publisher, Why, generated, index_rules, sources_of
from solvent.feeds.live.deribit import Deribit
from solvent.feeds.live.market import LiveMarket
from solvent.feeds.live.messages import Message, Ticker
from solvent.feeds.live.published import Published
from solvent.feeds.market_rules import mark_rule
from solvent.host import Answer, Engine
from solvent.instruments import Kind
from solvent.margining.levels.rulebook import in_force
from solvent.margining.rulebook import read_rulebook
from solvent.market import Flag
from solvent.market.index import Reason
from solvent.market.mark import OptionMarks
from solvent.market.oracles import NANO, Fault
from solvent.messages import commands as c
from solvent.messages.fields import AccountKind
from tests.venues import DOLLAR, TENTH, adoption

X, LINEAR = "BTC-PERPETUAL", "BTC_USDC-PERPETUAL"
NAMES = ("deribit", *(f"deribit#{n}" for n in range(2, 6)))
"""Five venues; the first alone lists options."""
PRICES = ("bid", "ask", "last", "mark", "index", "forward")


def scaled(ticker: Ticker, factor: str) -> Ticker:
    """A ticker whose every price is another one, an inverse option's left as they are."""
    told = {name: getattr(ticker, name) for name in PRICES}
    names = [n for n, one in told.items() if one is not None and one > 10]
    return msgspec.structs.replace(ticker, **{n: told[n] * Decimal(factor) for n in names})


class Floor:
    """Five venues that hear one generated market, each through faults and an adapter of its own."""

    def __init__(self, injection: Injection | None = None) -> None:
        self.venue = GeneratedVenue(
            seed=11, coins=("BTC",), expiries=1, strikes=6, linear=True, jumps=0.0
        )
        self.adapters = {name: Deribit() for name in NAMES}
        self.injectors = {
            name: Injector(replace(injection or Injection(), seed=n))
            for n, name in enumerate(NAMES)
        }
        self.now_ms = self.venue.at_ms
        rules = index_rules(sources_of((name, X) for name in NAMES))
        self.publisher = Publisher(rules, now_ms=self.now_ms)
        self.indices = self.publisher.indices(self.now_ms)

    def step(self, wrong: dict[str, Callable[[Ticker], Ticker | None]]) -> None:
        """The market moves once; some venues tell it wrongly, or not at all."""
        self.venue._move()
        self.now_ms = self.venue.at_ms
        texts = list(self.venue._told())
        for name in NAMES:
            mine = texts if name == NAMES[0] else [one for one in texts if "-PERPETUAL" in one]
            messages: list[Message] = []
            for text in mine:
                for pause, frame in self.injectors[name].through(text):
                    messages += self.adapters[name].take(frame, self.now_ms + pause).messages
            self.publisher.take(told(name, messages, wrong.get(name)))

    def publish(self) -> Published:
        found = self.publisher.publish(self.now_ms)
        assert found is not None
        return found


def told(
    name: str, messages: Iterable[Message], wrong: Callable[[Ticker], Ticker | None] | None
) -> list[Message]:
    """Tickers under a venue's name, as they came to be told."""
    tickers = [one for one in messages if isinstance(one, Ticker)]
    named = [msgspec.structs.replace(one, venue=name) for one in tickers]
    done = named if wrong is None else [wrong(one) for one in named]
    return [one for one in done if one is not None]


def ten_times(ticker: Ticker) -> Ticker:
    return scaled(ticker, "10")


def silent(ticker: Ticker) -> None:
    del ticker


class Tended(Engine):
    """An engine that remembers whose liquidation was begun."""

    begun: set[str]

    def submit_all(
        self, commands: Iterable[Any], *, times_ms: Sequence[int] | None = None
    ) -> list[Answer]:
        sent = list(commands)
        answers = super().submit_all(sent, times_ms=times_ms)
        self.begun |= {one.account for one, answer in zip(sent, answers, strict=True)
                       if isinstance(one, c.BeginLiquidation) and answer.accepted}  # fmt: skip
        return answers


class Desk:
    """An engine on a floor's market: `weak` is long, `short` short, `writer` has an option."""

    def __init__(self, where: Path, floor: Floor) -> None:
        self.floor, self.count = floor, 0
        self.engine = Tended.create(where, clock=lambda: floor.now_ms)
        self.engine.begun = set()
        text = read_rulebook(TENTH, source="tenth")
        self.book: Any = in_force(text, date(2026, 6, 1))  # type: ignore[arg-type]
        found = floor.publish()
        assert found.corrections == ()
        assert found.reasons == []
        self.list(found)
        rules = '[liquidation]\nstages = ["book", "fund", "adl", "socialise"]'
        self.send(adoption("tenth", rules, venue=True))
        self.publish(found)
        universe = found.snapshot.universe
        row = universe.symbols.index(LINEAR)
        lots = round(10_000 / found.snapshot.index[0] / universe.lot_size[row])
        price = round(float(found.snapshot.mark[row] / universe.tick_size[row]))
        for name, dollars in (("other", 10**6), ("weak", 1_100), ("short", 1_100),
                              ("writer", 20_000)):  # fmt: skip
            self.tell(c.OpenAccount, account=name, kind=AccountKind.USER, rulebook="tenth",
                      parent=None)  # fmt: skip
            self.tell(c.Deposit, account=name, asset="USDC", amount=dollars * DOLLAR)
        self.trade("weak", "other", LINEAR, lots, price)
        self.trade("other", "short", LINEAR, lots, price)
        option = next(row for row in np.flatnonzero(universe.is_option).tolist()
                      if universe.settlements[universe.settlement[row]] == "USDC")  # fmt: skip
        tick = round(float(found.snapshot.mark[option] / universe.tick_size[option]))
        self.trade("other", "writer", universe.symbols[option], 1, tick)

    def send(self, command: Any) -> Answer:
        return self.engine.submit_all([command], times_ms=[self.floor.now_ms])[0]

    def tell(self, kind: Any, /, **fields: Any) -> None:
        self.count += 1
        answer = self.send(kind(key=f"k{self.count}", actor="op", **fields))
        assert answer.accepted, answer.events

    def trade(self, buyer: str, seller: str, symbol: str, lots: int, ticks: int) -> None:
        self.tell(c.Trade, buyer=buyer, seller=seller, symbol=symbol, lots=lots, price_ticks=ticks,
                  aggressor=None)  # fmt: skip

    def list(self, found: Published) -> None:
        """Contracts that were not there before: a frame of one may have been lost until now."""
        known = self.engine.state.contract_numbers | self.engine.state.asset_numbers
        for command in publishing.listings(found.snapshot, actor="op"):
            if getattr(command, "symbol", getattr(command, "asset", "")) not in known:
                assert self.send(command).accepted

    def publish(self, found: Published) -> None:
        self.count += 1
        self.list(found)
        market = publishing.market(
            found.snapshot, key=f"market {self.count}", actor="op", indices=found.indices
        )
        told = {one.underlying: one for one in market.index}
        for one in found.indices:
            assert (one.underlying in told) == one.known
            if one.price_nano is not None:
                seen = told[one.underlying]
                assert (seen.price_nano, seen.age_ms) == (one.price_nano, one.age_ms)
        arrays = publishing.arrays(found.snapshot, self.book, name="tenth",
                                   key=f"arrays {self.count}", actor="op")  # fmt: skip
        assert self.send(market).accepted
        assert self.send(arrays).accepted

    def tend(self) -> set[str]:
        """Publish what the floor has, do what is to be done, and whose liquidation began so far."""
        self.publish(self.floor.publish())
        self.engine.tend()
        return self.engine.begun

    def knows(self, name: str) -> bool:
        state = self.engine.state
        return standing(state, view(state, state.account(state.account_numbers[name]))).known


def test_nobody_is_liquidated_on_a_price_that_is_wrong_or_not_known(tmp_path: Path) -> None:
    """Faults in every source all the time; then two of five tell ten times the price, the one that
    lists the options among them; then three; meanwhile the market falls by 7 %. Who is below
    maintenance by that is liquidated once all are well, and nobody else, nor before."""
    floor = Floor(Injection(drop=0.03, duplicate=0.05, reorder=0.05, corrupt=0.02))
    floor.step({})
    desk = Desk(tmp_path / "venue", floor)
    reasons: dict[str, set[Reason]] = {"well": set(), "two": set(), "three": set(), "after": set()}
    phases = ["well"] * 4 + ["two"] * 5 + ["three"] * 6 + ["after"] * 8
    bad = {"well": 0, "two": 2, "three": 3, "after": 0}
    for number, phase in enumerate(phases):
        if number == 12:
            floor.venue._price -= 0.0726
        floor.step(dict.fromkeys(NAMES[: bad[phase]], ten_times))
        if number in (3, 8, 11, 14, len(phases) - 1):
            begun = desk.tend()
        else:
            floor.publisher.indices(floor.now_ms)
            continue
        (index,) = floor.publisher.publish(floor.now_ms).indices  # type: ignore[union-attr]
        reasons[phase].add(index.reason)
        assert desk.knows("weak") == desk.knows("short") == index.known
        true = float(floor.venue.base.index[0] * np.exp(floor.venue._price[0]))
        if index.known:
            assert index.price_nano is not None
            assert abs(index.price_nano / NANO / true - 1.0) < 0.005
        if phase == "two":
            assert not desk.knows("writer"), "nobody else lists his option"
        if phase == "three":
            refused = desk.send(c.BeginLiquidation(key=f"b{number}", actor="op", account="weak"))
            assert refused.code == 643
        assert begun == ({"weak"} if phase == "after" else set()), (number, index.reason)
    assert reasons["well"] == reasons["two"] == reasons["after"] == {Reason.FINE}
    # Before the fall the good ones dissent; after it they leapt, and then the others' leap is not
    # confirmed while anybody says otherwise.
    assert reasons["three"] == {Reason.DISSENT, Reason.LEAP}
    assert sum(sum(one.injected.values()) for one in floor.injectors.values()) > 50
    desk.engine.close()


def test_the_same_fall_that_all_tell_liquidates_at_once(tmp_path: Path) -> None:
    """What the test above waits for is its sources, not its rule: only a leap is confirmed."""
    floor = Floor()
    floor.step({})
    desk = Desk(tmp_path / "venue", floor)
    floor.venue._price -= 0.0726
    floor.step({})
    assert desk.tend() == set(), "a leap, not confirmed yet"
    assert not desk.knows("weak")
    for _ in range(3):
        floor.step({})
        floor.publisher.indices(floor.now_ms)
    assert desk.tend() == {"weak"}
    desk.engine.close()


# ── marks ────────────────────────────────────────────────────────────────────────────────────────


def at(found: Published, symbol: str) -> tuple[float, int]:
    row = found.snapshot.universe.symbols.index(symbol)
    return float(found.snapshot.mark[row]), int(found.snapshot.flags[row])


def why(found: Published) -> dict[str, Why]:
    return {one.symbol: one.why for one in found.corrections}


def marked(
    changes: dict[str, dict[str, Decimal | None]], *, expiries: int = 6, strikes: int = 16,
    **rule: Any,
) -> tuple[Any, Published]:  # fmt: skip
    """What is published of a market at its first step, and of its second in which some tickers are
    changed. One venue with one source."""
    publisher, kept = None, None
    for moment in generated(
        steps=2, seed=3, coins=("BTC",), expiries=expiries, strikes=strikes, jumps=0.0
    ):
        if publisher is None:
            publisher = Publisher(
                index_rules(sources_of([("deribit", X)])), now_ms=moment.at_ms,
                marks=replace(mark_rule("guarded"), **rule),
            )  # fmt: skip
            publisher.take(moment.messages)
            kept = publisher.publish(moment.at_ms)
            continue
        publisher.take(
            msgspec.structs.replace(one, **changes.get(one.symbol, {}))
            for one in moment.messages if isinstance(one, Ticker)
        )  # fmt: skip
        found = publisher.publish(moment.at_ms)
        assert found is not None
        return kept, found
    raise AssertionError


def test_a_perpetuals_mark_beyond_its_band_is_the_books_and_its_basis() -> None:
    """It is told 8 % too high: the median of index, usual basis and the middle."""
    first, plain = marked({})
    assert plain.corrections == ()
    usual, flags = at(plain, X)
    assert not flags & Flag.MARK_HELD
    _, found = marked({X: {"mark": Decimal(round(usual * 1.08, 2))}})
    mark, flags = at(found, X)
    assert flags & Flag.MARK_HELD
    assert why(found) == {X: Why.OUTSIDE}
    index = found.indices[0].price_nano
    assert index is not None
    ticker_middle = sum(sorted([index / NANO, usual, mark])[1:2])
    assert mark == pytest.approx(ticker_middle)
    assert abs(mark / usual - 1.0) < 1e-3
    assert found.snapshot.usable.all()
    # Without a book, the index and the basis that there was.
    _, found = marked({X: {"mark": None, "bid": None, "ask": None}})
    before, _ = at(first, X)
    basis = round((before - first.indices[0].price_nano / NANO) * NANO)
    assert at(found, X)[0] == pytest.approx((index + basis) / NANO, abs=1e-6)
    assert why(found) == {X: Why.MISSING}
    assert "is 6" in found.reasons[0]


def options_of(found: Published) -> list[str]:
    universe = found.snapshot.universe
    return [one for one, kind in zip(universe.symbols, universe.kind, strict=True)
            if kind == Kind.OPTION]  # fmt: skip


def test_options_by_the_surface() -> None:
    """One without any volatility and mark, one with ten times its mark, one with twice its
    volatility: filled, held at the band, and the surface's; or flagged by rule, or as told."""
    _, plain = marked({})
    symbols = options_of(plain)
    dark, high, wild = symbols[-4], symbols[-6], symbols[-9]
    mark, vol = Decimal(repr(at(plain, high)[0])), Decimal("1.1")
    changes: dict[str, dict[str, Decimal | None]] = {
        dark: {"mark": None, "bid": None, "ask": None, "vol": None},
        high: {"mark": mark * 10},
        wild: {"vol": vol},
    }
    _, found = marked(changes)
    assert why(found) == {dark: Why.VOLATILITY, high: Why.OUTSIDE, wild: Why.VOLATILITY}
    assert found.snapshot.usable.all()
    for symbol in (dark, high):
        assert at(found, symbol)[0] == pytest.approx(at(plain, symbol)[0], rel=0.1), symbol
    assert at(found, dark)[1] & (Flag.VOL_FITTED | Flag.MARK_DERIVED) == 4096 + 2048
    assert at(found, high)[1] & Flag.MARK_HELD
    row = found.snapshot.universe.symbols.index(wild)
    assert abs(found.snapshot.vol[row] - plain.snapshot.vol[row]) < 0.02
    assert at(found, wild)[0] == at(plain, wild)[0]
    _, flagged = marked(changes, options=OptionMarks.FLAG)
    lost = [one for one in symbols if at(flagged, one)[1] & Flag.OUT_OF_RANGE]
    assert lost == [high]
    assert next(one for one in flagged.corrections if one.symbol == high).published is None
    _, told_so = marked(changes, options=OptionMarks.TOLD)
    assert at(told_so, high)[0] == float(mark * 10)
    assert [one for one in symbols if at(told_so, one)[1] & Flag.VOL_MISSING] == [dark]


def test_where_there_is_no_surface_mark_and_volatility_must_agree() -> None:
    """Two expiries of three and four strikes have no smile: nothing says which of both is wrong."""
    small = {"expiries": 2, "strikes": 8}
    _, plain = marked({}, **small)
    assert plain.corrections == ()
    symbols = options_of(plain)
    high, wild, dark = symbols[6], symbols[9], symbols[4]
    changes: dict[str, dict[str, Decimal | None]] = {
        high: {"mark": Decimal(repr(at(plain, high)[0])) * 10}, wild: {"vol": Decimal("1.1")},
        dark: {"vol": None},
    }  # fmt: skip
    _, found = marked(changes, **small)
    assert why(found) == {high: Why.CONTRADICTS, wild: Why.CONTRADICTS, dark: Why.VOLATILITY}
    assert {one.published for one in found.corrections} == {None}
    assert found.snapshot.usable.sum() == len(found.snapshot.universe) - 3


def test_a_forward_that_cannot_be_takes_its_expiry_from_margining() -> None:
    """All options of an expiry are priced on a forward 8 % too high, by parity."""
    _, plain = marked({})
    universe = plain.snapshot.universe
    first = min(e for e in universe.expiry_ms.tolist() if e)
    mine = [row for row in range(len(universe)) if universe.expiry_ms[row] == first]
    changes: dict[str, dict[str, Decimal | None]] = {}
    for row in mine:
        if universe.is_call[row]:
            # C − P = 1 − K/F for an inverse option: calls alone are dearer by what F adds.
            more = universe.strike[row] / plain.snapshot.forward[row] * (1 - 1 / 1.08)
            changes[universe.symbols[row]] = {
                "mark": Decimal(repr(float(plain.snapshot.mark[row] + more)))
            }
    _, found = marked(changes)
    gone = {universe.symbols[row] for row in mine}
    assert {one.symbol for one in found.corrections if one.why is Why.FORWARD} == gone
    assert not found.snapshot.usable[mine].any()
    assert found.snapshot.usable[[r for r in range(len(universe)) if r not in mine]].all()


def test_what_is_old_tells_nothing() -> None:
    """The venue that lists the options goes silent: its options cannot be margined a minute later,
    and the perpetual has another's mark."""
    floor = Floor()
    floor.step({})
    assert floor.publish().corrections == ()
    for _ in range(12):
        floor.step({NAMES[0]: silent})
        floor.publisher.indices(floor.now_ms)
    found = floor.publish()
    row = found.indices[0].sources[0]
    assert (row.source, row.fault) == (f"{NAMES[0]}:{X}", Fault.STALE)
    assert found.indices[0].known
    kinds = {Why.VENUE}
    assert set(why(found).values()) == kinds
    assert set(options_of(found)) <= set(why(found))
    assert not at(found, options_of(found)[0])[1] & Flag.INDEX_MISSING
    assert X not in why(found)
    for _ in range(60):
        floor.step(dict.fromkeys(NAMES, silent))
    floor.step({NAMES[0]: silent, NAMES[1]: silent})
    later = floor.publish()
    assert later.indices[0].known
    assert why(later)[options_of(later)[0]] is Why.STALE


def test_an_unknown_index_is_one_reason_and_not_a_hundred() -> None:
    floor = Floor()
    floor.step({})
    floor.step(dict.fromkeys(NAMES[2:], silent))
    floor.now_ms += 11_000
    found = floor.publish()
    assert not found.snapshot.usable.any()
    assert found.reasons == ["BTC: index unknown, quorum; nothing on it can be margined"]


def test_rules_of_sources_and_of_marks() -> None:
    pairs = [("okx", "BTC-USDT"), ("okx", "BTC-USDT-SWAP"), ("binance-spot", "ETHBTC"),
             ("deribit", "BTC-CS-1"), ("deribit#2", "ETH-PERPETUAL")]  # fmt: skip
    assert sources_of(pairs) == {"BTC": ["okx:BTC-USDT-SWAP"], "ETH": ["deribit#2:ETH-PERPETUAL"]}
    for count in range(1, 8):
        (rule,) = index_rules({"BTC": [f"v{n}:X" for n in range(count)]})
        assert rule.quorum == count // 2 + 1
        assert rule.leapers == count - rule.quorum
        assert rule.tolerated == 0
    wrongs: list[dict[str, Any]] = [{"perpetual_ppm": 0}, {"stale_ms": 0}, {"dated_ppm": 10**6}]
    for wrong in wrongs:
        with pytest.raises(InvariantBroken):
            replace(mark_rule("guarded"), **wrong)
    assert Publisher([], now_ms=0, market=LiveMarket()).publish(1) is None
