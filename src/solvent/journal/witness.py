"""A second word on how far the journal goes, beside the database.

SQLite takes a write-ahead log that ends early for one that was never longer, so rows lost there
leave a sound, shorter journal. After each commit the head is therefore written to a file of its
own, without a sync: it can be behind the journal and never ahead of it, unless rows are lost.
Two slots are written in turn, each within one sector, so a torn write costs at most the newer one.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Final

from solvent.journal.errors import JournalCorrupt
from solvent.journal.files import Files
from solvent.journal.row import Head

_SLOT: Final = Struct(">8s36sQ32s")
_MAGIC: Final = b"SOLVHEAD"
_SEAL_BYTES: Final = 16
_SLOT_OFFSETS: Final = (0, 512)


class Witness:
    """The writing of heads. Nothing is written before `begin`."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files
        self._journal_id = ""
        self._descriptor = -1
        self._turn = 0

    def begin(self, journal_id: str, head: Head) -> None:
        """The file, made if need be, with both slots at `head`, and synced. Raises OSError."""
        self._journal_id = journal_id
        self._descriptor = self._files.open(self._path, os.O_RDWR | os.O_CREAT)
        self.tell(head)
        self.tell(head)
        self.sync()

    def tell(self, head: Head) -> None:
        """A durable head; not synced. Raises OSError."""
        self._turn ^= 1
        said = _slot(self._journal_id, head)
        self._files.write_at(self._descriptor, said, _SLOT_OFFSETS[self._turn])

    def sync(self) -> None:
        """What was told is on the disk, if anything was. Raises OSError."""
        if self._descriptor >= 0:
            self._files.sync(self._descriptor)

    def close(self) -> None:
        """Let go of the file, if it was begun; nothing is written."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def told(path: Path, content: bytes, journal_id: str) -> Head:
    """The last head that a file's content tells.

    Raises JournalCorrupt where neither slot is whole, or both are another journal's.
    """
    heads = [head for head in (_read(content[at:], journal_id) for at in _SLOT_OFFSETS) if head]
    if not heads:
        raise JournalCorrupt(
            str(path), expected=f"a head of journal {journal_id}", found="none that is whole"
        )
    return max(heads)


def _slot(journal_id: str, head: Head) -> bytes:
    said = _SLOT.pack(_MAGIC, journal_id.encode(), head.sequence, head.chain)
    return said + blake2b(said, digest_size=_SEAL_BYTES).digest()


def _read(content: bytes, journal_id: str) -> Head | None:
    if len(content) < _SLOT.size + _SEAL_BYTES:
        return None
    _, _, sequence, chain = _SLOT.unpack_from(content)
    head = Head(sequence, chain)
    return head if content.startswith(_slot(journal_id, head)) else None
