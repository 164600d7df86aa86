"""ISDA SIMM: initial margin of uncleared derivatives from sensitivities.

Sensitivities come in, margins by product class, risk class, margin type and bucket go out, all in
the calculation currency. Parameters are a `Calibration` that the user brings: ISDA licenses their
use. Versions 2.4 and 2.5A stand in `rulebooks/simm/`, so that worked cases of them can be judged.

A weighted sensitivity is WS = RW · s · CR with the concentration CR = max(1, √(|Σs| / T)). In a
bucket K = √(ΣΣ ρ f WS WS), f the ratio of the smaller to the larger CR; between buckets
√(ΣK² + ΣΣ γ S S) with S = ΣWS held inside ±K; what is residual is added on top. Curvature is
max(ΣCVR + λK, 0) on squared correlations. Risk classes join by ψ, product classes add up.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from scipy.special import ndtri

from solvent.margining.sensitivity import (
    RISK_TYPES,
    Calibration,
    CalibrationMissing,
    Sensitivity,
    tenor_days,
)

_Key = TypeVar("_Key")
_Number = TypeVar("_Number", float, str)
ALL: Final = "All"
RESIDUAL: Final = "Residual"
_MILLION: Final = 1e6
_TAIL: Final = float(ndtri(0.995)) ** 2
_VOL: Final = float(ndtri(0.99))


Margins = Mapping[tuple[str, str, str, str], float]
"""(product class, risk class, margin type, bucket) → margin; `All` takes them together."""


@dataclass(frozen=True, slots=True)
class _Factor:
    """A risk factor inside a bucket: qualifier, label and kind tell it apart."""

    qualifier: str
    label: str = ""
    curve: str = ""
    kind: str = "curve"


_Bucket = dict[_Factor, float]
_TENORED: Final = frozenset({"InterestRate", "CreditQualifying", "CreditNonQualifying"})
"""Classes whose factors have a tenor, and whose vegas come multiplied by their volatility."""
_PAIRS: Final = {
    ("1", "1"): "1", ("1", "2"): "2", ("1", "3"): "3", ("2", "2"): "4", ("2", "3"): "5",
    ("3", "3"): "6",
}  # fmt: skip
"""Groups of two currencies → group of their pair, by which FX vega is concentrated."""


def simm(
    sensitivities: Iterable[Sensitivity], calibration: Calibration, *, currency: str = "USD"
) -> Margins:
    """Margins of a netting set. Raises CalibrationMissing where a parameter is not there."""
    grouped: dict[tuple[str, str], list[Sensitivity]] = defaultdict(list)
    extras: list[Sensitivity] = []
    for one in sensitivities:
        if one.risk_type in RISK_TYPES:
            grouped[one.product_class, RISK_TYPES[one.risk_type][0]].append(one)
        elif one.risk_type in PARAMETERS:
            extras.append(one)
        else:
            raise CalibrationMissing(f"risk type {one.risk_type!r} is not of SIMM")
    margins: dict[tuple[str, str, str, str], float] = {}
    for (product, risk_class), rows in grouped.items():
        if risk_class not in calibration.classes:
            raise CalibrationMissing(f"the calibration has no {risk_class}")
        model = _RiskClass(risk_class, calibration, currency)
        for (kind, bucket), margin in model.margins(rows).items():
            margins[product, risk_class, kind, bucket] = margin
    _join(margins, calibration)
    additional = _additional(margins, extras)
    if additional:
        margins[ALL, ALL, "AdditionalIM", ALL] = additional
        margins[ALL, ALL, ALL, ALL] = margins.get((ALL, ALL, ALL, ALL), 0.0) + additional
    return margins


def _join(margins: dict[tuple[str, str, str, str], float], calibration: Calibration) -> None:
    """Add what stands over risk classes and over product classes."""
    parts = {key: x for key, x in margins.items() if key[3] == ALL}
    products = sorted({key[0] for key in parts})
    for product in products:
        kinds = sorted({key[2] for key in parts if key[0] == product})
        for kind in kinds:
            by_class = {
                key[1]: x for key, x in parts.items() if (key[0], key[2]) == (product, kind)
            }
            margins[product, ALL, kind, ALL] = math.sqrt(
                sum(
                    x * y * (1.0 if a == b else _psi(calibration, a, b))
                    for a, x in by_class.items()
                    for b, y in by_class.items()
                )
            )
    for (product, risk_class, kind, bucket), margin in list(margins.items()):
        if bucket == ALL and product != ALL:
            key = (ALL, risk_class, kind, ALL)
            margins[key] = margins.get(key, 0.0) + margin


def _psi(calibration: Calibration, a: str, b: str) -> float:
    return _known(calibration.psi, ((a, b),), f"correlation of {a} and {b}")


PARAMETERS: Final = frozenset(
    {
        "Param_ProductClassMultiplier", "Param_AddOnNotionalFactor", "Param_AddOnFixedAmount",
        "Notional", "PV",
    }
)  # fmt: skip
"""Risk types of a CRIF that are no risk: what additional margin is computed from, and values."""


def _additional(margins: Margins, extras: Sequence[Sensitivity]) -> float:
    """Fixed amounts, factors (in percent) of notionals, and multipliers of product classes."""
    notionals: dict[str, float] = defaultdict(float)
    for one in extras:
        if one.risk_type == "Notional":
            notionals[one.qualifier] += one.amount
    total = 0.0
    for one in extras:
        if one.risk_type == "Param_AddOnFixedAmount":
            total += one.amount
        elif one.risk_type == "Param_AddOnNotionalFactor":
            total += one.amount / 100.0 * abs(notionals[one.qualifier])
        elif one.risk_type == "Param_ProductClassMultiplier":
            total += (one.amount - 1.0) * margins.get((one.qualifier, ALL, ALL, ALL), 0.0)
    return total


class _RiskClass:
    """One risk class of one product class."""

    def __init__(self, name: str, calibration: Calibration, currency: str) -> None:
        self.name = name
        self.days = calibration.days
        self.numbers = calibration.classes[name]
        self.currency = currency

    def margins(self, rows: Sequence[Sensitivity]) -> dict[tuple[str, str], float]:
        """(margin type, bucket) → margin; `All` is the class's own."""
        found: dict[tuple[str, str], float] = {}
        for kind, of in (("Delta", self.delta), ("Vega", self.vega), ("BaseCorr", self.base)):
            mine = [one for one in rows if RISK_TYPES[one.risk_type][1] == kind]
            if mine:
                total, by_bucket = of(mine)
                found |= {(kind, bucket): k for bucket, k in by_bucket.items()}
                found[kind, ALL] = total
            if mine and kind == "Vega":
                total, by_bucket = self.curvature(mine)
                found |= {("Curvature", bucket): k for bucket, k in by_bucket.items()}
                found["Curvature", ALL] = total
        found[ALL, ALL] = math.fsum(x for (_, bucket), x in found.items() if bucket == ALL)
        return found

    def delta(self, rows: Sequence[Sensitivity]) -> tuple[float, dict[str, float]]:
        buckets = self._buckets(rows, tenors=self.name in _TENORED)
        if self.name == "FX":
            for factors in buckets.values():
                factors.pop(_Factor(self.currency), None)
        weighted, crowding = {}, {}
        for bucket, factors in buckets.items():
            many = self._concentration(bucket, factors, vega=False)
            weighted[bucket] = {
                one: self._weight(bucket, one) * x * (1.0 if one.kind == "basis" else many[one])
                for one, x in factors.items()
            }
            crowding[bucket] = many
        return self._aggregate(weighted, crowding)

    def vega(self, rows: Sequence[Sensitivity]) -> tuple[float, dict[str, float]]:
        ratio = self.numbers.scalars.get("historical_volatility_ratio", 1.0)
        ratio = 1.0 if self.name == "InterestRate" else ratio
        weighted, crowding = {}, {}
        for bucket, factors in self._buckets(rows, tenors=self.name in _TENORED).items():
            risks = {one: x * self._sigma(bucket, one) * ratio for one, x in factors.items()}
            many = self._concentration(bucket, risks, vega=True)
            weight = _known(self.numbers.vega, (bucket, ""), f"{self.name}: vega weight")
            weighted[bucket] = {one: weight * x * many[one] for one, x in risks.items()}
            crowding[bucket] = many
        return self._aggregate(weighted, crowding, vega=True)

    def base(self, rows: Sequence[Sensitivity]) -> tuple[float, dict[str, float]]:
        """Base correlation: one bucket of indices."""
        weight, rho = self._scalar("base_correlation_weight"), self._scalar("base_correlation")
        sums: dict[str, float] = defaultdict(float)
        for one in rows:
            sums[one.qualifier] += weight * one.amount
        square = sum(
            x * y * (1.0 if a == b else rho) for a, x in sums.items() for b, y in sums.items()
        )
        return math.sqrt(max(square, 0.0)), {}

    def curvature(self, rows: Sequence[Sensitivity]) -> tuple[float, dict[str, float]]:
        """Curvature stands for gamma: a share of vega that falls with the time to expiry."""
        shares: dict[str, _Bucket] = {}
        for one in rows:
            if self.name == "Equity" and one.bucket == "12":
                continue  # Volatility indices have none.
            bucket, factor = self._place(one, tenors=self.name in _TENORED)
            factors = shares.setdefault(bucket, {})
            amount = self._share(one.label1) * one.amount * self._sigma(bucket, factor)
            factors[factor] = factors.get(factor, 0.0) + amount
        ones = {bucket: dict.fromkeys(factors, 1.0) for bucket, factors in shares.items()}
        by_bucket = {
            bucket: self._inside(bucket, factors, ones[bucket], vega=True, squared=True)
            for bucket, factors in shares.items()
        }
        total = 0.0
        for mine in ([b for b in shares if b != RESIDUAL], [b for b in shares if b == RESIDUAL]):
            if mine:
                k = self._across(
                    {b: shares[b] for b in mine},
                    {b: by_bucket[b] for b in mine},
                    ones,
                    squared=True,
                )
                total += _curved([x for b in mine for x in shares[b].values()], k)
        if self.name == "InterestRate":
            total /= self._scalar("historical_volatility_ratio") ** 2
        return total, by_bucket

    def _share(self, tenor: str) -> float:
        """Half, or 14 calendar days over twice those to expiry; in proportion to the period."""
        return 0.5 * min(1.0, 14.0 / tenor_days(tenor)) * self.days / 10.0

    # ── aggregation ──────────────────────────────────────────────────────────────────────────

    def _aggregate(
        self,
        weighted: Mapping[str, _Bucket],
        crowding: Mapping[str, _Bucket],
        *,
        vega: bool = False,
    ) -> tuple[float, dict[str, float]]:
        by_bucket = {
            bucket: self._inside(bucket, factors, crowding[bucket], vega=vega)
            for bucket, factors in weighted.items()
        }
        main = {bucket: factors for bucket, factors in weighted.items() if bucket != RESIDUAL}
        total = self._across(main, by_bucket, crowding)
        return total + by_bucket.get(RESIDUAL, 0.0), by_bucket

    def _inside(
        self, bucket: str, factors: _Bucket, crowding: _Bucket, *, vega: bool, squared: bool = False
    ) -> float:
        """K of a bucket."""
        square = 0.0
        for one, x in factors.items():
            for other, y in factors.items():
                rho = 1.0 if one == other else self._rho(bucket, one, other, vega=vega)
                if self.name != "InterestRate":
                    rho *= _ratio(crowding[one], crowding[other]) if not squared else 1.0
                square += (rho**2 if squared else rho) * x * y
        return math.sqrt(max(square, 0.0))

    def _across(
        self,
        weighted: Mapping[str, _Bucket],
        k: Mapping[str, float],
        crowding: Mapping[str, _Bucket],
        *,
        squared: bool = False,
    ) -> float:
        sums = {
            bucket: min(max(math.fsum(factors.values()), -k[bucket]), k[bucket])
            for bucket, factors in weighted.items()
        }
        square = sum(k[bucket] ** 2 for bucket in weighted)
        for a, x in sums.items():
            for b, y in sums.items():
                if a == b:
                    continue
                gamma = self._gamma(a, b)
                if self.name == "InterestRate" and not squared:
                    gamma *= _ratio(_most(crowding[a]), _most(crowding[b]))
                square += (gamma**2 if squared else gamma) * x * y
        return math.sqrt(max(square, 0.0))

    # ── what a sensitivity is, and its parameters ────────────────────────────────────────────

    def _buckets(self, rows: Sequence[Sensitivity], *, tenors: bool) -> dict[str, _Bucket]:
        """Net sensitivities by bucket and risk factor."""
        found: dict[str, _Bucket] = {}
        for one in rows:
            bucket, factor = self._place(one, tenors=tenors)
            factors = found.setdefault(bucket, {})
            factors[factor] = factors.get(factor, 0.0) + one.amount
        return found

    def _place(self, one: Sensitivity, *, tenors: bool) -> tuple[str, _Factor]:
        kind = RISK_TYPES[one.risk_type][2]
        label = one.label1.lower() if tenors else ""
        if self.name == "InterestRate":
            plain = one.risk_type in ("Risk_Inflation", "Risk_XCcyBasis")
            curve = one.label2 if one.risk_type == "Risk_IRCurve" else ""
            return one.qualifier, _Factor(one.qualifier, "" if plain else label, curve, kind)
        if self.name == "FX":
            halves = one.qualifier[:3], one.qualifier[3:]
            return "", _Factor("".join(sorted(halves)))
        bucket = RESIDUAL if one.bucket.lower() == "residual" else one.bucket
        return bucket, _Factor(one.qualifier, label, one.label2 if tenors else "")

    def _concentration(self, bucket: str, factors: _Bucket, *, vega: bool) -> _Bucket:
        """CR of each factor: by currency for rates, by issuer, name or pair for the rest."""
        thresholds = self.numbers.vega_threshold if vega else self.numbers.delta_threshold
        sums: dict[str, float] = defaultdict(float)
        for one, x in factors.items():
            if one.kind != "basis":
                sums[one.qualifier] += x
        crowding = {}
        for one in factors:
            key = self._threshold_key(bucket, one.qualifier, vega=vega)
            limit = _known(thresholds, (key, ""), f"{self.name}: concentration threshold of {key}")
            crowding[one] = max(1.0, math.sqrt(abs(sums[one.qualifier]) / (limit * _MILLION)))
        return crowding

    def _threshold_key(self, bucket: str, qualifier: str, *, vega: bool) -> str:
        groups = self.numbers.threshold_groups
        if self.name == "InterestRate":
            return _group(groups, qualifier)
        if self.name != "FX":
            return bucket
        if not vega:
            return _group(groups, qualifier)
        a, b = sorted(_group(groups, half) for half in (qualifier[:3], qualifier[3:]))
        return _known(_PAIRS, ((a, b),), f"FX: group of the pair {qualifier}")

    def _weight(self, bucket: str, one: _Factor) -> float:
        numbers = self.numbers
        if one.kind != "curve":
            return self._scalar("inflation_weight" if one.kind == "inflation" else "basis_weight")
        if self.name == "InterestRate":
            key = (_group(numbers.weight_groups, one.qualifier), one.label)
        elif self.name == "FX":
            key = (self._fx_group(self.currency), self._fx_group(one.qualifier))
        else:
            key = (bucket, "")
        return _known(numbers.delta, (key,), f"{self.name}: risk weight of {key}")

    def _sigma(self, bucket: str, one: _Factor) -> float:
        """Volatility that a vega per point is multiplied by, from the risk weight."""
        if self.name in _TENORED:
            return 1.0
        if self.name == "FX":
            key = (self._fx_group(one.qualifier[:3]), self._fx_group(one.qualifier[3:]))
            weight = _known(self.numbers.delta, (key,), f"FX: risk weight of {key}")
        else:
            weight = self._weight(bucket, one)
        return weight * math.sqrt(365.0 / (1.4 * self.days)) / _VOL

    def _rho(self, bucket: str, one: _Factor, other: _Factor, *, vega: bool) -> float:
        inside = self.numbers.inside
        if self.name == "InterestRate":
            return self._rate_rho(one, other)
        if self.name == "FX":
            if vega:
                return self._scalar("volatility")
            pair = (self._fx_group(one.qualifier), self._fx_group(other.qualifier))
            key = (self._fx_group(self.currency), *pair)
        elif self.name in _TENORED:
            same = "same" if one.qualifier == other.qualifier else "different"
            key = ("", "residual" if bucket == RESIDUAL else "aggregate", same)
        else:
            key = (bucket, "", "")
        return _known(inside, (key,), f"{self.name}: correlation {key}")

    def _rate_rho(self, one: _Factor, other: _Factor) -> float:
        kinds = {one.kind, other.kind}
        if "basis" in kinds:
            return self._scalar("basis")
        if len(kinds) > 1:
            return self._scalar("inflation")
        rho = 1.0
        if one.label != other.label:
            key = ("", one.label, other.label)
            rho = _known(self.numbers.inside, (key,), f"InterestRate: correlation {key}")
        return rho if one.curve == other.curve else rho * self._scalar("sub_curves")

    def _gamma(self, a: str, b: str) -> float:
        if self.name == "InterestRate":
            return self._scalar("outer")
        return _known(self.numbers.across, ((a, b),), f"{self.name}: correlation of {a} and {b}")

    def _fx_group(self, currency: str) -> str:
        return _group(self.numbers.weight_groups, currency)

    def _scalar(self, name: str) -> float:
        return _known(self.numbers.scalars, (name,), f"{self.name}: {name}")


def _curved(shares: Sequence[float], k: float) -> float:
    gross = math.fsum(map(abs, shares))
    net = math.fsum(shares)
    theta = min(net / gross, 0.0) if gross else 0.0
    return max(net + ((_TAIL - 1.0) * (1.0 + theta) - theta) * k, 0.0)


def _ratio(a: float, b: float) -> float:
    return min(a, b) / max(a, b)


def _most(crowding: _Bucket) -> float:
    return max(crowding.values(), default=1.0)


def _group(groups: Mapping[str, str], currency: str) -> str:
    found = groups.get(currency, groups.get("Other"))
    if found is None:
        raise CalibrationMissing(f"no group of currencies holds {currency}")
    return found


def _known(numbers: Mapping[_Key, _Number], keys: Sequence[_Key], what: str) -> _Number:
    for key in keys:
        if key in numbers:
            return numbers[key]
    raise CalibrationMissing(f"the calibration has no {what}")
