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
from solvent.messages.events import OrderReduced, ProtectionTripped, Traded, Uncrossed
from solvent.messages.fields import (
    AccountKind,
    ComboLeg,
    Command,
    CoverFrom,
    IndexPrice,
    MarginMode,
    MarkPrice,
    OpeningBalance,
    OpeningPosition,
    Phase,
    SelfTrade,
    Share,
    Side,
    StopAt,
    TimeInForce,
    Trigger,
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
    "hard": {
        "realise": "on_close", "losses": "collect", "reducing": "none", "matching": "outside",
    },
    "vega": {},
}  # fmt: skip
"""Ways in which money moves; in `hard` orders are not matched; the last is Vega's own, by
contract."""
AUCTION = """
[liquidation.auction]
fee = 0.02
whole_below = 1.0
"""
PERPETUAL = "BTC_USDC-PERPETUAL"
COMBO = "BTC-CALENDAR"
FUTURES = ("BTC-PERPETUAL", PERPETUAL, "ETH_USDC-PERPETUAL", "BTC_USDC-WEEK")
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
        self.matches = house != "hard"
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
                text = worlds.with_engine(text, house, self._fees) + AUCTION
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

    def order(
        self, account: str, side: Side, lots: int, ticks: int | None, *, symbol: str = PERPETUAL,
        **terms: Any,
    ) -> Applied:  # fmt: skip
        """An order, done or not; its name is the number of the command."""
        return self.told(
            c.PlaceOrder, account=account, order=f"o{len(self.rows)}", symbol=symbol, side=side,
            lots=lots, price_ticks=ticks, **terms,
        )  # fmt: skip

    def rests(self, account: str, side: Side, lots: int, ticks: int | None, **terms: Any) -> str:
        """An order that is taken; its name."""
        found = self.order(account, side, lots, ticks, **terms)
        assert found.code == 0, found.events
        return f"o{len(self.rows) - 1}"


def every_command(house: str) -> History:
    """A history in which every command is done at least once, and some are refused."""
    h = History(house)
    go_through(h)
    return h


def go_through(h: History) -> None:
    """Every command at least once."""
    from tests.winding_up import wind_up

    for part in (_cash, _trading, _orders, _blocks, _modes, _periods, _distress, wind_up, _endings):
        part(h)


def halfway(house: str) -> History:
    """A venue that trades, in which two accounts are under liquidation."""
    h = History(house)
    for part in (_cash, _trading, _orders, _blocks, _modes, _periods, _crash):
        part(h)
    return h


def with_books(house: str) -> History:
    """A venue whose books hold every sort of order, in the midst of an auction."""
    h = History(house)
    for part in (_cash, _trading, _orders, _blocks):
        part(h)
    h.must(c.SetPhase, symbol=PERPETUAL, phase=Phase.AUCTION)
    for name, side, away in (("alice", Side.BUY, 3), ("bob", Side.SELL, -3)):
        h.rests(name, side, 12, h.ticks(PERPETUAL) + away, display_lots=5)
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
    h.must(c.SetInputs, account="frank", inputs={}, reason="none are asked for")


