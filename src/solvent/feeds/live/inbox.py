"""Messages that wait for who reads them, and what happens where more come than are taken.

A newer ticker or funding takes the place of one of its instrument that still waits: only the newest
counts. Changes of books and trades are never left out one by one; where too many wait, all of them
go, and the books must be asked for anew.
"""

from __future__ import annotations

from typing import Final

from solvent.errors import check
from solvent.feeds.live.messages import Fault, Funding, Message, Ticker, Trade

WAITING_MAX: Final = 100_000

_Place = tuple[type[Message], str]


class Inbox:
    """A queue of messages. Single-threaded: a connection puts, its reader takes."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        check(waiting_max > 0, "room for a message", waiting_max)
        self._most = waiting_max
        self._queue: list[Message | _Place] = []
        self._newest: dict[_Place, Message] = {}
        self.superseded = 0
        self.trades_lost = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, message: Message) -> bool:
        """Add a message; False where that was one too many: book changes and trades are gone."""
        if isinstance(message, Ticker | Funding):
            place = (type(message), message.symbol)
            if place in self._newest:
                self.superseded += 1
            else:
                self._queue.append(place)
            self._newest[place] = message
            return True
        self._queue.append(message)
        if len(self._queue) - len(self._newest) <= self._most:
            return True
        self.trades_lost += sum(isinstance(one, Trade) for one in self._queue)
        self._queue = [one for one in self._queue if isinstance(one, tuple | Fault)]
        faults = [one for one in self._queue if isinstance(one, Fault)]
        if len(faults) > self._most // 2:
            # Faults are counted where they arise; here the newest are enough.
            kept = {id(one) for one in faults[-(self._most // 2) :]}
            self._queue = [one for one in self._queue if isinstance(one, tuple) or id(one) in kept]
        return False

    def take(self) -> list[Message]:
        """All that waits, in order."""
        found = [self._newest[one] if isinstance(one, tuple) else one for one in self._queue]
        self._queue.clear()
        self._newest.clear()
        return found
