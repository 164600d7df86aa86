"""Stops that wait in one book, and which of them a price sets off.

For each trigger and direction a list sorted by price holds them; those that are set off next stand
last. Prices are in points of the contract, of an index in billionths of a dollar.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

from solvent.messages.fields import StopAt, Trigger
from solvent.orders.order import Order

Entry = tuple[int, int, Order]
"""Key, rank, order. The key is the price, or minus the price of a stop that rises: the higher is
set off earlier."""

References = tuple[int | None, int | None, int | None]
"""Mark, index and last price, as far as they are known."""

MARK: Final = 0
INDEX: Final = 1
LAST: Final = 2
_TRIGGERS: Final = (Trigger.MARK, Trigger.INDEX, Trigger.LAST)


def holds(stop: StopAt, references: References) -> bool:
    """Whether a reference price sets a stop off; one that is not known does not.

    >>> holds(StopAt(trigger=Trigger.LAST, price=100, rises=True), (99, None, 100))
    True
    >>> holds(StopAt(trigger=Trigger.MARK, price=98, rises=False), (99, None, 100))
    False
    """
    reference = references[_TRIGGERS.index(stop.trigger)]
    if reference is None:
        return False
    return reference >= stop.price if stop.rises else reference <= stop.price


class Stops:
    """The stops of one book."""

    __slots__ = ("_lists", "count")

    def __init__(self) -> None:
        self.count = 0
        self._lists: tuple[list[Entry], ...] = ([], [], [], [], [], [])

    def add(self, order: Order, stop: StopAt) -> None:
        """A stop begins to wait, with the rank that it has."""
        insort(self._lists[_place(stop)], (_key(stop), order.rank, order))
        self.count += 1

    def remove(self, order: Order, stop: StopAt) -> None:
        """A stop that waits here waits no more."""
        entries = self._lists[_place(stop)]
        del entries[bisect_left(entries, (_key(stop), order.rank))]
        self.count -= 1

    def reached(self, which: int, reference: int) -> bool:
        """Whether a reference price (`MARK`, `INDEX`, `LAST`) sets any off."""
        falling, rising = self._lists[2 * which], self._lists[2 * which + 1]
        return bool(falling and falling[-1][0] >= reference) or bool(
            rising and rising[-1][0] >= -reference
        )

    def set_off(self, references: References) -> Iterator[Order]:
        """Those whose condition holds at the mark, the index and the last price; in no order."""
        for number, reference in enumerate(references):
            if reference is not None:
                falling, rising = self._lists[2 * number], self._lists[2 * number + 1]
                for entries, key in ((falling, reference), (rising, -reference)):
                    if entries and entries[-1][0] >= key:
                        first = bisect_left(entries, (key,))
                        yield from (order for _, _, order in entries[first:])

    def __iter__(self) -> Iterator[Order]:
        return (order for entries in self._lists for _, _, order in entries)


def _key(stop: StopAt) -> int:
    return -stop.price if stop.rises else stop.price


def _place(stop: StopAt) -> int:
    """Which list: two for each trigger, falling and rising."""
    return 2 * _TRIGGERS.index(stop.trigger) + stop.rises