def _orders(h: History) -> None:
    """All that orders can be and do, as far as they are matched here; some rest at the end."""
    h.must(c.SetProtection, account="frank", group="mm", window_ms=MINUTE_MS, frozen_ms=0, lots=25)
    if h.matches:
        _quotes(h)
        _stops(h)
        _auction(h)
    ticks = h.ticks(PERPETUAL)
    amended = h.rests("carol", Side.BUY, 11, ticks - 300, session="evening")
    h.must(c.AmendOrder, account="carol", order=amended, lots=7)
    h.must(c.AmendOrder, account="carol", order=amended, price_ticks=ticks - 250)
    h.refused(Reject.ORDER_TERMS_INVALID, c.AmendOrder, account="carol", order=amended)
    h.rests("carol", Side.SELL, 5, ticks + 300, session="evening")
    h.must(c.Disconnect, account="carol", session="evening")
    h.refused(Reject.ORDER_TERMS_INVALID, c.CancelOrders)
    h.rests("bob", Side.SELL, 5, ticks + 301)
    h.must(c.CancelOrders, account="bob", symbol=PERPETUAL, side=Side.SELL)
    h.rests("dave", Side.BUY, 5, ticks - 300, time_in_force=TimeInForce.GTD,
            expire_ms=h.time_ms + 1_000)  # fmt: skip
    h.time_ms += 1_000
    assert h.must(c.Heartbeat).events[:1] == (
        OrderReduced(h.state.account_numbers["dave"], f"o{len(h.rows) - 2}", 0, 0, "expired"),
    )
    h.must(c.ResetProtection, account="frank", group="mm")
    shown = {"display_lots": 4} if h.matches else {}
    for side, away in ((Side.BUY, -400), (Side.SELL, 400)):
        h.rests("frank", side, 20, ticks + away, group="mm", session="day", **shown)
    if h.matches:
        h.told(c.PlaceOrder, account="erin", order="far", symbol=PERPETUAL, side=Side.BUY, lots=3,
               price_ticks=ticks, stop=StopAt(Trigger.LAST, 10**9, True))  # fmt: skip


def _quotes(h: History) -> None:
    """A maker's icebergs, takers of all sorts, and what trips the maker's protection."""
    ticks = h.ticks(PERPETUAL)
    quotes = [
        h.rests("frank", side, 20, ticks + away, group="mm", session="day", display_lots=8)
        for side, away in ((Side.BUY, -10), (Side.BUY, -20), (Side.SELL, 10), (Side.SELL, 20))
    ]
    assert traded(h.order("carol", Side.BUY, 5, ticks + 10, time_in_force=TimeInForce.IOC)) == [5]
    assert traded(h.order("carol", Side.SELL, 3, None)) == [3]
    assert traded(h.order("alice", Side.BUY, 10, ticks + 10, time_in_force=TimeInForce.FOK)) == [
        3, 7,
    ]  # fmt: skip
    for code, terms in (
        (Reject.ORDER_UNFILLABLE, {"time_in_force": TimeInForce.FOK}),
        (Reject.POST_ONLY_CROSSES, {"post_only": True}),
    ):
        assert h.order("alice", Side.BUY, 1_000, ticks + 20, **terms).code == code
    h.refused(Reject.AMEND_BELOW_FILLED, c.AmendOrder, account="frank", order=quotes[2], lots=15)
    tripping = h.order("bob", Side.SELL, 15, ticks - 20)
    assert traded(tripping) == [5, 8]
    assert [type(one) for one in tripping.events].count(ProtectionTripped) == 1
    assert h.order("frank", Side.BUY, 1, ticks - 900, group="mm").code == Reject.PROTECTION_TRIPPED
    h.must(c.ResetProtection, account="frank", group="mm")
    h.must(c.CancelOrders, underlying="BTC")
    for mode in SelfTrade:
        h.rests("bob", Side.SELL, 5, ticks + 5)
        h.order("bob", Side.BUY, 3, ticks + 5, self_trade=mode)
        h.must(c.CancelOrders, account="bob")
    h.rests("bob", Side.BUY, 6, ticks - 5)
    held = h.state.contracts[h.state.contract_numbers[PERPETUAL]].holders
    for name in ("alice", "carol", "erin"):
        lots = held[h.state.account_numbers[name]].lots
        way = Side.SELL if lots > 0 else Side.BUY
        h.rests(name, way, abs(lots), ticks - 5 if lots > 0 else ticks + 5, reduce_only=True)
    h.must(c.CancelOrders, symbol=PERPETUAL)


def traded(found: Applied) -> list[int]:
    """Lots of each fill."""
    return [one.lots for one in found.events if isinstance(one, Traded)]


