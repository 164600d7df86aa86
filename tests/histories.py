"""Short histories that touch every command, kept as a journal keeps them."""

from __future__ import annotations

from random import Random
from typing import Any

from solvent import publishing
from solvent.engine.apply import Applied, apply
from solvent.engine.state import State
from solvent.errors import Reject
from solvent.feeds.library import rulebook_source
from solvent.instruments import Kind
from solvent.messages import commands as c
from solvent.messages.codec import Sealed
from solvent.messages.fields import (
    AccountKind,
    Command,
    CoverFrom,
    IndexPrice,
    MarginMode,
    MarkPrice,
    OpeningBalance,
    OpeningPosition,
    Phase,
    Share,
    Side,
)
from solvent.sim import worlds
from solvent.units import DAY_MS, MINUTE_MS

Row = tuple[int, int, str, bytes, bytes, bytes]
FEES: tuple[dict[str, object], ...] = (
    {"component": "taker", "rate": 0.0005, "of": "notional", "premium_cap": 0.125},
    {"component": "maker", "rate": -0.0001, "payer": "maker"},
    {"component": "insurance", "rate": 0.00003, "payer": "both", "receiver": "insurance"},
    {"component": "between", "rate": 0.0002, "receiver": "maker", "kinds": ["perpetual", "future"]},
    {"component": "liquidity", "rate": 0.0001, "receiver": "liquidity", "auction": "split"},
    {"component": "opening", "rate": 0.0003, "auction": "skipped"},
)
HOUSES: dict[str, dict[str, object]] = {
    "debt": {"realise": "on_close", "losses": "debt"},
    "collect": {"realise": "at_mark", "losses": "collect", "money_rounding": "half_even"},
    "mixed": {
        "realise": "at_mark", "losses": "debt", "entry_price": "whole_points",
        "money_rounding": "toward_zero", "reducing": "margin",
    },
    "hard": {"realise": "on_close", "losses": "collect", "reducing": "none"},
    "vega": {},
}  # fmt: skip
"""Ways in which money moves; the last is Vega's own, by contract."""
FUTURES = ("BTC-PERPETUAL", "BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL", "BTC_USDC-WEEK")
LINEAR = FUTURES[1:]
MANY = ("alice", "bob", "carol", "dave", "erin", "frank")


