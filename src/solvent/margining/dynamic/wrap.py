"""The wrapped rulebook with what was announced: rows with a day, and where they came from.

A row holds all numbers of its keys, and the newest row that is not after a day holds whole. So a
change of one number is a new row with the others as they are on that day, and the wrapped
rulebook's own later rows get the change as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from solvent.errors import RulebookError, check
from solvent.margining.dynamic.follow import Base, Change, DynamicState, Place, Stepped, step
from solvent.margining.dynamic.signals import Observation
from solvent.margining.dynamic.text import DynamicText, FollowText
from solvent.margining.fragments import to_toml
from solvent.margining.levels.text import LevelsText
from solvent.margining.rulebook import check_levels, check_rulebook
from solvent.margining.schema import RulebookText

Wrapped = RulebookText | LevelsText
_DIGITS: Final = 12
"""Significant digits of a number that was scaled."""
_Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """A dynamic rulebook and the one that it wraps.

    Raises RulebookError where it follows a number that the wrapped one does not have.
    """

    text: DynamicText
    base: Wrapped

    def __post_init__(self) -> None:
        for one in self.text.follow:
            for key in one.keys:
                self._own(one, key, date.max)

    def base_on(self, on: date) -> Base:
        """What the wrapped rulebook says of each number on a day; of a scale, 1."""
        return {
            (n, key): 1.0 if one.scale is not None else self._own(one, key, on)
            for n, one in enumerate(self.text.follow)
            for key in one.keys
        }

    def step(self, state: DynamicState, seen: Observation) -> Stepped:
        """One day of observations; pure."""
        return step(self.text, state, seen, self.base_on(seen.day))

    def _own(self, one: FollowText, key: str, on: date) -> float:
        kind, _, rest = one.what.partition(".")
        where = f"{self.text.name}: {one.what}"
        content = _written(self.base)
        if kind == "parameters":
            if rest not in content.get("parameters", {}):
                raise RulebookError(f"{where}: {self.base.name} has no such parameter")
            return float(content["parameters"][rest])
        if kind == "spreads":
            if rest not in content.get("spreads", {}):
                raise RulebookError(f"{where}: {self.base.name} has no such table of spreads")
            return 0.0
        if kind == "collateral":
            rows = [row for row in content.get("collateral", []) if row["asset"] == key]
            if not rows:
                raise RulebookError(f"{where}: {self.base.name} has no collateral {key!r}")
            return float(_row_of(rows, on)["haircut"])
        table, _, entry = rest.partition(".")
        rows = _rows(content, table, key, where)
        if not rows or not {entry, *one.powers} <= _row_of(rows, on)["values"].keys():
            raise RulebookError(f"{where}: {self.base.name} has no such entry for {key!r}")
        number = _row_of(rows, on)["values"][entry]
        if isinstance(number, list):
            if one.scale is None:
                raise RulebookError(f"{where}: tiers of {key!r} follow by `scale`")
            return 1.0
        return float(number)

    def due(self, state: DynamicState, on: date) -> bool:
        """Whether the rulebook is to be adopted anew on a day: something was announced or withdrawn
        on it, or begins to hold."""
        return any(on in (one.announced, one.effective, one.withdrawn) for one in state.changes)

    def rulebook(
        self, state: DynamicState, on: date | None = None, *, since: date = date.min
    ) -> Wrapped:
        """The wrapped rulebook with all that was announced by the state's day.

        Args:
            on: whose constants hold (`[parameters]` have no days of their own); the last day
                observed by default.
            since: rows that held only before it are left out.
        """
        content = _written(self.base)
        content["name"] = self.text.name
        content["title"] = self.text.title
        content["sources"] = [*content["sources"], *self.text.sources]
        notes = [f"Dynamic: {self.text.name} over {self.base.name}.", *self.text.notes]
        for n, one in enumerate(self.text.follow):
            for key in one.keys:
                changes = _standing(state, (n, key))
                if changes:
                    self._apply(content, one, key, changes, on or state.day or date.min, notes)
        if since > date.min:
            _forget(content, since)
        content["notes"] = [*content.get("notes", []), *notes]
        source = self.text.name
        if isinstance(self.base, LevelsText):
            return check_levels(content, source=source)
        return check_rulebook(content, source=source)

    def toml(self, state: DynamicState, on: date | None = None, *, since: date = date.min) -> str:
        """The same as TOML, as a command adopts it."""
        return to_toml(_written(self.rulebook(state, on, since=since)))

    def _apply(
        self,
        content: _Row,
        one: FollowText,
        key: str,
        changes: Sequence[Change],
        on: date,
        notes: list[str],
    ) -> None:
        kind, _, rest = one.what.partition(".")
        where = f"{self.text.name}: {one.what}"
        if kind == "parameters":
            own = float(content["parameters"][rest])
            for change in changes:
                value = _scaled(own, change, one)
                if change.stands(on):
                    content["parameters"][rest] = value
                notes.append(f"{rest} is {value:g} from {change.effective}, {_said(change, self)}")
        elif kind == "collateral":
            content["collateral"] = _collateral(content["collateral"], key, changes, one, self)
        elif kind == "spreads":
            _spread(content["spreads"][rest], key, changes, one, self)
        else:
            table, _, entry = rest.partition(".")
            rows = _rows(content, table, key, where)
            content["tables"][table]["rows"] = [
                *_without(content["tables"][table]["rows"], rows, key),
                *_dated(rows, key, entry, changes, one, self),
            ]


def _forget(content: _Row, since: date) -> None:
    """Leave out rows that held only before a day, of tables and of collateral."""
    for table in content.get("tables", {}).values():
        table["rows"] = _kept(table["rows"], since, lambda row: tuple(row["keys"]))
    if "collateral" in content:
        content["collateral"] = _kept(content["collateral"], since, lambda row: row["asset"])
    for spreads in content.get("spreads", {}).values():
        spreads["lists"] = _kept(spreads.get("lists", []), since, lambda _: None)


def _kept(rows: Sequence[_Row], since: date, group: Callable[[_Row], Any]) -> list[_Row]:
    newest: dict[Any, date] = {}
    for row in rows:
        if _begin(row) <= since:
            newest[group(row)] = max(newest.get(group(row), date.min), _begin(row))
    return [row for row in rows if _begin(row) >= newest.get(group(row), date.min)]


def _standing(state: DynamicState, place: Place) -> list[Change]:
    followed = state.followed.get(place)
    changes = [one for one in followed.changes if one.withdrawn is None] if followed else []
    return sorted(changes, key=lambda one: (one.effective, one.announced))


def _said(change: Change, dynamic: Dynamic) -> str:
    how = "announced without notice" if change.emergency else "announced"
    return f"{how} {change.announced} by {dynamic.text.name}"


def _days(rows: Sequence[_Row], changes: Sequence[Change]) -> list[date]:
    """Days from which something else holds.

    Before the oldest row a rulebook applies the oldest: it must be one that no change has touched,
    so where the first change is older than all rows, there is one from its announcement on.
    """
    days = {_begin(row) for row in rows} | {change.effective for change in changes}
    first = min(change.announced for change in changes)
    if first <= min(days):
        days.add(min(first, min(days) - timedelta(days=1)))
    return sorted(days)


def _scaled(own: Any, change: Change, one: FollowText, power: int = 1) -> Any:
    """The number that a change makes of the wrapped rulebook's own."""
    if one.scale is None:
        return change.value
    if isinstance(own, list):
        return [_scaled(number, change, one, power) for number in own]
    return float(f"{own * change.value**power:.{_DIGITS}g}")


