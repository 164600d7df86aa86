"""Dutch auctions of accounts under liquidation, by the terms of the account's rulebook.

Prices are those of `liquidation.auction`, for an account's equity and margin as its rulebook sees
them; times are milliseconds throughout. A share of an account is that share of every position, of
every asset, and of its cash. Positions change hands in whole lots, rounded up so that the account
is never left with more than was meant, and at their marks, so that rounding gains nobody anything;
what the share of cash and the price come to is settled in one payment, rounded in the account's
favour. A bidder is margined after it as after any trade.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from solvent.account.ledger import GENERAL, INSURANCE, node
from solvent.engine.dealing import Leg, leg, post, premium_of, sweep, view_after
from solvent.engine.refusal import active_account, check_known, check_margin, liquidated_account
from solvent.engine.standing import standing, view
from solvent.engine.state import CROSS, Account, Contract, Offer, State
from solvent.engine.trading import pay_between
from solvent.engine.wound_up import index_nano, pool_view, step
from solvent.errors import Refused, Reject
from solvent.liquidation import auction as pure
from solvent.margining.closing import AuctionText
from solvent.messages.commands import BidInAuction, EndAuction, StartAuction
from solvent.messages.events import AuctionBid, AuctionEnded, AuctionStarted, Event

PPB = 1_000_000_000


def start_auction(state: State, command: StartAuction, events: list[Event]) -> None:
    """Offer an account; one that was offered for something, and nobody took for nothing, is from
    now on offered with money on top. A fee is paid at once, as far as there is cash."""
    account = liquidated_account(state, command.account)
    terms = _terms(state, account)
    now_ms, running = state.log.time_ms, state.auctions.get(account.number)
    cash = _cash(state, account)
    worth = _worth(state, account)
    if running is not None:
        try:
            found = pure.to_insolvent(_auction(state, running, terms), worth, now_ms)
        except Refused as refused:
            raise Refused(
                Reject.AUCTION_RUNNING, f"account {account.name}: {refused.detail}"
            ) from refused
        fee = Fraction(0)
    else:
        found, fee = pure.start(worth, terms, now_ms)
    share = Fraction(1)
    if found.solvent:
        share = pure.max_proportion(
            worth.mtm, pure.buffer_margin(worth, terms), discount=Fraction(1),
            mtm_cutoff=terms.whole_below,
        )  # fmt: skip
    own = node(account.number, GENERAL, cash)
    wanted = math.ceil(fee / _unit_micro(state, cash))
    paid = min(wanted, max(state.ledger.balance(own), 0))
    # From here on it is offered.
    reserved = running.reserved if running is not None else 0
    sold = running.sold_ppb if running is not None else 0
    state.auctions[account.number] = Offer(
        begun_ms=now_ms, solvent=found.solvent, cash=cash, reserved=reserved, sold_ppb=sold
    )
    state.ledger.move(own, node(INSURANCE, GENERAL, cash), paid)
    events.append(AuctionStarted(account.number, found.solvent, int(share * PPB), paid))


def terms_of(told: AuctionText) -> pure.Terms:
    """A rulebook's auction, exactly as written; times in milliseconds, money in millionths."""
    return pure.Terms(
        start=_exact(told.start), cut=_exact(told.cut), fast_s=told.fast_ms, slow_s=told.slow_ms,
        insolvent_s=told.insolvent_ms, fee=_exact(told.fee), buffer=_exact(told.buffer),
        whole_below=_exact(told.whole_below) * 1_000_000,
    )  # fmt: skip


def _exact(number: float) -> Fraction:
    return Fraction(repr(number))


def _terms(state: State, account: Account) -> pure.Terms:
    told = state.rules[account.rulebook].closing.auction
    if told is None or state.house.contract is not None:
        raise Refused(
            Reject.ACCOUNT_NOT_FOR_THIS,
            f"account {account.name}: expected a rulebook with auctions, found {account.rulebook}",
        )
    return terms_of(told)


def _cash(state: State, account: Account) -> int:
    """What an account's positions settle in, which must be one asset, with none held by itself."""
    held = [state.contracts[number] for number in account.positions or ()]
    assets = {contract.deal.asset for contract in held}
    if len(assets) != 1:
        raise Refused(
            Reject.INSTRUMENT_NOT_FOR_THIS,
            f"account {account.name}: expected positions that settle in one asset, found "
            f"{len(assets)}",
        )
    _check_together(account, held)
    return assets.pop()


