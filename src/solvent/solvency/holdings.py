"""Who holds what, both ways: an account's positions, and an instrument's holders.

Positions stand in *rows*: a row is one account at one netting node. A row's positions are a run of
slots with room to grow, and so are an instrument's holders; each slot knows its place among the
holders, each place its slot. A trade therefore touches one run of either side, and a run that is
full moves to the end with twice its room: constant time a trade, amortised, beside a look through
the row's own run. An account's rows are chained.

Lots are whole numbers inside float64; no order of trades changes a bit of any sum of them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.limits import ACCOUNTS_MAX, LOTS_MAX, POSITIONS_MAX
from solvent.units import Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

ROWS, SLOTS, PLACES, LOST_SLOTS, LOST_PLACES = range(5)
"""What `Store.used` counts: rows, ends of the two sides, and what moved runs left behind."""
DONE, NEED_ROWS, NEED_SLOTS, NEED_PLACES, TOO_LARGE = range(5)
"""How far a kernel came, and what it asks for where it stopped."""
BLOCK: Final = 1 << 13
"""Accounts whose rows lie together: their sums, a quarter of a megabyte, stay in the second cache
while a pass is there, and leave most of it to risk rows."""
_GROWTH: Final = 1.5
_ROOM_MIN: Final = 64


class Store(NamedTuple):
    """The arrays of `Holdings`, as kernels take them.

    [account] head: first row, −1 for none.
    [row] account, node, next_row, first, length, room, gross: Σ |lots|.
    [slot] instrument, lots, place.
    [instrument] node_of, held_first, held_count, held_room.
    [place] row, slot.
    """

    used: Int64
    head: Int32
    account: Int32
    node: Int32
    next_row: Int32
    first: Int64
    length: Int32
    room: Int32
    gross: Float64
    instrument: Int32
    lots: Float64
    place: Int32
    node_of: Int32
    held_first: Int64
    held_count: Int32
    held_room: Int32
    row: Int32
    slot: Int32


class Order(NamedTuple):
    """Rows in the order of a pass: those of block b of accounts are `rows[edge[b]:edge[b + 1]]`.

    Account a is of block a // `block`. Eight rows follow the last one's, any of those there are.
    """

    rows: Int32
    edge: Int64
    block: int


_OF_ROW: Final = ("account", "node", "next_row", "first", "length", "room", "gross")
_OF_SLOT: Final = ("instrument", "lots", "place")
_OF_PLACE: Final = ("row", "slot")


class Holdings:
    """Positions of all accounts, changed by trades.

    Args:
        accounts: how many. node_of: [instrument] → netting node, from 0.
    """

    def __init__(self, *, accounts: int, node_of: Int32) -> None:
        check(0 <= accounts <= ACCOUNTS_MAX, "accounts within their limit", accounts)
        check(bool((node_of >= 0).all()), "every instrument has a node")
        self.accounts, self.instruments = accounts, len(node_of)
        self.nodes = int(node_of.max(initial=-1)) + 1
        columns = {
            **_empty(_OF_ROW, _ROOM_MIN), **_empty(_OF_SLOT, _ROOM_MIN),
            **_empty(_OF_PLACE, _ROOM_MIN),
        }  # fmt: skip
        self.store = Store(
            used=np.zeros(5, np.int64),
            head=np.full(accounts, -1, np.int32),
            node_of=np.array(node_of, np.int32),
            held_first=np.zeros(len(node_of), np.int64),
            held_count=np.zeros(len(node_of), np.int32),
            held_room=np.zeros(len(node_of), np.int32),
            **columns,
        )
        self._order: Order | None = None

    @classmethod
    def of(cls, *, first: Int64, instrument: Int32, lots: Float64, node_of: Int32) -> Holdings:
        """Holdings of a book in compressed rows: `first[a]:first[a + 1]` are positions of a.

        Rows lie in the order of a pass over all accounts (`order`), which reads memory from one end
        to the other.
        """
        made = cls(accounts=len(first) - 1, node_of=node_of)
        account = np.repeat(np.arange(made.accounts, dtype=np.int32), np.diff(first))
        check_trades(made, account, instrument, lots)
        account, instrument, lots = _netted(account, instrument, lots, node_of)
        _check_lots(lots)
        made.store = _packed(made.store, account, instrument, lots, made.accounts)
        return made

    def trade(self, *, account: Int32, instrument: Int32, lots: Float64) -> Float64:
        """Add signed lots to positions, in order; the lots each held before.

        A position that comes to nothing is taken away on both sides. Raises InvariantBroken for a
        position beyond the limit, with the trades before it done.
        """
        from solvent.solvency import compiled

        check_trades(self, account, instrument, lots)
        before = np.empty(len(lots))
        done = 0
        while done < len(lots):
            done, need = compiled.trade(self.store, account, instrument, lots, before, done)
            check(need != TOO_LARGE, "a position within its limit", done)
            if need != DONE:
                self._make_room(need)
        return before

    def order(self) -> Order:
        """All rows by block of accounts, in the order of their numbers."""
        if self._order is None or int(self._order.edge[-1]) != self.rows:
            self._order = self.order_of(np.ones(self.accounts, dtype=bool))
        return self._order

    def order_of(self, chosen: NDArray[np.bool_]) -> Order:
        """The same of chosen accounts; chosen: [account]."""
        from solvent.solvency.by_rows import compiled as by_rows

        rows, edge = by_rows.order_of(self.store, chosen, BLOCK)
        return Order(rows, edge, BLOCK)

    def rows_of(self, account: int) -> list[int]:
        """The rows of an account, emptied ones included, the newest first."""
        rows, row = [], int(self.store.head[account])
        while row >= 0:
            rows.append(row)
            row = int(self.store.next_row[row])
        return rows

    def holders(self, instrument: int) -> tuple[Int32, Float64]:
        """Accounts that hold an instrument, in order, and their lots."""
        s = self.store
        start = int(s.held_first[instrument])
        places = slice(start, start + int(s.held_count[instrument]))
        account, lots = s.account[s.row[places]], s.lots[s.slot[places]]
        order = np.argsort(account, kind="stable")
        return account[order], lots[order]

    @property
    def rows(self) -> int:
        """How many rows there are; their numbers never change."""
        return int(self.store.used[ROWS])

    @property
    def positions(self) -> int:
        """How many positions are held."""
        return int(self.store.length[: self.rows].sum())

    @property
    def nbytes(self) -> int:
        """Memory of all arrays, their room included."""
        return sum(column.nbytes for column in self.store)

    def compressed(self) -> tuple[Int64, Int32, Float64]:
        """The book: `first`, `instrument`, `lots` by account, then instrument: a canonical form."""
        s, rows = self.store, self.rows
        count = s.length[:rows].astype(np.int64)
        offset = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        slot = np.repeat(s.first[:rows], count) + offset
        account = np.repeat(s.account[:rows], count)
        order = np.lexsort((s.instrument[slot], account))
        first = np.searchsorted(account[order], np.arange(self.accounts + 1)).astype(np.int64)
        return first, s.instrument[slot][order], s.lots[slot][order]

    def check_links(self) -> None:
        """Both sides say the same: every slot's place names the slot and its row, and back."""
        s, rows = self.store, self.rows
        for row in range(rows):
            slots = np.arange(s.first[row], s.first[row] + s.length[row])
            place, kind = s.place[slots], s.instrument[slots]
            check(bool((s.slot[place] == slots).all()), "a place names its slot", row)
            check(bool((s.row[place] == row).all()), "a place names its row", row)
            inside = (place >= s.held_first[kind]) & (
                place < s.held_first[kind] + s.held_count[kind]
            )
            check(bool(inside.all()), "a place is among its instrument's", row)
            check(bool((s.node_of[kind] == s.node[row]).all()), "a row holds its node", row)
            check(float(np.abs(s.lots[slots]).sum()) == s.gross[row], "gross lots add up", row)
        check(int(s.held_count.sum()) == self.positions, "every position has one place")

    def _make_room(self, need: int) -> None:
        names, count, lost = {
            NEED_ROWS: (_OF_ROW, ROWS, 0),
            NEED_SLOTS: (_OF_SLOT, SLOTS, int(self.store.used[LOST_SLOTS])),
            NEED_PLACES: (_OF_PLACE, PLACES, int(self.store.used[LOST_PLACES])),
        }[need]
        used = int(self.store.used[count])
        if need != NEED_ROWS and lost > used // 2:
            self._repack()
            return
        size = int(max(used, _ROOM_MIN) * _GROWTH) + _ROOM_MIN
        check(size < 2**31, "rows and slots are numbered in int32", size)
        grown = {}
        for name in names:
            column = getattr(self.store, name)
            wide = np.zeros(size, column.dtype)
            wide[: len(column)] = column
            grown[name] = wide
        self.store = self.store._replace(**grown)

    def _repack(self) -> None:
        """Close the gaps that moved runs left, on both sides. Rows keep their numbers."""
        s, rows = self.store, self.rows
        count = s.length[:rows].astype(np.int64)
        offset = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        slot = np.repeat(s.first[:rows], count) + offset
        row = np.repeat(np.arange(rows, dtype=np.int32), count)
        self.store = _laid_out(s, row, s.instrument[slot], s.lots[slot], rows)


