"""Margins by the methods of clearing houses and of uncleared derivatives, from files of theirs.

`span` takes a clearing house's `.spn` file, `simm` a CRIF and a calibration that the user brings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from solvent.errors import BadInput, InvariantBroken, Problem, Reject
from solvent.feeds.crif import CrifRow, Side, read_calibration, read_crif
from solvent.feeds.positions import Positions, read_positions
from solvent.feeds.spn import SpanFile, read_spn
from solvent.feeds.table import Faults
from solvent.limits import LOTS_MAX
from solvent.margining.levels.rows import Sheet
from solvent.margining.sensitivity import RISK_TYPES, Calibration, CalibrationMissing, Sensitivity
from solvent.margining.simm import ALL, PARAMETERS, Margins
from solvent.margining.simm import simm as margins_of

PRODUCT_CLASSES: Final = ("RatesFX", "Credit", "Equity", "Commodity")
"""Product classes of SIMM: risks of different ones do not offset."""
_SHOWN: Final = 8
_AMOUNTS: Final = (
    "calendar_charge",
    "product_credit",
    "short_option_minimum",
    "net_option_value",
    "requirement",
)
"""Columns of a combined commodity as the rulebook `span` names them, money of the file."""
_SPAN_SCHEMA: Final[Mapping[str, Any]] = {
    "portfolio": pl.String, "commodity": pl.String, "currency": pl.String,
    "scanning_risk": pl.Float64, "active_scenario": pl.Int64,
    **dict.fromkeys(_AMOUNTS, pl.Float64),
}  # fmt: skip
_SIMM_SCHEMA: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("portfolio", "product_class", "risk_class", "margin_type"), pl.String),
    "amount": pl.Float64,
}


# ── SPAN ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class SpanMargin:
    """What `solvent.span` returns: the requirement of each portfolio by combined commodity.

    `rows` has a mapping a portfolio and commodity. Amounts are in `currency`, that of the
    commodity, "" where the file does not tell it; `active_scenario` counts from 1.
    """

    source: str
    business_date: str
    portfolios: int
    rows: tuple[Mapping[str, Any], ...]

    def to_polars(self) -> pl.DataFrame:
        """A row a portfolio and combined commodity, in the order of the positions."""
        return pl.DataFrame(list(self.rows), schema=dict(_SPAN_SCHEMA))

    def totals(self) -> dict[str, float]:
        """Currency → requirement of all portfolios together."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            found.setdefault(row["currency"], []).append(row["requirement"])
        return {currency: math.fsum(parts) for currency, parts in sorted(found.items())}

    def __repr__(self) -> str:
        day = f" of {self.business_date}" if self.business_date else ""
        lines = [
            f"  requirement {total:,.2f} {currency or '(currency not told)'}"
            for currency, total in self.totals().items()
        ]
        head = f"SPAN margin of {self.portfolios:,} portfolios by {self.source}{day}"
        return "\n".join([head, *lines])

    def _repr_html_(self) -> str:
        table = self.to_polars().sort("requirement", descending=True)
        return f"<pre>{escape(repr(self))}</pre>{table.head(_SHOWN)._repr_html_()}"


def span(positions: Any, spn: str | Path) -> SpanMargin:
    """Margin portfolios by a clearing house's `.spn` file.

    Positions are rows `account, instrument, size`, as `solvent.margin` takes them: an account is
    a portfolio, sizes are signed units, symbols are `NIFTY-20260630` and `NIFTY-20260630-24000-C`.
    Raises BadInput naming file, row and field.
    """
    told = positions if isinstance(positions, Positions) else read_positions(positions)
    file = read_spn(spn)
    _check_contracts(told, file)
    portfolios = _portfolios(told)
    return SpanMargin(
        source=file.source,
        business_date=file.business_date,
        portfolios=len(portfolios),
        rows=tuple(
            row for name, sizes in portfolios.items() for row in _commodities(file, name, sizes)
        ),
    )