def _stops(h: History) -> None:
    """One of each trigger: the last price sets off one, which sets off another; then the mark and
    the index."""
    ticks = h.ticks(PERPETUAL)
    contract = h.state.contracts[h.state.contract_numbers[PERPETUAL]]
    per_tick, mark = contract.deal.points_per_tick, contract.mark_points or 0
    h.rests("frank", Side.SELL, 4, ticks + 30)
    h.rests("frank", Side.SELL, 4, ticks + 40)
    h.rests("frank", Side.BUY, 50, ticks - 90)
    for away, price in ((30, ticks + 40), (40, None)):
        h.rests("erin", Side.BUY, 2, price,
                stop=StopAt(Trigger.LAST, (ticks + away) * per_tick, True))  # fmt: skip
    assert traded(h.order("carol", Side.BUY, 3, ticks + 30)) == [3, 1, 1, 2]
    index = h.state.underlyings["BTC"].price_nano
    for trigger, price in ((Trigger.MARK, mark - 1), (Trigger.INDEX, index - 1)):
        h.rests("erin", Side.SELL, 3, ticks - 90, stop=StopAt(trigger, price, False))
    h.rests("erin", Side.SELL, 3, ticks - 95, stop=StopAt(Trigger.MARK, 1, False))
    h.publish(btc=0.999)
    h.must(c.CancelOrders, account="erin")
    h.publish()


def _auction(h: History) -> None:
    """What crosses in it trades at one price when it ends."""
    ticks = h.ticks(PERPETUAL)
    h.must(c.SetPhase, symbol=PERPETUAL, phase=Phase.AUCTION)
    for name, side, lots, away in (
        ("alice", Side.BUY, 12, 4), ("bob", Side.SELL, 7, -4), ("carol", Side.SELL, 9, 2),
        ("erin", Side.BUY, 3, 1), ("alice", Side.SELL, 2, 0),
    ):  # fmt: skip
        h.rests(name, side, lots, ticks + away)
    code = h.order("erin", Side.BUY, 1, None).code
    assert code == Reject.ORDER_NOT_FOR_AUCTION
    ended = h.must(c.SetPhase, symbol=PERPETUAL, phase=Phase.CONTINUOUS)
    assert [type(one) for one in ended.events].count(Uncrossed) == 1
    assert sum(traded(ended)) >= 12
    h.must(c.CancelOrders, symbol=PERPETUAL)


def _blocks(h: History) -> None:
    """Blocks and, where accounts are margined as a whole, a calendar spread; one of each waits."""
    block = {"symbol": PERPETUAL, "lots": 40, "price_ticks": h.ticks(PERPETUAL) + 17}
    sides = (("alice", "bob", Side.BUY), ("bob", "alice", Side.SELL))
    _reported(h, "b1", sides, **block)
    h.must(c.ReportBlock, account="alice", counterparty="bob", side=Side.BUY, reference="b2",
           **block)  # fmt: skip
    h.refused(Reject.BLOCK_MISMATCHED, c.ReportBlock, account="bob", counterparty="alice",
              side=Side.BUY, reference="b2", **block)  # fmt: skip
    h.must(c.WithdrawBlock, account="alice", reference="b2")
    h.must(c.ReportBlock, account="carol", counterparty="bob", side=Side.SELL, reference="b3",
           **block)  # fmt: skip
    if h.by_contract:
        return
    legs = (ComboLeg("BTC_USDC-WEEK", 1), ComboLeg(PERPETUAL, -1))
    h.must(c.ListCombo, symbol=COMBO, legs=legs, tick_size="0.5")
    far = h.ticks("BTC_USDC-WEEK") - h.ticks(PERPETUAL)
    h.rests("alice", Side.BUY, 5, far + 3, symbol=COMBO)
    if h.matches:
        assert traded(h.order("carol", Side.SELL, 2, far, symbol=COMBO)) == [2]
        assert traded(h.order("bob", Side.SELL, 1, far - 1, symbol=COMBO)) == [1]
    h.rests("bob", Side.SELL, 2, far + 9, symbol=COMBO)
    _reported(h, "b4", sides, **{**block, "symbol": COMBO, "price_ticks": far - 7})