def popular_first(instrument: Int32, node_of: Int32) -> Int64:
    """A numbering of instruments that a pass likes: those of a node together, what many hold first.

    [new number] → the number until now. Risk rows that are wanted most then lie side by side, and
    fill the nearest cache evenly. instrument: of each position. node_of: [instrument].

    >>> popular_first(np.array([2, 2, 1, 3]), np.array([0, 0, 0, 1])).tolist()
    [2, 1, 0, 3]
    """
    held = np.bincount(instrument, minlength=len(node_of))
    return np.lexsort((-held, node_of)).astype(np.int64)


def _empty(names: tuple[str, ...], size: int) -> dict[str, Any]:
    kinds = {"first": np.int64, "gross": np.float64, "lots": np.float64}
    return {name: np.zeros(size, kinds.get(name, np.int32)) for name in names}


def check_trades(held: Holdings, account: Int32, instrument: Int32, lots: Float64) -> None:
    """Refuse trades that cannot be: of accounts or instruments that are not there, of part lots."""
    check(len(account) == len(instrument) == len(lots), "one account and instrument a trade")
    check(len(lots) <= POSITIONS_MAX, "positions within their limit", len(lots))
    _check_lots(lots)
    for column, count in ((account, held.accounts), (instrument, held.instruments)):
        inside = len(column) == 0 or (int(column.min()) >= 0 and int(column.max()) < count)
        check(inside, "accounts and instruments are there", count)