class History:
    """A venue's books and their journal, command by command."""

    def __init__(self, house: str, *, fees: tuple[dict[str, object], ...] = FEES) -> None:
        self.state = State()
        self.rows: list[Row] = []
        self.time_ms: int = worlds.START_MS
        self.house = house
        self.by_contract = house == "vega"
        self.scope = "linear" if self.by_contract else "first"
        self.rulebook = "vega" if self.by_contract else "deribit-pm"
        self._fees = fees
        self._found()

    def apply(self, command: Command) -> Applied:
        """Apply a command, and keep it unless it repeats one."""
        found = apply(self.state, Sealed(self.state.log.sequence + 1, self.time_ms, command))
        if found.chain:
            self.rows.append(
                (self.state.log.sequence, self.time_ms, found.kind, found.command, found.stored,
                 found.chain)
            )  # fmt: skip
        return found

    def told(self, kind: type[Command], /, **fields: Any) -> Applied:
        """A command of a kind, done or not."""
        key = f"k{len(self.rows)}"
        return self.apply(kind(key=key, actor="op", **fields))

    def must(self, kind: type[Command], /, **fields: Any) -> Applied:
        """A command that is done."""
        found = self.told(kind, **fields)
        assert found.code == 0, (kind.__name__, fields, found.events)
        return found

    def refused(self, code: Reject, kind: type[Command], /, **fields: Any) -> None:
        """A command that is not."""
        found = self.told(kind, **fields)
        assert found.code == code, (kind.__name__, found.events)

    # ── the venue ────────────────────────────────────────────────────────────────────────────────

    def _found(self) -> None:
        for asset, decimals in (("USDC", 6), ("BTC", 8), ("ETH", 9)):
            self.must(c.ListAsset, asset=asset, decimals=decimals)
        for one in worlds.market(self.scope).universe.instruments:
            listing = publishing.listing(one, key=f"list {one.symbol}", actor="op")
            if self.by_contract:
                listing = worlds._by_contract(listing, Random(1))
            assert self.apply(listing).code == 0
        for name in self.rulebooks:
            text = rulebook_source(name)
            if self.by_contract:
                text = text.replace("[engine]", f"[engine]\nage_ms_max = {30 * DAY_MS}", 1)
            else:
                house = {**HOUSES[self.house], "age_ms_max": 30 * DAY_MS}
                text = worlds.with_engine(text, house, self._fees)
            self.must(c.AdoptRulebook, name=name, toml=text, day=worlds.DAY,
                      venue=name == self.rulebook)  # fmt: skip
        self.publish()
        self.arrays()
        for name in MANY:
            self.open(name)

    @property
    def rulebooks(self) -> tuple[str, ...]:
        """The venue's, and one that isolates positions."""
        return ("vega",) if self.by_contract else ("deribit-pm", "hyperliquid")

    def open(self, name: str, *, kind: AccountKind = AccountKind.USER, usdc: int = 10**12) -> None:
        """An account with money."""
        rulebook = self.rulebooks[-1] if name == "dave" else self.rulebook
        self.must(c.OpenAccount, account=name, kind=kind, rulebook=rulebook)
        if usdc:
            self.must(c.Deposit, account=name, asset="USDC", amount=usdc)
            self.must(c.Deposit, account=name, asset="BTC", amount=10**10)

    def arrays(self, *, btc: float = 1.0) -> None:
        """Risk arrays of now."""
        for name in self.rulebooks:
            command = worlds.arrays(
                name, self.scope, btc=btc, eth=1.0, as_of_ms=self.time_ms,
                key=f"arrays {len(self.rows)}",
            )  # fmt: skip
            assert self.apply(command).code == 0

    def points(self, symbol: str, *, btc: float = 1.0) -> int:
        """A contract's mark where bitcoin's price is so many times that of the start."""
        contract = self.state.contracts[self.state.contract_numbers[symbol]]
        return worlds.prices(self.scope, btc=btc, eth=1.0).points(contract.listing)

    def publish(self, *, btc: float = 1.0, later_ms: int = 0) -> None:
        """A market; what is settled has no price any more."""
        self.time_ms += later_ms
        told = worlds.prices(self.scope, btc=btc, eth=1.0)
        marks = tuple(
            MarkPrice(one.listing.symbol, told.points(one.listing), 0)
            for one in self.state.contracts
            if not one.settled
        )
        index = tuple(IndexPrice(name, price, 0) for name, price in told.index.items())
        self.must(c.PublishMarket, index=index, marks=marks)

    def ticks(self, symbol: str, *, times: float = 1.0) -> int:
        """A price near the mark, in ticks."""
        contract = self.state.contracts[self.state.contract_numbers[symbol]]
        points = contract.mark_points or 0
        return max(1, round(points * times / contract.deal.points_per_tick))

    def trade(
        self, buyer: str, seller: str, symbol: str, lots: int, *, times: float = 1.0,
        aggressor: Side | None = Side.BUY, **orders: str,
    ) -> Applied:  # fmt: skip
        """A trade near the mark, done or not."""
        return self.told(
            c.Trade, buyer=buyer, seller=seller, symbol=symbol, lots=lots,
            price_ticks=self.ticks(symbol, times=times), aggressor=aggressor, **orders,
        )  # fmt: skip


def every_command(house: str) -> History:
    """A history in which every command is done at least once, and some are refused."""
    h = History(house)
    go_through(h)
    return h


def go_through(h: History) -> None:
    """Every command at least once."""
    _cash(h)
    _trading(h)
    _modes(h)
    _periods(h)
    _distress(h)
    _endings(h)


def halfway(house: str) -> History:
    """A venue that trades, in which two accounts are under liquidation."""
    h = History(house)
    for part in (_cash, _trading, _modes, _periods, _crash):
        part(h)
    return h