def _dated(
    rows: Sequence[_Row],
    key: str,
    entry: str,
    changes: Sequence[Change],
    one: FollowText,
    dynamic: Dynamic,
) -> list[_Row]:
    """Rows of one key: its own, and one for each day from which something else holds."""
    days = _days(rows, changes)
    made: list[_Row] = []
    for day in days:
        own = _row_of(rows, day)
        made.append({**own, "keys": [key], "effective": day, "values": dict(own["values"])})
        holding = [change for change in changes if change.effective <= day]
        if not holding or entry not in own["values"]:
            continue
        change = holding[-1]
        for name, power in {entry: 1, **one.powers}.items():
            made[-1]["values"][name] = _scaled(own["values"][name], change, one, power)
        made[-1]["source"] = f"{_said(change, dynamic)}; {own['source']}"
        made[-1]["evidence"] = "fitted"
    return made


def _rows(content: Mapping[str, Any], table: str, key: str, where: str) -> list[_Row]:
    """The rows of a key, or of `*` where it has none."""
    if table not in content.get("tables", {}):
        raise RulebookError(f"{where}: no table {table!r}")
    rows = content["tables"][table]["rows"]
    own = [row for row in rows if key in row["keys"]]
    return own or [row for row in rows if "*" in row["keys"]]


