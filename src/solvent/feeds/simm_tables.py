"""Calibrations of ISDA SIMM as TOML tables: two versions that ship, or a user's own.

A table gives correlations of pairs above the diagonal, row by row, and weights in the order of its
`buckets` and `labels`; `rulebooks/simm/` holds examples. Margin periods are tables `days-10` and
`days-1` of each risk class.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from solvent.errors import BadInput, Problem, Reject
from solvent.margining.sensitivity import Calibration, ClassCalibration

_FOLDER: Final = resources.files("solvent") / "rulebooks" / "simm"
_SCALARS: Final = ("sub_curves", "inflation", "basis", "outer", "base_correlation", "volatility")
_WEIGHTS: Final = ("historical_volatility_ratio", "inflation_weight", "basis_weight",
                   "base_correlation_weight")  # fmt: skip
_PAIRS: Final = (("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"))
_OF_PAIR: Final = (0, 1, 1, 2)
"""FX tells three numbers for the pairs of two groups: 1-1, 1-2 = 2-1, 2-2."""


def shipped_calibration(version: str, *, days: int = 10) -> Calibration | None:
    """A version that ships with Solvent, or None; ISDA licenses its use.

    >>> shipped_calibration("2.4").classes["InterestRate"].delta["1", "10y"]
    53.0
    >>> shipped_calibration("1.0") is None
    True
    """
    for file in sorted(_FOLDER.iterdir(), key=lambda one: one.name):
        text = file.read_text("utf-8")
        if version in tomllib.loads(text)["versions"]:
            return calibration_of(text, source=file.name, days=days)
    return None


def read_tables(path: str | Path, *, days: int = 10) -> Calibration:
    """A calibration from a TOML file. Raises BadInput that names the table and what it lacks."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise _bad(str(path), "a file of text", str(fault)) from fault
    return calibration_of(text, source=str(path), days=days)


def calibration_of(text: str, *, source: str, days: int) -> Calibration:
    """A calibration from TOML at a margin period in business days. Raises BadInput."""
    try:
        told = tomllib.loads(text)
        names = told["classes"]
        psi = _both_ways(names, told["psi"])
        classes = {name: _CLASSES[name](told[name], f"days-{days}") for name in names}
        versions = tuple(str(one) for one in told["versions"])
    except KeyError as fault:
        raise _bad(source, f"all of a calibration at {days} days", f"no {fault}") from fault
    except (tomllib.TOMLDecodeError, ValueError, TypeError, AttributeError) as fault:
        raise _bad(source, "tables of numbers, one for each bucket or pair", str(fault)) from fault
    return Calibration(versions=versions, days=days, classes=classes, psi=psi)


# ── risk classes ─────────────────────────────────────────────────────────────────────────────────


def _rates(told: Mapping[str, Any], days: str) -> ClassCalibration:
    labels = told["labels"]
    rows = _paired(told["buckets"], told[days]["delta"])
    return ClassCalibration(
        delta={
            (bucket, label): _number(weight)
            for bucket, row in rows.items()
            for label, weight in _paired(labels, row).items()
        },
        vega={"": _number(told[days]["vega"])},
        scalars=_scalars(told, told[days]),
        inside={("", *pair): rho for pair, rho in _both_ways(labels, told["inside"]).items()},
        across={},
        delta_threshold=_threshold(told, "delta", told["thresholds"]["buckets"]),
        vega_threshold=_threshold(told, "vega", told["thresholds"]["buckets"]),
        weight_groups=_groups(told["weight_groups"]),
        threshold_groups=_groups(told["threshold_groups"]),
    )


def _credit(told: Mapping[str, Any], days: str) -> ClassCalibration:
    inside = {
        ("", "aggregate", "same"): told["same"],
        ("", "aggregate", "different"): told["different"],
        ("", "residual", "same"): told["residual_same"],
        ("", "residual", "different"): told["residual_different"],
    }
    return _bucketed(told, days, {key: _number(rho) for key, rho in inside.items()})


