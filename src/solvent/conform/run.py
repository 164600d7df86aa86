"""Walk a tree of vector files and run every case that Solvent knows how to check."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from solvent.conform import (
    auctions,
    backtests,
    clearing,
    default_waterfall,
    deleveraging,
    derive_pmrm,
    derive_srm,
    exchanges,
    liabilities,
    liquidations,
    mango,
    onchain,
    opyn,
    pricing,
    simm,
    vega,
)
from solvent.conform.case import Case, Reader
from solvent.errors import BadInput, Problem, Reject

_MISSES_SHOWN = 5
_ODD = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What a reader raises for a file that is not of its kind."""
_READERS: Mapping[str, Reader] = {
    "cex/cases": exchanges.cases,
    "exchange_liquidation/cases": liquidations.cases,
    "dydx/perp_margin_cases": onchain.dydx,
    "drift/imf_cases": onchain.drift,
    "mango/health1_cases": mango.health,
    "vega/cases": vega.cases,
    "tradfi/vega_lognormal_risk_factors": vega.risk_factors,
    "tradfi/span_mcmillan_risk_arrays": clearing.arrays,
    "tradfi/span_scenarios": clearing.scenarios,
    "tradfi/span_full_synthetic": clearing.walk,
    "tradfi/merkle_sum_tree_vector": liabilities.cases,
    "tradfi/backtest_vectors": backtests.court_tests,
    "tradfi/procyclicality_sp500_table": backtests.table,
    "tradfi/adl_vectors": deleveraging.cases,
    "tradfi/default_waterfall_vectors": default_waterfall.cases,
    "ore_simm/expected_SIMM*": simm.margins,
    "ore_simm/im_schedule": simm.schedule,
    "ore_simm/im_schedule_trade": simm.trades,
    "derive/pmrm2_portfolio_cases": derive_pmrm.portfolio_cases,
    "derive/pmrm1_cases": derive_pmrm.cases,
    "derive/pmrm1_portfolio_cases": derive_pmrm.whole_dollar_cases,
    "derive/auction_sim_cases": auctions.simulations,
    "derive/unit_vectors": auctions.units,
    "derive/srm_cases": derive_srm.cases,
    "derive/srm_portfolio_cases": derive_srm.whole_dollar_cases,
    "opyn/spread_cases": opyn.spread_cases,
    "opyn/naked_cases": opyn.naked_cases,
}
"""Folder and stem of a vector file → what reads it; a `*` stands for anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """One vector file: counts of cases, and the first misses in words."""

    path: str
    kind: str
    passed: int
    failed: int
    unknown: int
    worst: float
    """Largest error of a known case, in multiples of its tolerance."""
    misses: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As `solvent conform --json` prints it."""
        return {
            "path": self.path,
            "kind": self.kind,
            "passed": self.passed,
            "failed": self.failed,
            "unknown": self.unknown,
            "worst_error_in_tolerances": self.worst,
            "misses": list(self.misses),
        }


@dataclass(frozen=True, slots=True)
class Conformance:
    """All files of a run."""

    files: tuple[FileResult, ...]

    @property
    def passed(self) -> int:
        """Cases that met their expectation."""
        return sum(file.passed for file in self.files)

    @property
    def failed(self) -> int:
        """Cases that did not."""
        return sum(file.failed for file in self.files)

    @property
    def unknown(self) -> int:
        """Cases that Solvent cannot check."""
        return sum(file.unknown for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """As `solvent conform --json` prints it."""
        return {
            "files": [file.to_dict() for file in self.files],
            "passed": self.passed,
            "failed": self.failed,
            "unknown": self.unknown,
        }


def conform(paths: Iterable[str | Path]) -> Conformance:
    """Run every vector file at or below the paths. Raises BadInput where there is none."""
    return Conformance(tuple(run_files(paths)))


def run_files(paths: Iterable[str | Path]) -> Iterator[FileResult]:
    """The same, a file at a time."""
    for root in map(Path, paths):
        found = sorted(_vector_files(root)) if root.is_dir() else [root]
        if not found or not found[0].exists():
            raise BadInput(
                Problem(
                    code=Reject.SOURCE_UNREADABLE,
                    source=str(root),
                    expected="a vector file or a folder of them",
                    found="none",
                )
            )
        for path in found:
            yield _run(path)


def _vector_files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_file() and (path.suffix == ".json" or _reader(path)[1] is not None):
            yield path


def _run(path: Path) -> FileResult:
    kind, reader = _reader(path)
    try:
        cases = list(reader(path)) if reader else [Case(path.stem, known=False)] * _count(path)
    except _ODD as fault:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE,
                source=str(path),
                expected=f"a vector file of kind {kind}",
                found=" ".join(f"{type(fault).__name__}: {fault}".split())[:160],
            )
        ) from fault
    known = [case for case in cases if case.known]
    return FileResult(
        path=str(path),
        kind=kind,
        passed=sum(case.passed for case in known),
        failed=sum(not case.passed for case in known),
        unknown=sum(not case.known for case in cases),
        worst=max((case.worst for case in known), default=0.0),
        misses=tuple(miss for case in known for miss in case.misses)[:_MISSES_SHOWN],
    )


def _reader(path: Path) -> tuple[str, Reader | None]:
    if path.stem in pricing.READERS:
        return f"pricing/{path.stem}", pricing.READERS[path.stem]
    kind = f"{path.parent.name}/{path.stem}"
    return kind, next((one for name, one in _READERS.items() if fnmatch(kind, name)), None)


def _count(path: Path) -> int:
    """How many cases a file of no known kind seems to hold: the length of its first list."""
    content = json.loads(path.read_text("utf-8"))
    if isinstance(content, list):
        return max(1, len(content))
    if isinstance(content, Mapping):
        lists = [part for part in content.values() if isinstance(part, list)]
        return max(1, max(map(len, lists), default=1))
    return 1
