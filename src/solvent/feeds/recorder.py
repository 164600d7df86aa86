"""Recording what venues send, as it came: compressed, indexed, rotating, safe against crashes.

A file is a row of gzip members, each a block of lines; a line is a JSON array of receive time in
nanoseconds, kind, place and text. `zcat` reads it. Beside it lies an index with a line a block, by
which a reader finds a time without unpacking what is before it; the index can be made again from
the file, and is not needed to read it. A block is on the disk before the next begins: who is
stopped in the middle loses at most the block that was open.
"""

from __future__ import annotations

import base64
import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from solvent.errors import check

SUFFIX: Final = ".frames.gz"
INDEX_SUFFIX: Final = ".frames.index"
_SECOND_NS: Final = 1_000_000_000
KINDS: Final = ("open", "in", "in64", "out", "answer", "close")


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One thing that happened on a connection.

    `in` is a frame that came, `out` one that was sent, `answer` a REST answer to the address
    `place`, `open` and `close` a connection's beginning and end. `in64` is a frame that is no text,
    in base64.
    """

    at_ns: int
    kind: str
    place: str
    text: str

    @property
    def payload(self) -> str | bytes:
        """The frame as it came."""
        return base64.b64decode(self.text) if self.kind == "in64" else self.text

    @property
    def at_ms(self) -> int:
        """When, in milliseconds."""
        return self.at_ns // 1_000_000


class Block(msgspec.Struct, frozen=True, array_like=True):
    """A line of an index: where a block lies in its file, its times, how many frames it has."""

    offset: int
    length: int
    first_ns: int
    last_ns: int
    frames: int


class Recorder:
    """Writes frames into a folder, a file after the other. One thread, one recorder a name."""

    def __init__(
        self, folder: str | Path, *, name: str, block_bytes: int = 1 << 18,
        block_ns: int = _SECOND_NS, file_bytes: int = 64 << 20, file_ns: int = 3_600 * _SECOND_NS,
        keep_files: int | None = None,
    ) -> None:  # fmt: skip
        """Args: a block ends at so many bytes of text or so long after its first frame; a file at
        so many bytes or so long after its own. With `keep_files` the oldest that this recorder
        wrote are deleted. Raises OSError where the folder cannot be written."""
        check(block_bytes > 0 and file_bytes > 0, "blocks and files have a size", block_bytes)
        check(keep_files is None or keep_files > 0, "a file or more is kept", keep_files)
        self.folder, self.name = Path(folder), name
        self.frames = 0
        self.files: list[Path] = []
        self._sizes = (block_bytes, block_ns, file_bytes, file_ns)
        self._keep = keep_files
        self._lines: list[bytes] = []
        self._bytes = 0
        self._first_ns = self._last_ns = 0
        self._file: BinaryIO | None = None
        self._index: BinaryIO | None = None
        self._file_first_ns = 0
        self._number = 0
        self.folder.mkdir(parents=True, exist_ok=True)

    def take(self, at_ns: int, kind: str, place: str, payload: str | bytes) -> None:
        """Record something that happened."""
        if isinstance(payload, str):
            text = payload
        else:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                text, kind = base64.b64encode(payload).decode(), "in64"
        self.write(Frame(at_ns, kind, place, text))

    def write(self, frame: Frame) -> None:
        """Record a frame."""
        check(frame.kind in KINDS, "a known kind of frame", frame.kind)
        block_bytes, block_ns, _, _ = self._sizes
        if self._lines and frame.at_ns - self._first_ns >= block_ns:
            self.flush()
        if not self._lines:
            self._first_ns = frame.at_ns
        line = msgspec.json.encode(frame) + b"\n"
        self._lines.append(line)
        self._bytes += len(line)
        self._last_ns = frame.at_ns
        self.frames += 1
        if self._bytes >= block_bytes:
            self.flush()

    def flush(self) -> None:
        """End the block: it is on the disk when this returns."""
        if not self._lines:
            return
        file, index = self._open()
        packed = gzip.compress(b"".join(self._lines), compresslevel=6, mtime=0)
        block = Block(file.tell(), len(packed), self._first_ns, self._last_ns, len(self._lines))
        _sync(file, packed)
        _sync(index, msgspec.json.encode(block) + b"\n")
        self._lines.clear()
        self._bytes = 0
        _, _, file_bytes, file_ns = self._sizes
        if file.tell() >= file_bytes or self._last_ns - self._file_first_ns >= file_ns:
            self._end()

    def close(self) -> None:
        """End the block and the file."""
        self.flush()
        self._end()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> tuple[BinaryIO, BinaryIO]:
        if self._file is None or self._index is None:
            at = datetime.fromtimestamp(self._first_ns // _SECOND_NS, tz=UTC)
            stem = f"{self.name}-{at:%Y%m%dT%H%M%SZ}"
            while (self.folder / f"{stem}-{self._number:04d}{SUFFIX}").exists():
                self._number += 1
            path = self.folder / f"{stem}-{self._number:04d}{SUFFIX}"
            self._file = path.open("xb")
            self._index = index_of(path).open("wb")
            self._file_first_ns = self._first_ns
            self._number += 1
            self.files.append(path)
            self._forget()
        return self._file, self._index

    def _forget(self) -> None:
        while self._keep is not None and len(self.files) > self._keep:
            oldest = self.files.pop(0)
            oldest.unlink(missing_ok=True)
            index_of(oldest).unlink(missing_ok=True)

    def _end(self) -> None:
        for file in (self._file, self._index):
            if file is not None:
                file.close()
        self._file = self._index = None


def index_of(path: Path) -> Path:
    """Where the index of a recorded file lies."""
    return path.with_name(path.name.removesuffix(SUFFIX) + INDEX_SUFFIX)


def _sync(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