def _cash(h: History) -> None:
    h.must(c.Deposit, account="insurance", asset="USDC", amount=10**11)
    h.must(c.Deposit, account="venue", asset="BTC", amount=10**7)
    money = {"account": "alice", "asset": "USDC", "amount": 777_777}
    h.must(c.AnnounceDeposit, reference="in1", **money)
    h.must(c.ConfirmDeposit, reference="in1")
    h.must(c.AnnounceDeposit, reference="in2", **money)
    h.must(c.CancelDeposit, reference="in2")
    h.must(c.RequestWithdrawal, reference="out1", **money)
    h.must(c.ConfirmWithdrawal, reference="out1")
    h.must(c.RequestWithdrawal, reference="out2", **money)
    h.must(c.CancelWithdrawal, reference="out2")
    h.refused(Reject.REFERENCE_UNKNOWN, c.CancelWithdrawal, reference="out2")
    h.must(c.Transfer, source="alice", target="bob", asset="USDC", amount=12_345)
    h.open("member", kind=AccountKind.MEMBER)
    h.must(c.ContributeFund, account="member", asset="USDC", amount=10**9)
    h.must(c.ReturnFund, account="member", asset="USDC", amount=10**8)
    h.refused(Reject.BALANCE_INSUFFICIENT, c.Transfer, source="alice", target="bob", asset="ETH",
              amount=1)  # fmt: skip
    h.must(c.Heartbeat)


def _symbols(h: History) -> tuple[str, ...]:
    if h.by_contract:
        return LINEAR
    return (*FUTURES, "BTC-MONTH-60000-P", "ETH_USDC-WEEK-2000-C", "BTC-CS-WEEK", "ETH_BTC-QUANTO")


def _trading(h: History) -> None:
    for place, symbol in enumerate(_symbols(h)):
        buyer, seller = MANY[place % 3], MANY[(place + 1) % 3]
        h.trade(buyer, seller, symbol, 7, aggressor=Side.SELL)
        h.trade(buyer, seller, symbol, 4, times=1.01, aggressor=None)
        h.trade(seller, buyer, symbol, 3, times=0.993)
        h.trade(seller, buyer, symbol, 13, times=1.004)
        h.trade("carol", "erin", symbol, 5)
    order = {"symbol": "BTC_USDC-PERPETUAL", "lots": 9, "price_ticks": 120_000}
    h.must(c.PlaceOrder, account="erin", order="o1", side=Side.BUY, **order)
    h.must(c.PlaceOrder, account="erin", order="o2", side=Side.BUY, **order)
    h.must(c.Trade, buyer="erin", seller="alice", symbol="BTC_USDC-PERPETUAL", lots=4,
           price_ticks=119_999, aggressor=Side.SELL, buy_order="o1")  # fmt: skip
    h.must(c.CancelOrder, account="erin", order="o2")
    h.must(c.SetPhase, symbol="BTC_USDC-PERPETUAL", phase=Phase.AUCTION)
    h.trade("alice", "bob", "BTC_USDC-PERPETUAL", 11, aggressor=None)
    h.must(c.SetPhase, symbol="BTC_USDC-PERPETUAL", phase=Phase.CONTINUOUS)
    h.must(c.FreezeAccount, account="frank", reason="a look")
    h.refused(Reject.ACCOUNT_FROZEN, c.Transfer, source="frank", target="bob", asset="USDC",
              amount=1)  # fmt: skip
    h.must(c.UnfreezeAccount, account="frank")
    h.must(c.AssignRulebook, account="frank", rulebook=h.rulebook)


def _modes(h: History) -> None:
    who = {"account": "dave", "symbol": "ETH_USDC-PERPETUAL"}
    h.told(c.SetMarginMode, **who, mode=MarginMode.ISOLATED, leverage="3")
    for lots, times in ((17, 1.0), (5, 0.99), (-9, 1.01), (-30, 1.02), (12, 0.98)):
        pair = ("dave", "erin") if lots > 0 else ("erin", "dave")
        h.trade(*pair, "ETH_USDC-PERPETUAL", abs(lots), times=times)
    if not h.by_contract:
        h.must(c.AddIsolatedMargin, **who, amount=1_234_567)
        h.must(c.RemoveIsolatedMargin, **who, amount=34_567)
        h.must(c.SetLeverage, **who, leverage="2.5")
        h.trade("dave", "erin", "ETH_USDC-PERPETUAL", 5)
        h.trade("dave", "erin", "ETH_USDC-PERPETUAL", 6)
        h.must(c.SetMarginMode, **who, mode=MarginMode.CROSS)
        h.must(c.SetMarginMode, **who, mode=MarginMode.ISOLATED, margin_factor="0.7")
    h.told(c.SetLeverage, **who, margin_factor="0.9")
    h.must(c.SetMarginMode, account="frank", symbol="BTC_USDC-WEEK", mode=MarginMode.CROSS)


