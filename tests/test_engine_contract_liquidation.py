"""Liquidation where contracts are ruled by themselves: only what is distressed is closed."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.engine.state import CROSS
from solvent.engine.wound_up import pools_below
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.events import FeePaid, OrderEnded, OrderReduced, Traded
from solvent.messages.fields import AccountKind, CoverFrom, Side
from tests.test_engine_contract_rules import by_contract, deal, isolate, mark, money, order
from tests.venues import BOOK, DOLLAR, FUT, LIN, Venue


@pytest.fixture
def venue() -> Venue:
    """Dave's ten lots have lost 90 of his 100 dollars; his future has lost nothing."""
    venue = by_contract(BOOK)
    venue.do(c.Trade, **deal())
    venue.do(c.Trade, **deal(symbol=FUT, lots=10, price_ticks=50_000))
    mark(venue, 410_000)
    venue.do(c.SettleVariation, symbol=LIN)
    return venue


def sale(**changes: Any) -> dict[str, Any]:
    told = {"account": "dave", "symbol": LIN, "side": Side.SELL, "lots": 4,
            "price_ticks": 40_900, "fee_ppm": 1_000}  # fmt: skip
    return {**told, **changes}


def test_only_what_is_distressed_is_closed(venue: Venue) -> None:
    dave = venue.account("dave")
    assert pools_below(venue.state, dave) == [CROSS, 0]
    venue.do(c.BeginLiquidation, account="dave")
    detail = f"account dave, {FUT}: expected a contract below its maintenance margin"
    told = {"account": "dave", "counterparty": "bob", "symbol": FUT, "lots": 1,
            "price_ticks": 50_000}  # fmt: skip
    venue.refuse(Reject.TARGET_REACHED, detail, c.Deleverage, **told)
    venue.state.cases[20].pools.clear()
    venue.do(c.Deleverage, account="dave", counterparty="bob", symbol=LIN, lots=1,
             price_ticks=41_000)  # fmt: skip
    assert venue.state.cases[20].pools == [0, CROSS]
    venue.contract(LIN).mark_points = None
    assert pools_below(venue.state, dave) == []


def test_the_book_closes_it_and_its_margin_stays(venue: Venue) -> None:
    venue.do(c.BeginLiquidation, account="dave")
    venue.do(c.PlaceOrder, **order(account="carol", lots=10, price_ticks=41_000))
    events = venue.do(c.LiquidateInBook, key="sale", **sale())
    assert Traded(0, 41_000, 4, 18, "o", 20, "sale", "sell") in events
    # A thousandth of 164 dollars, of what its margin has.
    assert events[-1] == FeePaid(20, "liquidation", 164_000)
    before = venue.margin("dave", LIN), venue.held("dave")
    venue.do(c.LiquidateInBook, **sale(lots=6, fee_ppm=0))
    assert venue.position("dave", LIN) is None
    assert (venue.margin("dave", LIN), venue.held("dave")) == before
    venue.do(c.Confiscate, account="dave", asset="USDC", symbol=LIN, amount=1)
    mark(venue, 410_000)
    hedge = sale(symbol=LIN, side=Side.BUY, lots=1, price_ticks=41_000, hedge=True)
    venue.refuse(
        Reject.MODE_REFUSED,
        f"account dave, {LIN}: expected a hedge where contracts are margined together",
        c.LiquidateInBook, **hedge,
    )  # fmt: skip


def test_its_own_resting_orders_give_way() -> None:
    venue = by_contract(BOOK)
    isolate(venue)
    venue.do(c.Trade, **deal(lots=4))
    venue.do(c.PlaceOrder, **order(lots=1, price_ticks=41_000))
    mark(venue, 410_000)
    venue.do(c.SettleVariation, symbol=LIN)
    venue.do(c.BeginLiquidation, account="dave")
    assert venue.state.cases[20].pools == [0]
    events = venue.do(c.LiquidateInBook, key="o", **sale())
    assert events[0] == OrderReduced(20, "o", 0, 0, "self_trade")
    assert events[-1] == OrderEnded(20, "o'", -4, "immediate")


def test_an_isolated_contract_that_falls_later_is_closed_alone() -> None:
    venue = by_contract(BOOK)
    isolate(venue)
    venue.do(c.Trade, **deal(lots=4))
    mark(venue, 410_000)
    venue.do(c.SettleVariation, symbol=LIN)
    venue.do(c.BeginLiquidation, account="dave")
    venue.state.cases[20].pools.clear()
    venue.do(c.Deleverage, account="dave", counterparty="bob", symbol=LIN, lots=1,
             price_ticks=41_000)  # fmt: skip
    assert venue.state.cases[20].pools == [0]


def test_a_backstop_takes_it_with_its_margin(venue: Venue) -> None:
    venue.open("backer", usdc=100, kind=AccountKind.BACKSTOP)
    venue.do(c.SetBackstop, account="backer", cap_micro=10**15)
    venue.do(c.BeginLiquidation, account="dave")
    told = {"account": "dave", "symbol": LIN, "lots": 4, "price_ticks": 41_000, "by": "backer"}
    venue.do(c.TakeOver, **told)
    assert money(venue, "backer") == (1_640, 0, 8_360)
    venue.do(c.FreezeAccount, account="backer", reason="")
    assert venue.tell(c.TakeOver, **told).code == Reject.ACCOUNT_FROZEN


def test_debts_are_made_good_and_collateral_converted_as_before(venue: Venue) -> None:
    venue.do(c.BeginLiquidation, account="dave")
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=DOLLAR)
    venue.state.ledger.move(1, 20 << 30 | 1, 1_000_000)
    venue.state.ledger.take_posted()
    venue.do(c.ConvertCollateral, account="dave", asset="BTC", amount=1_000_000, into="USDC",
             into_amount=DOLLAR)  # fmt: skip
    code = venue.tell(c.CoverDebt, account="dave", asset="USDC", amount=1,
                      source=CoverFrom.INSURANCE).code  # fmt: skip
    assert code == Reject.DEBT_EXCEEDED
    assert venue.tell(c.StartAuction, account="dave").code == Reject.ACCOUNT_NOT_FOR_THIS


def test_a_debt_is_covered_whatever_else_is_held(venue: Venue) -> None:
    venue.do(c.BeginLiquidation, account="dave")
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=DOLLAR)
    venue.state.ledger.move(20 << 30, 0, venue.held("dave") + 5)
    venue.state.ledger.take_posted()
    venue.do(c.CoverDebt, account="dave", asset="USDC", amount=5, source=CoverFrom.INSURANCE)
    assert venue.held("dave") == 0
