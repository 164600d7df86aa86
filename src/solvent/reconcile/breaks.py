"""Breaks as events: found, changed, assigned, explained, closed, and opened again.

A break is one key of one party. What happens to it is appended, never changed; where it
stands is what its events come to. One reconciliation is one transaction: all of what it found is
written, or nothing.

| state | means |
|---|---|
| open | nobody has it |
| assigned | somebody has it |
| explained | somebody says why it is, and it stays |
| closed | somebody ended it, or both sides agree again |

A difference that becomes another opens what was explained or closed; one that comes back after both
sides agreed does too. What a run did not compare stays as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, NamedTuple, NoReturn

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from solvent.errors import BadInput, Problem, Reject
from solvent.reconcile.lines import Key, Kind
from solvent.reconcile.match import Match, Report

FILE: Final = "breaks.db"
_TABLES: Final = MetaData()
_EVENTS: Final = Table(
    "break_events", _TABLES,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("party", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("happened", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("difference", Text, nullable=False),
    Column("places", Integer, nullable=False),
    Column("cause", Text, nullable=False),
    Column("note", Text, nullable=False),
)  # fmt: skip
_WORDS_MAX: Final = 500
_VERSION: Final = 1


class State(StrEnum):
    """Where a break stands."""

    OPEN = "open"
    ASSIGNED = "assigned"
    EXPLAINED = "explained"
    CLOSED = "closed"


class Happened(StrEnum):
    """What an event is."""

    FOUND = "found"
    CHANGED = "changed"
    REOPENED = "reopened"
    ASSIGNED = "assigned"
    EXPLAINED = "explained"
    CLOSED = "closed"
    MATCHED = "matched"
    GONE = "no longer told"


_AGREED: Final = (Happened.MATCHED, Happened.GONE)


class Break(NamedTuple):
    """A break as it stands, and the event that brought it there. `difference` is theirs less ours,
    in units of `places` decimals."""

    number: int
    time_ms: int
    party: str
    key: Key
    happened: Happened
    state: State
    owner: str
    status: str
    difference: int
    places: int
    cause: str
    note: str


class Breaks:
    """The store: an SQLite file. A context manager.

    It is made where there is none, or an empty one, unless `mode` is `rw` (one that is there) or
    `ro` (the same, and nothing is written). Raises BadInput for a file of anything else.
    """

    def __init__(self, path: str | Path, *, mode: Literal["rwc", "rw", "ro"] = "rwc") -> None:
        self.path = Path(path)
        address = f"{self.path.absolute().as_uri()}?mode={mode}"
        self._engine = create_engine(
            "sqlite://", poolclass=NullPool,
            creator=lambda: sqlite3.connect(address, uri=True, check_same_thread=False),
        )  # fmt: skip
        # Our own BEGIN: the driver's would leave what is read before the first write outside.
        event.listen(self._engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
        begin = "BEGIN" if mode == "ro" else "BEGIN IMMEDIATE"
        event.listen(self._engine, "begin", lambda one: one.exec_driver_sql(begin))
        with self._transaction() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version not in (0, _VERSION):
                self._wrong(f"a store of breaks of version {_VERSION}", f"version {version}")
            tables = inspect(connection).get_table_names()
            if _EVENTS.name in tables:
                return
            if mode != "rwc" or tables:
                names = ", ".join(tables) or "no tables"
                self._wrong("a store of breaks", names)
            _TABLES.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def __enter__(self) -> Breaks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── what a reconciliation brings ─────────────────────────────────────────────────────────────

    def record(self, report: Report, *, party: str, time_ms: int) -> list[Break]:
        """Take over what was found; what is new of it."""
        with self._transaction() as connection:
            known = {one.key: one for one in self._all(connection)
                     if one.party == party}  # fmt: skip
            number = max((one.number for one in self._all(connection)), default=0)
            made: list[Break] = []
            for match in report.matches:
                before = known.get(match.key)
                one = _after(before, match, party, time_ms, number + 1)
                if one is not None:
                    made.append(one)
                    number = max(number, one.number)
            gone = known.keys() - {one.key for one in report.matches}
            made += [_gone(known[key], time_ms) for key in sorted(gone)
                     if report.covers(key) and known[key].happened not in _AGREED]  # fmt: skip
            self._append(connection, made)
        return made

    # ── what people do ───────────────────────────────────────────────────────────────────────────

    def assign(self, number: int, owner: str, *, time_ms: int) -> Break:
        """Give a break to somebody. Raises BadInput for one that is closed or unknown."""
        return self._act(
            number, time_ms, state=State.ASSIGNED, happened=Happened.ASSIGNED, owner=owner
        )

    def explain(self, number: int, note: str, *, time_ms: int) -> Break:
        """Say why a break is: it stays as long as its difference does."""
        return self._act(
            number, time_ms, state=State.EXPLAINED, happened=Happened.EXPLAINED, note=note
        )

    def end(self, number: int, note: str, *, time_ms: int) -> Break:
        """Close a break."""
        return self._act(number, time_ms, state=State.CLOSED, happened=Happened.CLOSED, note=note)

    def _act(
        self, number: int, time_ms: int, *, state: State, happened: Happened,
        owner: str | None = None, note: str | None = None,
    ) -> Break:  # fmt: skip
        for words in (owner, note):
            if words is not None and not 0 < len(words.strip()) <= _WORDS_MAX:
                self._wrong(f"1 to {_WORDS_MAX} letters", f"{len(words.strip())}")
        with self._transaction() as connection:
            found = [one for one in self._all(connection) if one.number == number]
            if not found:
                self._wrong("the number of a break", str(number), Reject.REFERENCE_UNKNOWN)
            (one,) = found
            if one.state is State.CLOSED:
                self._wrong("a break that is not closed", str(number), Reject.REFERENCE_UNKNOWN)
            now = one._replace(
                state=state, happened=happened, time_ms=time_ms,
                owner=one.owner if owner is None else owner.strip(),
                note="" if note is None else note.strip(),
            )  # fmt: skip
            self._append(connection, [now])
        return now

    # ── what there is ────────────────────────────────────────────────────────────────────────────

    def standing(self, *, closed: bool = False) -> list[Break]:
        """Breaks as they stand, by number; closed ones too if they are asked for."""
        with self._transaction() as connection:
            found = self._all(connection)
        return [one for one in found if closed or one.state is not State.CLOSED]

    def history(self, number: int) -> list[Break]:
        """Everything that happened to a break, in order."""
        with self._transaction() as connection:
            return [one for one in _rows(connection) if one.number == number]

    def _all(self, connection: Connection) -> list[Break]:
        last = {one.number: one for one in _rows(connection)}
        return [last[number] for number in sorted(last)]

    def _append(self, connection: Connection, made: Iterable[Break]) -> None:
        rows = [
            {
                **one._asdict(), "kind": one.key.kind, "account": one.key.account,
                "name": one.key.name, "difference": str(one.difference),
            }
            for one in made
        ]  # fmt: skip
        for row in rows:
            del row["key"]
        if rows:
            connection.execute(insert(_EVENTS), rows)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as fault:
            words = str(getattr(fault, "orig", None) or fault).splitlines()[0]
            self._wrong("a store of breaks", words)

    def _wrong(
        self, expected: str, found: str, code: Reject = Reject.SOURCE_UNREADABLE
    ) -> NoReturn:
        raise BadInput(
            Problem(code=code, source=str(self.path), expected=expected, found=found[:160])
        )


def _rows(connection: Connection) -> Iterator[Break]:
    for row in connection.execute(select(_EVENTS).order_by(_EVENTS.c.sequence)):
        told = row._mapping
        yield Break(
            number=told["number"], time_ms=told["time_ms"], party=told["party"],
            key=Key(Kind(told["kind"]), told["account"], told["name"]),
            happened=Happened(told["happened"]), state=State(told["state"]), owner=told["owner"],
            status=told["status"], difference=int(told["difference"]), places=told["places"],
            cause=told["cause"], note=told["note"],
        )  # fmt: skip


def _after(
    before: Break | None, match: Match, party: str, time_ms: int, number: int
) -> Break | None:
    """What one line's comparison makes of its break; None where nothing happens."""
    if not match.broken:
        # Remembered of what was closed by hand too: the same difference after it is a new one.
        agreed = before is None or before.happened in _AGREED
        return None if before is None or agreed else _matched(before, time_ms)
    cause = match.cause
    told = Break(
        number=number if before is None else before.number, time_ms=time_ms,
        party=party, key=match.key, happened=Happened.FOUND, state=State.OPEN,
        owner="", status=match.status, difference=match.difference, places=match.places,
        cause="" if cause is None else cause.cause, note="" if cause is None else cause.evidence,
    )  # fmt: skip
    if before is None:
        return told
    same = (before.status, before.difference) == (told.status, told.difference)
    ended = before.state in (State.CLOSED, State.EXPLAINED)
    if same and before.happened not in _AGREED:
        return None
    if ended:
        state = State.ASSIGNED if before.owner else State.OPEN
        return told._replace(happened=Happened.REOPENED, state=state, owner=before.owner)
    return told._replace(happened=Happened.CHANGED, state=before.state, owner=before.owner)


def _matched(before: Break, time_ms: int) -> Break:
    return before._replace(
        happened=Happened.MATCHED, state=State.CLOSED, time_ms=time_ms, status="matched",
        difference=0, note="both sides agree",
    )  # fmt: skip


def _gone(before: Break, time_ms: int) -> Break:
    return before._replace(
        happened=Happened.GONE, state=State.CLOSED, time_ms=time_ms, status="no longer told",
        difference=0, note="neither side tells of it any more",
    )  # fmt: skip
