"""ISDA's Common Risk Interchange Format, and the calibrations that SIMM is computed with.

A CRIF is a table, one sensitivity a row: `PortfolioID ProductClass RiskType Qualifier Bucket Label1
Label2 Amount AmountCurrency` (or `AmountUSD`), and where two parties report under regulations
`collect_regulations post_regulations`. A calibration is an XML file in the layout of the Open
Source Risk Engine, or a table in TOML (`simm_tables`). ISDA licenses the use of its content.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal
from xml.etree.ElementTree import Element

import polars as pl

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds import simm_tables
from solvent.feeds.table import read_table
from solvent.feeds.xml import elements
from solvent.limits import EXACT_MAX
from solvent.margining.sensitivity import (
    RISK_TYPES,
    Calibration,
    ClassCalibration,
    Sensitivity,
)

Side = Literal["call", "post"]
"""Who asks: the party that calls for margin, or the one that posts it."""
_NEEDED: Final = ("RiskType", "Amount")
_FOUND_CHARS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class CrifRow:
    """A sensitivity with whose it is: portfolio, trade, and the rules that either side is under.

    `row` is that of the file, counted from 1.
    """

    row: int
    portfolio: str
    trade: str
    sensitivity: Sensitivity
    collect: frozenset[str]
    post: frozenset[str]
    end_date: str

    def seen(self, side: Side, regulation: str | None = None) -> Sensitivity | None:
        """The sensitivity as a side has it, None where it is not under a regulation.

        Who posts has every risk with its sign turned; what is no risk, such as an add-on, is the
        same for both. A row that names no regulation is under each.
        """
        named = self.post if side == "post" else self.collect
        if regulation is not None and named and regulation not in named:
            return None
        one = self.sensitivity
        if side == "call" or one.risk_type not in RISK_TYPES:
            return one
        return replace(one, amount=-one.amount)


def read_crif(path: str | Path, *, currency: str = "USD") -> list[CrifRow]:
    """Every row that is not blank, amounts in `currency`. Raises BadInput naming the bad row."""
    frame = read_table(path)
    frame = frame.rename({name: name.lstrip("#") for name in frame.columns})
    for name in _NEEDED:
        if name not in frame.columns:
            found = f"columns {', '.join(frame.columns)}"[:_FOUND_CHARS]
            raise _bad(path, Reject.FIELD_MISSING, None, name, f"a column {name!r}", found)
    frame = frame.with_columns(pl.all().cast(pl.String).fill_null(""))
    rows = enumerate(frame.to_dicts(), 1)
    return [_row(row, n, path, currency) for n, row in rows if any(row.values())]


def _row(row: Mapping[str, str], n: int, path: str | Path, currency: str) -> CrifRow:
    def said(name: str) -> str:
        return row.get(name, "").strip()

    column = "AmountUSD" if currency == "USD" and said("AmountUSD") else "Amount"
    told_in = said("AmountCurrency") or currency
    if column == "Amount" and told_in != currency:
        expected = f"an amount in {currency}, or AmountUSD"
        raise _bad(path, Reject.ROW_MALFORMED, n, "AmountCurrency", expected, told_in)
    try:
        amount = float(said(column))
    except ValueError as fault:
        found = repr(said(column))
        raise _bad(path, Reject.FIELD_NOT_A_NUMBER, n, column, "a number", found) from fault
    if not math.isfinite(amount):
        raise _bad(path, Reject.FIELD_NOT_FINITE, n, column, "a finite number", said(column))
    if abs(amount) > EXACT_MAX:
        expected = f"an amount of at most {EXACT_MAX}"
        raise _bad(path, Reject.EXACT_RANGE_EXCEEDED, n, column, expected, said(column))
    return CrifRow(
        row=n,
        portfolio=said("PortfolioID"),
        trade=said("TradeID"),
        sensitivity=Sensitivity(
            product_class=said("ProductClass"),
            risk_type=said("RiskType"),
            qualifier=said("Qualifier"),
            bucket=said("Bucket"),
            label1=said("Label1"),
            label2=said("Label2"),
            amount=amount,
        ),
        collect=_names(said("collect_regulations")),
        post=_names(said("post_regulations")),
        end_date=said("end_date"),
    )


def _names(said: str) -> frozenset[str]:
    return frozenset(part.strip() for part in said.strip("[]").split(",") if part.strip())


# ── calibrations ─────────────────────────────────────────────────────────────────────────────────

_CLASSES = (
    "InterestRate", "CreditQualifying", "CreditNonQualifying", "Equity", "Commodity", "FX",
)  # fmt: skip
_WEIGHTS = {
    "HistoricalVolatilityRatio": "historical_volatility_ratio",
    "Inflation": "inflation_weight",
    "XCcyBasis": "basis_weight",
    "BaseCorrelation": "base_correlation_weight",
}
_CORRELATIONS = {
    "SubCurves": "sub_curves",
    "Inflation": "inflation",
    "XCcyBasis": "basis",
    "Outer": "outer",
    "BaseCorrelation": "base_correlation",
    "Volatility": "volatility",
}


def calibration_versions(path: str | Path) -> tuple[str, ...]:
    """Names of the version that a file's calibration is of."""
    return _versions(_calibration(path))