def _periods(h: History) -> None:
    perpetuals = [one for one in _symbols(h) if one.endswith("PERPETUAL")]
    for step, btc in enumerate((1.002, 0.97, 1.04)):
        h.publish(btc=btc, later_ms=10 * MINUTE_MS)
        h.arrays(btc=btc)
        for symbol in perpetuals:
            rate = None if h.by_contract and step else ("0.000125", "-0.00031", "0.0007")[step]
            h.must(c.PayFunding, symbol=symbol, until_ms=h.time_ms, rate=rate)
            h.must(c.SettleVariation, symbol=symbol)
        h.trade("alice", "bob", perpetuals[0], 3)
        h.trade("bob", "carol", perpetuals[-1], 2)
    h.refused(Reject.PERIOD_PAID, c.PayFunding, symbol=perpetuals[0], until_ms=h.time_ms, rate="0")


def _distress(h: History) -> None:
    """Every way out of a crash."""
    _crash(h)
    symbol = "BTC_USDC-PERPETUAL"
    close = {"symbol": symbol, "price_ticks": h.ticks(symbol)}
    h.must(c.Liquidate, account="weak", counterparty="carol", lots=900, fee_ppm=0, **close)
    h.must(c.Deleverage, account="weak", counterparty="alice", lots=800, **close)
    h.must(c.TakeOver, account="weak", lots=1_300, **close)
    h.must(c.TakeOver, account="poor", lots=1_000, **close)
    h.must(c.Deposit, account="poor", asset="USDC", amount=_debt(h, "poor") + 10**10)
    h.must(c.Liquidate, account="poor", counterparty="bob", lots=1_999, fee_ppm=5_003, **close)
    h.must(c.TakeOver, account="poor", lots=1, **close)
    h.must(c.AccrueInterest, asset="USDC", until_ms=h.time_ms, rate="0.0001")
    debt = _debt(h, "weak")
    if debt > 10_000:
        h.must(c.CoverDebt, account="weak", asset="USDC", amount=debt // 2,
               source=CoverFrom.INSURANCE)  # fmt: skip
        h.must(c.CoverDebt, account="weak", asset="USDC", amount=1_000, source=CoverFrom.MEMBER,
               member="member")  # fmt: skip
        shares = (Share("alice", _debt(h, "weak") - 77), Share("bob", 70), Share("alice", 7))
        h.must(c.SocialiseLoss, account="weak", asset="USDC", shares=shares)
    h.told(c.EndLiquidation, account="weak")
    h.must(c.Confiscate, account="poor", asset="USDC", amount=900)
    h.must(c.EndLiquidation, account="poor")
    assert h.trade("insurance", "dave", symbol, 300).code == 0


def _crash(h: History) -> None:
    """Two accounts that hold too much, and prices at half."""
    symbol = "BTC_USDC-PERPETUAL"
    for name in ("weak", "poor"):
        h.open(name, usdc=0)
        h.must(c.Deposit, account=name, asset="USDC", amount=3_600_000_000)
        assert h.trade(name, "alice", symbol, 3_000).code == 0, h.rows[-1]
    h.publish(btc=0.5, later_ms=MINUTE_MS)
    h.arrays(btc=0.5)
    h.must(c.SettleVariation, symbol=symbol)
    for name in ("weak", "poor"):
        found = h.told(c.BeginLiquidation, account=name)
        assert found.code == 0, found.events


def _debt(h: History, name: str) -> int:
    return max(0, -balance(h.state, name, "USDC"))


def balance(state: State, name: str, asset: str) -> int:
    """An account's own money."""
    return state.ledger.balance(state.account_numbers[name] << 30 | state.asset_numbers[asset])