def _priced(told: Mapping[str, Any], days: str) -> ClassCalibration:
    inside = _paired(told["buckets"], told["inside"])
    return _bucketed(told, days, {(bucket, "", ""): _number(rho) for bucket, rho in inside.items()})


def _bucketed(
    told: Mapping[str, Any], days: str, inside: Mapping[tuple[str, str, str], float]
) -> ClassCalibration:
    buckets, at = told["buckets"], told[days]
    across = [bucket for bucket in buckets if bucket != "Residual"]
    return ClassCalibration(
        delta={(bucket, ""): _number(one) for bucket, one in _paired(buckets, at["delta"]).items()},
        vega=_by_bucket(buckets, at["vega"]),
        scalars=_scalars(told, at),
        inside=inside,
        across=_both_ways(across, told["across"]),
        delta_threshold=_threshold(told, "delta", buckets),
        vega_threshold=_threshold(told, "vega", buckets),
    )


def _currencies(told: Mapping[str, Any], days: str) -> ClassCalibration:
    at = told[days]
    return ClassCalibration(
        delta={pair: _number(at["delta"][n]) for pair, n in zip(_PAIRS, _OF_PAIR, strict=True)},
        vega={"": _number(at["vega"])},
        scalars=_scalars(told, at),
        inside={
            (group, *pair): _number(rhos[n])
            for group, rhos in told["inside"].items()
            for pair, n in zip(_PAIRS, _OF_PAIR, strict=True)
        },
        across={},
        delta_threshold=_threshold(told, "delta", tuple("123")),
        vega_threshold=_threshold(told, "vega", tuple("123456")),
        weight_groups=_groups(told["weight_groups"]),
        threshold_groups=_groups(told["threshold_groups"]),
    )


_CLASSES: Final = {
    "InterestRate": _rates,
    "CreditQualifying": _credit,
    "CreditNonQualifying": _credit,
    "Equity": _priced,
    "Commodity": _priced,
    "FX": _currencies,
}


# ── tables ───────────────────────────────────────────────────────────────────────────────────────


def _paired(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    if len(names) != len(values):
        raise ValueError(f"{len(values)} values for {len(names)} names: {', '.join(names)}")
    return dict(zip(names, values, strict=True))


def _by_bucket(buckets: Sequence[str], told: Any) -> dict[str, float]:
    """One number for all is kept under ""."""
    if not isinstance(told, list):
        return {"": _number(told)}
    return {bucket: _number(one) for bucket, one in _paired(buckets, told).items()}


def _threshold(told: Mapping[str, Any], kind: str, buckets: Sequence[str]) -> dict[str, float]:
    found = _by_bucket(buckets, told["thresholds"][kind])
    if any(one <= 0.0 for one in found.values()):
        raise ValueError(f"a concentration threshold of {kind} that is not above 0")
    return found


def _both_ways(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[tuple[str, str], float]:
    """Correlations above the diagonal to those of every ordered pair."""
    if [len(row) for row in rows] != list(range(len(names) - 1, 0, -1)):
        raise ValueError(f"correlations that are not those above a diagonal of {len(names)}")
    found = {}
    for first, row in enumerate(rows):
        for away, rho in enumerate(row, 1):
            pair = names[first], names[first + away]
            found[pair] = found[pair[::-1]] = _number(rho)
    return found


def _scalars(*tables: Mapping[str, Any]) -> dict[str, float]:
    names = (*_SCALARS, *_WEIGHTS)
    return {name: _number(one[name]) for one in tables for name in names if name in one}


def _groups(told: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {currency: group for group, all_of in told.items() for currency in all_of}


def _number(told: Any) -> float:
    if isinstance(told, bool) or not math.isfinite(number := float(told)):
        raise ValueError(f"{told!r} is not a finite number")
    return number


def _bad(source: str, expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source=source, expected=expected, found=found)
    )
