"""Images of the state, each with a digest, kept beside the rows they stand for.

A snapshot only saves time: whatever is wrong with one, the rows tell the same story.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from solvent.journal.errors import JournalCorrupt
from solvent.journal.files import Files
from solvent.journal.row import Head

KEPT: Final = 2
PART_BYTES: Final = 8 << 20
"""Images are written in parts of at most this size."""
_VERSION: Final = 1
_MAGIC: Final = b"SOLVSNAP"
_TRAILER: Final = Struct(">8sI36sQ32sQ")
_DIGEST_BYTES: Final = 32
TRAILER_BYTES: Final = _TRAILER.size + _DIGEST_BYTES


class Snapshot(NamedTuple):
    """State right after the row `sequence`, whose link is `chain`; `image` is the engine's own."""

    sequence: int
    chain: bytes
    image: bytes


class Sealing:
    """Parts of an image on their way to where they are kept, and the trailer that ends them."""

    def __init__(self, image: bytes | Iterable[bytes]) -> None:
        self._image = image
        self._digest = blake2b(digest_size=_DIGEST_BYTES)
        self._length = 0

    def parts(self) -> Iterator[memoryview]:
        """The image in parts of at most `PART_BYTES`, none of them copied."""
        for piece in (self._image,) if isinstance(self._image, bytes) else self._image:
            for start in range(0, len(piece), PART_BYTES):
                part = memoryview(piece)[start : start + PART_BYTES]
                self._digest.update(part)
                self._length += len(part)
                yield part

    def trailer(self, journal_id: str, head: Head) -> bytes:
        """What makes the parts a snapshot, once all of them have passed."""
        said = _TRAILER.pack(
            _MAGIC, _VERSION, journal_id.encode(), head.sequence, head.chain, self._length
        )
        self._digest.update(said)
        return said + self._digest.digest()


def opened(name: str, journal_id: str, trailer: bytes, image: bytes) -> Snapshot:
    """The snapshot that an image and a trailer make. Raises JournalCorrupt naming what is wrong."""
    if len(trailer) != TRAILER_BYTES:
        raise JournalCorrupt(
            name, expected=f"a trailer of {TRAILER_BYTES} bytes", found=f"{len(trailer)} bytes"
        )
    said, digest_said = trailer[: _TRAILER.size], trailer[_TRAILER.size :]
    magic, version, owner, sequence, chain, length = _TRAILER.unpack(said)
    if (magic, version) != (_MAGIC, _VERSION):
        raise JournalCorrupt(
            name, expected=f"a snapshot of version {_VERSION}", found=f"{magic!r} {version}"
        )
    if owner != journal_id.encode():
        raise JournalCorrupt(
            name, expected=f"a snapshot of journal {journal_id}", found=f"one of {owner!r}"
        )
    digest = blake2b(image, digest_size=_DIGEST_BYTES)
    digest.update(said)
    if len(image) != length or digest.digest() != digest_said:
        raise JournalCorrupt(
            name, expected=f"{length} bytes with digest {digest_said.hex()}",
            found=f"{len(image)} bytes with digest {digest.hexdigest()}",
        )  # fmt: skip
    return Snapshot(sequence, chain, image)


class Snapshots(ABC):
    """Where the snapshots of one journal are."""

    @abstractmethod
    def stored(self) -> list[int]:
        """Sequences of what looks like a snapshot, newest first."""

    @abstractmethod
    def save(self, journal_id: str, head: Head, image: bytes | Iterable[bytes]) -> None:
        """Durable on return, with the newest `KEPT` left. Any exception is final."""

    @abstractmethod
    def load(self, journal_id: str, sequence: int) -> Snapshot:
        """What is stored for a sequence. Raises JournalCorrupt where it is not whole."""


class FileSnapshots(Snapshots):
    """One file each in a directory, written aside, synced, renamed."""

    def __init__(self, directory: Path, files: Files) -> None:
        self._directory = directory
        self._files = files

    def stored(self) -> list[int]:
        """Sequences by the names of files, newest first."""
        names = [path.stem for path in self._directory.glob("*.snap")]
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def save(self, journal_id: str, head: Head, image: bytes | Iterable[bytes]) -> None:
        """Nothing has the name of a snapshot before all of it is on the disk."""
        # A copy of a journal may have come without its snapshots.
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for leftover in self._directory.glob("*.new"):
            self._files.remove(leftover)
        target = self._path(head.sequence)
        aside = target.with_suffix(".new")
        descriptor = self._files.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            sealing = Sealing(image)
            for part in sealing.parts():
                self._files.write(descriptor, part)
            self._files.write(descriptor, sealing.trailer(journal_id, head))
            self._files.sync(descriptor)
        finally:
            os.close(descriptor)
        self._files.rename(aside, target)
        self._files.sync_directory(self._directory)
        for sequence in self.stored()[KEPT:]:
            self._files.remove(self._path(sequence))

    def load(self, journal_id: str, sequence: int) -> Snapshot:
        """The content of one file."""
        path = self._path(sequence)
        with path.open("rb") as file:
            length = max(0, os.fstat(file.fileno()).st_size - TRAILER_BYTES)
            file.seek(length)
            trailer = file.read()
            file.seek(0)
            return opened(str(path), journal_id, trailer, file.read(length))

    def _path(self, sequence: int) -> Path:
        return self._directory / f"{sequence:020d}.snap"
