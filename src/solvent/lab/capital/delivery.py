"""The cheapest collateral to deliver: a linear program over assets and venues.

minimise   Σ cost of holding asset a at venue v + Σ cost of moving it there
so that    every venue's requirement is covered by worth less haircut,
           no more of an asset is used than there is,
           what a venue takes of an asset stays below its cap and its share of all that it takes,
           what leaves a venue stays below what may be moved.

What an asset could earn elsewhere is its cost where the venue pays nothing on it. The program
works in dollars; amounts are then whole smallest units, rounded up, and every venue is covered
exactly or the answer is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from fractions import Fraction
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import BadInput
from solvent.lab.capital.faults import within, wrong
from solvent.lab.capital.program import Ending, Program, Solved
from solvent.units import MICRO, asset_decimals

DAYS_A_YEAR: Final = 365.0
_PENALTY: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """What one has. `price` in dollars, `yield_a_year` what it earns where it is not posted.

    `at` is the venue where it stands now; "" for a wallet of one's own.
    """

    asset: str
    amount: float
    price: float
    yield_a_year: float = 0.0
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a venue makes of an asset.

    Attributes:
        haircut: part of its worth that does not count. cap: dollars of worth that it takes at most.
        share_max: of all that it holds for the venue after haircuts, at most this part.
        yield_a_year: what it earns there while it is posted.
    """

    venue: str
    asset: str
    haircut: float = 0.0
    cap: float | None = None
    share_max: float | None = None
    yield_a_year: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Moving an asset between venues ("" is one's own wallet): what it costs, and how much may go.

    Without a route nothing moves; what already stands at a venue needs none.
    """

    source: str
    target: str
    asset: str = "*"
    cost_bps: float = 0.0
    most: float | None = None
    """Dollars of worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One asset at one venue: `units` smallest units of it come from `source`."""

    venue: str
    asset: str
    source: str
    units: int
    amount: float
    worth: float
    counted: float
    cost_a_year: float
    moving: float


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What to post where. Dollars."""

    postings: tuple[Posting, ...]
    required: Mapping[str, float]
    cost_a_year: float
    moving: float
    ending: str

    def table(self) -> pl.DataFrame:
        """A row an asset, source, venue and way between them."""
        rows = [
            {"venue": one.venue, "asset": one.asset, "source": one.source or "wallet",
             "amount": one.amount, "worth": one.worth, "counted": one.counted,
             "cost_a_year": one.cost_a_year, "moving": one.moving}
            for one in self.postings
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=_TABLE)

    def to_polars(self) -> pl.DataFrame:
        """The same as `table`."""
        return self.table()

    def to_dict(self) -> dict[str, Any]:
        """What `solvent allocate collateral --json` prints."""
        return {
            "required": dict(self.required), "cost_a_year": self.cost_a_year,
            "moving": self.moving, "ending": self.ending, "postings": self.table().to_dicts(),
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"Delivery({len(self.postings)} postings, {self.cost_a_year:,.2f} USD a year)"


_TABLE: Final[dict[str, Any]] = {
    "venue": pl.String, "asset": pl.String, "source": pl.String, "amount": pl.Float64,
    "worth": pl.Float64, "counted": pl.Float64, "cost_a_year": pl.Float64, "moving": pl.Float64,
}  # fmt: skip


def deliver(
    required: Mapping[str, float],
    assets: Sequence[Asset | Mapping[str, Any]],
    terms: Sequence[Terms | Mapping[str, Any]],
    routes: Sequence[Route | Mapping[str, Any]] = (),
    *,
    days: float = DAYS_A_YEAR,
) -> Delivery:
    """The cheapest collateral that covers every venue's requirement (venue → dollars).

    Assets, terms and routes may be dicts of the same names.

    Costs of moving are paid once and weighed against what is earned over `days`. Raises BadInput
    for input that cannot be used, and where requirements cannot be covered: which venue is short,
    and by how much.

    >>> best = deliver({"a": 90.0}, [Asset(asset="USDC", amount=200, price=1, yield_a_year=0.05),
    ...     Asset(asset="BTC", amount=1, price=100)], [Terms(venue="a", asset="USDC"),
    ...     Terms(venue="a", asset="BTC", haircut=0.1)], [Route(source="", target="a")])
    >>> [(one.asset, one.amount) for one in best.postings], best.cost_a_year
    ([('BTC', 1.0)], 0.0)
    """
    assets, terms, routes = _rows(Asset, assets), _rows(Terms, terms), _rows(Route, routes)
    _check(required, assets, terms, routes, days)
    lines = _lines(assets, terms, routes, days)
    solved, used = _solve(required, assets, lines, short=False)
    if solved.ending is not Ending.OPTIMAL:
        raise _uncovered(required, assets, lines)
    postings = _postings(required, assets, lines, solved.x[used])
    return Delivery(
        postings=postings,
        required=dict(required),
        cost_a_year=sum(one.cost_a_year for one in postings),
        moving=sum(one.moving for one in postings),
        ending=str(solved.ending),
    )


_Row = TypeVar("_Row", Asset, Terms, Route)


def _rows(kind: type[_Row], told: Sequence[_Row | Mapping[str, Any]]) -> list[_Row]:
    """Rows of a kind, some of them dicts."""
    made: list[_Row] = []
    for one in told:
        if isinstance(one, kind):
            made.append(one)
            continue
        if not isinstance(one, Mapping):
            raise wrong("deliver", kind.__name__.lower(), "keys and values", repr(one))
        known = {each.name: each for each in fields(kind)}
        needed = {name for name, each in known.items() if each.default is MISSING}
        if set(one) - set(known) or needed - set(one):
            expected = f"keys {', '.join(known)}, of which {', '.join(sorted(needed))} always"
            raise wrong("deliver", kind.__name__.lower(), expected, ", ".join(map(str, one)))
        for key in one:
            if known[key].type == "str" and not isinstance(one[key], str):
                raise wrong("deliver", f"{kind.__name__.lower()}.{key}", "a text", repr(one[key]))
        made.append(kind(**one))
    return made


@dataclass(frozen=True, slots=True)
class _Line:
    """An asset (by its row) that may stand at a venue."""

    row: int
    terms: Terms
    cost: float
    """A dollar of worth, over the days that count."""
    moving: float
    most: float


def _lines(
    assets: Sequence[Asset], terms: Sequence[Terms], routes: Sequence[Route], days: float
) -> list[_Line]:
    found = []
    for row, own in enumerate(assets):
        for one in terms:
            if one.asset != own.asset:
                continue
            lost = max(0.0, own.yield_a_year - one.yield_a_year) * days / DAYS_A_YEAR
            if own.at == one.venue:
                found.append(_Line(row, one, lost, 0.0, np.inf))
                continue
            ways = [
                way for way in routes
                if (way.source, way.target) == (own.at, one.venue) and way.asset in ("*", own.asset)
            ]  # fmt: skip
            for way in ways:
                most = np.inf if way.most is None else _room(own, way.most)
                moving = way.cost_bps * 1e-4
                found.append(_Line(row, one, lost + moving, moving, most))
    return found


def _solve(
    required: Mapping[str, float], assets: Sequence[Asset], lines: Sequence[_Line], *, short: bool
) -> tuple[Solved, NDArray[np.int64]]:
    """The program; with `short` what is missing is paid for dearly instead."""
    program = Program()
    worth = np.array([own.amount * own.price for own in assets])
    most = np.array([min(line.most, worth[line.row]) for line in lines])
    used = program.columns(len(lines), cost=[line.cost for line in lines], upper=most)
    counts = np.array([1.0 - line.terms.haircut for line in lines])
    for venue, amount in required.items():
        here = np.array([line.terms.venue == venue for line in lines], dtype=bool)
        columns, values = used[here], counts[here]
        if short:
            missing = program.columns(1, cost=_PENALTY)
            columns = np.concatenate([columns, missing])
            values = np.concatenate([values, [1.0]])
        program.row(columns, values, lower=amount)
    for row in range(len(assets)):
        here = np.array([line.row == row for line in lines], dtype=bool)
        program.row(used[here], np.ones(int(here.sum())), upper=float(worth[row]))
    _caps(program, assets, lines, used, counts)
    return program.solve(), used


def _caps(
    program: Program,
    assets: Sequence[Asset],
    lines: Sequence[_Line],
    used: NDArray[np.int64],
    counts: Any,
) -> None:
    for one in dict.fromkeys(line.terms for line in lines):
        mine = np.array([line.terms == one for line in lines], dtype=bool)
        if one.cap is not None:
            # One asset may be told at several places and prices: the dearest rounds up the most.
            rows = {line.row for line in lines if line.terms == one}
            own = max((assets[row] for row in sorted(rows)), key=lambda each: each.price)
            program.row(
                used[mine], np.ones(int(mine.sum())), upper=_room(own, one.cap, int(mine.sum()))
            )
        if one.share_max is not None:
            here = np.array([line.terms.venue == one.venue for line in lines], dtype=bool)
            values = np.where(mine, counts, 0.0)[here] - one.share_max * counts[here]
            program.row(used[here], values, upper=0.0)


def _room(own: Asset, most: float, lines: int = 1) -> float:
    """A limit of worth less what rounding amounts up, one a line and one more, may add."""
    unit = own.price / float(10 ** asset_decimals(own.asset))
    return max(0.0, most * (1.0 - 1e-9) - (lines + 1.0) * unit)


def _uncovered(
    required: Mapping[str, float], assets: Sequence[Asset], lines: Sequence[_Line]
) -> BadInput:
    """Which venue is short: what the program pays dearly for."""
    solved, used = _solve(required, assets, lines, short=True)
    if not solved.found:
        return wrong(
            "deliver", "required", "requirements that can be covered", f"program {solved.ending}"
        )
    counted: dict[str, float] = dict.fromkeys(required, 0.0)
    for line, worth in zip(lines, solved.x[used], strict=True):
        counted[line.terms.venue] = counted.get(line.terms.venue, 0.0) + float(worth) * (
            1.0 - line.terms.haircut
        )
    short = {venue: amount - counted[venue] for venue, amount in required.items()}
    venue = max(short, key=lambda one: short[one])
    return wrong(
        "deliver",
        f"required.{venue}",
        f"assets, caps and routes that cover {required[venue]:,.2f} dollars at {venue}",
        f"{counted[venue]:,.2f} dollars after haircuts, {short[venue]:,.2f} short",
    )


def _postings(
    required: Mapping[str, float], assets: Sequence[Asset], lines: Sequence[_Line], worth: Any
) -> tuple[Posting, ...]:
    """Whole smallest units, rounded up, within what there is; every venue exactly covered."""
    left = [_units(own) for own in assets]
    units = []
    for line, dollars in zip(lines, worth, strict=True):
        wanted = _units_of(assets[line.row], Fraction(max(0.0, float(dollars))))
        units.append(min(wanted, left[line.row]))
        left[line.row] -= units[-1]
    for venue, amount in required.items():
        here = [n for n, line in enumerate(lines) if line.terms.venue == venue]
        # The program's floats may miss a little, which another unit of what is there covers.
        for n in here:
            counted = sum((_counted(assets, lines[k], units[k]) for k in here), Fraction(0))
            short = _exactly(amount) - counted
            if short > 0 and units[n]:
                kept = 1 - _exactly(lines[n].terms.haircut)
                more = _units_of(assets[lines[n].row], short / kept) if kept else 0
                more = min(more, left[lines[n].row])
                units[n], left[lines[n].row] = units[n] + more, left[lines[n].row] - more
        counted = sum((_counted(assets, lines[k], units[k]) for k in here), Fraction(0))
        # A millionth of a dollar is what requirements are told in.
        if counted + Fraction(1, MICRO) < _exactly(amount):
            missing = float(_exactly(amount) - counted)
            raise wrong(
                "deliver", f"required.{venue}", f"{amount:,.6f} dollars", f"{missing:,.9f} short"
            )
    return tuple(
        _posting(assets, line, count) for line, count in zip(lines, units, strict=True) if count
    )


def _posting(assets: Sequence[Asset], line: _Line, units: int) -> Posting:
    own = assets[line.row]
    amount = Fraction(units, 10 ** asset_decimals(own.asset))
    worth = float(amount * _exactly(own.price))
    lost = max(0.0, own.yield_a_year - line.terms.yield_a_year)
    return Posting(
        venue=line.terms.venue, asset=own.asset, source=own.at, units=units,
        amount=float(amount), worth=worth, counted=float(_counted(assets, line, units)),
        cost_a_year=worth * lost, moving=worth * line.moving,
    )  # fmt: skip


def _counted(assets: Sequence[Asset], line: _Line, units: int) -> Fraction:
    """Dollars after haircut."""
    own = assets[line.row]
    worth = Fraction(units, 10 ** asset_decimals(own.asset)) * _exactly(own.price)
    return worth * (1 - _exactly(line.terms.haircut))


def _units_of(own: Asset, dollars: Fraction) -> int:
    """Smallest units worth so many dollars, rounded up."""
    return -int(-dollars * 10 ** asset_decimals(own.asset) // _exactly(own.price))


def _exactly(told: float) -> Fraction:
    """The decimal number that was told, not the float nearest to it."""
    return Fraction(repr(told))


def _units(own: Asset) -> int:
    return int(_exactly(own.amount) * 10 ** asset_decimals(own.asset))


def _check(
    required: Mapping[str, float], assets: Sequence[Asset], terms: Sequence[Terms],
    routes: Sequence[Route], days: float,
) -> None:  # fmt: skip
    if not required or not assets:
        raise wrong("deliver", "required, assets", "a requirement and an asset", "none")
    within("deliver", "days", days, 0.0)
    for venue, amount in required.items():
        within("deliver", f"required.{venue}", amount)
        if not any(one.venue == venue for one in terms):
            raise wrong("deliver", "terms", f"an asset that {venue} takes", "none")
    for own in assets:
        within("deliver", f"assets.{own.asset}.amount", own.amount, 0.0)
        within("deliver", f"assets.{own.asset}.price", own.price, 1e-12)
        within("deliver", f"assets.{own.asset}.yield_a_year", own.yield_a_year, -10.0)
    pairs = [(one.venue, one.asset) for one in terms]
    for one in terms:
        name = f"terms.{one.venue}.{one.asset}"
        if pairs.count((one.venue, one.asset)) > 1:
            raise wrong("deliver", name, "terms once", "twice")
        within("deliver", f"{name}.haircut", one.haircut, 0.0, 1.0)
        within("deliver", f"{name}.cap", 0.0 if one.cap is None else one.cap, 0.0)
        within(
            "deliver",
            f"{name}.share_max",
            1.0 if one.share_max is None else one.share_max,
            0.0,
            1.0,
        )
    for way in routes:
        within("deliver", "routes.cost_bps", way.cost_bps, 0.0)
        within("deliver", "routes.most", 0.0 if way.most is None else way.most, 0.0)