def _check_lots(lots: Float64) -> None:
    check(bool((lots == np.rint(lots)).all()), "positions are whole lots")
    check(bool((np.abs(lots) <= LOTS_MAX).all()), "a position within its limit")


def _netted(
    account: Int32, instrument: Int32, lots: Float64, node_of: Int32
) -> tuple[Int32, Int32, Float64]:
    """Positions by account, node and instrument, each once, none empty."""
    order = np.lexsort((instrument, node_of[instrument], account))
    account, instrument, lots = account[order], instrument[order], lots[order]
    new = np.ones(len(lots), dtype=bool)
    new[1:] = (account[1:] != account[:-1]) | (instrument[1:] != instrument[:-1])
    starts = np.flatnonzero(new)
    total = np.add.reduceat(lots, starts) if len(starts) else np.zeros(0)
    kept = total != 0.0
    return account[starts][kept], instrument[starts][kept], total[kept]


def _packed(empty: Store, account: Int32, instrument: Int32, lots: Float64, accounts: int) -> Store:
    """A store of positions that `_netted` ordered."""
    node = empty.node_of[instrument]
    new = np.ones(len(lots), dtype=bool)
    new[1:] = (account[1:] != account[:-1]) | (node[1:] != node[:-1])
    starts = np.flatnonzero(new)
    rows = len(starts)
    owner, at = account[starts], node[starts]
    number = _numbered(
        owner, at, np.diff(np.append(starts, len(lots))), _rarest(instrument, starts)
    )
    columns = _empty(_OF_ROW, rows + _ROOM_MIN)
    columns["account"][number], columns["node"][number] = owner, at
    last = np.ones(rows, dtype=bool)
    last[:-1] = owner[:-1] != owner[1:]
    columns["next_row"][number] = np.where(last, -1, np.roll(number, -1))
    head = np.full(accounts, -1, np.int32)
    first_row = np.flatnonzero(np.concatenate([[True], last[:-1]])) if rows else starts
    head[owner[first_row]] = number[first_row]
    row = number[np.cumsum(new) - 1]
    filled = empty._replace(head=head, used=np.array([rows, 0, 0, 0, 0]), **columns)
    # Each side is laid out in order of rows.
    order = np.argsort(row, kind="stable")
    return _laid_out(filled, row[order], instrument[order], lots[order], rows)


