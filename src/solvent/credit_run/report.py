"""A run as a document: what was called, passed, cut and lost, what it cost, and how it rose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from solvent.credit.lines import Procyclicality, procyclicality
from solvent.credit_run.desk import Desk, Lent, Step, audit_of
from solvent.credit_run.venue import QUOTED_AT, RULEBOOK
from solvent.instruments.contract import moment_of
from solvent.units import MICRO, TimeMs

DAY_STEPS: Final = 4
"""Steps of six hours in a day, in which rises are measured."""


def document(desk: Desk, *, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Everything that a report shows; amounts in dollars, times as ISO text."""
    steps = [_step(one) for one in desk.steps]
    rows = [_counterparty(desk, name, lent) for name, lent in desk.lent.items()]
    return {
        "source": desk.told.source,
        "member": desk.told.member.name,
        "rulebook": RULEBOOK,
        "from": steps[0]["time"],
        "to": steps[-1]["time"],
        "steps": steps,
        "counterparties": rows,
        "totals": _totals(rows, steps),
        "procyclicality": _rises(desk.steps),
        "exposure": desk.told.exposure.model_dump(),
        "audit": audit_of(desk),
        "notes": [
            *notes,
            f"Close-outs trade with the member, who quotes {QUOTED_AT:.1%} from the mark.",
            "`abrupt` is the requirement on the same books had every cut of a line come at once.",
        ],
    }


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else moment_of(TimeMs(time_ms)).isoformat(timespec="seconds")


def _dollars(micro: int) -> float:
    return micro / MICRO


def _step(one: Step) -> dict[str, Any]:
    line = sum(seen.usage.line_micro for seen in one.seen)
    drawn = sum(seen.usage.drawn_micro for seen in one.seen)
    return {
        "time": _time(one.time_ms), "index": one.index, "states": one.states,
        "risk": _dollars(sum(seen.risk_micro for seen in one.seen)),
        "required": _dollars(required(one)),
        "required_abrupt": _dollars(required(one, abrupt=True)),
        "line": _dollars(line), "drawn": _dollars(drawn),
        "utilisation": drawn / line if line else 0.0,
        "called": _dollars(one.called_micro), "paid": _dollars(one.paid_micro),
        "lost": _dollars(one.lost_micro),
        "breaches": [
            {"counterparty": seen.name, "limit": breach.limit, "allowed": float(breach.allowed),
             "found": float(breach.found)}
            for seen in one.seen for breach in seen.breaches
        ],
        "defaults": list(one.defaults), "closed": list(one.closed),
        "engine_calls": one.engine_calls,
        "unknown": [seen.name for seen in one.seen if not seen.known],
    }  # fmt: skip


def required(step: Step, *, abrupt: bool = False) -> int:
    """What all counterparties together are to have posted; nobody's is below nothing."""
    return sum(
        max(0, seen.abrupt_micro if abrupt else seen.initial_micro)
        for seen in step.seen if seen.known
    )  # fmt: skip


def _counterparty(desk: Desk, name: str, lent: Lent) -> dict[str, Any]:
    before = desk.register.counterparties[name]
    seen = next(one for one in desk.steps[-1].seen if one.name == name)
    agreement = desk.register.agreement_of(name)
    costs = {
        _time(at): None if one is None else one.document() for at, one in lent.exposures.items()
    }  # fmt: skip
    return {
        "name": name, "agreement": agreement.name, "accounts": list(agreement.accounts),
        "rating_before": before.quality.rating or "own", "rating": lent.quality.rating or "own",
        "line_before": _dollars(desk.register.line(name)),
        "line": _dollars(seen.usage.line_micro), "line_target": _dollars(lent.schedule.last),
        "stressed_pd": lent.quality.stressed_pd(), "lgd": float(lent.quality.lgd),
        "drawn": _dollars(seen.usage.drawn_micro), "equity": _dollars(seen.equity_micro),
        "initial_margin": _dollars(seen.initial_micro),
        "utilisation_peak": float(lent.utilisation), "calls": lent.calls,
        "called": _dollars(lent.called_micro), "paid": _dollars(lent.paid_micro),
        "lost": _dollars(lent.lost_micro), "state": str(lent.stand.state),
        "states": list(lent.states), "limits_passed": dict(lent.limits),
        "defaulted_at": _time(lent.defaulted_ms), "closed_at": _time(lent.closed_ms),
        "cut": lent.closed_by, "exposure": costs,
    }  # fmt: skip


def _totals(rows: Sequence[dict[str, Any]], steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    times = sorted({time for row in rows for time in row["exposure"]})

    def cost(time: str, what: str) -> float:
        told = [row["exposure"].get(time) for row in rows]
        return float(sum(one[what] for one in told if one is not None))

    return {
        "counterparties": len(rows),
        "calls": sum(row["calls"] for row in rows),
        "called": sum(row["called"] for row in rows),
        "paid": sum(row["paid"] for row in rows),
        "lost": sum(row["lost"] for row in rows),
        "limit_breaches": sum(len(step["breaches"]) for step in steps),
        "breached_by": sum(bool(row["limits_passed"]) for row in rows),
        "downgraded": sum(row["rating"] != row["rating_before"] for row in rows),
        "defaults": sum(row["defaulted_at"] is not None for row in rows),
        "closed": [row["name"] for row in rows if row["closed_at"] is not None],
        "reduced": [row["name"] for row in rows if row["cut"] and row["closed_at"] is None],
        "utilisation_peak": max(step["utilisation"] for step in steps),
        "cost": {
            time: {"cva": cost(time, "cva"), "cva_wrong_way": cost(time, "cva_wrong_way"),
                   "peak_exposure": cost(time, "peak"), "epe": cost(time, "epe")}
            for time in times
        },
    }  # fmt: skip


def _rises(steps: Sequence[Step]) -> dict[str, Any]:
    """How the requirement moved, with lines as scheduled and had they been cut at once."""
    found = {}
    for name, abrupt in (("scheduled", False), ("abrupt", True)):
        series = [required(one, abrupt=abrupt) for one in steps]
        found[name] = _measure(procyclicality(series, window=DAY_STEPS))
    return found


def _measure(one: Procyclicality) -> dict[str, float | None]:
    ratio = one.peak_to_trough
    return {"peak_to_trough": None if ratio is None else float(ratio),
            "largest_rise_in_a_day": _dollars(one.largest_rise_micro)}  # fmt: skip
