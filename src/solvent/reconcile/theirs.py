"""Statements from files: a custodian's balances, a clearing house's report, a venue's answers.

| table with columns | gives |
|---|---|
| `account, kind, name, amount` | lines as they are |
| `account, asset, amount` | balances |
| `account, instrument, size[, mark_price]` | positions, and marks |
| `account, initial_margin, maintenance_margin[, equity]` | requirements |

`time` (or `timestamp`, `date`) says when a row was so. Columns may have their usual other names.
A table may have the columns of several; one of them that is left over is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.accounts import shapes
from solvent.feeds.accounts.answer import Answer
from solvent.feeds.accounts.cells import Cells, each
from solvent.feeds.accounts.fetch import Fetched
from solvent.feeds.columns import UNTOLD, moments
from solvent.feeds.table import Faults, read_table
from solvent.instruments import parse_symbol
from solvent.instruments.symbols import listed_symbol
from solvent.reconcile.lines import Key, Kind, Line, Statement, by_key, line_of, places_of
from solvent.units import DOLLARS

EQUITY: Final = "equity"
INITIAL: Final = "initial margin"
MAINTENANCE: Final = "maintenance margin"
_REQUIRED: Final = {
    "equity": EQUITY, "initial_margin": INITIAL, "maintenance_margin": MAINTENANCE,
}  # fmt: skip
_CALLED: Final = {
    "account": ("account", "client", "subaccount", "account_id"),
    "asset": ("asset", "currency", "coin"),
    "instrument": ("instrument", "symbol", "contract"),
    "amount": ("amount", "balance", "total", "quantity"),
    "size": ("size", "position", "net_position", "quantity"),
    "mark_price": ("mark_price", "settlement_price", "mark"),
    "time": ("time", "timestamp", "as_of", "date"),
}
"""Ours → what a column may be called, the first that is there."""
_TAKEN: Final[dict[str, tuple[str, ...]]] = {
    "balance": ("asset", "amount"), "position": ("instrument", "size", "mark_price"),
    "requirement": (),
}  # fmt: skip
_MEANT: Final = ("asset", "instrument", "amount", "size", "mark_price")
"""Columns that say what there is: none of them may be there in vain."""
Known = Mapping[str, int]
"""Contracts that we know by their own names, or decimals of assets."""


def read_statement(
    paths: Sequence[str | Path],
    *,
    account: str = "",
    contracts: Iterable[str] = (),
    assets: Known | None = None,
    as_of_ms: int | None = None,
) -> Statement:
    """A statement from files. `VENUE:FILE` is a raw answer of a venue, or of ccxt; such files are
    read together. `account` is whose it is where nothing says so, and the one that is taken where
    something does; `as_of_ms` the time of rows that tell none.

    Raises BadInput naming file, row and field; nothing is read in part.
    """
    known, decimals = frozenset(contracts), assets or {}
    lines: list[Line] = []
    raw: dict[str, list[str]] = {}
    for path in paths:
        venue, colon, rest = str(path).partition(":")
        if colon and venue in shapes.VENUES:
            raw.setdefault(venue, []).append(os.path.expanduser(rest))
        else:
            lines += _table(Path(path), account, known, decimals, as_of_ms)
    for venue, files in raw.items():
        answer = shapes.read_files(venue, files, account=account)
        source = ", ".join(files)
        lines += of_answer(
            answer, account or answer.account or venue, source, assets=decimals, as_of_ms=as_of_ms
        )
    source = ", ".join(map(str, paths))
    if not lines:
        raise BadInput(_problem(source, Reject.SOURCE_EMPTY, "a line or more", "none"))
    found = by_key(_marks_once(lines), source)
    if account:
        found = _of_account(found, account, source)
    told = [line.time_ms for line in found.values() if line.time_ms is not None]
    return Statement(source=source, lines=found, time_ms=max(told, default=None))


def _of_account(found: Mapping[Key, Line], account: str, source: str) -> dict[Key, Line]:
    """One account's lines, and marks. Raises BadInput where all are of others."""
    owners = {key.account for key in found if key.account}
    if owners and account not in owners:
        others = ", ".join(sorted(owners)[:3])
        raise BadInput(
            _problem(source, Reject.ACCOUNT_UNKNOWN, f"a statement of {account}", others)
        )
    return {key: line for key, line in found.items() if key.account in ("", account)}


def _marks_once(lines: Sequence[Line]) -> list[Line]:
    """A mark is told with every position in its contract: the same one is one."""
    seen: dict[Key, Line] = {}
    kept = []
    for line in lines:
        first = seen.setdefault(line.key, line)
        same = first is not line and first.amount == line.amount and first.time_ms == line.time_ms
        if not (line.key.kind is Kind.MARK and same):
            kept.append(line)
    return kept


# ── tables ───────────────────────────────────────────────────────────────────────────────────────