def _rarest(instrument: Int32, starts: Int64) -> Int64:
    """[row] which of its instruments fewest accounts hold, as a rank."""
    held = np.bincount(instrument, minlength=1)
    rank = np.empty(len(held), np.int64)
    rank[np.argsort(-held, kind="stable")] = np.arange(len(held))
    return np.maximum.reduceat(rank[instrument], starts) if len(starts) else starts


def _numbered(account: Int32, node: Int32, length: Int64, rarest: Int64) -> Int32:
    """[row] its number: by block of accounts, then node, then length, then rarest instrument.

    A pass in that order finds an underlying's risk rows in the nearest caches, those that are
    seldom wanted just after one another, and loops of one length after another, whose ends a
    processor foresees.
    """
    order = np.lexsort((rarest, length, node, account // BLOCK))
    number = np.empty(len(order), np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    return number


def _laid_out(s: Store, row: Int32, instrument: Int32, lots: Float64, rows: int) -> Store:
    """The same rows with these positions, in order of rows, laid out anew with some room."""
    count = np.bincount(row, minlength=rows)
    room, first, slots = _runs(count)
    slot = (np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)) + first[row]
    held = np.bincount(instrument, minlength=len(s.node_of))
    held_room, held_first, places = _runs(held)
    order = np.argsort(instrument, kind="stable")
    rank = np.arange(len(row)) - np.repeat(np.cumsum(held) - held, held)
    place = np.empty(len(row), np.int64)
    place[order] = held_first[instrument[order]] + rank
    side = _empty(_OF_SLOT, slots + _ROOM_MIN)
    side["instrument"][slot], side["lots"][slot], side["place"][slot] = instrument, lots, place
    other = _empty(_OF_PLACE, places + _ROOM_MIN)
    other["row"][place], other["slot"][place] = row, slot
    columns = {name: getattr(s, name).copy() for name in ("first", "length", "room", "gross")}
    columns["first"][:rows], columns["length"][:rows], columns["room"][:rows] = first, count, room
    columns["gross"][:rows] = np.bincount(row, weights=np.abs(lots), minlength=rows)
    return s._replace(
        used=np.array([rows, slots, places, 0, 0]), held_first=held_first,
        held_count=held.astype(np.int32), held_room=held_room.astype(np.int32),
        **columns, **side, **other,
    )  # fmt: skip


def _runs(count: Int64) -> tuple[Int64, Int64, int]:
    """Room of each run, where each begins, and where the last one ends.

    An eighth more than it holds, so that short runs, of which there are most, lie close to each
    other: a seat left free in each costs every pass more than moving those that grow.
    """
    room = count + count // 8
    end = np.cumsum(room)
    check(len(end) == 0 or int(end[-1]) < 2**31, "slots are numbered in int32")
    return room, (end - room).astype(np.int64), int(end[-1]) if len(end) else 0
