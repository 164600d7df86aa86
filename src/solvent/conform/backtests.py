"""Cases of the court: tests of coverage, and a table of models on one series."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from solvent.conform.case import Case, Row, unknown
from solvent.errors import MissingExtra
from solvent.lab.court import statistics, tail_tests
from solvent.lab.court.procyclicality import procyclicality
from solvent.lab.court.series_models import MODELS, series_margins, sp500_returns
from solvent.units import Float64

_EXACT = 1e-9
"""Told ratios are differences of logarithms of likelihoods near 0: their last digits are noise."""
_DRAWS = 100_000
_DRAWS_THERE = 100_000
"""What the file's own simulated quantiles come from, at least; the standard error is theirs."""


def court_tests(path: Path) -> Iterator[Case]:
    """Every row of `backtest_vectors.json`: Kupiec, Christoffersen, Haas, Basel, Acerbi-Szekely."""
    told = json.loads(path.read_text("utf-8"))
    yield from _counts(told)
    yield from _clusters(told)
    yield from _zones(told)
    yield from _tails(told)


def _counts(told: Row) -> Iterator[Case]:
    for row in told.get("pof", []):
        found = statistics.kupiec(
            observations=int(row["N"]), breaches=int(row["x"]), p=row["p"]
        )  # fmt: skip
        yield _test(f"POF N={row['N']} x={row['x']} p={row['p']}", found, row, "LR")
    for row in told.get("tuff", []):
        found = statistics.time_to_first(steps=int(row["n"]), p=row["p"])
        yield _test(f"TUFF n={row['n']}", found, row, "LR")
    for row in told.get("nonrejection", []):
        case = Case(f"non-rejection N={row['N']} p={row['p']}")
        fewest, most = statistics.non_rejection(observations=int(row["N"]), p=row["p"])
        case.expect("fewest", fewest, row["min_ok"], 0.0)
        case.expect("most", most, row["max_ok"], 0.0)
        yield case


def _clusters(told: Row) -> Iterator[Case]:
    for n, row in enumerate(told.get("cci", []), 1):
        found = statistics.independence(*(int(row[f"n{k}"]) for k in ("00", "01", "10", "11")))
        yield _test(f"independence {n}", found, row, "LR_ind")
    for n, row in enumerate(told.get("tbfi", []), 1):
        found = statistics.haas_independence(row["durations"], p=row["p"])
        case = _test(f"Haas {n}", found, row, "LR")
        case.expect("degrees of freedom", found.freedom, row["df"], 0.0)
        yield case


def _test(name: str, found: statistics.Test, row: Row, ratio: str) -> Case:
    case = Case(name)
    case.expect(ratio, _number(found.statistic), row[ratio], _EXACT * max(1.0, row[ratio]))
    if "pvalue" in row:
        case.expect("p-value", _number(found.p_value), row["pvalue"], _EXACT)
    if "reject_95" in row:
        case.expect("rejected at 5 %", bool(found.rejected()), bool(row["reject_95"]), 0.0)
    return case


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _zones(told: Row) -> Iterator[Case]:
    for row in told.get("basel", []):
        zone = statistics.basel(observations=int(row["N"]), breaches=int(row["x"]), p=row["p"])
        case = Case(f"Basel x={row['x']}")
        case.expect("at most", zone.cumulative, row["cum_prob"], _EXACT)
        case.expect("exactly", zone.exact, row["exact_prob"], _EXACT)
        case.expect("or more", zone.type_one, row["type1"], _EXACT)
        case.expect_text("zone", zone.colour, str(row["zone"]))
        case.expect("multiplier", _number(zone.multiplier), row["multiplier_basel2"], 0.0)
        yield case


def _tails(told: Row) -> Iterator[Case]:
    for row in told.get("acerbi_szekely_z2_critical", []):
        law = tail_tests.Law(freedom=row["df"])
        case = Case(f"Acerbi-Szekely, {'normal' if row['df'] is None else 't ' + str(row['df'])}")
        case.expect("VaR", law.var(0.025), row["VaR"], _EXACT)
        case.expect("ES", law.es(0.025), row["ES"], _EXACT)
        drawn = tail_tests.simulated_z2(observations=250, alpha=0.025, law=law, draws=_DRAWS)
        for what, level in (("z2_q5", 0.05), ("z2_q0_01", 0.0001)):
            found = float(drawn[math.ceil(level * _DRAWS) - 1])
            case.expect(what, found, row[what], _error_of_quantile(drawn, level))
        yield case
    if one := told.get("acerbi_szekely_example"):
        case = Case("Acerbi-Szekely example")
        case.expect("Z1", _number(tail_tests.z1(one["X"], one["VaR"], one["ES"])), one["Z1"],
                    _EXACT)  # fmt: skip
        found_z2 = tail_tests.z2(one["X"], one["VaR"], one["ES"], alpha=one["alpha"])
        case.expect("Z2", _number(found_z2), one["Z2"], _EXACT)
        yield case


def _error_of_quantile(drawn: Float64, level: float) -> float:
    """Four standard errors, in rank, of a quantile of the file's own draws, told as a distance."""
    spread = 4.0 * math.sqrt(level * (1.0 - level) / _DRAWS_THERE)
    below, above = max(level - spread, 0.5 / _DRAWS_THERE), level + spread
    at = [drawn[min(len(drawn) - 1, int(share * len(drawn)))] for share in (below, level, above)]
    return float(max(at[1] - at[0], at[2] - at[1]))


# ── a table of models ────────────────────────────────────────────────────────────────────────────


def table(path: Path) -> Iterator[Case]:
    """Every row of `procyclicality_sp500_table.json`, to the digits that are told."""
    told = json.loads(path.read_text("utf-8"))
    try:
        returns, days = sp500_returns()
    except MissingExtra:
        yield from (unknown(row["model"]) for row in told["rows"])
        return
    first = days.index(date.fromisoformat(told["eval_from"][:10]))
    for row in told["rows"]:
        if row["model"] not in MODELS:
            yield unknown(row["model"])
            continue
        margins = series_margins(MODELS[row["model"]], returns)[first:-1]
        yield _row(row, margins, -returns[first:])


def _row(row: Row, margins: Float64, losses: Float64) -> Case:
    breaches = int((losses > margins).sum())
    sizes = statistics.breach_sizes(losses, margins)
    shape = procyclicality(margins)
    kupiec = statistics.kupiec(observations=len(margins), breaches=breaches, p=0.01)
    found = {
        "N": len(margins),
        "breaches_long": breaches,
        "coverage": 1.0 - breaches / len(margins),
        "kupiec_p": kupiec.p_value,
        "avg_margin": shape.mean,
        "peak_to_trough": shape.peak_to_trough,
        **{f"max_{days}d": rise for days, rise in shape.rises.items()},
        "sd_log_changes": shape.sd_log_changes,
        "avg_shortfall_given_breach": sizes.mean,
        "worst_uncovered": sizes.largest,
        "largest_5d_call_over_mean_margin": shape.largest_call,
    }
    case = Case(str(row["model"]))
    for what in row.keys() - {"model"}:
        told = row[what]
        digits = len(repr(told).partition(".")[2]) if isinstance(told, float) else 0
        # A number told to so many digits may end in zeros that are not written.
        digits = max(digits, 3 if isinstance(told, float) else 0)
        value = found.get(what)
        case.expect(what, _number(value), told, 0.5000001 * 10.0**-digits if digits else 0.0)
    return case
