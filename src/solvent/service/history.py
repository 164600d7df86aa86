"""What happened to accounts that could not pay, kept up with the journal as it is asked for."""

from __future__ import annotations

from solvent.engine.state import State
from solvent.service.venue import Venue
from solvent.tending.told import Step, Teller


class Steps:
    """Steps of liquidations, from the first; for one thread at a time.

    The first look reads all of the journal, later ones what has come since. `state` is the
    engine's: only names are looked up in it.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._teller: Teller | None = None
        self._steps: list[Step] = []
        self._read = 0

    def follow(self, state: State) -> None:
        """Say whose names are to be told."""
        self._teller = Teller(state)
        self._steps, self._read = [], 0

    def all(self, account: str | None, *, after: int = 0) -> list[Step]:
        """Steps after a sequence, of one account or of all."""
        if self._teller is None:
            return []
        with self._venue.reader() as journal:
            head = min(journal.head.sequence, self._venue.head)
            rows = journal.read(after=self._read, until=head, verify=False)
            self._steps += self._teller.take(rows)
            self._read = head
        return [
            one for one in self._steps
            if one.sequence > after and (account is None or one.account == account)
        ]  # fmt: skip