def _table(
    path: Path, account: str, known: frozenset[str], assets: Known, as_of_ms: int | None
) -> list[Line]:
    faults = Faults.of(path, skip=False)
    frame = read_table(path, faults)
    columns = {
        ours: next((name for name in names if name in frame.columns), "")
        for ours, names in _CALLED.items()
    }
    if columns["instrument"] and columns["amount"] == "quantity":
        columns["amount"] = ""  # of the contract that stands beside it
    times = moments(frame, columns["time"] or "time", faults)
    faults.settle()
    rows = frame.to_dicts()
    groups = _groups(frame.columns, columns, str(path))
    reader = _Reader(str(path), account, known, assets, columns, times, groups)
    lines = [line for some in each(str(path), rows, reader.row) for line in some]
    lines = _as_precise(lines, one_column=reader.one_column)
    return [replace(one, time_ms=as_of_ms) if one.time_ms is None else one for one in lines]


def _groups(names: Sequence[str], columns: Mapping[str, str], source: str) -> tuple[str, ...]:
    """What a table tells. Raises BadInput where it tells nothing, and for columns that we know and
    that none of it takes: half of such a table would be left out in silence."""
    if {"kind", "name"} <= set(names) and columns["amount"]:
        groups: tuple[str, ...] = ("told",)
        used = {columns["amount"]}
    else:
        told = {
            "balance": bool(columns["asset"] and columns["amount"]),
            "position": bool(columns["instrument"] and columns["size"]),
            "requirement": bool(set(_REQUIRED) & set(names)),
        }
        groups = tuple(group for group, there in told.items() if there)
        used = {columns[ours] for group in groups for ours in _TAKEN[group]}
        used |= set(_REQUIRED)
    if not groups:
        raise BadInput(
            _problem(
                source, Reject.FIELD_MISSING,
                "columns asset and amount, instrument and size, or initial_margin",
                f"columns {', '.join(names)}",
            )
        )  # fmt: skip
    meant = {name for ours in _MEANT for name in _CALLED[ours]} | set(_REQUIRED)
    left = [name for name in names if name in meant - used]
    if left:
        raise BadInput(
            _problem(
                source, Reject.INPUT_INVALID,
                "each column of amounts with that of what it is of, and once",
                f"{', '.join(left)}, beside columns "
                f"{', '.join(name for name in names if name not in left)}",
            )
        )  # fmt: skip
    return groups


def _as_precise(lines: Sequence[Line], *, one_column: bool = False) -> list[Line]:
    """Lines with the decimals that their column is told with: the most of any, since "1000" beside
    "999.51" is no rounded amount."""

    def column(line: Line) -> str:
        kind = line.key.kind
        return "" if one_column else line.key.name if kind is Kind.REQUIREMENT else kind

    most: dict[str, int] = {}
    for one in lines:
        most[column(one)] = max(one.digits, most.get(column(one), 0))
    return [replace(one, digits=most[column(one)]) for one in lines]


