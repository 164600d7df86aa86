"""One book over several venues, so that all of them together need least margin.

A venue is a rulebook, a mode, the instruments that it lists and what it may take. A position can
stand at any venue that lists it, in parts of whole lots. What each venue asks for is its rulebook's
exact requirement; no two venues net. `cross` margins all that stands at a venue together (which is
portfolio margin where the rulebook is one), `isolated` every position for itself.

The search starts from what stands now and from everything at one venue, and moves positions, parts
of them and whole underlyings as long as that helps. Where whole positions can be placed in few
ways, every one of them is tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from solvent import api
from solvent.lab.capital.faults import one_of, within, wrong
from solvent.lab.capital.placing import ENUMERATED_MAX, UNPLACED, Books, MoveRules, Place, Search
from solvent.lab.capital.remargin import MEASURES, Measure
from solvent.market import Snapshot
from solvent.units import MICRO, Float64

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Lots of one instrument at one venue, before and after."""

    instrument: str
    place: str
    before: int
    after: int
    size_before: float
    size_after: float


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """Where a book is to stand. Millionths of a dollar where not told otherwise.

    Attributes:
        before: venue → requirement as it stands; None where something stands nowhere yet or where
            a venue's requirement is not known.
        after: venue → requirement. moved: dollars of notional. cost: of moving.
        how: whether every whole placing was tried, or steps were taken.
    """

    measure: Measure
    before: Mapping[str, int] | None
    after: Mapping[str, int]
    placed: tuple[Placed, ...]
    moved: float
    cost: int
    how: str

    @property
    def total(self) -> int:
        """What all venues ask for."""
        return sum(self.after.values())

    @property
    def total_before(self) -> int | None:
        """What all asked for; None where something stood nowhere or was not known."""
        return None if self.before is None else sum(self.before.values())

    def table(self) -> pl.DataFrame:
        """A row an instrument and venue, sizes in the venue's unit."""
        rows = [
            {"instrument": one.instrument, "place": one.place, "before": one.size_before,
             "after": one.size_after, "moved": one.size_after - one.size_before}
            for one in self.placed
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=_TABLE)

    def places(self) -> pl.DataFrame:
        """A row a venue: its requirement before and after, in dollars."""
        rows = [
            {"place": name, "after": amount / MICRO,
             "before": None if self.before is None else self.before[name] / MICRO}
            for name, amount in self.after.items()
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=_PLACES)

    def to_polars(self) -> pl.DataFrame:
        """The same as `table`."""
        return self.table()

    def to_dict(self) -> dict[str, Any]:
        """What `solvent allocate book --json` prints; dollars."""
        before = self.total_before
        return {
            "measure": self.measure, "before": None if before is None else before / MICRO,
            "after": self.total / MICRO, "moved": self.moved, "cost": self.cost / MICRO,
            "how": self.how, "places": self.places().to_dicts(),
            "positions": self.table().to_dicts(),
        }  # fmt: skip

    def plot(self) -> go.Figure:
        """Requirements of venues before and after."""
        from solvent.lab.capital.plots import allocation_figure

        return allocation_figure(self)

    def __repr__(self) -> str:
        before = self.total_before
        was = "" if before is None else f"{before / MICRO:,.2f} to "
        return f"Allocation({was}{self.total / MICRO:,.2f} USD over {len(self.after)} places)"

    def _repr_html_(self) -> str:
        return f"<pre>{self!r}</pre>{self.table()._repr_html_()}"


_TABLE: Final[dict[str, Any]] = {
    "instrument": pl.String, "place": pl.String, "before": pl.Float64, "after": pl.Float64,
    "moved": pl.Float64,
}  # fmt: skip
_PLACES: Final[dict[str, Any]] = {"place": pl.String, "before": pl.Float64, "after": pl.Float64}


