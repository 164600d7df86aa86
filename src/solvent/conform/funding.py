"""Cases of funding by `market.funding`: Derive's rates and payments, Vega's averages and payments.

Vega's are held a second and a third time elsewhere: by its rulebook, and through the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from solvent.conform.case import Case, Row
from solvent.conform.vega_venue import exact
from solvent.market.averages import TimeAverage
from solvent.market.funding import (
    HOUR_MS,
    Form,
    FundingRule,
    impact_premium,
    period_payment,
    rate_of,
)
from solvent.units import MINUTE_MS

_SECOND_MS: Final = 1_000


def derive(case: Case, row: Row) -> Case:
    """A rate by the hour from impact prices, and what a position receives at it."""
    told = {name: Fraction(row[name]) for name in ("index", "bid", "ask", "static", "cap")}
    convergence = Fraction(row["convergence_h"])
    rule = FundingRule(
        interval_ms=HOUR_MS,
        basis_ms=int(convergence * HOUR_MS),
        form=Form.SUM,
        interest=told["static"] * convergence,
        cap=told["cap"],
        floor=-told["cap"],
        capped_ms=HOUR_MS,
    )
    premium = impact_premium(index=told["index"], bid=told["bid"], ask=told["ask"])
    if "expected_rate" in row:
        found = rate_of(rule, premium)
        case.expect_text("rate", str(found), str(Fraction(row["expected_rate"])))
    if "expected_funding" in row:
        rate = rate_of(rule, premium, elapsed_ms=row["seconds"] * _SECOND_MS)
        paid = -Fraction(row["position"]) * told["index"] * rate
        case.expect_text("funding", str(paid), str(Fraction(row["expected_funding"])))
    return case


def average(given: Row) -> Mapping[str, Any]:
    """A period's time-weighted average: observations are (minute, price), an auction (from, to)."""
    rows = [(0, given["initial"]), *given["observations"]]
    begins, ends = given.get("auction", (None, None))
    happens = [(exact(minute), 1, price) for minute, price in rows]
    happens += [(exact(at), 0, at == begins) for at in (begins, ends) if at is not None]
    found = TimeAverage()
    for minute, kind, what in sorted(happens, key=lambda one: one[:2]):
        time_ms = int(minute * MINUTE_MS)
        if kind:
            found = found.at(exact(what), time_ms=time_ms)
        else:
            found = found.paused(time_ms=time_ms) if what else found.resumed(time_ms=time_ms)
    return {"twap": found.value(int(exact(given["period_minutes"]) * MINUTE_MS))}


def payment(given: Row) -> Mapping[str, Any]:
    """What a long of one pays at the end of a period, and that as a share of the index."""
    spot = exact(given["s_twap"])
    bounds = {
        mine: None if given.get(theirs) is None else exact(given[theirs])
        for mine, theirs in (("rate_low", "rate_lower"), ("rate_high", "rate_upper"))
    }
    found = period_payment(
        future=exact(given["f_twap"]),
        spot=spot,
        years=exact(given.get("delta_t", 0)),
        interest=exact(given.get("interest_rate", 0)),
        clamp_low=exact(given.get("clamp_lower", 0)),
        clamp_high=exact(given.get("clamp_upper", 0)),
        scaling=exact(given.get("scaling_factor") or 1),
        auction_share=exact(given.get("auction_fraction", 0)),
        **bounds,
    )
    return {"funding_payment": found, "funding_rate": found / spot}
