"""Sensitivities of uncleared derivatives, and the calibration that ISDA SIMM reads them with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from solvent.errors import SolventError

_DAYS: Final = {"w": 7.0, "m": 365.0 / 12.0, "y": 365.0}


class CalibrationMissing(SolventError):
    """A calibration lacks a number that a sensitivity needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """A row of a CRIF; `amount` in the calculation currency, per the unit of its risk type."""

    product_class: str
    risk_type: str
    qualifier: str = ""
    bucket: str = ""
    label1: str = ""
    label2: str = ""
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCalibration:
    """Parameters of one risk class at one margin period; "" stands where a key does not matter.

    Attributes:
        delta: (bucket or currency group, label) → risk weight. vega: bucket → risk weight.
        scalars: name → number, such as historical_volatility_ratio, sub_curves, inflation.
        inside: (bucket, label, label) → correlation. across: (bucket, bucket) → correlation.
        delta_threshold, vega_threshold: bucket or currency group → millions.
        weight_groups, threshold_groups: currency → group; `Other` stands for the rest.
    """

    delta: Mapping[tuple[str, str], float]
    vega: Mapping[str, float]
    scalars: Mapping[str, float]
    inside: Mapping[tuple[str, str, str], float]
    across: Mapping[tuple[str, str], float]
    delta_threshold: Mapping[str, float]
    vega_threshold: Mapping[str, float]
    weight_groups: Mapping[str, str] = field(default_factory=dict)
    threshold_groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Parameters of a version of SIMM at a margin period of risk, in business days."""

    versions: tuple[str, ...]
    days: int
    classes: Mapping[str, ClassCalibration]
    psi: Mapping[tuple[str, str], float]


RISK_TYPES: Final[Mapping[str, tuple[str, str, str]]] = {
    "Risk_IRCurve": ("InterestRate", "Delta", "curve"),
    "Risk_Inflation": ("InterestRate", "Delta", "inflation"),
    "Risk_XCcyBasis": ("InterestRate", "Delta", "basis"),
    "Risk_IRVol": ("InterestRate", "Vega", "curve"),
    "Risk_InflationVol": ("InterestRate", "Vega", "inflation"),
    "Risk_FX": ("FX", "Delta", "curve"),
    "Risk_FXVol": ("FX", "Vega", "curve"),
    "Risk_Equity": ("Equity", "Delta", "curve"),
    "Risk_EquityVol": ("Equity", "Vega", "curve"),
    "Risk_Commodity": ("Commodity", "Delta", "curve"),
    "Risk_CommodityVol": ("Commodity", "Vega", "curve"),
    "Risk_CreditQ": ("CreditQualifying", "Delta", "curve"),
    "Risk_CreditVol": ("CreditQualifying", "Vega", "curve"),
    "Risk_BaseCorr": ("CreditQualifying", "BaseCorr", "curve"),
    "Risk_CreditNonQ": ("CreditNonQualifying", "Delta", "curve"),
    "Risk_CreditVolNonQ": ("CreditNonQualifying", "Vega", "curve"),
}
"""Risk type of a CRIF → risk class, margin type, kind of risk factor."""


def tenor_days(label: str) -> float:
    """Calendar days of a tenor: a month is a twelfth of 365.

    >>> tenor_days("2w"), tenor_days("3y")
    (14.0, 1095.0)
    """
    try:
        days = float(label[:-1]) * _DAYS[label[-1:].lower()]
    except (KeyError, ValueError) as fault:
        raise CalibrationMissing(f"{label!r} is no tenor") from fault
    if not 0.0 < days < float("inf"):
        raise CalibrationMissing(f"{label!r} is no tenor")
    return days