def read_calibration(path: str | Path, *, days: int = 10) -> Calibration:
    """The calibration of a file (XML, or a table in TOML) at a margin period in business days.

    Raises BadInput.
    """
    if Path(path).suffix == ".toml":
        return simm_tables.read_tables(path, days=days)
    found = _calibration(path)
    try:
        classes = {
            name: _risk_class(part, str(days))
            for name in _CLASSES
            if (part := found.find(name)) is not None
        }
        psi = {
            (one.get("label1", ""), one.get("label2", "")): _number(one)
            for one in found.findall("RiskClassCorrelations/Correlation")
        }
    except ValueError as fault:
        raise _bad(path, Reject.FIELD_NOT_A_NUMBER, None, None, "numbers", str(fault)) from fault
    if not any(one.delta for one in classes.values()):
        expected = f"weights at a margin period of {days} days"
        raise _bad(path, Reject.PARAMETER_UNSET, None, None, expected, "none")
    return Calibration(
        versions=_versions(found),
        days=days,
        classes=classes,
        psi=psi,
    )


def _calibration(path: str | Path) -> Element:
    found = next(iter(elements(path, ("SIMMCalibration",))), None)
    if found is None:
        raise _bad(path, Reject.SOURCE_EMPTY, None, None, "a SIMMCalibration", "none")
    return found


def _versions(calibration: Element) -> tuple[str, ...]:
    return tuple((one.text or "").strip() for one in calibration.findall("VersionNames/Name"))


def _risk_class(part: Element, days: str) -> ClassCalibration:
    weights = f"RiskWeights/{{}}[@mporDays='{days}']"
    scalars = {
        name: _number(found)
        for places, form in ((_WEIGHTS, weights), (_CORRELATIONS, "Correlations/{}"))
        for tag, name in places.items()
        if (found := part.find(form.format(tag))) is not None
    }
    fx = part.tag == "FX"
    return ClassCalibration(
        delta={
            (one.get("label1" if fx else "bucket", ""), one.get("label2" if fx else "label1", "")):
                _number(one)
            for one in part.findall(f"{weights.format('Delta')}/Weight")
        },
        vega=_by_bucket(part.findall(f"{weights.format('Vega')}/Weight")),
        scalars=scalars,
        inside={
            (one.get("bucket", ""), one.get("label1", ""), one.get("label2", "")):
                _number(one)
            for one in part.findall("Correlations/IntraBucket/Correlation")
        },
        across={
            (one.get("label1", ""), one.get("label2", "")): _number(one)
            for one in part.findall("Correlations/InterBucket/Correlation")
        },
        delta_threshold=_thresholds(part, "Delta"),
        vega_threshold=_thresholds(part, "Vega"),
        weight_groups=_groups(part.findall("RiskWeights/CurrencyLists/Currency")),
        threshold_groups=_groups(part.findall("ConcentrationThresholds/CurrencyLists/Currency")),
    )  # fmt: skip


def _by_bucket(found: Sequence[Element]) -> dict[str, float]:
    return {one.get("bucket", ""): _number(one) for one in found}


def _thresholds(part: Element, kind: str) -> dict[str, float]:
    found = _by_bucket(part.findall(f"ConcentrationThresholds/{kind}/Threshold"))
    for bucket, threshold in found.items():
        if threshold <= 0.0:
            raise ValueError(f"a {part.tag} {kind} threshold of {threshold:g} in bucket {bucket!r}")
    return found


def _number(element: Element) -> float:
    number = float(element.text or "")
    if not math.isfinite(number):
        raise ValueError(f"{element.text!r} in <{element.tag}>")
    return number


def _groups(found: Sequence[Element]) -> dict[str, str]:
    return {(one.text or "").strip(): one.get("bucket", "") for one in found}


def _bad(
    path: str | Path, code: Reject, row: int | None, name: str | None, expected: str, found: str
) -> BadInput:
    return BadInput(
        Problem(code=code, source=str(path), row=row, field=name, expected=expected, found=found)
    )
