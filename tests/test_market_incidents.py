"""From oracles to accounts: whatever sources say, nobody is wrongly liquidated.

A venue of four coins, each with an index of its own from five sources, and of three assets that can
be redeemed. Prices go the whole way: quotes, index, snapshot, risk arrays, the engine, and what is
done about accounts that cannot pay.
"""

from __future__ import annotations

import random
from datetime import date
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from solvent import publishing
from solvent.api import prepare
from solvent.engine.image import image, restore
from solvent.engine.reference import instrument_of
from solvent.engine.standing import standing, view
from solvent.engine.state import State
from solvent.feeds.market_rules import index_rule, redemption_rule
from solvent.margining.assess import assess
from solvent.margining.levels.book import Balances
from solvent.margining.levels.rulebook import in_force
from solvent.margining.levels.text import LevelsText
from solvent.margining.rulebook import read_rulebook
from solvent.market import Flag, Quotes, Snapshot, assemble
from solvent.market.depeg import Peg, PegState
from solvent.market.index import Index, IndexRule, Reason, begin
from solvent.market.indexed import index_prices, indexed
from solvent.market.oracles import NANO, Fault, Quote
from solvent.market.redemption import Rate, valued
from solvent.messages import commands as c
from solvent.messages.events import Rejected
from solvent.risk import Book
from solvent.units import DAY_MS, TimeMs
from tests.oracled import FAULTS, FROM, T0, Oracles, at, rule_of, told, wander
from tests.tended import Tended
from tests.venues import COIN, DOLLAR, TENTH, Venue, adoption, listing, own

WRONG = ("BTC", "WBTC", "STETH", "USDE")
"""What sources are wrong about; ether is always well."""
STARTS = {"BTC": 50_000.0, "WBTC": 50_000.0, "STETH": 2_000.0, "USDE": 1.0, "ETH": 2_000.0}
LINEAR, INVERSE, DATED, ETHER = (
    "BTC_USDC-PERPETUAL",
    "BTC-PERPETUAL",
    "BTC_USDC-DATED",
    "ETH-LINEAR",
)
ACCOUNTS = {"spot": LINEAR, "inverse": INVERSE, "dated": DATED, "wrapped": ETHER, "staked": ETHER,
            "stable": ETHER}  # fmt: skip
