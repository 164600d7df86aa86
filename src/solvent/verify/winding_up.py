"""What liquidation does to a venue's books, in fractions: positions that are closed, shares of
accounts that are sold, collateral that is converted, debts that are made good.

How much of an account is for sale and what for is a matter of margin, and taken from the record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

from solvent.verify.deals import Held, Record
from solvent.verify.steps import margin_change, pay_premium, settle_side, side_of
from solvent.verify.venue import (
    FUND,
    GENERAL,
    INSURANCE,
    VENUE,
    Asked,
    Listed,
    Venue,
    index_of,
    node,
)

_PPM: Final = 1_000_000
_PPB: Final = 1_000_000_000
_DOLLARS: Final = ("USD", "USDC", "USDT", "DAI")


def begin(venue: Venue, command: Record) -> None:
    """From now on only liquidation changes what it holds."""
    venue.closing.add(venue.owners[command["account"]])


def close_out(venue: Venue, command: Record) -> None:
    """Lots of an account under liquidation go to another: a counterparty, one of the other side
    that must give its own up, a backstop account, or the insurance fund."""
    contract = venue.contracts[command["symbol"]]
    owner = venue.owners[command["account"]]
    other = venue.owners[command.get("counterparty") or command.get("by") or "insurance"]
    held = contract.holders[owner].lots
    venue.require(command["lots"] <= abs(held), "lots that are closed", f"at most {abs(held)}",
                  command["lots"])  # fmt: skip
    lots = -command["lots"] if held > 0 else command["lots"]
    points = command["price_ticks"] * contract.terms.points_per_tick
    _hand_over(venue, contract, (owner, other), lots, points, moves=True)
    if command["do"] == "liquidate":
        value = abs(contract.terms.money(contract.terms.value(command["lots"], points)))
        _fee(venue, contract, owner, value, command["fee_ppm"])


def _hand_over(
    venue: Venue, contract: Listed, owners: tuple[int, int], lots: int, points: int, *, moves: bool
) -> None:
    """Lots go from the first to the second (negative: sold by the first). `moves`: an isolated
    position of the second brings its margin with it."""
    owner, other = owners
    sides = (
        side_of(venue, contract, owner, lots, points),
        side_of(venue, contract, other, -lots, points),
    )
    into_margin = 0
    if moves and not venue.house.by_contract and other != INSURANCE:
        into_margin = margin_change(venue, contract, sides[1])
    buyer, seller = (owner, other) if lots > 0 else (other, owner)
    pay_premium(venue, contract, buyer, seller, contract.terms.value(abs(lots), points))
    for place in sorted((0, 1), key=lambda place: sides[place].paid):
        settle_side(venue, contract, sides[place], (0, into_margin)[place])
    venue.sweep(contract)


def _fee(venue: Venue, contract: Listed, owner: int, value: Fraction, fee_ppm: int) -> None:
    """To the insurance fund, as far as it is there; of an isolated position its margin alone."""
    wanted, paid = math.ceil(value * Fraction(fee_ppm, _PPM)), 0
    sources = [venue.margin_of(owner, contract)]
    if not venue.isolated(owner, contract):
        sources.append(venue.pool(owner, contract))
    for source in sources:
        paid += venue.give_at_most(source, venue.pool(INSURANCE, contract), wanted - paid)
    venue.facts.append(("fee_paid", owner, "liquidation", paid))


def in_book(venue: Venue, command: Record) -> None:
    """An order comes in, under the command's key, or what no other order of it is called."""
    owner, name = venue.owners[command["account"]], command["key"]
    while (owner, name) in venue.orders or (owner, name) in venue.stops:
        name += "'"
    signed = command["lots"] if command["side"] == "buy" else -command["lots"]
    number = venue.contracts[command["symbol"]].terms.number
    venue.coming[owner, name] = Asked(number, signed, command["price_ticks"], decrements=False)
    venue.unpaying = owner


def after_book(venue: Venue, command: Record, events: Sequence[Sequence[Any]]) -> None:
    """Its fee, of what it has traded."""
    owner, contract = venue.unpaying, venue.contracts[command["symbol"]]
    venue.unpaying = -1
    if owner == INSURANCE:
        return
    values = [
        abs(contract.terms.value(lots, price * contract.terms.points_per_tick))
        for kind, _, price, lots, buyer, _, seller, *_ in
        (event for event in events if event[0] == "traded")
        if owner in (buyer, seller)
    ]  # fmt: skip
    if sum(values):
        _fee(venue, contract, owner, contract.terms.money(sum(values)), command["fee_ppm"])


# ── money ────────────────────────────────────────────────────────────────────────────────────────


def _own_or_margin(venue: Venue, command: Record) -> int:
    owner, asset = venue.owners[command["account"]], venue.assets[command["asset"]]
    symbol = command.get("symbol")
    slot = GENERAL if symbol is None else venue.contracts[symbol].margin
    return node(owner, slot, asset)


def confiscate(venue: Venue, command: Record) -> None:
    """To the insurance fund, or a backstop account."""
    receiver = venue.owners[command.get("to") or "insurance"]
    pool = node(receiver, GENERAL, venue.assets[command["asset"]])
    venue.give(_own_or_margin(venue, command), pool, command["amount"])


