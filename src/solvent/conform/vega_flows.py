"""Vega's flows of money through the engine: marks, shared losses, funding, fees."""

from __future__ import annotations

from fractions import Fraction
from math import gcd
from typing import Final

from solvent.conform.case import Row
from solvent.conform.vega_venue import (
    OTHER,
    PARTY,
    PLENTY,
    POOL,
    Found,
    Venue,
    above,
    exact,
    outcome,
    parameters,
)
from solvent.messages.events import Event, FundingPaid
from solvent.units import MINUTE_MS, YEAR_MS

STEP_MS: Final = 10_000
"""Between two disposals."""
_PRICE: Final = 1_000
NETWORK: Final = "network"
"""The name by which a case calls the insurance fund as a holder."""


# ── marks ────────────────────────────────────────────────────────────────────────────────────────


def settlement(given: Row) -> Found:
    """Trades are (signed size, price)."""
    held, before, mark = given["prev_open_volume"], given["prev_mark"], given["mark"]
    trades = given.get("trades", [])
    venue = Venue(
        prices=[before, mark, *(price for _, price in trades)],
        sizes=[held, *(size for size, _ in trades)],
    )
    venue.deposit(PARTY, PLENTY)
    venue.mark(before)
    venue.hold((PARTY, held), at=before)
    venue.settle()
    for size, price in trades:
        venue.trade(PARTY, size=size, price=price)
    stood = venue.wealth(PARTY)
    venue.mark(mark)
    venue.settle()
    return outcome({"settlement": venue.wealth(PARTY) - stood}, venue)


def network_mark(given: Row) -> Found:
    """The insurance fund holds the position, and pays out of its pool."""
    held, before, mark = given["network_position"], given["prev_mark"], given["mark"]
    venue = Venue(prices=[before, mark], sizes=[held])
    venue.deposit(POOL, given["insurance_pool"])
    venue.hold((POOL, held), at=before)
    venue.mark(mark)
    venue.settle()
    values = {"insurance_pool": venue.pool(), "network_position": venue.held(POOL)}
    return outcome(values, venue)


def closed_out(given: Row) -> Found:
    """A mark after which a cross position is closed out: where the case tells no risk factors, they
    are such that no margin is enough."""
    before, mark = given["prev_mark"], given["mark"]
    more = {} if above(given) > 1 else {"risk_factor_long": 10**9, "risk_factor_short": 10**9}
    venue = Venue(
        prices=[before, mark], sizes=[given["position"]], parameters=parameters(given, **more)
    )
    venue.deposit(POOL, given.get("insurance_pool", 0))
    venue.hold((PARTY, given["position"]), at=before)
    venue.stand(PARTY, margin=given["party_margin"], general=given["party_general"])
    venue.mark(mark)
    venue.settle()
    wrong = () if venue.close_out(mark) else ("party: expected to be closed out",)
    margin, _, general = venue.balances(PARTY)
    values = {"party_margin": margin, "party_general": general, "insurance_pool": venue.pool(),
              "network_position": venue.held(POOL)}  # fmt: skip
    return outcome(values, venue, wrong=wrong)


def disposed(given: Row) -> Found:
    """The network sells in steps of its schedule; at each as much rests as the case tells."""
    held, rests = exact(given["network_position"]), exact(given["available_volume"])
    rule = {
        "every_ms": STEP_MS, "fraction": given["disposal_fraction"],
        "full_lots": given["full_disposal_size"], "book_share": given["max_fraction_consumed"],
    }  # fmt: skip
    venue = Venue(disposal=rule)
    for name in (POOL, PARTY):
        venue.deposit(name, PLENTY)
    venue.mark(_PRICE)
    venue.hold((POOL, held), at=_PRICE)
    taken = [venue.order(PARTY, buy=held > 0, size=rests, price=_PRICE)]
    found: list[int] = []
    while sold := venue.dispose():
        found.append(int(sold))
        taken.append(venue.order(PARTY, buy=held > 0, size=sold, price=_PRICE))
        venue.time_ms += STEP_MS - 1
        if venue.dispose():
            venue.faults.append("network: expected no disposal before its time")
        venue.time_ms += 1
    wrong = () if None not in taken else ("orders: expected to be taken",)
    return outcome({"disposals": found}, venue, wrong=wrong)


