"""What can go wrong with a journal. Every message names the journal, and is meant for people."""

from __future__ import annotations

from solvent.errors import SolventError


class JournalError(SolventError):
    """Something is the matter with a journal."""


class JournalMissing(JournalError):
    """There is no journal at that place."""


class JournalExists(JournalError):
    """There is a journal at that place already."""


class JournalBusy(JournalError):
    """Another engine writes to this journal."""


class JournalVersion(JournalError):
    """The tables of the journal are of another version than this Solvent's."""


class JournalStopped(JournalError):
    """The journal could not be written or read, and takes nothing more.

    Nothing was retried: what a disk holds after a failed sync is known only by reading it again.
    The batch that failed is there as a whole or not at all; open the journal anew to see.
    """


class JournalCorrupt(JournalError):
    """The journal does not hold what was written to it. `sequence` is where, if that is known."""

    def __init__(
        self, where: str, *, expected: str, found: str, sequence: int | None = None
    ) -> None:
        self.sequence = sequence
        place = where if sequence is None else f"{where}, sequence {sequence}"
        super().__init__(f"{place}: expected {expected}, found {found}")