def _reported(h: History, reference: str, sides: Any, **block: Any) -> None:
    """By both sides: it is done."""
    for name, other, side in sides:
        h.must(c.ReportBlock, account=name, counterparty=other, side=side, reference=reference,
               **block)  # fmt: skip


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
    h.must(c.Deposit, account="poor", asset="USDC", amount=_debt(h, "poor") + 100_001)
    h.must(c.Liquidate, account="poor", counterparty="bob", lots=1, fee_ppm=53, **close)
    again = {"account": "poor", "counterparty": "bob", "lots": 1_998, "fee_ppm": 0}
    if not h.by_contract:
        h.refused(Reject.COOLDOWN, c.Liquidate, **again, **close)
        h.time_ms += 1_000
    h.must(c.Liquidate, **again, **close)
    h.must(c.TakeOver, account="poor", lots=1, **close)
    h.must(c.Deposit, account="poor", asset="USDC", amount=_debt(h, "poor") + 10**10)
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
        h.rests(name, Side.SELL, 20, h.ticks(symbol, times=1.2))
        h.rests(name, Side.SELL, 10, h.ticks(symbol, times=1.1))
    short = h.matches and not h.by_contract
    if short:
        ether = "ETH_USDC-PERPETUAL"
        h.rests("weak", Side.BUY, 10, h.ticks(ether), symbol=ether)
    h.publish(btc=0.5, later_ms=MINUTE_MS)
    h.arrays(btc=0.5)
    h.must(c.SettleVariation, symbol=symbol)
    if short:
        # Who cannot bear a fill any more loses the order instead, unless the order was margined
        # already and that is enough.
        now = TimeInForce.IOC
        found = h.order("alice", Side.SELL, 7, h.ticks(ether), symbol=ether, time_in_force=now)
        whys = [one.why for one in found.events if isinstance(one, OrderReduced)]
        assert whys == ["filled" if h.house == "mixed" else "margin"]
    if not h.by_contract:
        h.refused(Reject.ACCOUNT_NOT_SHORT_OF_MARGIN, c.RelieveMargin, account="alice")
        h.must(c.RelieveMargin, account="weak")
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
        if draw < 0.25 and h.matches:
            _order_at_random(h, rng, rng.choice(people))
        elif draw < 0.75:
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
            phase = rng.choice((Phase.AUCTION, Phase.CONTINUOUS, Phase.CONTINUOUS))
            h.must(c.SetPhase, symbol=symbol, phase=phase)
            h.must(c.SetPhase, symbol=PERPETUAL, phase=phase)
        elif draw < 0.97:
            amount = rng.choice((1, 10**6, 10**11))
            h.told(c.Transfer, source=rng.choice(people), target=rng.choice(people), asset="USDC",
                   amount=amount)  # fmt: skip
        else:
            h.time_ms += 1
            h.must(c.AccrueInterest, asset="USDC", until_ms=h.time_ms, rate="0.00031")
    return h


def _order_at_random(h: History, rng: Random, account: str) -> None:
    """In one book: orders, changes and cancellations."""
    mine = list(h.state.orders_of(h.state.account_numbers[account]))
    draw = rng.random()
    if draw < 0.15 and mine:
        h.told(c.AmendOrder, account=account, order=rng.choice(mine), lots=rng.choice((1, 30)))
    elif draw < 0.3 and mine:
        h.must(c.CancelOrder, account=account, order=rng.choice(mine))
    else:
        h.order(
            account, rng.choice((Side.BUY, Side.SELL)), rng.choice((10, 20, 300)),
            h.ticks(PERPETUAL) + rng.randrange(-3, 4), self_trade=rng.choice(tuple(SelfTrade)),
            display_lots=rng.choice((None, 7)), reduce_only=rng.random() < 0.2,
        )  # fmt: skip