class _Reader:
    """Rows of one table to lines."""

    def __init__(
        self, source: str, account: str, known: frozenset[str], assets: Known,
        columns: Mapping[str, str], times: np.ndarray[tuple[int], np.dtype[np.int64]],
        groups: Sequence[str],
    ) -> None:  # fmt: skip
        self.source = source
        self.account = account
        self.known = known
        self.assets = assets
        self.columns = columns
        self.times = times
        self.groups = groups

    @property
    def one_column(self) -> bool:
        """Whether all amounts are in one."""
        return "told" in self.groups

    def row(self, cells: Cells) -> list[Line]:
        """All that one row tells. Where a table tells of several things, a row may leave out some:
        their cells are empty then."""
        readers = {
            "told": self.as_told, "balance": self.balance, "position": self.position,
            "requirement": self.requirement,
        }  # fmt: skip
        there = [
            group for group in self.groups if len(self.groups) == 1 or self._told(cells, group)
        ]
        if not there:
            cells.wrong(Reject.ROW_MALFORMED, None, " or ".join(self.groups), "an empty row")
        return [line for group in there for line in readers[group](cells)]

    def _told(self, cells: Cells, group: str) -> bool:
        names = _REQUIRED if group == "requirement" else (
            self.columns[ours] for ours in _TAKEN[group] if self.columns[ours]
        )  # fmt: skip
        return any(cells.fields.get(name) not in (None, "") for name in names)

    def as_told(self, cells: Cells) -> list[Line]:
        """`kind, name, amount`."""
        kind = cells.one_of("kind", {one.value: one for one in Kind})
        name = cells.text("name")
        if kind in (Kind.POSITION, Kind.MARK):
            name = self._contract(cells, "name")
        owner = "" if kind is Kind.MARK else self._owner(cells)
        return [self._line(cells, Key(kind, owner, name), cells.number(self.columns["amount"]))]

    def balance(self, cells: Cells) -> list[Line]:
        """`asset, amount`."""
        asset = cells.text(self.columns["asset"]).upper()
        key = Key(Kind.BALANCE, self._owner(cells), asset)
        return [self._line(cells, key, cells.number(self.columns["amount"]))]

    def position(self, cells: Cells) -> list[Line]:
        """`instrument, size[, mark_price]`."""
        name = self._contract(cells, self.columns["instrument"])
        key = Key(Kind.POSITION, self._owner(cells), name)
        found = [self._line(cells, key, cells.number(self.columns["size"]))]
        mark = cells.positive(self.columns["mark_price"]) if self.columns["mark_price"] else None
        if mark is not None:
            found.append(self._line(cells, Key(Kind.MARK, "", name), mark))
        return found

    def requirement(self, cells: Cells) -> list[Line]:
        """`initial_margin, maintenance_margin, equity`, whichever are told."""
        owner, found = self._owner(cells), []
        for column, name in _REQUIRED.items():
            amount = cells.maybe(column)
            if amount is not None:
                found.append(self._line(cells, Key(Kind.REQUIREMENT, owner, name), amount))
        return found

    def _owner(self, cells: Cells) -> str:
        column = self.columns["account"]
        return cells.text(column) if column and not (
            self.account and not cells.maybe_text(column)
        ) else self._by_option(cells)  # fmt: skip

    def _by_option(self, cells: Cells) -> str:
        if not self.account:
            cells.wrong(Reject.FIELD_MISSING, "account", "a column account, or --account", "none")
        return self.account

    def _contract(self, cells: Cells, column: str) -> str:
        """A contract by our own name for it."""
        name = cells.text(column)
        if name in self.known:
            return name
        try:
            return listed_symbol(parse_symbol(name))
        except ValueError as fault:
            cells.wrong(Reject.SYMBOL_UNKNOWN, column, "a contract that we know", str(fault))

    def _line(self, cells: Cells, key: Key, told: Decimal) -> Line:
        row = cells.row or 0
        moment = int(self.times[row])
        return line_of(
            key, told, places_of(key.kind, key.name, self.assets), source=self.source, row=row,
            time_ms=None if moment == UNTOLD else moment,
        )  # fmt: skip


# ── a venue's own answers ────────────────────────────────────────────────────────────────────────


def of_answer(
    answer: Answer,
    account: str,
    source: str,
    *,
    assets: Known | None = None,
    as_of_ms: int | None = None,
) -> list[Line]:
    """Lines of what a venue answered, as `feeds.accounts` has read it. Long and short of one
    contract are one line.

    `as_of_ms` is when it answered. What the answer itself dates is when a balance or a position
    last *changed* in its books: taken for the statement's time it would hide what they missed
    since. A ticker's time is its own.
    """
    found = []

    def add(key: Key, told: Decimal | None, time_ms: int | None = as_of_ms) -> None:
        if told is not None:
            places = places_of(key.kind, key.name, assets or {})
            found.append(line_of(key, told, places, time_ms=time_ms, row=None, source=source))

    for money in answer.money:
        add(Key(Kind.BALANCE, account, money.asset), money.amount)
    sizes: dict[str, Decimal] = {}
    for one in answer.holdings:
        sizes[one.symbol] = sizes.get(one.symbol, Decimal(0)) + one.size
    for symbol, size in sizes.items():
        add(Key(Kind.POSITION, account, symbol), size)
    marks = {one.symbol: (one.mark, as_of_ms) for one in answer.holdings if one.mark}
    marks |= {one.symbol: (one.mark, one.time_ms) for one in answer.prices if one.mark}
    for symbol, (mark, time_ms) in marks.items():
        add(Key(Kind.MARK, "", symbol), mark, as_of_ms if time_ms is None else time_ms)
    for reported in answer.reported:
        if reported.currency in DOLLARS:
            owner = f"{account} {reported.part}".strip()
            for name, amount in ((EQUITY, reported.equity), (INITIAL, reported.initial),
                                 (MAINTENANCE, reported.maintenance)):  # fmt: skip
                add(Key(Kind.REQUIREMENT, owner, name), amount)
    return _as_precise(found)


def statement_of(fetched: Fetched, account: str, assets: Known) -> Statement:
    """What was fetched from a venue's API, as of when it was."""
    source, when = f"{fetched.venue} API", fetched.fetched_ms
    lines = of_answer(
        fetched.answer, account or fetched.account, source, assets=assets, as_of_ms=when
    )
    if not lines:
        raise BadInput(_problem(source, Reject.SOURCE_EMPTY, "a line or more", "none"))
    return Statement(source=source, lines=by_key(lines, source), time_ms=when)


def _problem(source: str, code: Reject, expected: str, found: str) -> Problem:
    return Problem(code=code, source=source, expected=expected, found=found)
