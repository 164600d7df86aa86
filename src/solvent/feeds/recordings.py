"""Reading recordings: Solvent's own, and cryptofeed's.

A recording that was cut, or that is spoilt in a place, is read as far as it can be, and says so in
a notice. Frames come in the order of their receive times.
"""

from __future__ import annotations

import heapq
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.recorder import SUFFIX, Block, Frame, index_of

_CHUNK: Final = 1 << 16
_LINE_MAX: Final = 32 << 20
_GZIP: Final = 31
"""zlib's word for one gzip member."""
_CRYPTOFEED: Final = re.compile(
    r"^(?:(?P<place>\S+) (?P<way><->|<-|->) )?(?P<at>\d{9,11}(?:\.\d+)?)(?:: (?P<text>.*))?$",
    re.DOTALL,
)
_KIND: Final = {"<->": "open", "<-": "out", "->": "answer", None: "in"}
_FRAME: Final = msgspec.json.Decoder(Frame)
_BLOCK: Final = msgspec.json.Decoder(Block)


@dataclass(slots=True)
class Recording:
    """Frames of one or more files. Iterate as often as wanted; notices are those of the last."""

    files: tuple[Path, ...]
    from_ns: int | None = None
    to_ns: int | None = None
    notices: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Frame]:
        self.notices = []
        own = [path for path in self.files if path.name.endswith(SUFFIX)]
        streams = [self._own(path) for path in own]
        streams += [self._cryptofeed(path) for path in self.files if path not in own]
        for frame in heapq.merge(*streams, key=lambda one: one.at_ns):
            if self.to_ns is not None and frame.at_ns > self.to_ns:
                return
            if self.from_ns is None or frame.at_ns >= self.from_ns:
                yield frame

    def _own(self, path: Path) -> Iterator[Frame]:
        blocks = read_index(path)
        start = 0
        for block in blocks:
            if self.from_ns is None or block.last_ns >= self.from_ns:
                break
            start = block.offset + block.length
        for line in self._lines(path, start, blocks):
            try:
                yield _FRAME.decode(line)
            except (msgspec.DecodeError, UnicodeError):
                self._note(path, f"a line that is no frame, left out: {line[:60]!r}")

    def _cryptofeed(self, path: Path) -> Iterator[Frame]:
        place = path.name
        frames: list[Frame] = []
        for line in self._lines(path, 0, ()):
            text = line.decode("utf-8", "replace").rstrip("\n")
            found = _CRYPTOFEED.match(text)
            if found is None:
                if text and not text.startswith("configuration:"):
                    self._note(path, f"a line that is no frame, left out: {text[:60]!r}")
                continue
            if found["way"] == "<->":
                place = found["place"]
            seconds, _, rest = found["at"].partition(".")
            at_ns = int(seconds) * 10**9 + int(f"{rest[:9]:0<9}")
            frames.append(
                Frame(at_ns, _KIND[found["way"]], found["place"] or place, found["text"] or "")
            )
        yield from sorted(frames, key=lambda one: one.at_ns)

    def _lines(self, path: Path, start: int, blocks: Sequence[Block]) -> Iterator[bytes]:
        """Lines of a file from a byte on; past a block that is spoilt, where an index helps."""
        with path.open("rb") as file:
            while True:
                reader = _Member(file, start)
                yield from reader
                if reader.fault is None:
                    if reader.next_at is None:
                        return
                    start = reader.next_at
                    continue
                after = next((b.offset for b in blocks if b.offset > start), None)
                self._note(path, f"{reader.fault} in the block at byte {start}: "
                           f"{reader.lines} lines of it were read")  # fmt: skip
                if after is None:
                    return
                start = after

    def _note(self, path: Path, what: str) -> None:
        self.notices.append(f"{path.name}: {what}")


class _Member:
    """Lines of one gzip member; afterwards where the next begins, or what was wrong."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._start = file, start
        self.next_at: int | None = None
        self.fault: str | None = None
        self.lines = 0

    def __iter__(self) -> Iterator[bytes]:
        unpack, rest, at = zlib.decompressobj(_GZIP), b"", self._start
        self._file.seek(at)
        while not unpack.eof:
            packed = self._file.read(_CHUNK)
            if not packed:
                if at > self._start:
                    self.fault = "cut"
                return
            at += len(packed)
            try:
                rest += unpack.decompress(packed)
            except zlib.error as fault:
                self.fault = f"spoilt ({fault})"
                return
            if len(rest) > _LINE_MAX and b"\n" not in rest:
                self.fault = "a line without an end"
                return
            *whole, rest = rest.split(b"\n")
            for line in whole:
                self.lines += 1
                yield line
        if rest:
            self.lines += 1
            yield rest
        self.next_at = at - len(unpack.unused_data)


def read_index(path: Path) -> tuple[Block, ...]:
    """Blocks of a recorded file as its index tells them; what is missing or cut is left out."""
    index = index_of(path)
    if not index.is_file():
        return ()
    blocks: list[Block] = []
    for line in index.read_bytes().split(b"\n"):
        try:
            blocks.append(_BLOCK.decode(line))
        except msgspec.DecodeError:
            break
    return tuple(blocks)


def open_recording(
    path: str | Path, *, from_ms: int | None = None, to_ms: int | None = None
) -> Recording:
    """A recording: a folder of ours, a file of ours, or cryptofeed's by a file or by the beginning
    of its files' names (`…/DERIBIT`). Raises BadInput where there is none."""
    where = Path(path)
    if where.is_dir():
        files = sorted(where.glob(f"*{SUFFIX}"))
    elif where.is_file():
        files = [where]
    else:
        files = [
            one for one in sorted(where.parent.glob(f"{where.name}.*.gz"))
            if not one.name.endswith(SUFFIX)
        ]  # fmt: skip
    if not files:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_EMPTY, source=str(path),
                expected=f"a recording: *{SUFFIX}, or cryptofeed's NAME.*.gz", found="none",
            )
        )  # fmt: skip
    return Recording(
        tuple(files), None if from_ms is None else from_ms * 1_000_000,
        None if to_ms is None else to_ms * 1_000_000,
    )  # fmt: skip


def first_place(recording: Iterable[Frame]) -> str:
    """The address of the first connection or frame; empty where there is none."""
    for frame in recording:
        if frame.kind in ("open", "in", "out") and "://" in frame.place:
            return frame.place
    return ""