def _check_together(account: Account, contracts: list[Contract]) -> None:
    for contract in contracts:
        if account.isolates(contract.number):
            raise Refused(
                Reject.MODE_REFUSED,
                f"account {account.name}, {contract.listing.symbol}: expected a contract that is "
                "margined with all others",
            )


def _worth(state: State, account: Account) -> pure.Worth:
    """Equity, and what of it exceeds maintenance margin, in millionths of a dollar."""
    found = standing(state, pool_view(state, account, CROSS))
    check_known(account, found)
    # A margin that is a credit does not make an account worth more than it is.
    needed = max(found.maintenance_micro, 0)
    return pure.Worth(
        mm=Fraction(found.equity_micro - needed), mtm=Fraction(found.equity_micro)
    )  # fmt: skip


def _unit_micro(state: State, asset: int) -> Fraction:
    """Millionths of a dollar for a smallest unit."""
    price = index_nano(state, asset, fresh=False)
    return Fraction(price, 1_000 * 10 ** state.assets[asset][1])


def _auction(state: State, offer: Offer, terms: pure.Terms) -> pure.Auction:
    return pure.Auction(
        terms=terms, solvent=offer.solvent, started_s=offer.begun_ms,
        reserved=offer.reserved * _unit_micro(state, offer.cash),
    )  # fmt: skip


# ── a bid ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Deal:
    """What a bid comes to. Amounts in smallest units.

    Attributes:
        legs: of each position the account's and the bidder's, with what the account pays the
            bidder as premium. price: what the bidder pays; negative what it is paid. to_bidder:
            cash of the account, or (negative) of the bidder. from_fund: what the fund adds.
        other: asset → what else the bidder gets; negative what it owes then.
    """

    share_ppb: int
    price: int
    legs: list[tuple[Leg, Leg, int]]
    to_bidder: int
    from_fund: int
    other: dict[int, int]
    ended: bool


def bid_in_auction(state: State, command: BidInAuction, events: list[Event]) -> None:
    """Take a share of what is offered, at most what is for sale.

    Refusals, in order: the accounts, the auction, how the account stands, nothing for sale, the
    price, what is held by itself, limits, then the bidder's margin.
    """
    account = liquidated_account(state, command.account)
    offer = offer_of(state, account)
    terms = _terms(state, account)
    bidder = active_account(state, command.bidder)
    deal = _worked_out(state, account, bidder, offer, terms, command)
    _admit(state, bidder, offer, deal)
    # From here on the bid must succeed.
    for mine, theirs, premium in deal.legs:
        _carry_out(state, mine, theirs, premium, events)
        step(state, account, mine.contract, CROSS)
    own, purse = (node(one.number, GENERAL, offer.cash) for one in (account, bidder))
    state.ledger.move(node(INSURANCE, GENERAL, offer.cash), purse, deal.from_fund)
    state.ledger.pay(purse, own, deal.to_bidder)
    for asset, amount in deal.other.items():
        state.ledger.pay(
            node(bidder.number, GENERAL, asset), node(account.number, GENERAL, asset), amount
        )
    offer.sold_ppb += deal.share_ppb
    offer.reserved += max(deal.price, 0)
    events.append(AuctionBid(account.number, bidder.number, deal.share_ppb, deal.price, offer.cash))
    if deal.ended:
        del state.auctions[account.number]
        events.append(AuctionEnded(account.number, "sold"))


def offer_of(state: State, account: Account) -> Offer:
    """The auction of an account."""
    offer = state.auctions.get(account.number)
    if offer is None:
        raise Refused(
            Reject.AUCTION_UNKNOWN, f"account {account.name}: expected an auction, found none"
        )
    return offer


