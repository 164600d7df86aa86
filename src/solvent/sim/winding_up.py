"""Commands about calls, backstop accounts, auctions, funds and porting, made up from how things
stand."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from solvent.account.ledger import INSURANCE, margin_slot, node
from solvent.engine.state import LIQUIDATION, Account, State
from solvent.limits import MONEY_MAX
from solvent.messages import commands as c
from solvent.messages.fields import AccountKind, Command, Side
from solvent.sim.distress import closed_out, one_to_wind_up
from solvent.sim.draws import Draws
from solvent.sim.money import Draft
from solvent.units import DOLLARS

_PPB: Final = 1_000_000_000


def review_margin(draws: Draws, state: State) -> Command | None:
    """Of somebody who holds something."""
    return c.ReviewMargin(account=draws.holder(state).name, **draws.told())


def liquidate_in_book(draws: Draws, state: State) -> Command | None:
    """At a price near the mark, mostly of what is held; some are hedges."""
    found = closed_out(draws, state)
    if found is None:
        return None
    account, contract, lots = found
    held = (account.positions or {}).get(contract.number)
    side = Side.SELL if held is not None and held.lots > 0 else Side.BUY
    hedge = draws.often(0.2)
    if hedge or draws.often(0.03):
        contract = draws.contract(state) if draws.often(0.5) else contract
        side = draws.one((Side.BUY, Side.SELL))
        lots = min(lots, draws.lots(contract))
    ticks = draws.ticks(contract)
    if contract.number in state.desk.books and draws.often(0.6):
        best = state.desk.best(contract.number)[side is Side.BUY]
        ticks = ticks if best is None else best
    return c.LiquidateInBook(
        account=account.name, symbol=contract.listing.symbol, side=side, lots=lots,
        price_ticks=max(1, ticks), fee_ppm=draws.one((0, 500, 5_000)), hedge=hedge,
        **draws.told(),
    )  # fmt: skip


def _backstop(draws: Draws, state: State) -> str:
    """A backstop account, mostly."""
    kind = AccountKind.BACKSTOP
    found = [one.name for one in state.accounts if one is not None and one.kind == kind]
    return draws.one(found) if found and draws.often(0.9) else draws.account(state).name


def set_backstop(draws: Draws, state: State) -> Command | None:
    """Little or much."""
    cap = draws.one((0, 10**9, 10**12, 10**14, MONEY_MAX))
    return c.SetBackstop(account=_backstop(draws, state), cap_micro=cap, **draws.told())


def convert_collateral(draws: Draws, state: State) -> Command | None:
    """Something that it has, at or near what that is worth."""
    account = one_to_wind_up(draws, state)
    if account is None:
        return None
    has = [n for n in range(len(state.assets)) if draws.owned(state, account, n) > 0]
    asset = draws.one(has) if has else draws.asset(state)
    into = draws.asset(state)
    there = draws.owned(state, account, asset)
    amount = draws.amount(max(there, 1)) if draws.often(0.3) else max(there, 1)
    fair = amount * _nano(state, asset) / max(_nano(state, into), Fraction(1))
    fund = state.ledger.balance(node(INSURANCE, 0, into))
    wanted = min(int(fair), max(fund, 1)) if draws.often(0.8) else int(fair) + 1
    owed = -draws.owned(state, account, into)
    if owed > 0 and not account.positions:
        wanted = min(wanted, owed)
    return c.ConvertCollateral(
        account=account.name, asset=state.assets[asset][0], amount=min(amount, MONEY_MAX),
        into=state.assets[into][0], into_amount=min(max(1, wanted), MONEY_MAX), **draws.told(),
    )  # fmt: skip


def _nano(state: State, asset: int) -> Fraction:
    """Billionths of a dollar for a smallest unit; 0 where nobody knows."""
    name, decimals = state.assets[asset]
    known = state.underlyings.get(name)
    price = known.price_nano if known is not None else 10**9 * (name in DOLLARS)
    return Fraction(price, 10**decimals)


def fund_market(draws: Draws, state: State) -> Command | None:
    """To a contract's part of the fund, or back."""
    contract, back = draws.contract(state), draws.often(0.4)
    slot = margin_slot(contract.number) if back else 0
    there = state.ledger.balance(node(INSURANCE, slot, contract.deal.asset))
    if there <= 0 and draws.often(0.9):
        return None
    return c.FundMarket(
        symbol=contract.listing.symbol, amount=draws.amount(max(there, 1)), back=back,
        **draws.told(),
    )  # fmt: skip


def start_auction(draws: Draws, state: State) -> Command | None:
    """Of one under liquidation."""
    account = one_to_wind_up(draws, state)
    return None if account is None else c.StartAuction(account=account.name, **draws.told())


def _offered(draws: Draws, state: State) -> Account | None:
    """One that is for sale; seldom another."""
    found = [state.account(number) for number in state.auctions]
    if not found:
        return one_to_wind_up(draws, state) if draws.often(0.05) else None
    return draws.one(found)


def bid_in_auction(draws: Draws, state: State) -> Command | None:
    """By anybody who has money."""
    account = _offered(draws, state)
    if account is None:
        return None
    bidder = draws.account(state)
    for _ in range(4):
        other = draws.account(state)
        if other.status != LIQUIDATION and (
            draws.owned(state, other, 0) > draws.owned(state, bidder, 0)
        ):
            bidder = other
    share = draws.one((1, 1_000_000, _PPB // 10, _PPB // 3, _PPB))
    return c.BidInAuction(
        account=account.name, bidder=bidder.name, share_ppb=share,
        pay_max=0 if draws.often(0.25) else MONEY_MAX, **draws.told(),
    )  # fmt: skip


def end_auction(draws: Draws, state: State) -> Command | None:
    """Of one that may go on for a while."""
    account = _offered(draws, state)
    return None if account is None else c.EndAuction(account=account.name, **draws.told())


def port_account(draws: Draws, state: State) -> Command | None:
    """A member's client, mostly, to a member."""
    members = {n for name in draws.world.members if (n := state.account_numbers.get(name))}
    clients = [one.name for one in state.accounts if one is not None and one.parent in members]
    client = draws.one(clients) if clients and draws.often(0.9) else draws.account(state).name
    member = draws.one(draws.world.members)
    if draws.often(0.05):
        member = draws.account(state).name
    return c.PortAccount(account=client, member=member, **draws.told())


DRAFTS: Final[dict[type[Command], Draft]] = {
    c.ReviewMargin: review_margin, c.LiquidateInBook: liquidate_in_book,
    c.SetBackstop: set_backstop, c.ConvertCollateral: convert_collateral,
    c.FundMarket: fund_market, c.StartAuction: start_auction, c.BidInAuction: bid_in_auction,
    c.EndAuction: end_auction, c.PortAccount: port_account,
}  # fmt: skip