def allocate(
    positions: Any, market: Any, places: Sequence[Place], *, fixed: Sequence[str] = (),
    moved_max: float | None = None, move_bps: float = 0.0,
    measure: Measure = "initial", history: api.HistoryLike = None,
    enumerate_max: int = ENUMERATED_MAX,
) -> Allocation:  # fmt: skip
    """Place a book so that all venues together need least margin.

    Args:
        positions: rows whose account is the venue that they stand at; of any other name they
            stand nowhere yet and can be placed freely.
        places: the venues; names are told once.
        fixed: patterns of instruments that stay where they are.
        moved_max: dollars of notional that may be moved in all. move_bps: what moving costs, of
            the notional: a move that frees less than it costs is not made.
        enumerate_max: placings of whole positions of which every one is tried.

    Raises BadInput for a position that no venue may hold, for limits that cannot be kept (by
    name), where a venue's requirement is not known however the book is placed, and for input that
    cannot be used.
    """
    rules = MoveRules(fixed=tuple(fixed), moved_max=moved_max, move_bps=move_bps)
    one_of("allocate", "measure", measure, MEASURES)
    _check(places, rules)
    snapshot = market if isinstance(market, Snapshot) else api.read_market(*_paths(market))
    books = Books(positions, snapshot, tuple(places), measure, history)
    search = Search(books, rules, enumerate_max)
    lots, how = search.best()
    return _told(search, lots, how)


def _paths(market: Any) -> Sequence[Any]:
    return market if isinstance(market, list | tuple) else [market]


def _check(places: Sequence[Place], rules: MoveRules) -> None:
    names = [place.name for place in places]
    if not places:
        raise wrong("allocate", "places", "a venue or more", "none")
    if len(set(names)) < len(names) or UNPLACED in names:
        raise wrong("allocate", "places", "a name of its own for every venue", ", ".join(names))
    for place in places:
        if place.mode not in ("cross", "isolated"):
            raise wrong(
                "allocate", f"places.{place.name}.mode", "cross or isolated", repr(place.mode)
            )
        within("allocate", f"places.{place.name}.margin_max", place.margin_max)
    within("allocate", "moved_max", rules.moved_max)
    within("allocate", "move_bps", rules.move_bps)


def _told(search: Search, state: Float64, how: str) -> Allocation:
    books = search.books
    needed = search.needed(state)
    names = [place.name for place in books.places]
    before = None
    if not search.loose.any():
        now = search.needed(search.start)
        if np.isfinite(now).all():
            before = {name: int(one) for name, one in zip(names, now, strict=True)}
    placed = tuple(
        Placed(
            instrument=symbol, place=name, before=int(search.start[at, i]),
            after=int(state[at, i]),
            size_before=float(search.start[at, i] * books.lot_size[i]),
            size_after=float(state[at, i] * books.lot_size[i]),
        )
        for i, symbol in enumerate(books.symbols)
        for at, name in enumerate(names)
        if search.start[at, i] or state[at, i]
    )  # fmt: skip
    return Allocation(
        measure=books.measure, before=before, placed=placed, moved=search.moved(state),
        after={name: int(one) for name, one in zip(names, needed, strict=True)},
        cost=int(search.cost(state)), how=how,
    )  # fmt: skip


def places_of(told: Sequence[Mapping[str, Any]]) -> tuple[Place, ...]:
    """Venues as a file tells them. Raises BadInput for a key that a venue does not have
    and for values of the wrong kind."""
    found = []
    for n, one in enumerate(told):
        known = set(Place.__slots__)
        strange = sorted(set(one) - known)
        missing = [key for key in ("name", "rulebook") if key not in one]
        if strange or missing:
            name = f"places.{one.get('name', n)}"
            expected = f"keys {', '.join(sorted(known))}; name and rulebook always"
            raise wrong("allocate", name, expected, ", ".join(strange) or f"no {missing[0]}")
        for key in ("name", "rulebook", "mode"):
            if key in one and not isinstance(one[key], str):
                raise wrong("allocate", f"places.{n}.{key}", "a text", repr(one[key]))
        within("allocate", f"places.{one['name']}.margin_max", one.get("margin_max"))
        place = Place(name=one["name"], rulebook=one["rulebook"])
        rest = {key: one[key] for key in ("mode", "margin_max") if key in one}
        if "lists" in one:
            lists = one["lists"]
            if not isinstance(lists, list) or not all(isinstance(each, str) for each in lists):
                name = f"places.{one['name']}.lists"
                raise wrong("allocate", name, "a list of patterns", repr(lists))
            rest["lists"] = tuple(lists)
        found.append(replace(place, **rest))
    return tuple(found)
