"""How things are, told as they change: prices, risk arrays, and where accounts stand.

Looked at ten times a second, and only where somebody has asked. A client that is slow is told the
newest alone, with everything that has changed since it was told last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, Final

import numpy as np

from solvent.documents import account_document
from solvent.host import Engine
from solvent.order_units import decimal_of
from solvent.risk import RiskArrays
from solvent.service.lanes import Overloaded
from solvent.service.published import Board, Published
from solvent.service.venue import NotServing, Venue
from solvent.service.wire import encode
from solvent.service.ws.hub import Client, Hub, snapshot

EVERY_S: Final = 0.1
TOGETHER: Final = 64
"""Accounts that are looked at between two batches of the engine."""
MARKS: Final = "marks"
ARRAYS: Final = "arrays."
ACCOUNT: Final = "account."
_NANO: Final = 10**9


@dataclass(slots=True)
class _Told:
    """What clients have been told of what is published."""

    sequence: int = -1
    marks: dict[str, Decimal] = field(default_factory=dict)
    arrays: dict[str, RiskArrays] = field(default_factory=dict)


class States:
    """Tells a hub's clients how things are; `run` until the hub is over."""

    def __init__(self, venue: Venue, board: Board, hub: Hub) -> None:
        self._venue, self._board, self._hub = venue, board, hub
        self._told = _Told()

    async def run(self) -> None:
        """Look again and again."""
        self._told = self._now()
        while not self._hub.over.is_set():
            await asyncio.sleep(EVERY_S)
            try:
                await self.look()
            except Overloaded:
                continue
            except NotServing:
                return

    def _now(self) -> _Told:
        now = self._board.now
        arrays = {name: one.arrays for name, one in now.rules.items() if one.arrays is not None}
        return _Told(now.sequence, marks_of(now), arrays)

    async def look(self) -> None:
        """Tell what has changed."""
        before, now = self._told, self._board.now
        touched: set[int] | None = self._hub.touched
        self._hub.touched = set()
        if now.sequence != before.sequence:
            self._told = self._now()
            self._tell_marks(before, now)
            self._tell_arrays(before, now)
            touched = None
        await self._tell_accounts(touched)

    # ── prices and arrays ────────────────────────────────────────────────────────────────────────

    def _tell_marks(self, before: _Told, now: Published) -> None:
        if not self._hub.listeners(MARKS):
            return
        new = self._told.marks
        changed = {name: one for name, one in new.items() if before.marks.get(name) != one}
        changed |= dict.fromkeys(before.marks.keys() - new.keys())  # type: ignore[arg-type]
        if changed:
            made = partial(_message, MARKS, now.sequence, now.state.log.time_ms)
            self._hub.merge(MARKS, changed, made)

    def _tell_arrays(self, before: _Told, now: Published) -> None:
        for name, arrays in self._told.arrays.items():
            channel = ARRAYS + name
            if before.arrays.get(name) is arrays or not self._hub.listeners(channel):
                continue
            rows = changed_rows(before.arrays.get(name), arrays)
            facts = _facts(now, name, arrays)
            made = partial(_arrays, channel, now.sequence, now.state.log.time_ms, facts)
            self._hub.merge(channel, rows, made)

    # ── accounts ─────────────────────────────────────────────────────────────────────────────────

    async def _tell_accounts(self, touched: set[int] | None) -> None:
        wanted = [
            one.removeprefix(ACCOUNT) for one in self._hub.channels if one.startswith(ACCOUNT)
        ]
        for start in range(0, len(wanted), TOGETHER):
            some = wanted[start : start + TOGETHER]
            told = await self._venue.read(partial(_documents, some, touched))
            for name, message in told:
                self._hub.replace(ACCOUNT + name, message)

    async def first(self, client: Client, channel: str) -> bool:
        """Tell one client how things are on a channel of this kind; whether it is of one."""
        now = self._board.now
        if channel == MARKS:
            _put(client, channel, now, marks_of(now))
        elif channel.startswith(ARRAYS):
            name = channel.removeprefix(ARRAYS)
            arrays = None if name not in now.rules else now.rules[name].arrays
            if arrays is not None:
                facts = _facts(now, name, arrays) | {"href": f"/v1/rulebooks/{name}/arrays"}
                _put(client, channel, now, facts)
        elif channel.startswith(ACCOUNT):
            name = channel.removeprefix(ACCOUNT)
            for _, message in await self._venue.read(partial(_documents, [name], None)):
                client.outbox.replace(channel, message)
        else:
            return False
        return True


def _put(client: Client, channel: str, now: Published, data: Any) -> None:
    """Before any change of it, which adds up with others."""
    client.outbox.put(snapshot(channel, now.sequence, now.state.log.time_ms, data))


def _facts(now: Published, name: str, arrays: RiskArrays) -> dict[str, Any]:
    return {"rulebook": name, "as_of_ms": int(arrays.as_of_ms), "etag": now.digests.get(name)}


def marks_of(now: Published) -> dict[str, Decimal]:
    """Symbol → mark, and `index BTC` → index, as published last."""
    state = now.state
    found = {
        f"index {name}": decimal_of(Fraction(one.price_nano, _NANO))
        for name, one in state.underlyings.items()
    }
    for one in state.contracts:
        if one.mark_points is not None and not one.settled:
            found[one.listing.symbol] = decimal_of(one.mark_points * one.deal.point)
    return found


def changed_rows(before: RiskArrays | None, after: RiskArrays) -> dict[str, list[int] | None]:
    """Symbol → whole quanta of PnL per lot by scenario, of rows that changed; None of one that has
    no usable numbers any more."""
    count, symbols = after.scenarios, after.universe.symbols
    old: Mapping[str, int] = {}
    if before is not None and before.scenarios == count:
        old = {symbol: row for row, symbol in enumerate(before.universe.symbols)}
    rows: dict[str, list[int] | None] = {}
    for row, symbol in enumerate(symbols):
        was = old.get(symbol)
        usable = bool(after.usable[row])
        if was is not None and before is not None and (
            usable == bool(before.usable[was])
            and np.array_equal(before.pnl[was, :count], after.pnl[row, :count])
        ):  # fmt: skip
            continue
        rows[symbol] = after.pnl[row, :count].astype(np.int64).tolist() if usable else None
    return rows | dict.fromkeys(old.keys() - set(symbols))


def _message(channel: str, sequence: int, time_ms: int, values: Mapping[str, Any]) -> bytes:
    return encode({
        "channel": channel, "type": "delta", "sequence": sequence, "time_ms": time_ms,
        "data": dict(values),
    })  # fmt: skip


def _arrays(
    channel: str, sequence: int, time_ms: int, facts: Mapping[str, Any], rows: Mapping[str, Any]
) -> bytes:
    return _message(channel, sequence, time_ms, {**facts, "rows": dict(rows)})


def _documents(
    names: Sequence[str], touched: set[int] | None, engine: Engine
) -> list[tuple[str, bytes]]:
    """Accounts by name, as messages; those alone that are `touched`, unless that is None."""
    found, state = [], engine.state
    for name in names:
        number = state.account_numbers.get(name)
        if number is None or (touched is not None and number not in touched):
            continue
        document = account_document(state, state.account(number))
        message = snapshot(ACCOUNT + name, state.log.sequence, state.log.time_ms, document)
        found.append((name, message))
    return found