def _check_contracts(told: Positions, file: SpanFile) -> None:
    """Every position is in a contract of the file, and of a size that can be margined."""
    faults = Faults(
        told.source, header_lines=told.header_lines, columns=told.columns, origin=told.row
    )
    listed = np.array([symbol in file.contracts for symbol in told.symbols], dtype=bool)
    expected = f"a contract of {file.source}, such as {next(iter(file.contracts))}"
    for row in np.flatnonzero(~listed[told.symbol]):
        found = told.symbols[told.symbol[row]]
        faults.add(Reject.SYMBOL_UNKNOWN, int(row), "instrument", expected=expected, found=found)
    for row in np.flatnonzero(np.abs(told.size) > LOTS_MAX):
        expected = f"at most {LOTS_MAX} units"
        found = f"{told.size[row]:g}"
        faults.add(Reject.SIZE_TOO_LARGE, int(row), "size", expected=expected, found=found)
    faults.settle()


def _portfolios(told: Positions) -> dict[str, dict[str, float]]:
    """Portfolio → symbol → net units, in the order of the positions."""
    parts: dict[str, dict[str, list[float]]] = {name: {} for name in told.accounts.names}
    names = list(parts)
    for account, symbol, size in zip(told.account, told.symbol, told.size.tolist(), strict=True):
        parts[names[account]].setdefault(told.symbols[symbol], []).append(size)
    return {
        name: {symbol: math.fsum(sizes) for symbol, sizes in held.items()}
        for name, held in parts.items()
        if held
    }