"""Who holds what: 10,000 dollars' worth each, with some 700 dollars of margin. 500 are needed."""
OWNED = {"spot": ("USDC", 700 * DOLLAR), "inverse": ("BTC", COIN * 14 // 1_000),
         "dated": ("USDC", 700 * DOLLAR), "wrapped": ("WBTC", COIN * 14 // 1_000),
         "staked": ("STETH", COIN * 35 // 100), "stable": ("USDE", 700 * COIN)}  # fmt: skip


def contracts() -> list[c.ListInstrument]:
    """A perpetual of every coin, and a dated future and an inverse perpetual of bitcoin."""
    small = {"lot_size": "0.001", "tick_size": "0.1"}
    return [
        listing(LINEAR),
        listing(INVERSE),
        listing(DATED, kind="future", expiry_ms=T0 + 30 * DAY_MS),
        listing(ETHER, base="ETH", **small),
        *(listing(f"{name}-LINEAR", base=name, **small) for name in ("WBTC", "STETH", "USDE")),
    ]


@cache
def instruments() -> tuple[Any, ...]:
    return tuple(instrument_of(one) for one in contracts())


@cache
def tenth() -> Any:
    found = read_rulebook(TENTH, source="tenth")
    assert isinstance(found, LevelsText)
    return in_force(found, date(2026, 6, 1))


class Desk(Tended):
    """A venue whose index prices come from indices that are told, or are UNKNOWN."""

    def __init__(self) -> None:
        venue = Venue(State(), T0)
        for asset, decimals in (("USDC", 6), ("BTC", 9), ("WBTC", 9), ("STETH", 9), ("USDE", 9)):
            venue.do(c.ListAsset, asset=asset, decimals=decimals)
        rules = '[liquidation]\nstages = ["book", "fund", "adl", "socialise"]'
        for command in (*contracts(), adoption("tenth", rules, venue=True)):
            found = venue.send(command)
            assert found.code == 0, found.events
        super().__init__(venue)
        self.publish({name: index_at(name, price) for name, price in STARTS.items()})
        venue.open("other", usdc=10**9, btc=10**6 * COIN)
        for name, symbol in ACCOUNTS.items():
            asset, amount = OWNED[name]
            venue.open(name)
            venue.do(c.Deposit, account=name, asset=asset, amount=amount * 10)
            price, lots = {LINEAR: (50_000, 200), DATED: (50_000, 200), INVERSE: (100_000, 1_000),
                           ETHER: (20_000, 5_000)}[symbol]  # fmt: skip
            venue.trade(name, "other", lots, price, symbol=symbol)
            own(venue, name, amount, asset=[one for one, _ in venue.state.assets].index(asset))

    def publish(self, indices: dict[str, Index]) -> Snapshot:
        """Prices and arrays of now; marks are at the index, and where that is not known they are
        whatever they were at the start."""
        snapshot = indexed(market_of(indices, self.venue.time_ms), indices.values())
        told = publishing.market(snapshot, key="", actor="op")
        prices = {one.underlying for one in index_prices(indices.values())}
        assert {one.underlying for one in told.index} == prices
        found = self.venue.tell(
            c.PublishMarket, index=index_prices(indices.values()), marks=told.marks
        )
        assert found.code == 0, found.events
        arrays = publishing.arrays(snapshot, tenth(), name="tenth", key="", actor="op")
        found = self.venue.tell(c.PublishArrays, rulebook="tenth", arrays=arrays.arrays)
        assert found.code == 0, found.events
        return snapshot

    def knows(self, name: str) -> bool:
        """Whether an account's standing is known."""
        return standing(self.state, view(self.state, self.venue.account(name))).known

    def begun(self) -> list[str]:
        """Whose liquidation began, or was asked for."""
        return [one.account for one, _, _ in self.told if isinstance(one, c.BeginLiquidation)]


def market_of(indices: dict[str, Index], time_ms: int) -> Snapshot:
    """A market whose every row is at the index as far as that is known, or else at the start."""
    known = {name: one.price_nano / NANO for name, one in indices.items() if one.price_nano}
    price = np.array([known.get(one.contract.base, STARTS[one.contract.base])
                      for one in instruments()])  # fmt: skip
    count = len(price)
    none = np.full(count, np.nan)
    quotes = Quotes(
        instruments=instruments(), index=price, forward=price, mark=price, vol=none, bid=none,
        ask=none, rate=np.zeros(count), time_ms=np.full(count, time_ms, dtype=np.int64),
    )  # fmt: skip
    return assemble(quotes, as_of_ms=TimeMs(time_ms))


def index_at(name: str, price: float | None, reason: Reason = Reason.QUORUM) -> Index:
    nano = None if price is None else round(price * NANO)
    return Index(underlying=name, time_ms=T0, price_nano=nano, age_ms=0, sources=(),
                 reason=reason if price is None else Reason.FINE)  # fmt: skip


@cache
def ready() -> bytes:
    return image(Desk().state)


def desk() -> Desk:
    """A fresh copy."""
    fresh = Desk.__new__(Desk)
    Tended.__init__(fresh, Venue(restore(ready()), T0))
    return fresh


# ── every fault, every kind of underlying ────────────────────────────────────────────────────────


def all_of(indices: dict[str, Index], pegs: dict[str, PegState], now_ms: int) -> dict[str, Index]:
    """Indices, those that can be redeemed by their rules; their rates are always known."""
    rules = {"WBTC": "BTC", "STETH": "ETH", "USDE": ""}
    shipped = {"WBTC": "WBTC", "STETH": "stETH", "USDE": "USDe"}
    found = dict(indices)
    for name, coin in rules.items():
        rule = redemption_rule(shipped[name])
        told = Index(underlying=rule.asset, time_ms=now_ms, price_nano=indices[name].price_nano,
                     reason=indices[name].reason, age_ms=0, sources=())  # fmt: skip
        done = valued(
            rule, pegs[name], told, Rate(rate=Fraction(1), time_ms=now_ms), indices.get(coin),
            now_ms=now_ms,
        )  # fmt: skip
        pegs[name] = done.peg
        found[name] = index_at(name, None if done.index.price_nano is None
                               else done.index.price_nano / NANO, done.index.reason)  # fmt: skip
    return found


@pytest.mark.parametrize("bad", [2, 4])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_a_source_liquidates_anybody(fault: str, bad: int) -> None:
    """Two or four of five sources of all but ether. Prices wander by less than anybody's margin.
    The index holds, or is UNKNOWN: then so is who depends on it, and nothing happens to him."""
    engine, rng = desk(), random.Random(f"{fault} {bad}")
    oracles = {name: Oracles(rule_of(5, underlying=name)) for name in STARTS}
    truths = {name: wander(rng, 18, start=price, step=2e-4) for name, price in STARTS.items()}
    truths["WBTC"], truths["STETH"] = truths["BTC"], truths["ETH"]
    pegs = {name: PegState(peg=Peg.HELD) for name in ("WBTC", "STETH", "USDE")}
    unknown = 0
    for step in range(1, 18):
        indices = {}
        for name, one in oracles.items():
            said = []
            for n in range(5):
                source = f"s{n}"
                if n < bad and name in WRONG and step >= FROM:
                    said += FAULTS[fault](source, step, truths[name][: step + 1])
                else:
                    price = truths[name][step] * (1 + rng.uniform(-2e-5, 2e-5))
                    said.append(told(source, step, price))
            indices[name] = one.hear(said, step=step)
        indices = all_of(indices, pegs, at(step))
        assert indices["ETH"].known
        if step < FROM:
            assert all(one.known for one in indices.values())
        if step not in (2, FROM, FROM + 2, 17):
            continue
        engine.venue.time_ms = at(step)
        engine.publish(indices)
        engine.tend()
        assert engine.begun() == [], step
        needs = {"spot": "BTC", "inverse": "BTC", "dated": "BTC", "wrapped": "WBTC",
                 "staked": "STETH", "stable": "USDE"}  # fmt: skip
        for account, name in needs.items():
            assert engine.knows(account) == indices[name].known, (account, step)
            unknown += not indices[name].known
            if not indices[name].known:
                found = engine.venue.tell(c.BeginLiquidation, account=account)
                assert found.code == 643, found.events
    # What stands still where nothing moves by more than the clamp is as good as any.
    assert unknown > 0 or bad == 2 or fault == "frozen"


def test_a_market_that_falls_does_liquidate() -> None:
    """The same accounts, by 3 % that all sources tell: the margin of each is gone."""
    engine = desk()
    fallen = {name: index_at(name, price * 0.97) for name, price in STARTS.items()}
    engine.venue.time_ms = at(1)
    engine.publish(fallen)
    engine.tend()
    assert set(engine.begun()) >= {"spot", "inverse", "dated"}


def test_unknown_freezes_and_a_price_thaws() -> None:
    engine = desk()
    told = {name: index_at(name, price * 0.9) for name, price in STARTS.items()}
    engine.venue.time_ms = at(1)
    snapshot = engine.publish({**told, "BTC": index_at("BTC", None), "ETH": told["ETH"]})
    bitcoin = snapshot.universe.underlying == snapshot.universe.underlyings.index("BTC")
    assert (snapshot.flags[bitcoin] & Flag.INDEX_MISSING).all()
    assert not (snapshot.flags[~bitcoin] & Flag.INDEX_MISSING).any()
    assert snapshot.price_of("BTC") is None
    engine.tend()
    assert not {"spot", "inverse", "dated"} & set(engine.begun())
    found = engine.venue.tell(
        c.Trade, buyer="spot", seller="other", symbol=LINEAR, lots=1, price_ticks=45_000,
        aggressor=None,
    )  # fmt: skip
    assert isinstance(found.events[0], Rejected)
    assert found.code == 643
    engine.venue.time_ms = at(2)
    engine.publish(told)
    engine.tend()
    assert {"spot", "inverse", "dated"} <= set(engine.begun())


# ── Deribit, 31 October 2019 ─────────────────────────────────────────────────────────────────────

SEVEN = ("binance", "bitstamp", "coinbase", "gemini", "kraken", "lmax", "okx")


def quotes(
    names: tuple[str, ...], prices: dict[str, float], step: int, usual: float
) -> list[Quote]:
    """One message of each, a little apart."""
    return [told(name, step, prices.get(name, usual * (1 + (n - 3) * 2e-5 + step % 900 * 1e-6)))
            for n, name in enumerate(names)]  # fmt: skip


@pytest.mark.parametrize("name", ["guarded", "tolerant"])
def test_deribit_2019_one_constituent_of_seven_moves_no_index(name: str) -> None:
    """One of seven told 15.6 % less for half a minute and was not left out: the index fell from
    9,150 to 7,720 and 150 bitcoin were paid back. Here it is left out, and everybody stands."""
    rule, engine = index_rule(name), desk()
    oracles, usual = Oracles(rule), STARTS["BTC"]
    others = {other: index_at(other, price) for other, price in STARTS.items()}
    for step in range(1, 31):
        wrong = {"kraken": usual * 7_720 / 9_150 * (1 + step * 1e-5)} if step > 3 else {}
        index = oracles.hear(quotes(SEVEN, wrong, step, usual), step=step)
        assert index.price_nano is not None
        assert abs(index.price_nano / NANO / usual - 1) < 2e-4
        kraken = next(row for row in index.sources if row.source == "kraken")
        assert kraken.agrees == (step <= 3)
        if step % 9 == 0:
            engine.venue.time_ms = at(step)
            engine.publish({**others, "BTC": index})
            engine.tend()
    assert engine.begun() == []
    assert {engine.knows(who) for who in ("spot", "inverse", "dated")} == {True}


def test_deribit_2019_a_mean_of_all_seven_liquidates() -> None:
    """What happened there: the mean, the wrong one in it, is 2.2 % lower."""
    engine = desk()
    others = {other: index_at(other, price) for other, price in STARTS.items()}
    mean = STARTS["BTC"] * (6 + 7_720 / 9_150) / 7
    engine.venue.time_ms = at(1)
    engine.publish({**others, "BTC": index_at("BTC", mean)})
    engine.tend()
    assert {"spot", "inverse", "dated"} <= set(engine.begun())


# ── Binance, 10 October 2025 ─────────────────────────────────────────────────────────────────────

FIVE = ("binance", "bybit", "coinbase", "curve", "uniswap")


def usde(prices: dict[str, float], step: int, oracles: Oracles, peg: PegState) -> Any:
    """The index of the stable coin by the shipped rules, and its peg."""
    index = oracles.hear(quotes(FIVE, prices, step, 0.9995), step=step)
    rule = redemption_rule("USDe")
    rate = Rate(rate=Fraction(1), time_ms=at(step))
    return valued(rule, peg, index, rate, None, now_ms=at(step))


def test_binance_2025_one_venues_own_book_is_not_a_depeg() -> None:
    """USDe fell to 0.65 on one venue's book, for forty minutes, and was at par everywhere else."""
    engine, oracles, peg = desk(), Oracles(index_rule("stable")), PegState(peg=Peg.HELD)
    others = {name: index_at(name, price) for name, price in STARTS.items()}
    for step in (*range(1, 40), *range(40, 2_400, 40)):
        wrong = {"binance": max(0.65, 1 - 0.02 * step)} if step > 3 else {}
        found = usde(wrong, step, oracles, peg)
        peg = found.peg
        assert found.index.known
        assert abs(found.index.price_nano / NANO - 0.9995) < 0.005
        assert peg.peg is Peg.HELD
        if step in (3, 39, 2_360):
            engine.venue.time_ms = at(step)
            engine.publish({**others, "USDE": index_at("USDE", found.index.price_nano / NANO)})
            engine.tend()
    assert engine.begun() == []
    assert engine.knows("stable")


def test_binance_2025_its_own_book_alone_would_have_liquidated() -> None:
    engine = desk()
    others = {name: index_at(name, price) for name, price in STARTS.items()}
    engine.venue.time_ms = at(1)
    engine.publish({**others, "USDE": index_at("USDE", 0.65)})
    engine.tend()
    assert engine.begun() == ["stable"]


def test_a_stable_coin_that_is_lost_everywhere_is_lost() -> None:
    """All sources fall: the floor holds for ten minutes of it, and then the market counts."""
    oracles, peg, seen = Oracles(index_rule("stable")), PegState(peg=Peg.HELD), []
    for step in range(1, 700):
        prices = {name: 0.65 + n * 1e-5 + step * 1e-7 for n, name in enumerate(FIVE)}
        found = usde(prices if step > 20 else {}, step, oracles, peg)
        peg = found.peg
        if found.index.known:
            seen.append((peg.peg, round(found.index.price_nano / NANO, 2)))
    assert list(dict.fromkeys(seen)) == [
        (Peg.HELD, 1.0), (Peg.STRAINED, 0.95), (Peg.LOST, 0.65),
    ]  # fmt: skip


def test_binance_2025_a_staked_coin_falls_no_further_than_its_band() -> None:
    """wBETH and BNSOL: a coin that can be redeemed is within five parts in a hundred of that."""
    rule = redemption_rule("stETH")
    found = valued(
        rule, PegState(peg=Peg.HELD), index_at("stETH", 430.0),
        Rate(rate=Fraction(1), time_ms=T0), index_at("ETH", 2_000.0), now_ms=T0,
    )  # fmt: skip
    assert found.index.price_nano == 1_900 * NANO
    assert found.peg.peg is Peg.STRAINED


# ── dYdX, 10 October 2025 ────────────────────────────────────────────────────────────────────────

HALT = 8 * 3_600


def restarted(rule: IndexRule) -> Oracles:
    """The reader began anew after eight hours."""
    oracles = Oracles(rule)
    oracles.sources = begin(rule, now_ms=at(HALT))
    return oracles


@pytest.mark.parametrize("late", [4, 6, 7])
def test_dydx_2025_after_a_halt_no_stale_price_liquidates(late: int) -> None:
    """A chain came back, its sources did not: what they had said before the halt, 6 % lower, was
    what accounts were liquidated by. Here nothing is known until a fresh quorum has spoken."""
    engine, oracles = desk(), restarted(index_rule("guarded"))
    others = {name: index_at(name, price) for name, price in STARTS.items()}
    old = STARTS["BTC"] * 0.94
    for step in range(HALT, HALT + 12):
        said = quotes(SEVEN, {}, step, STARTS["BTC"])[late:]
        for n, name in enumerate(SEVEN[:late]):
            back = step - HALT - 6 + n % 2
            if back < 0:
                # It reads what lay in its queue, under the times of then.
                said.append(told(name, 100 + step - HALT, old * (1 + n * 1e-5)))
            else:
                said.append(told(name, step, STARTS["BTC"] * (1 + n * 1e-5 + back * 1e-6)))
        index = oracles.hear(said, step=step)
        engine.venue.time_ms = at(step)
        engine.publish({**others, "BTC": index})
        engine.tend()
        assert engine.knows("spot") == index.known
        if step < HALT + 5:
            assert index.reason is Reason.QUORUM
            assert {row.fault for row in index.sources} >= {Fault.EARLY}
    assert index.known
    assert engine.begun() == []


def test_dydx_2025_six_that_lag_are_not_believed_against_one_that_does_not() -> None:
    """Six tell the price of before the halt as if it were of now, and one does not."""
    oracles = restarted(index_rule("guarded"))
    old = dict.fromkeys(SEVEN[:6], STARTS["BTC"] * 0.94)
    for step in range(HALT, HALT + 9):
        drifting = {name: price * (1 + step * 1e-7) for name, price in old.items()}
        index = oracles.hear(quotes(SEVEN, drifting, step, STARTS["BTC"]), step=step)
        assert (index.price_nano, index.reason) == (None, Reason.DISSENT)


# ── collateral whose index is not known, under either family of rulebooks ────────────────────────


@pytest.mark.parametrize("name", ["deribit-pm", "tenth"])
def test_collateral_of_an_unknown_index_makes_its_owner_unknown(
    name: str, snapshot: Snapshot
) -> None:
    """It does not count as nothing: then whoever has pledged it would be liquidated."""
    rulebook = tenth() if name == "tenth" else name
    symbol = next(one for one in snapshot.universe.symbols if one.startswith("BTC-PERP"))
    row = snapshot.universe.symbols.index(symbol)
    book = Book(
        accounts=["pledges", "owes", "has none"], first=np.array([0, 1, 2, 3]),
        instrument=np.full(3, row, dtype=np.int64), lots=np.full(3, 100.0),
        entry_lots=np.full(3, 100.0), entry_value=np.zeros(3),
    )  # fmt: skip

    def known(market: Snapshot) -> list[bool]:
        index = [market.price_of("ETH") or np.nan, 1.0, market.price_of("BTC") or np.nan]
        balances = Balances(
            account=np.array([0, 0, 1, 1, 2, 2]), asset=["ETH", "USDC"] + ["ETH", "BTC"] * 2,
            amount=np.array([9.0, 1e4, -1.0, 9.0, 0.0, 9.0]),
            price=np.array([index[0], 1.0, index[0], index[2], index[0], index[2]]),
        )  # fmt: skip
        found = assess(prepare(market, rulebook), book, balances=balances).known
        return [bool(one) for one in found]

    assert known(snapshot) == [True, True, True]
    gone = indexed(snapshot, [index_at("ETH", None), index_at("NONE", 1.0)])
    assert known(gone) == [False, False, True]
    assert known(indexed(gone, [index_at("ETH", snapshot.price_of("ETH"))])) == [True] * 3