def _endings(h: History) -> None:
    h.publish(btc=0.97, later_ms=29 * MINUTE_MS)
    h.publish(btc=1.002, later_ms=7 * DAY_MS - 60 * MINUTE_MS)
    h.must(c.SettleExpiry, symbol="BTC_USDC-WEEK")
    if not h.by_contract:
        for symbol in ("ETH_USDC-WEEK-2000-C", "BTC-CS-WEEK"):
            h.must(c.SettleExpiry, symbol=symbol, price_nano=2_345_678_901_234)
        h.time_ms += 40 * DAY_MS
        h.must(c.SettleExpiry, symbol="BTC-MONTH-60000-P", price_nano=55_000_123_456_789)
    fresh = publishing.listing(
        worlds._listed("SOL_USDC-PERPETUAL", "SOL", "USDC", "USDC", Kind.PERPETUAL),
        key="fresh", actor="op",
    )  # fmt: skip
    assert h.apply(fresh).code == 0
    symbol = fresh.symbol
    for name in ("new1", "new2", "new3"):
        h.open(name, usdc=0)
    h.must(
        c.ImportBooks,
        balances=(
            OpeningBalance("new1", "USDC", 10**10),
            OpeningBalance("new2", "USDC", 10**9 if h.by_contract else -500),
            OpeningBalance("new1", "USDC", 5_000, symbol=symbol),
            OpeningBalance("new3", "USDC", 70, symbol=symbol, for_orders=True),
            OpeningBalance("insurance", "BTC", 10**6),
        ),
        positions=(
            OpeningPosition("new1", symbol, 10, 85_123),
            OpeningPosition("new2", symbol, -7, 85_321),
            OpeningPosition("insurance", symbol, -3, 85_001),
        ),
    )
    h.must(c.OpenAccount, account="gone", kind=AccountKind.USER, rulebook=h.rulebook)
    h.must(c.CloseAccount, account="gone")
    # A contract that nobody holds.
    last = worlds._listed("ETH_USDC-LATER", "ETH", "USDC", "USDC", Kind.PERPETUAL)
    assert h.apply(publishing.listing(last, key="last", actor="op")).code == 0
    h.must(c.DelistInstrument, symbol="ETH_USDC-LATER")


def at_random(house: str, *, seed: int, commands: int) -> History:
    """Trades, orders, money and periods as they come, after the founding alone."""
    rng = Random(seed)
    h = History(house)
    h.must(c.Deposit, account="insurance", asset="USDC", amount=10**9)
    symbols, people = _symbols(h), (*MANY[:3], *MANY[4:])
    for name in ("alice", "bob"):
        h.told(c.SetMarginMode, account=name, symbol=LINEAR[0], mode=MarginMode.ISOLATED,
               leverage="2")  # fmt: skip
    while len(h.rows) < commands:
        draw = rng.random()
        symbol = rng.choice(symbols)
        if draw < 0.75:
            buyer, seller = rng.sample(people, 2)
            h.trade(
                buyer, seller, symbol, rng.choice((1, 2, 3, 10, 77, 1_000)),
                times=rng.uniform(0.97, 1.03), aggressor=rng.choice((Side.BUY, Side.SELL, None)),
            )  # fmt: skip
        elif draw < 0.8:
            btc = rng.choice(worlds.MOVES[:6])
            h.publish(btc=btc, later_ms=rng.choice((0, 1, MINUTE_MS // 60)))
            h.arrays(btc=btc)
        elif draw < 0.86 and symbol.endswith("PERPETUAL"):
            h.time_ms += 1
            rate = rng.choice(("0.0001", "-0.000777", "0.01", "0"))
            h.must(c.PayFunding, symbol=symbol, until_ms=h.time_ms, rate=rate)
        elif draw < 0.92:
            h.told(c.SettleVariation, symbol=symbol)
        elif draw < 0.94:
            h.must(c.SetPhase, symbol=symbol,
                   phase=rng.choice((Phase.AUCTION, Phase.CONTINUOUS)))  # fmt: skip
        elif draw < 0.97:
            amount = rng.choice((1, 10**6, 10**11))
            h.told(c.Transfer, source=rng.choice(people), target=rng.choice(people), asset="USDC",
                   amount=amount)  # fmt: skip
        else:
            h.time_ms += 1
            h.must(c.AccrueInterest, asset="USDC", until_ms=h.time_ms, rate="0.00031")
    return h