def shared_loss(given: Row) -> Found | None:
    """Losers are (name, loss, money), winners (name, gain): once by a mark, once by funding."""
    losses = [(_holder(name), loss, money) for name, loss, money in given["losses"]]
    wins = [(_holder(name), gain) for name, gain in given["wins"]]
    if sum(loss for _, loss, _ in losses) != sum(gain for _, gain in wins):
        return None
    unit = gcd(*(loss for _, loss, _ in losses), *(gain for _, gain in wins))
    before = 10 ** len(str(unit))
    names = [name for name, *_ in (*losses, *wins) if name != POOL]
    venues, paid = [], []
    for by_funding in (False, True):
        venue = Venue(accounts=names)
        venue.deposit(POOL, given["insurance_pool"])
        for name, _, money in losses:
            venue.deposit(name, money)
        sign = -1 if by_funding else 1
        rows = [(name, -loss) for name, loss, _ in losses] + wins
        held = [(name, Fraction(sign * amount, unit)) for name, amount in rows if amount]
        venue.mark(before)
        venue.hold(*held, at=before)
        if by_funding:
            venue.time_ms += MINUTE_MS
            answer = venue.fund(Fraction(unit, before))
        else:
            venue.mark(before + unit)
            answer = venue.settle()
        out = venue.paid_out(answer)
        paid.append({name: out.get(_holder(name), 0) for name, _ in given["wins"]})
        venues.append(venue)
    wrong: tuple[str, ...] = (
        () if paid[0] == paid[1] else (f"by funding: expected {paid[0]}, found {paid[1]}",)
    )
    pools = {venue.pool() for venue in venues}
    wrong += () if len(pools) == 1 else (f"pool: expected the same both ways, found {pools}",)
    return outcome({"paid": paid[0], "insurance_pool": venues[0].pool()}, *venues, wrong=wrong)


def _holder(name: str) -> str:
    return POOL if name == NETWORK else name


# ── funding ──────────────────────────────────────────────────────────────────────────────────────


def average(given: Row) -> Found:
    """The same prices as marks and as index: observations are (minute, price), and so is the part
    of the period that was an auction (from, to)."""
    begins, ends = given.get("auction", (None, None))
    rows = [(0, given["initial"]), *given["observations"]]
    venue = Venue(prices=[price for _, price in rows])
    begun = venue.time_ms
    happens = [(exact(minute), 1, price) for minute, price in rows]
    happens += [(exact(at), 0, at == begins) for at in (begins, ends) if at is not None]
    for minute, kind, what in sorted(happens, key=lambda one: one[:2]):
        venue.time_ms = begun + int(minute * MINUTE_MS)
        if kind:
            venue.mark(what, index=what)
        else:
            venue.auction(on=what)
    venue.time_ms = begun + int(exact(given["period_minutes"]) * MINUTE_MS)
    event = _funding_of(venue.fund())
    if event is None:
        return outcome({}, venue)
    wrong: tuple[str, ...] = ()
    if event.future_average != event.index_average:
        wrong = (f"averages: expected one, found {event.future_average}, {event.index_average}",)
    return outcome({"twap": Fraction(event.future_average)}, venue, wrong=wrong)


def payment(given: Row) -> Found:
    """Prices stand all through the period; a long of one pays a short of one."""
    future, index = given["f_twap"], given["s_twap"]
    years, share = exact(given.get("delta_t", 0)), exact(given.get("auction_fraction", 0))
    period_ms = years * YEAR_MS
    more = {}
    if not period_ms or period_ms.denominator != 1 or (share * period_ms).denominator != 1:
        # Such a period cannot be lived through: its length is the market's own number instead.
        period_ms, more = Fraction(10**9), {"funding_years": years}
    venue = Venue(prices=[future], parameters=parameters(given, **more))
    venue.deposit(PARTY, PLENTY)
    venue.hold((PARTY, 1), at=future)
    venue.mark(future, index=index)
    begun = venue.time_ms
    venue.time_ms = begun + int((1 - share) * period_ms)
    if share:
        venue.auction(on=True)
    venue.time_ms = begun + int(period_ms)
    event = _funding_of(venue.fund())
    if event is None:
        return outcome({}, venue)
    payment = Fraction(event.payment)
    paid = PLENTY - venue.wealth(PARTY)
    wrong = () if paid == int(payment) else (f"paid: expected {int(payment)}, found {paid}",)
    values = {"funding_payment": payment, "funding_rate": payment / exact(index)}
    return outcome(values, venue, wrong=wrong)


def _funding_of(events: tuple[Event, ...]) -> FundingPaid | None:
    return next((one for one in events if isinstance(one, FundingPaid)), None)


# ── fees ─────────────────────────────────────────────────────────────────────────────────────────


def fees(given: Row, *, auction: bool = False) -> Found:
    """The party is the aggressor, or one side of an auction."""
    components = ("maker", "infrastructure", "liquidity")
    rates = {f"{name}_fee": given.get(name, 0) for name in components}
    venue = Venue(prices=[given["price"]], sizes=[given["size"]], parameters=rates)
    venue.deposit(PARTY, PLENTY)
    venue.mark(given["price"])
    if auction:
        venue.auction(on=True)
    events = venue.trade(PARTY, size=given["size"], price=given["price"], auction=auction)
    paid = venue.fees(PARTY, events)
    total = PLENTY - venue.wealth(PARTY)
    other = venue.fees(OTHER, events)
    wrong = () if other == (paid if auction else {}) else (f"other side: found {other}",)
    return outcome({**{name: paid.get(name, 0) for name in components}, "total": total}, venue,
                  wrong=wrong)  # fmt: skip
