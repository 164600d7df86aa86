"""Cases of uncleared margin: ISDA SIMM and the standard schedule, from CRIF files beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

from solvent.conform.case import Case, unknown
from solvent.conform.levels import number, sheet
from solvent.feeds.crif import CrifRow, Side, calibration_versions, read_calibration, read_crif
from solvent.feeds.simm_tables import shipped_calibration
from solvent.feeds.table import read_table
from solvent.margining.levels.rows import Sheet
from solvent.margining.sensitivity import Calibration
from solvent.margining.simm import ALL, Margins, simm

TOLERANCE = 1e-6
"""Of a dollar; the files tell nine decimals."""
_CENT = 0.005 + 1e-9
"""What stands in cents was rounded to them."""
_NAME = re.compile(r"SIMM(?P<version>[0-9.]+[A-Z]?(?:\+\d+)?)_(?P<days>\d+)D")
_UNSPECIFIED = "Unspecified"
_NOT_TOLD = "#N/A"


def margins(path: Path) -> Iterator[Case]:
    """Every row of expected margins; unknown where no calibration of the version is beside it
    or ships."""
    named = _NAME.search(path.stem)
    rows = _table(path)
    calibration = None
    if named is not None:
        calibration = _calibration(path.parent, named["version"], int(named["days"]))
    if calibration is None:
        yield from (unknown(_words(row)) for row in rows)
        return
    crif = read_crif(path.parent / "crif.csv")
    made = {
        key: _margins(crif, *key, calibration)
        for key in sorted({(row["SimmSide"], row["Regulation"]) for row in rows})
    }
    for row in rows:
        case = Case(_words(row))
        by_portfolio = made[row["SimmSide"], row["Regulation"]]
        names = list(by_portfolio) if row["Portfolio"] == ALL else [row["Portfolio"]]
        key = (row["ProductClass"], row["RiskClass"], row["MarginType"], row["Bucket"])
        found = sum(by_portfolio.get(name, {}).get(key, 0.0) for name in names)
        case.expect("margin", found, float(row["InitialMargin"]), TOLERANCE)
        yield case


def _margins(
    crif: Sequence[CrifRow], side: str, regulation: str, calibration: Calibration
) -> dict[str, Margins]:
    """By portfolio, what one side asks under a regulation; who posts sees every sign turned."""
    asked: Side = "post" if side == "Post" else "call"
    under = None if regulation == _UNSPECIFIED else regulation
    found = {}
    for portfolio in sorted({row.portfolio for row in crif}):
        mine = [
            one
            for row in crif
            if row.portfolio == portfolio and (one := row.seen(asked, under)) is not None
        ]
        found[portfolio] = simm(mine, calibration)
    return found


def _calibration(folder: Path, version: str, days: int) -> Calibration | None:
    for path in sorted(folder.glob("*.xml")):
        if version in calibration_versions(path):
            return read_calibration(path, days=days)
    return shipped_calibration(version, days=days)


# ── the standard schedule ────────────────────────────────────────────────────────────────────────


def schedule(path: Path) -> Iterator[Case]:
    """Margins of netting sets by the schedule, for who collects and for who posts."""
    rows = _table(path)
    made = {side: _schedules(path.parent, side) for side in {row["Side"] for row in rows}}
    for row in rows:
        case = Case(_words(row))
        sign = -1.0 if row["Side"] == "Post" else 1.0
        sheets = made[row["Side"]]
        mine = list(sheets.values()) if row["Portfolio"] == ALL else [sheets[row["Portfolio"]]]
        whole = row["ProductClass"] == ALL
        expected = {
            ("GrossIM", "gross_margin"): 1.0,
            ("GrossCurrentRC", "gross_exposure"): sign,
            ("NetCurrentRC", "net_exposure"): 1.0,
            ("NetToGrossRatio", "net_to_gross"): 1.0,
            ("ScheduleIM", "initial" if whole else "gross_margin"): 1.0,
        }
        for (what, column), turned in expected.items():
            if row[what] == _NOT_TOLD:
                continue
            found = sum(_column(one, column, row["ProductClass"]) for one in mine)
            tolerance = 5.1e-7 if what == "NetToGrossRatio" else _CENT
            case.expect(what, turned * found, float(row[what]), tolerance)
        yield case


def trades(path: Path) -> Iterator[Case]:
    """Each trade's years to maturity, share of notional and gross margin."""
    sheets = _schedules(path.parent, "Call")
    for row in _table(path):
        case = Case(row["TradeId"])
        asked = sheets[row["Portfolio"]]
        place = [one["instrument"] for one in asked.rows("position")].index(row["TradeId"])
        for what, column, tolerance in (
            ("Maturity", "maturity", 5.1e-6),
            ("Multiplier", "share", 1e-12),
            ("Notional(Base)", "notional", _CENT),
            ("PV(Base)", "present_value", _CENT),
            ("GrossIM(Base)", "gross_margin", _CENT),
        ):
            found = number(asked.value("position", column, place))
            case.expect(what, float(found), float(row[what]), tolerance)
        yield case


def _schedules(folder: Path, side: str) -> dict[str, Sheet]:
    """A sheet of the rulebook for each portfolio of the schedule's CRIF."""
    as_of = _as_of(folder)
    rows = read_crif(folder / "crif_schedule.csv")
    found: dict[str, dict[str, dict[str, object]]] = {}
    for row in rows:
        trade = found.setdefault(row.portfolio, {}).setdefault(row.trade, {})
        end = datetime.strptime(row.end_date, "%d/%m/%Y").date()  # noqa: DTZ007 - a date alone
        trade |= {
            "instrument": row.trade,
            "kind": row.sensitivity.product_class,
            "maturity": _years(as_of, end),
        }
        amount = row.sensitivity.amount
        if row.sensitivity.risk_type == "Notional":
            trade["notional"] = abs(amount)
        else:
            trade["present_value"] = amount
            trade["collected"] = -amount if side == "Post" else amount
    return {name: sheet("im-schedule", position=list(by.values())) for name, by in found.items()}


def _column(asked: Sheet, column: str, product_class: str) -> float:
    """A column of the netting set, or its sum over the trades of a product class."""
    if product_class == ALL:
        return float(number(asked.value("pool", column)))
    return sum(
        float(number(asked.value("position", column, n)))
        for n, row in enumerate(asked.rows("position"))
        if row["kind"] == product_class
    )


def _as_of(folder: Path) -> date:
    """The day of the sensitivities, which the portfolio's name ends with."""
    name = read_crif(folder / "crif.csv")[0].portfolio
    found = re.search(r"(\d{8})$", name)
    if found is None:
        raise ValueError(f"no day at the end of portfolio {name!r}")
    return date.fromisoformat(found[1])


def _years(start: date, end: date) -> float:
    """Years by the days of each calendar year: actual/actual."""
    years, at = 0.0, start
    while at < end:
        first, following = date(at.year, 1, 1), date(at.year + 1, 1, 1)
        upto = min(end, following)
        years += (upto - at) / timedelta(days=1) / (following - first).days
        at = upto
    return years


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────


def _table(path: Path) -> list[dict[str, str]]:
    frame = read_table(path)
    return frame.rename({name: name.lstrip("#") for name in frame.columns}).to_dicts()


def _words(row: Mapping[str, str]) -> str:
    told = ("Portfolio", "ProductClass", "RiskClass", "MarginType", "Bucket", "SimmSide", "Side",
            "Regulation")  # fmt: skip
    return " ".join(row[name] for name in told if name in row)
