"""Rows, faults and stopped processes for tests of journals."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from solvent.chains import link
from solvent.journal import Head, Row
from solvent.journal.files import Files
from solvent.journal.row import EMPTY

KINDS = ("deposit", "trade", "publish_market", "funding")


def rows_after(head: Head, count: int, *, seed: int = 0, size: int = 40) -> list[Row]:
    """Rows that continue a journal, of about `size` bytes each side."""
    draw = random.Random(f"{seed} {head.sequence}")
    rows = []
    sequence, chain = head
    for _ in range(count):
        sequence += 1
        time_ms = 1_700_000_000_000 + 7 * sequence
        command, events = draw.randbytes(draw.randint(0, size)), draw.randbytes(size)
        chain = link(chain, sequence, time_ms, command, events)
        rows.append(Row(sequence, time_ms, draw.choice(KINDS), command, events, chain))
    return rows


def batches(count: int, rows_each: int, *, size: int = 40) -> list[list[Row]]:
    """The first batches of a journal."""
    head, made = EMPTY, []
    for _ in range(count):
        made.append(rows_after(head, rows_each, size=size))
        head = Head(made[-1][-1].sequence, made[-1][-1].chain)
    return made


class Faults:
    """Makes the n-th thing fail, once or from then on. `fired` says whether it came to that."""

    def __init__(self, at: int, *, forever: bool) -> None:
        self.at = at
        self.forever = forever
        self.count = 0
        self.fired = False

    def step(self, *_: object) -> None:
        """One thing that can fail."""
        self.count += 1
        if self.count == self.at or (self.forever and self.count > self.at):
            self.fired = True
            raise OSError(28, f"fault {self.at}")


class FaultyFiles(Files):
    """Every call is a thing that can fail; a write that fails has written half."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def open(self, path: Path, flags: int) -> int:
        self._faults.step()
        return super().open(path, flags)

    def write(self, descriptor: int, content: bytes | memoryview) -> None:
        half = len(content) // 2
        super().write(descriptor, memoryview(content)[:half])
        self._faults.step()
        super().write(descriptor, memoryview(content)[half:])

    def write_at(self, descriptor: int, content: bytes, offset: int) -> None:
        self._faults.step()
        super().write_at(descriptor, content, offset)

    def sync(self, descriptor: int) -> None:
        self._faults.step()
        super().sync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._faults.step()
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self._faults.step()
        super().remove(path)


@contextmanager
def faulty_database(faults: Faults) -> Iterator[None]:
    """Every statement, transaction's begin and commit is a thing that can fail."""
    names = ("before_cursor_execute", "commit", "begin")
    # SQLAlchemy drops a listener by identity: bound methods are made anew each time.
    step: Callable[..., Any] = faults.step
    for name in names:
        event.listen(Engine, name, step)
    try:
        yield
    finally:
        for name in names:
            event.remove(Engine, name, step)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes: writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Another Python process, with what it prints at hand."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip
