"""Recovery: the newest snapshot, then every command after it.

What commands did is taken from the record where its events say all of it (`engine.follow`), and
worked out anew and held against the record where they do not; `host.replay` works out everything.
A long tail is read and summed up by a second process, while this one restores the snapshot.
"""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from queue import Queue
from threading import Thread
from typing import IO, Final

import msgspec

from solvent.engine.apply import Applied, apply_all
from solvent.engine.follow import Gist, Place, follow, summed_up
from solvent.engine.image import restore
from solvent.engine.state import State
from solvent.errors import SolventError
from solvent.journal import Journal, Row
from solvent.messages.codec import decode_command, decode_events

REPLAY_BATCH: Final = 8_192
LONG_TAIL: Final = 100_000
"""Commands for which a second process is worth its start."""
_FRAMES_MAX: Final = 256
"""Parts of the tail that wait to be taken over."""
_LENGTH: Final = struct.Struct(">Q")
_ENCODER: Final = msgspec.msgpack.Encoder()
Part = Gist | list[Row]
"""Of a tail: commands to follow, or rows to apply."""
_DECODER: Final = msgspec.msgpack.Decoder(tuple[Gist | None, list[Row]])
Progress = Callable[[int, int], None]


class ReplayDiverged(SolventError):
    """Replaying a journal gave other events than were recorded; `sequence` is the first of them."""

    def __init__(self, message: str, *, sequence: int) -> None:
        super().__init__(message)
        self.sequence = sequence


def recovered(
    journal: Journal, *, progress: Progress | None = None, processes: int | None = None
) -> State:
    """The state at a journal's head. `processes`: 1 to do it alone, None to see what is there.

    Raises JournalCorrupt where the journal is not what was written, and ReplayDiverged where these
    rules give another history.
    """
    kept = journal.latest_snapshot()
    head = journal.head.sequence
    start = Place(0, 0, State().log.chain) if kept is None else Place(kept.sequence, 0, kept.chain)
    alone = (processes or os.cpu_count() or 1) < 2 or head - start.sequence < LONG_TAIL
    reader = None if alone else _reader(journal, start, head)
    try:
        with uncollected():
            state = State() if kept is None else restore(kept.image)
            del kept
            if reader is not None:
                _take_over(state, _received(reader), journal, head, progress)
            # What the second process did not bring, for whatever reason, is read here.
            log = state.log
            here = Place(log.sequence, log.time_ms, log.chain)
            with closing(journal.read(log.sequence, head, verify=False)) as rows:
                _take_over(state, parts_of(rows, here), journal, head, progress)
    finally:
        if reader is not None:
            reader.kill()
            reader.communicate()
    # The books stay; who looks for cycles need not walk them.
    gc.freeze()
    return state


def _take_over(
    state: State, parts: Iterable[Part], journal: Journal, head: int, progress: Progress | None
) -> None:
    for part in parts:
        if isinstance(part, Gist):
            follow(state, part)
        else:
            _replay_verified(state, part, journal)
        if progress is not None:
            progress(state.log.sequence, head)


def _replay_verified(state: State, rows: Sequence[Row], journal: Journal) -> None:
    try:
        replay(state, rows, decisions=False)
    except Exception:
        # Where the rows are not what was written, that is what is wrong.
        for _ in journal.read(rows[0].sequence - 1, rows[-1].sequence):
            continue
        raise


def parts_of(rows: Iterable[Row], start: Place) -> Generator[Part]:
    """A tail in parts, each as long as it may be; rows that must be applied stay as they are."""
    place = start
    for batch in batches(rows, REPLAY_BATCH):
        applying: list[Row] = []
        at = 0
        while at < len(batch):
            gist, count = summed_up(batch, at, place)
            if gist is None:
                row = batch[at]
                applying.append(row)
                place = Place(row.sequence, row.time_ms, row.chain)
                at += 1
                continue
            if applying:
                yield applying
                applying = []
            yield gist
            place = gist.end
            at += count
        if applying:
            yield applying


def batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Rows in lists of a size."""
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for cycles meanwhile: the books have none, and are walked again and again by it."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


# ── the second process ───────────────────────────────────────────────────────────────────────────


def _reader(journal: Journal, start: Place, head: int) -> subprocess.Popen[bytes] | None:
    """A process that reads the tail; None where none can be started."""
    told = msgspec.msgpack.encode((journal.url, start, head))
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import send_tail; send_tail()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
    except OSError:
        return None
    with suppress(OSError):
        assert process.stdin is not None
        process.stdin.write(told)
        process.stdin.close()
    process.stdin = None
    return process


def send_tail() -> None:
    """The second process: a tail's parts to standard output, each after its length."""
    gc.disable()
    url, start, head = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=tuple[str, Place, int])
    out = sys.stdout.buffer
    with Journal.open(url, read_only=True) as journal:
        rows = journal.read(start.sequence, head, verify=False)
        for part in parts_of(rows, start):
            told = (part, []) if isinstance(part, Gist) else (None, part)
            frame = _ENCODER.encode(told)
            out.write(_LENGTH.pack(len(frame)) + frame)
    out.flush()


def _received(reader: subprocess.Popen[bytes]) -> Iterator[Part]:
    """The parts, as far as they come whole; read by a thread, so that the process never waits."""
    frames: Queue[bytes] = Queue(_FRAMES_MAX)
    source = reader.stdout
    assert source is not None
    Thread(target=_read_frames, args=(source, frames), daemon=True).start()
    while frame := frames.get():
        gist, rows = _DECODER.decode(frame)
        yield rows if gist is None else gist


def _read_frames(source: IO[bytes], frames: Queue[bytes]) -> None:
    """Every whole frame, then an empty one."""
    with suppress(OSError, ValueError):
        while len(length := source.read(_LENGTH.size)) == _LENGTH.size:
            (count,) = _LENGTH.unpack(length)
            frame = source.read(count)
            if len(frame) < count:
                break
            frames.put(frame)
    frames.put(b"")


# ── replay ───────────────────────────────────────────────────────────────────────────────────────


def replay(state: State, rows: Sequence[Row], *, decisions: bool = True) -> None:
    """Apply recorded commands. Raises ReplayDiverged at the first that comes out otherwise.

    Without `decisions` it is not worked out again what was refused and whether margin allowed the
    rest, which takes most of the time: what every command did is, to the unit.
    """
    commands = [decode_command(row.command) for row in rows]
    found = apply_all(
        state, commands, [row.time_ms for row in rows], [row.command for row in rows],
        records=None if decisions else [row.events for row in rows],
    )  # fmt: skip
    for row, one in zip(rows, found, strict=True):
        if (one.chain, one.stored, one.kind) != (row.chain, row.events, row.kind):
            raise ReplayDiverged(_difference(row, one), sequence=row.sequence)


def _difference(row: Row, one: Applied) -> str:
    recorded = decode_events(row.events)
    place = f"command {row.sequence} ({row.kind})"
    for old, new in zip(recorded, one.events, strict=False):
        if old != new:
            return f"{place}: expected {old}, as recorded, found {new}"
    return f"{place}: expected {len(recorded)} events, as recorded, found {len(one.events)}"
