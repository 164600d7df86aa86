"""Shares of an account to bidders: what is to be done so that an auction runs, and ends."""

from __future__ import annotations

from fractions import Fraction

from solvent.engine.auctions import terms_of
from solvent.engine.state import State
from solvent.liquidation import auction as pure
from solvent.margining.closing import AuctionText, LiquidationText
from solvent.messages import commands as c
from solvent.tending.closings import plan_of
from solvent.tending.funds import unit_micro
from solvent.tending.plans import Plan, dollars, row
from solvent.tending.pools import Pool


def planned(state: State, pool: Pool, closing: LiquidationText) -> Plan | str | None:
    """Start it, end it, or go on from a price that has come to nothing to money on top; else it
    waits for bids. None for what cannot be offered: an isolated position."""
    text = closing.auction
    if text is None or pool.contract is not None:
        return None
    account = pool.account.name
    why = f"worth {dollars(pool.found.equity_micro)} dollars"
    start = row(why, c.StartAuction, account=account)
    end = row("well again, or its time is over", c.EndAuction, account=account)
    match _next(state, pool, text):
        case "start":
            rule, rows = "a Dutch auction, at a discount that grows", [start]
        case "convert":
            rule, rows = "nobody took it for nothing: money comes with it", [start]
        case "end":
            rule, rows = "its auction ends", [end]
        case _:
            return "its auction waits for bids"
    return plan_of(state, pool, "auction", rule, rows, funds=True)


def _next(state: State, pool: Pool, text: AuctionText) -> str:
    running = state.auctions.get(pool.account.number)
    if running is None:
        return "start"
    now_ms = state.log.time_ms
    terms = terms_of(text)
    reserved = running.reserved * unit_micro(state, running.cash)
    offer = pure.Auction(
        terms=terms, solvent=running.solvent, started_s=running.begun_ms, reserved=reserved
    )
    equity, maintenance = pool.found.equity_micro, pool.found.maintenance_micro
    worth = pure.Worth(mm=Fraction(equity - maintenance), mtm=Fraction(equity))
    if pure.may_end(offer, worth, now_ms):
        return "end"
    if offer.solvent and worth.mm < 0 and not pure.solvent_price(offer, worth, now_ms):
        return "convert"
    over_ms = terms.fast_s + terms.slow_s if offer.solvent else terms.insolvent_s
    return "end" if now_ms - running.begun_ms >= over_ms else "wait"