def _without(rows: Sequence[_Row], taken: Sequence[_Row], key: str) -> list[_Row]:
    """Rows as they were, but that the key's own are taken out of them."""
    kept: list[_Row] = []
    for row in rows:
        keys = [one for one in row["keys"] if one != key] if row in taken else row["keys"]
        if keys:
            kept.append({**row, "keys": keys})
    return kept


def _row_of(rows: Sequence[_Row], on: date) -> _Row:
    """The newest row that is not after a day; the oldest where all are."""
    check(len(rows) > 0, "a number that follows has a row")
    ordered = sorted(rows, key=_begin)
    past = [row for row in ordered if _begin(row) <= on]
    return past[-1] if past else ordered[0]


def _begin(row: _Row) -> date:
    """From when a row counts: one without a day, since ever."""
    begin: date = row.get("effective") or date.min
    return begin


def _collateral(
    rows: Sequence[_Row], key: str, changes: Sequence[Change], one: FollowText, dynamic: Dynamic
) -> list[_Row]:
    """Rows of collateral: those of an asset, and one for each day from which another cut holds."""

    own = [row for row in rows if row["asset"] == key]
    made: list[_Row] = []
    for day in _days(own, changes):
        row = _row_of(own, day)
        holding = [change for change in changes if change.effective <= day]
        dated = dict(row) if day == date.min else {**row, "effective": day}
        if holding:
            dated["haircut"] = _scaled(row["haircut"], holding[-1], one)
            dated["source"] = f"{_said(holding[-1], dynamic)}; {row.get('source', '')}"
        made.append(dated)
    return [*(row for row in rows if row["asset"] != key), *made]


def _spread(
    table: _Row, key: str, changes: Sequence[Change], one: FollowText, dynamic: Dynamic
) -> None:
    """Lists of spreads with the one that follows behind the wrapped rulebook's own, in its order.

    A rate of 0 matches nothing worth a credit, so the spread is left out.
    """
    lists = list(table.get("lists", []))
    made: list[_Row] = []
    for day in _days(lists, changes):
        past = [one for one in lists if one["effective"] <= day]
        own = _row_of(past, day) if past else None
        holding = [change for change in changes if change.effective <= day]
        spreads = [*own["spreads"]] if own else []
        said = own["source"] if own else f"{key}: no spread before"
        if holding and holding[-1].value > 0.0:
            legs = [_without_nothing(leg.model_dump(exclude_unset=True)) for leg in one.legs]
            spreads.append({"rate": holding[-1].value, "legs": legs})
        if holding:
            said = f"{_said(holding[-1], dynamic)}; {said}"
        made.append({"effective": day, "source": said, "evidence": "fitted" if holding else
                     (own or {}).get("evidence", "documented"), "spreads": spreads})  # fmt: skip
    table["lists"] = made


def _written(text: Wrapped) -> _Row:
    """What a text says and no defaults, as plain tables."""
    content: _Row = _without_nothing(text.model_dump(by_alias=True, exclude_unset=True))
    return content


def _without_nothing(part: Any) -> Any:
    """Tables without what is None, all the way down: TOML has no word for it."""
    if isinstance(part, Mapping):
        return {key: _without_nothing(one) for key, one in part.items() if one is not None}
    if isinstance(part, list | tuple):
        return [_without_nothing(one) for one in part]
    return part
