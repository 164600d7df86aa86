"""Cases of Derive's auctions and of what accrues there: unit numbers, and simulations bid by bid.

A simulation tells an account before each bid. Its worth is what the manager's rulebook says of it,
before the bid and, scaled by what the bid leaves, after it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from solvent.conform.case import Case, Row
from solvent.conform.derive_pmrm import first_at, first_worth
from solvent.conform.funding import derive as derive_funding
from solvent.liquidation import accrual, auction
from solvent.liquidation.auction import Auction, Terms, Worth

_ABSOLUTE: Final = 1e-12
"""Of a simulation, in dollars and in parts of one: the file's own 1e6 of 1e18."""
_WHOLE: Final = 0.0
_LOG_DIGITS: Final = 1e-15


def simulations(path: Path) -> Iterator[Case]:
    """`auction_sim_cases.json`: every bid of an auction. Cases that its source keeps commented out
    belong to an older contract and are left out."""
    file = json.loads(path.read_text("utf-8"))
    for row in file["cases"]:
        if row["upstream_active"]:
            yield from _simulated(row, file)


def _simulated(row: Row, file: Row) -> Iterator[Case]:
    terms = _terms(file["auction"])
    margin, sale = Case(f"{row['id']}: margin"), Case(f"{row['id']}: auction")
    initial = row["initial"] | {"time": row["start_time"]}
    opened = _worth({"portfolio_and_feeds": initial, "time": row["start_time"]}, file)
    running, fee = auction.start(opened, terms, row["start_time"])
    sale.expect("fee", float(fee), float(row["liquidation_fee"]), _ABSOLUTE)
    for number, action in enumerate(row["actions"], 1):
        expected = action["expected"]

        def hold(what: str, found: Fraction, case: Case = sale, number: int = number,
                 expected: Row = expected) -> None:  # fmt: skip
            case.expect(f"bid {number}: {what}", float(found), float(expected[what]), _ABSOLUTE)

        worth = _worth(action, file)
        hold("PreMtM", worth.mtm, margin)
        hold("PreMM", worth.mm, margin)
        hold("PreBM", auction.buffer_margin(worth, terms))
        hold("PreFMax", _most(running, worth, action["time"]))
        done = auction.bid(
            running, worth, want=Fraction(action["percent_want"]), time_s=action["time"],
            security=Fraction(0),
        )  # fmt: skip
        hold("ExpectedBidPrice", done.paid)
        hold("SMPayout", -done.from_security)
        # The source's other share, FinalPercentageReceived, is of what there was at first in one
        # case and of what is left in another: the share of what is left is told here in both.
        hold("fLiquidatedOfOriginal", done.share)
        after = _worth(_after(action, done, running.reserved), file)
        hold("PostMtM", after.mtm)
        hold("PostMM", after.mm)
        hold("PostBM", auction.buffer_margin(after, terms))
        running = done.auction
        hold("PostFMax", _most(running, after, action["time"]))
    yield from (margin, sale)


def _worth(action: Row, file: Row) -> Worth:
    mtm, mm = first_worth(first_at(action), file["params"])
    return Worth(mm=mm, mtm=mtm)


def _most(running: Auction, worth: Worth, time_s: int) -> Fraction:
    return auction.max_proportion(
        worth.mtm,
        auction.buffer_margin(worth, running.terms),
        discount=auction.discount(running.terms, time_s - running.started_s),
        reserved=running.reserved,
    )


_SCALED: Final = ("perp_position", "base_position", "perp_unrealised_pnl",
                  "perp_unrealised_funding")  # fmt: skip


def _after(action: Row, done: auction.Bid, reserved: Fraction) -> dict[str, Any]:
    """The account once the bidder has taken its share; cash that was reserved stays whole."""
    told, left = action["portfolio_and_feeds"], 1 - done.share
    cash = (Fraction(told["cash"]) - reserved) * left + reserved + done.paid
    rest = {name: Fraction(told[name]) * left for name in _SCALED}
    options = [one | {"amount": Fraction(one["amount"]) * left} for one in told["options"]]
    return {**action, "portfolio_and_feeds": {**told, **rest, "options": options, "cash": cash}}