def _commodities(
    file: SpanFile, portfolio: str, sizes: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    sheet = file.sheet(sizes)
    for place, row in enumerate(sheet.rows("commodity")):
        code = str(row["underlying"])
        commodity = file.commodities.get(code)
        yield {
            "portfolio": portfolio,
            "commodity": code,
            "currency": commodity.currency if commodity else "",
            "scanning_risk": _amount(file, sheet, "scanning_risk", place),
            "active_scenario": int(_amount(file, sheet, "active_scenario", place)),
            **{name: _amount(file, sheet, name, place) for name in _AMOUNTS},
        }


def _amount(file: SpanFile, sheet: Sheet, column: str, place: int) -> float:
    found = sheet.value("commodity", column, place)
    if isinstance(found, tuple):
        raise InvariantBroken(f"{column} is a number a commodity")
    try:
        return float(found)
    except OverflowError as fault:
        expected, seen = "amounts within float64", f"a {column} beyond it"
        raise _bad(file.source, Reject.EXACT_RANGE_EXCEEDED, expected, seen) from fault


# ── SIMM ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class SimmMargin:
    """What `solvent.simm` returns: margins of each portfolio by ISDA SIMM, in `currency`.

    A portfolio is a netting set. `All` stands for everything together, so rows do not add up: the
    margin of a portfolio is its row of `All` three times.
    """

    source: str
    versions: tuple[str, ...]
    days: int
    side: Side
    currency: str
    portfolios: Mapping[str, Margins]

    @property
    def total(self) -> float:
        """Margin of all portfolios together: they do not offset."""
        return math.fsum(one.get((ALL, ALL, ALL, ALL), 0.0) for one in self.portfolios.values())

    def to_polars(self) -> pl.DataFrame:
        """A row a portfolio, product class, risk class and margin type; the last is the total."""
        rows = [
            (name, product, risk, kind, amount)
            for name, margins in self.portfolios.items()
            for (product, risk, kind, bucket), amount in sorted(margins.items(), key=_place)
            if bucket == ALL
        ]
        rows.append((ALL, ALL, ALL, ALL, self.total))
        return pl.DataFrame(rows, schema=dict(_SIMM_SCHEMA), orient="row")

    def __repr__(self) -> str:
        version = ", ".join(self.versions) or "of no told version"
        return (
            f"SIMM {version}, {self.days} days, of {len(self.portfolios):,} portfolios in "
            f"{self.source}, for who {'posts' if self.side == 'post' else 'calls'}\n"
            f"  margin {self.total:,.2f} {self.currency}"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>{self.to_polars()._repr_html_()}"


def _place(entry: tuple[tuple[str, str, str, str], float]) -> tuple[Any, ...]:
    """Parts before what they make up."""
    return tuple((part == ALL, part) for part in entry[0])


def simm(
    crif: str | Path,
    calibration: str | Path,
    *,
    side: Side = "call",
    regulation: str | None = None,
    days: int = 10,
    currency: str = "USD",
) -> SimmMargin:
    """Margin netting sets by ISDA SIMM, from a CRIF and a calibration that the user brings.

    `side` is who asks: `post` sees every sensitivity with its sign turned. A `regulation` takes
    only rows that are under it. `days` is the margin period of risk in business days, `currency`
    that of the calculation. Raises BadInput naming file, row and field.
    """
    if side not in ("call", "post"):
        raise _bad("side", Reject.INPUT_INVALID, "call or post", repr(side))
    rows = read_crif(crif, currency=currency)
    if not rows:
        raise _bad(str(crif), Reject.SOURCE_EMPTY, "a sensitivity or more", "none")
    for row in rows:
        _check_sensitivity(row, str(crif))
    _check_regulation(rows, side, regulation)
    parameters = read_calibration(calibration, days=days)
    held: dict[str, list[tuple[CrifRow, Sensitivity]]] = {row.portfolio: [] for row in rows}
    for row in rows:
        one = row.seen(side, regulation)
        if one is not None:
            held[row.portfolio].append((row, one))
    asked = _Asked(str(crif), str(calibration), parameters, currency)
    return SimmMargin(
        source=str(crif),
        versions=parameters.versions,
        days=days,
        side=side,
        currency=currency,
        portfolios={name: asked.margins(mine) for name, mine in held.items()},
    )


def _check_sensitivity(row: CrifRow, source: str) -> None:
    one = row.sensitivity
    if one.risk_type not in RISK_TYPES and one.risk_type not in PARAMETERS:
        expected, found, name = "a risk type of SIMM", one.risk_type, "RiskType"
    elif one.risk_type in RISK_TYPES and one.product_class not in PRODUCT_CLASSES:
        expected, found, name = ", ".join(PRODUCT_CLASSES), one.product_class, "ProductClass"
    else:
        return
    code = Reject.ROW_MALFORMED if found else Reject.FIELD_MISSING
    raise _bad(source, code, expected, repr(found) if found else "nothing", row=row.row, name=name)


def _check_regulation(rows: Sequence[CrifRow], side: Side, regulation: str | None) -> None:
    """A regulation that no row names would leave nothing to margin, and look like no risk."""
    named = {one for row in rows for one in (row.post if side == "post" else row.collect)}
    if regulation is not None and named and regulation not in named:
        expected = f"one of {', '.join(sorted(named))}, which rows of the {side} side name"
        raise _bad("regulation", Reject.INPUT_INVALID, expected, repr(regulation))


@dataclass(frozen=True)
class _Asked:
    """A calculation, which knows the files that its faults are in."""

    crif: str
    calibration: str
    parameters: Calibration
    currency: str

    def margins(self, held: Sequence[tuple[CrifRow, Sensitivity]]) -> Margins:
        """Margins of a netting set. Raises BadInput naming what the calibration lacks."""
        found: Margins = {}
        try:
            found = self._margins([one for _, one in held])
            finite = all(map(math.isfinite, found.values()))
        except CalibrationMissing as fault:
            raise self._lacking(held, fault) from fault
        except (OverflowError, ValueError):  # a square, and a sum of infinities
            finite = False
        if not finite:
            expected, seen = "weights whose margins are numbers", "a margin beyond float64"
            raise _bad(self.calibration, Reject.EXACT_RANGE_EXCEEDED, expected, seen)
        return found

    def _margins(self, held: Sequence[Sensitivity]) -> Margins:
        return margins_of(held, self.parameters, currency=self.currency)

    def _lacking(
        self, held: Sequence[tuple[CrifRow, Sensitivity]], fault: CalibrationMissing
    ) -> BadInput:
        """The first row that cannot be margined even alone, or what is missing between rows."""
        for row, one in held:
            try:
                self._margins([one])
            except CalibrationMissing as alone:
                expected = f"a sensitivity that {self.calibration} covers"
                found = f"{one.risk_type} {one.qualifier}: {alone}"
                return _bad(self.crif, Reject.PARAMETER_UNSET, expected, found, row=row.row)
        expected = f"what the sensitivities of {self.crif} need"
        return _bad(self.calibration, Reject.PARAMETER_UNSET, expected, str(fault))


def _bad(
    source: str,
    code: Reject,
    expected: str,
    found: str,
    *,
    row: int | None = None,
    name: str | None = None,
) -> BadInput:
    return BadInput(
        Problem(code=code, source=source, row=row, field=name, expected=expected, found=found)
    )
