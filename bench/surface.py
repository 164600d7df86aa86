"""Volatility surfaces of every chain: how long a fit takes, how near it comes, what is left.

Fits on one core, each chain in turn, the median of some rounds. Beside them the search for one
smile after another by scipy (`pricing.svi.fit_svi`), which weighs its points otherwise.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from bench.harness import Candidate, interleave, one_core
from bench.limits import machine
from solvent.feeds.market import read_market
from solvent.feeds.open_interest import read_open_interest
from solvent.pricing.arbitrage import least_g
from solvent.pricing.option_quotes import OptionQuotes, quotes_of
from solvent.pricing.surface_fit import SurfaceFit, fit_surface
from solvent.pricing.svi import fit_svi
from solvent.units import Float64

SHARED = Path(os.environ.get("SOLVENT_SHARED", Path(__file__).resolve().parents[2] / "shared"))
RESULTS = Path(__file__).parent / "results"
ROUNDS = 5
TIME_MAX_S = 0.5
_COLUMNS = (
    "chain", "expiries", "strikes", "fit_ms", "cpu_ms", "median", "p95", "largest", "ssvi_median",
    "ssvi_p95", "butterflies_told", "calendars_told", "butterflies_left", "calendars_left",
)  # fmt: skip


def main() -> None:
    """Measure every chain, print, and write `surface.json` and `surface.md`."""
    paths = sorted((SHARED / "data" / "deribit_chains").glob("deribit_options_snapshot_*"))
    if not paths:
        print(f"surface: no chains in {SHARED}; not measured")
        return
    document = measure(paths)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "surface.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    text = markdown(document)
    (RESULTS / "surface.md").write_text(text, "utf-8")
    print(text)


def measure(paths: list[Path], *, rounds: int = ROUNDS) -> dict[str, Any]:
    """A row a chain, and goals over all."""
    load = os.getloadavg()[0]
    with one_core():
        rows = [_row(path, rounds) for path in paths]
        slow = _one_by_one(paths[-1], rounds)
    slowest = max(row["fit_ms"] for row in rows)
    goals = {
        f"all expiries of BTC and ETH in <= {TIME_MAX_S} s": slowest <= TIME_MAX_S * 1e3,
        "every chain: median <= 0.3 vol points": max(row["median"] for row in rows) <= 0.3,
        "every chain: 95 % <= 1.5 vol points": max(row["p95"] for row in rows) <= 1.5,
        "no arbitrage left": not any(
            row["butterflies_left"] + row["calendars_left"] for row in rows
        ),
    }
    return {
        "machine": machine(), "load before": load, "rows": rows, "one by one": slow, "goals": goals
    }  # fmt: skip


def _row(path: Path, rounds: int) -> dict[str, Any]:
    quotes = _quotes(path)
    times = interleave({"fit": Candidate(run=lambda: fit_surface(quotes))}, rounds=rounds)
    start = time.process_time()
    fit = fit_surface(quotes)
    cpu_ms = (time.process_time() - start) * 1e3
    ssvi = fit_surface(quotes, model="ssvi")
    error, ssvi_error = _errors(quotes, fit), _errors(quotes, ssvi)
    surface = fit.surface
    k = np.concatenate([-np.geomspace(20.0, 1e-3, 400), np.geomspace(1e-3, 20.0, 400)])
    w = surface.total_variance(np.arange(len(surface))[:, None], k[None, :])
    falls = (np.diff(w, axis=0) < 0.0).any(axis=1) & (np.diff(surface.book) == 0)
    values = (
        path.name.removeprefix("deribit_options_snapshot_").removesuffix(".csv.gz"),
        len(surface), fit.points.row.size, times["fit"].median * 1e3, cpu_ms,
        float(np.median(error)), float(np.quantile(error, 0.95)), float(error.max()),
        float(np.median(ssvi_error)), float(np.quantile(ssvi_error, 0.95)),
        sum(one.butterflies for one in fit.reports), sum(one.calendars for one in fit.reports),
        int((least_g(surface.smiles) < 0.0).sum()), int(falls.sum()),
    )  # fmt: skip
    return dict(zip(_COLUMNS, values, strict=True))


def _quotes(path: Path) -> OptionQuotes:
    snapshot = read_market([path], skip_bad=True).snapshot
    return quotes_of(snapshot, read_open_interest([path]))


def _errors(quotes: OptionQuotes, fit: SurfaceFit) -> Float64:
    """|model − mark| in vol points of every option with |delta| 5 … 95 %."""
    surface, found = fit.surface, []
    for one in range(len(surface)):
        mine = (quotes.expiry_ms == surface.expiry_ms[one]) & (quotes.book == surface.book[one])
        mine &= quotes.vol > 0.0
        k, vol = np.log(quotes.strike[mine] / quotes.forward[mine]), quotes.vol[mine]
        v = vol * np.sqrt(surface.years[one])
        delta = ndtr(-k / v + 0.5 * v)
        within = (delta >= 0.05) & (delta <= 0.95)
        found.append(np.abs(surface.vol(one, k[within]) - vol[within]) * 100.0)
    return np.concatenate(found)


def _one_by_one(path: Path, rounds: int) -> dict[str, float]:
    """The same chain by this module's fit and by a scipy search for each expiry."""
    quotes = _quotes(path)
    fit = fit_surface(quotes)
    points, years = fit.points, fit.surface.years

    def search() -> None:
        for one in range(len(fit.surface)):
            mine = points.slice == one
            fit_svi(k=points.k[mine], total_variance=points.told[mine] ** 2 * years[one])

    times = interleave(
        {"at once": Candidate(run=lambda: fit_surface(quotes)), "scipy": Candidate(run=search)},
        rounds=rounds,
    )
    ours, theirs = times["at once"].median * 1e3, times["scipy"].median * 1e3
    return {"at once, ms": ours, "a scipy search an expiry, ms": theirs, "ratio": theirs / ours}


def markdown(document: dict[str, Any]) -> str:
    """The document as text."""
    told = (
        "Written by `python -m bench.surface`. Errors are in vol points, over options with |delta| "
        "5 to 95 %. `cpu ms` is what one fit took of the processor, whatever else ran."
    )
    lines = ["# Volatility surfaces", "", told, ""]
    lines.append(", ".join(f"{k}: {v}" for k, v in document["machine"].items()))
    lines += ["", f"load before: {document['load before']:.1f}", ""]
    lines.append("| " + " | ".join(name.replace("_", " ") for name in _COLUMNS) + " |")
    lines.append("|---" + "|---:" * (len(_COLUMNS) - 1) + "|")
    for row in document["rows"]:
        cells = (f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- {fact}: {value:,.4g}" for fact, value in document["one by one"].items()]
    lines += [
        f"- goal {goal}: {'met' if met else '**missed**'}"
        for goal, met in document["goals"].items()
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
