"""Derive's Dutch auction of an account: a discount that grows until somebody takes a part of it.

While the account is worth more than nothing the bidder pays for a part of it, at a discount that
first grows fast and then slowly. Once it is worth nothing the bidder is paid, ever more. Money is
in dollars and shares in parts of one, as exact fractions; times are whole seconds.
Source: derivexyz/v2-core, DutchAuction.sol; the formulas stand with each function.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from solvent.errors import Refused, Reject, check

_NOTHING: Final = Fraction(0)
_ALL: Final = Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How an auction runs; every number is the venue's."""

    start: Fraction
    """Discount factor at the beginning."""
    cut: Fraction
    """Where the fast part ends and the slow one begins."""
    fast_s: int
    slow_s: int
    insolvent_s: int
    fee: Fraction
    """Of what is liquidated, to the security module, when a solvent auction starts."""
    buffer: Fraction
    """How much beyond maintenance margin a liquidation restores, of its distance to value."""
    whole_below: Fraction = Fraction(0)
    """An account worth less is taken whole."""

    def __post_init__(self) -> None:
        check(0 <= self.cut <= self.start <= 1, "the discount grows", self.start, self.cut)
        check(min(self.fast_s, self.slow_s, self.insolvent_s) > 0, "an auction takes time", self)
        check(self.fee >= 0 and self.buffer >= 0, "no rate is negative", self.fee, self.buffer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Auction:
    """An account's auction. `reserved` is cash of earlier bids: it is not for sale."""

    terms: Terms
    solvent: bool
    started_s: int
    reserved: Fraction = _NOTHING
    owed: Fraction = _NOTHING
    """What the account added to all insolvent margin when it became insolvent; kept to its end."""
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """An account by its manager: maintenance margin less requirement, and mark-to-market."""

    mm: Fraction
    """Below 0: it may be liquidated. Never above `mtm`."""
    mtm: Fraction

    def __post_init__(self) -> None:
        check(self.mm <= self.mtm, "a margin requirement is not negative", self.mm, self.mtm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """What a bid does. The bidder takes `share` of every asset, of cash only that part of it that
    is not reserved."""

    share: Fraction
    price: Fraction
    """Of the whole account: below 0 it is paid to the bidder."""
    paid: Fraction
    """By the bidder to the account."""
    from_security: Fraction
    """By the security module to the bidder."""
    socialised: Fraction
    """To the bidder, by all holders of cash."""
    must_hold: Fraction
    """Cash that the bidder has to have, and nothing but cash."""
    auction: Auction
    """As it goes on."""

    @property
    def received(self) -> Fraction:
        """By the bidder, from whomever."""
        return self.from_security + self.socialised


# ── how much, at which price ─────────────────────────────────────────────────────────────────────


def discount(terms: Terms, elapsed_s: int) -> Fraction:
    """What is paid of the account's worth: start → cut while fast, cut → 0 while slow.

    >>> terms = Terms(start=Fraction(1), cut=Fraction(4, 5), fast_s=600, slow_s=7_200,
    ...     insolvent_s=600, fee=Fraction(0), buffer=Fraction(1, 10))
    >>> [str(discount(terms, seconds)) for seconds in (300, 600, 960, 8_160)]
    ['9/10', '4/5', '19/25', '0']
    """
    check(elapsed_s >= 0, "time goes on", elapsed_s)
    if elapsed_s < terms.fast_s:
        return terms.start - (terms.start - terms.cut) * elapsed_s / terms.fast_s
    slow = elapsed_s - terms.fast_s
    return terms.cut - terms.cut * slow / terms.slow_s if slow < terms.slow_s else _NOTHING


def buffer_margin(worth: Worth, terms: Terms) -> Fraction:
    """What a liquidation restores to 0: mm + (mm − mtm)·buffer."""
    return worth.mm + (worth.mm - worth.mtm) * terms.buffer


def max_proportion(
    mtm: Fraction,
    buffer_margin: Fraction,
    *,
    discount: Fraction,
    reserved: Fraction = _NOTHING,
    mtm_cutoff: Fraction = _NOTHING,
) -> Fraction:
    """The share of an account whose sale brings its buffer margin back to 0.

    B/(B − mtm·d − R·(1 − d)) with B = min(buffer margin, 0); all of an account that is worth less
    than the cutoff.

    >>> str(max_proportion(Fraction(300), Fraction(-140), discount=Fraction(9, 10)))
    '14/41'
    """
    if mtm < mtm_cutoff:
        return _ALL
    short = min(buffer_margin, _NOTHING)
    if not short:
        return _NOTHING
    rest = short - mtm * discount - reserved * (1 - discount)
    return min(_ALL, short / rest) if rest < 0 else _ALL


def solvent_price(auction: Auction, worth: Worth, time_s: int) -> Fraction:
    """What the whole account costs now: (mtm − R)·d, 0 where nothing is for sale or time is over.

    Raises Refused where more is reserved than the account is worth: it is to be ended or restarted.
    """
    if auction.reserved > worth.mtm:
        raise Refused(
            Reject.ACCOUNT_NOT_FOR_THIS,
            f"auction: expected a worth above the reserved cash of {float(auction.reserved)}, "
            f"found {float(worth.mtm)}",
        )
    passed = discount(auction.terms, time_s - auction.started_s)
    return (worth.mtm - auction.reserved) * passed


def insolvent_price(terms: Terms, worth: Worth, elapsed_s: int) -> Fraction:
    """What the whole account costs once it is insolvent, not above 0: the bidder is paid.

    From min(mtm, 0) to mm within the auction's time; 0 for an account that is above its margin.

    >>> terms = Terms(start=Fraction(1), cut=Fraction(4, 5), fast_s=600, slow_s=7_200,
    ...     insolvent_s=600, fee=Fraction(0), buffer=Fraction(1, 10))
    >>> worth = Worth(mm=Fraction(-300), mtm=Fraction(-100))
    >>> [int(insolvent_price(terms, worth, seconds)) for seconds in (0, 12, 300, 600)]
    [-100, -104, -200, -300]
    """
    check(elapsed_s >= 0, "time goes on", elapsed_s)
    if worth.mm >= 0:
        return _NOTHING
    if elapsed_s >= terms.insolvent_s:
        return worth.mm
    first = min(worth.mtm, _NOTHING)
    return (worth.mm - first) * elapsed_s / terms.insolvent_s + first


# ── from the start to the end ────────────────────────────────────────────────────────────────────


def start(worth: Worth, terms: Terms, time_s: int) -> tuple[Auction, Fraction]:
    """An auction of an account below its maintenance margin, and the fee that it pays at once.

    The fee is the rate on the share that would go at no discount, of its worth. An insolvent
    auction takes none. Raises Refused for an account that is not below its margin.
    """
    if worth.mm >= 0:
        raise Refused(
            Reject.ACCOUNT_NOT_LIQUIDATABLE,
            f"auction: expected a maintenance margin below 0, found {float(worth.mm)}",
        )
    if worth.mtm <= 0:
        return Auction(terms=terms, solvent=False, started_s=time_s, owed=-worth.mm), _NOTHING
    share = max_proportion(
        worth.mtm, buffer_margin(worth, terms), discount=_ALL, mtm_cutoff=terms.whole_below
    )
    return Auction(terms=terms, solvent=True, started_s=time_s), share * worth.mtm * terms.fee


def bid(auction: Auction, worth: Worth, *, want: Fraction, time_s: int, security: Fraction) -> Bid:
    """Take a share of the account now; `security` is what the security module holds.

    Raises Refused for an auction that is over or has nothing to sell, or a share out of (0, 1].
    """
    if auction.ended or not 0 < want <= 1:
        raise Refused(
            Reject.ACCOUNT_NOT_IN_LIQUIDATION,
            f"auction: expected a share in (0, 1] of one that goes on, found {float(want)}",
        )
    check(security >= 0, "the security module owes nothing", security)
    if auction.solvent:
        return _solvent_bid(auction, worth, want, time_s)
    return _insolvent_bid(auction, worth, want, time_s, security)


def _solvent_bid(auction: Auction, worth: Worth, want: Fraction, time_s: int) -> Bid:
    terms, reserved = auction.terms, auction.reserved
    price = solvent_price(auction, worth, time_s)
    margin = buffer_margin(worth, terms)
    most = max_proportion(
        worth.mtm,
        margin,
        discount=discount(terms, time_s - auction.started_s),
        reserved=reserved,
        mtm_cutoff=terms.whole_below,
    )
    if price <= 0 or not most:
        raise Refused(
            Reject.ACCOUNT_STILL_LIQUIDATABLE if worth.mm < 0 else Reject.ACCOUNT_NOT_LIQUIDATABLE,
            f"auction: expected something for sale, found a price of {float(price)} and a share of "
            f"{float(most)}",
        )
    share = min(want, most)
    paid = price * share
    return Bid(
        share=share,
        price=price,
        paid=paid,
        from_security=_NOTHING,
        socialised=_NOTHING,
        must_hold=paid + abs(margin - reserved) * share,
        auction=replace(auction, reserved=reserved + paid, ended=want >= most),
    )


def _insolvent_bid(
    auction: Auction, worth: Worth, want: Fraction, time_s: int, security: Fraction
) -> Bid:
    price = insolvent_price(auction.terms, worth, time_s - auction.started_s)
    asked = -price * want
    secured = min(security, asked)
    return Bid(
        share=want,
        price=price,
        paid=_NOTHING,
        from_security=secured,
        socialised=asked - secured,
        must_hold=max(_NOTHING, abs(worth.mm) * want - asked),
        auction=replace(auction, ended=want == 1),
    )


def time_is_over(auction: Auction, time_s: int) -> bool:
    """Whether a solvent auction's discount has reached the whole worth."""
    return not discount(auction.terms, time_s - auction.started_s)


def may_end(auction: Auction, worth: Worth, time_s: int) -> bool:
    """Whether anyone may end the auction: the account has its margin, or needs another kind of it.

    Insolvent, or solvent with its time over: mm >= 0. Solvent: its buffer margin is there, or it is
    worth less than nothing (to start again as insolvent), or all that it is worth is reserved.
    """
    if not auction.solvent or time_is_over(auction, time_s):
        return worth.mm >= 0
    all_reserved = auction.reserved >= worth.mtm >= 0
    return buffer_margin(worth, auction.terms) >= 0 or worth.mtm < 0 or all_reserved


def to_insolvent(auction: Auction, worth: Worth, time_s: int) -> Auction:
    """The same account in an insolvent auction: nobody took it, and it is below its margin still.

    Raises Refused while its price is above 0, or once it has its margin.
    """
    nothing_asked = auction.solvent and solvent_price(auction, worth, time_s) == 0
    if not nothing_asked or worth.mm >= 0 or auction.ended:
        raise Refused(
            Reject.ACCOUNT_NOT_LIQUIDATABLE,
            "auction: expected a solvent one whose price is 0, of an account below its margin, "
            f"found a maintenance margin of {float(worth.mm)}",
        )
    return replace(auction, solvent=False, started_s=time_s, owed=-worth.mm)


def withdrawals_blocked(owed: Fraction, security: Fraction) -> bool:
    """Whether money may leave: all insolvent auctions owe more than the security module holds."""
    return owed > security