def _terms(told: Row) -> Terms:
    return Terms(
        start=Fraction(told["startingMtMPercentage"]),
        cut=Fraction(told["fastAuctionCutoffPercentage"]),
        fast_s=told["fastAuctionLength"],
        slow_s=told["slowAuctionLength"],
        insolvent_s=told["insolventAuctionLength"],
        fee=Fraction(told["liquidatorFeeRate"]),
        buffer=Fraction(told["bufferMarginPercentage"]),
    )


# ── unit numbers ─────────────────────────────────────────────────────────────────────────────────


def units(path: Path) -> Iterator[Case]:
    """`unit_vectors.json`: discounts, bids, funding, interest; exact but for one exponential."""
    file = json.loads(path.read_text("utf-8"))
    params = next(row["params"] for row in file["discount"])
    for place, row in enumerate(file["discount"]):
        case = Case(f"discount {place}")
        _same(case, "discount", auction.discount(_terms(row["params"]), row["elapsed"]),
              row["expected"])  # fmt: skip
        yield case
    for place, row in enumerate(file["solvent"]):
        yield _solvent(Case(row.get("id", f"solvent {place}")), row)
    for place, row in enumerate(file["insolvent"]):
        yield _insolvent(Case(f"insolvent {place}"), row, row.get("params", params))
    for place, row in enumerate(file["funding"]):
        yield derive_funding(Case(f"funding {place}"), row)
    yield from _interest(file["interest"])


def _same(case: Case, what: str, found: Fraction, expected: str) -> None:
    case.expect_text(what, str(found), str(Fraction(expected)))


def _solvent(case: Case, row: Row) -> Case:
    terms = _terms(row["params"])
    worth = Worth(mm=Fraction(row["mm"]), mtm=Fraction(row["mtm"]))
    running = Auction(terms=terms, solvent=True, started_s=0, reserved=Fraction(row["reserved"]))
    elapsed = row["elapsed"]
    if "expected_bid_price" in row:
        _same(case, "price", auction.solvent_price(running, worth, elapsed),
              row["expected_bid_price"])  # fmt: skip
    if "expected_max_proportion_floor" in row:
        digits, expected = row["expected_max_proportion_floor"]
        found = math.floor(_most(running, worth, elapsed) * 10**digits)
        case.expect("most", found, expected, _WHOLE)
    if "expected_cash_floor" in row:
        done = auction.bid(
            running, worth, want=Fraction(row.get("want", 1)), time_s=elapsed, security=Fraction(0)
        )
        case.expect("cash", math.floor(done.paid), row["expected_cash_floor"], _WHOLE)
    return case


def _insolvent(case: Case, row: Row, params: Row) -> Case:
    """What the bidder is paid, whoever pays it: all, a part and nothing by the security module."""
    worth = Worth(mm=Fraction(row["mm"]), mtm=Fraction(row["mtm"]))
    running = Auction(terms=_terms(params), solvent=False, started_s=0)
    for security in (Fraction(0), Fraction(10), -worth.mm):
        done = auction.bid(
            running, worth, want=Fraction(row["want"]), time_s=row["elapsed"], security=security
        )
        _same(case, "to bidder", done.received, row["expected_to_bidder"])
        _same(case, "security", done.from_security, str(min(security, done.received)))
    return case


def _interest(told: Row) -> Iterator[Case]:
    params = {name: Fraction(one) for name, one in told["params"].items()}
    rates = accrual.Rates(
        least=params["minRate"], slope=params["rateMultiplier"],
        steep=params["highRateMultiplier"], optimum=params["optimalUtil"],
    )  # fmt: skip
    for place, row in enumerate((*told["rates"], *told["factor"])):
        case = Case(f"interest {place}")
        yearly = rates.yearly(supply=Fraction(row["supply"]), borrowed=Fraction(row["borrow"]))
        if "seconds" in row:
            found = accrual.interest(yearly, row["seconds"])
            case.expect("factor", float(found), float(row["expected"]), _LOG_DIGITS)
        else:
            _same(case, "rate", yearly, row["expected"])
        yield case