def cover_debt(venue: Venue, command: Record) -> None:
    """From a fund, never more than the debt."""
    asset, own = venue.assets[command["asset"]], _own_or_margin(venue, command)
    match command["source"]:
        case "insurance":
            source = node(INSURANCE, GENERAL, asset)
        case "venue":
            source = node(VENUE, GENERAL, asset)
        case "market":
            source = node(INSURANCE, venue.contracts[command["market"]].margin, asset)
        case _:
            source = node(venue.owners[command["member"]], FUND, asset)
    _within_debt(venue, own, command["amount"])
    venue.give(source, own, command["amount"])


def fund_market(venue: Venue, command: Record) -> None:
    """Between the shared fund and a contract's."""
    contract = venue.contracts[command["symbol"]]
    shared, own = venue.pool(INSURANCE, contract), venue.margin_of(INSURANCE, contract)
    source, target = (own, shared) if command["back"] else (shared, own)
    venue.give(source, target, command["amount"])


def convert(venue: Venue, command: Record) -> None:
    """The fund gives one asset for another, for no more than that is worth."""
    owner = venue.owners[command["account"]]
    asset, into = venue.assets[command["asset"]], venue.assets[command["into"]]
    worth = _worth(venue, command["asset"], command["amount"])
    paid = _worth(venue, command["into"], command["into_amount"])
    venue.require(paid <= worth, "what is paid for collateral", f"at most {worth}", paid)
    venue.give(node(INSURANCE, GENERAL, into), node(owner, GENERAL, into), command["into_amount"])
    venue.give(node(owner, GENERAL, asset), node(INSURANCE, GENERAL, asset), command["amount"])
    venue.facts.append(
        ("collateral_converted", owner, asset, command["amount"], into, command["into_amount"])
    )


def _worth(venue: Venue, name: str, amount: int) -> Fraction:
    """In billionths of a dollar, which a dollar has a billion of where it has no index."""
    price = index_of(venue, name) or (10**9 if name in _DOLLARS else 0)
    return Fraction(amount * price, 10 ** venue.decimals[venue.assets[name]])


def socialise(venue: Venue, command: Record) -> None:
    """From winners, never more than the debt."""
    asset, own = venue.assets[command["asset"]], _own_or_margin(venue, command)
    _within_debt(venue, own, sum(amount for _, amount in command["shares"]))
    for winner, amount in command["shares"]:
        venue.give(venue.own(winner, asset), own, amount)


def _within_debt(venue: Venue, own: int, amount: int) -> None:
    debt = max(0, -venue.balance(own))
    venue.require(amount <= debt, "what covers a debt", f"at most {debt}", amount)


def end(venue: Venue, command: Record) -> None:
    """Margins of positions that are gone come back."""
    owner = venue.owners[command["account"]]
    venue.closing.discard(owner)
    by_number = list(venue.contracts.values())
    for holder, number in venue.modes:
        if holder == owner and owner not in by_number[number].holders:
            venue.release_margin(owner, by_number[number])


# ── auctions ─────────────────────────────────────────────────────────────────────────────────────


def follow(venue: Venue, events: Sequence[Sequence[Any]]) -> None:
    """What is recorded of auctions: an account is offered, shares of it are sold, it is over."""
    for kind, *event in events:
        if kind == "auction_started":
            _started(venue, *event)
        elif kind == "auction_bid":
            _sold(venue, *event)
        elif kind == "auction_ended":
            del venue.offers[event[0]]


def _started(venue: Venue, owner: int, solvent: int, share_ppb: int, fee: int) -> None:
    """The fee is of its cash, which is what its positions settle in."""
    held = [one for one in venue.contracts.values() if owner in one.holders]
    cash = held[0].terms.asset
    paid = venue.offers[owner][2] if owner in venue.offers else 0
    venue.require(0 <= share_ppb <= _PPB, "share for sale", f"up to {_PPB}", share_ppb)
    venue.give(node(owner, GENERAL, cash), node(INSURANCE, GENERAL, cash), fee)
    venue.offers[owner] = [solvent, cash, paid]


def _sold(venue: Venue, owner: int, bidder: int, share_ppb: int, price: int, asset: int) -> None:
    """A share of every asset and position goes to the bidder: positions at their marks in lots
    rounded up, so that what they would bring there is cash; of that, less what earlier bidders have
    paid, the share too. Then the price. What is paid to a bidder comes from the insurance fund
    first."""
    solvent, cash, reserved = venue.offers[owner]
    venue.require(asset == cash, "what a share is paid in", cash, asset)
    share = Fraction(share_ppb, _PPB)
    pool, own = node(INSURANCE, GENERAL, cash), node(owner, GENERAL, cash)
    there, balances = venue.balance(pool), [
        (other, venue.balance(node(owner, GENERAL, other)))
        for other in range(len(venue.decimals)) if other != cash
    ]  # fmt: skip
    money = Fraction(venue.balance(own) - (reserved if solvent else 0))
    for contract in venue.contracts.values():
        held, mark = contract.holders.get(owner, Held()), contract.mark or 0
        money += contract.terms.money(contract.terms.value(held.lots, mark) - held.basis)
        if held.lots:
            lots = math.ceil(abs(held.lots) * share)
            signed = -lots if held.lots > 0 else lots
            _hand_over(venue, contract, (owner, bidder), signed, mark, moves=False)
    helped = min(there, max(-price, 0))
    venue.give(pool, node(bidder, GENERAL, cash), helped)
    due = math.floor(share * money) - price - helped
    venue.give(own, node(bidder, GENERAL, cash), due)
    for other, amount in balances:
        given = math.floor(amount * share)
        venue.give(node(owner, GENERAL, other), node(bidder, GENERAL, other), given)
    venue.offers[owner][2] += max(price, 0)