def _worked_out(
    state: State, account: Account, bidder: Account, offer: Offer, terms: pure.Terms,
    command: BidInAuction,
) -> _Deal:  # fmt: skip
    worth, unit = _worth(state, account), _unit_micro(state, offer.cash)
    if worth.mm >= 0 and not offer.solvent:
        raise Refused(
            Reject.TARGET_REACHED,
            f"account {account.name}: expected equity below its maintenance margin",
        )
    there = state.ledger.balance(node(INSURANCE, GENERAL, offer.cash))
    found = pure.bid(
        _auction(state, offer, terms), worth, want=Fraction(command.share_ppb, PPB),
        time_s=state.log.time_ms, security=there * unit,
    )  # fmt: skip
    share_ppb = math.ceil(found.share * PPB)
    share = Fraction(share_ppb, PPB)
    price = math.ceil(found.price * share / unit)
    if price > command.pay_max:
        raise Refused(
            Reject.PRICE_EXCEEDED,
            f"account {account.name}: expected a price of at most {command.pay_max}, found {price}",
        )
    legs, at_mark = _positions(state, account, bidder, share)
    held = {asset: state.ledger.balance(node(account.number, GENERAL, asset))
            for asset in range(len(state.assets))}  # fmt: skip
    cash = held.pop(offer.cash) + at_mark - (offer.reserved if offer.solvent else 0)
    from_fund = min(there, max(-price, 0))
    to_bidder = math.floor(share * cash) - price - from_fund
    return _Deal(
        share_ppb=share_ppb, price=price, legs=legs, to_bidder=to_bidder, from_fund=from_fund,
        other={asset: math.floor(amount * share) for asset, amount in held.items() if amount},
        ended=found.auction.ended,
    )  # fmt: skip


def _positions(
    state: State, account: Account, bidder: Account, share: Fraction
) -> tuple[list[tuple[Leg, Leg, int]], Fraction]:
    """Legs of a share of every position at its mark; and what all would bring there, in smallest
    units of what they settle in."""
    legs, at_mark = [], Fraction(0)
    contracts = [state.contracts[number] for number in account.positions or ()]
    _check_together(account, contracts)
    _check_together(bidder, contracts)
    for contract in contracts:
        position, points = contract.holders[account.number], contract.mark_points
        if not points:
            raise Refused(
                Reject.MARK_MISSING,
                f"instrument {contract.listing.symbol}: expected a mark, found {points}",
            )
        deal = contract.deal
        at_mark += deal.money(deal.value(position.lots, points) - position.basis_value)
        if not position.lots:
            # Closed since the last mark: it is only money, that has not been paid yet.
            continue
        lots = math.ceil(abs(position.lots) * share)
        premium = premium_of(contract, lots, points)
        signed = -lots if position.lots > 0 else lots
        mine = leg(state, contract, account, lots=signed, points=points, premium=premium)
        theirs = leg(state, contract, bidder, lots=-signed, points=points, premium=premium)
        legs.append((mine, theirs, premium if signed > 0 else -premium))
    return legs, at_mark


def _admit(state: State, bidder: Account, offer: Offer, deal: _Deal) -> None:
    """Refuse what the bidder's initial margin does not allow."""
    if state.decided:
        return
    seen = view(state, bidder)
    for _, theirs, _ in deal.legs:
        seen = view_after(state, theirs, seen)
    gets = {**deal.other, offer.cash: deal.to_bidder + deal.from_fund}
    for asset, amount in gets.items():
        seen.balances[asset] = seen.balances.get(asset, 0) + amount
    check_margin(bidder, standing(state, seen))


def _carry_out(state: State, mine: Leg, theirs: Leg, premium: int, events: list[Event]) -> None:
    """A position's share changes hands; `premium` is what the account pays, if positive."""
    contract = mine.contract
    buyer, seller = (mine, theirs) if premium >= 0 else (theirs, mine)
    pay_between(state, contract, buyer.account, seller.account, abs(premium))
    for one in sorted((mine, theirs), key=lambda one: one.realised):
        post(state, one, events)
    sweep(state, contract)


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


def end_auction(state: State, command: EndAuction, events: list[Event]) -> None:
    """Of an account that holds nothing any more, that is well or needs another kind of auction, or
    of one whose time is over: that is known even where prices are not."""
    account = liquidated_account(state, command.account)
    offer = offer_of(state, account)
    how = _how_it_ends(state, account, offer)
    # From here on it is over.
    del state.auctions[account.number]
    events.append(AuctionEnded(account.number, how))


def _how_it_ends(state: State, account: Account, offer: Offer) -> str:
    told = state.rules[account.rulebook].closing.auction
    if told is None or not account.positions:
        return "well"
    terms, passed_ms = terms_of(told), state.log.time_ms - offer.begun_ms
    over_ms = terms.fast_s + terms.slow_s if offer.solvent else terms.insolvent_s
    if passed_ms >= over_ms:
        return "expired"
    worth = _worth(state, account)
    if not pure.may_end(_auction(state, offer, terms), worth, state.log.time_ms):
        raise Refused(
            Reject.AUCTION_NOT_OVER,
            f"account {account.name}: expected it well, or {over_ms} ms since the auction began, "
            f"found {passed_ms}",
        )
    return "well"
