"""Processes that are killed while they write a journal, and what must be true of it afterwards."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from solvent.host import Engine
from solvent.journal.errors import JournalBusy
from tests.engines import Fold, Life, Nursery, Told, opened

NEVER = 1 << 40


class Killing:
    """One journal, and the processes that are killed while they write it."""

    def __init__(self, url: str, nursery: Nursery, seed: int, *, storm: bool = False) -> None:
        self._draw = random.Random(seed)
        self._nursery = nursery
        self._url = url
        self._storm = storm
        self._lines = 90 if storm else 12
        self._fold = Fold()
        self._snapshot_every = self._draw.choice((40, 150, 600, NEVER))
        self._checkpoint_bytes = self._draw.choice((30_000, 300_000, NEVER))
        self.seen: Counter[str] = Counter()
        with open_when_free(url) as engine:
            self._fold.check(engine)

    def round(self, *, work_seconds: float) -> None:
        """A life and its end, then a look at what it left."""
        life = Life(self._url, self._draw.getrandbits(32), self._snapshot_every,
                    self._checkpoint_bytes, self._storm)  # fmt: skip
        number = self._nursery.born(life)
        said: list[str] = []
        when = self._draw.random()
        if when < 0.2:
            time.sleep(self._draw.random() * 0.03)
        else:
            self._nursery.wait_until_opened()
            if when < 0.6:
                # At a step of its work, whatever the speed of the machine.
                said = self._nursery.wait_for_lines(self._draw.randint(1, self._lines))
                work_seconds = 0.004
            time.sleep(0.001 + self._draw.random() * work_seconds)
        told = self._nursery.end(number, said, opened=when >= 0.2)
        engine = open_when_free(self._url)
        try:
            self._check(told, engine)
        finally:
            if self._draw.random() < 0.5:
                # Let go as a killed one does: the log stays as it is for the next.
                engine.journal._store.abandon()
            engine.close()

    def go_on(self, seen: Counter[str], *kinds: str) -> None:
        """More rounds until `seen` before and here hold every kind of end: chance decides which."""
        for _ in range(300):
            if all((seen + self.seen)[kind] for kind in kinds):
                return
            self.round(work_seconds=0.06)
        pytest.fail(f"after 300 more kills there is still one of {kinds} missing: {self.seen}")

    def _check(self, told: Told, engine: Engine) -> None:
        before = len(self._fold.rows)
        self._fold.check(engine)
        for sequence, chain in told.acknowledged:
            assert self._fold.chains[sequence].hex() == chain
        durable = max([before, *(sequence for sequence, _ in told.acknowledged)])
        after = len(self._fold.rows)
        assert after in (durable, durable + told.trying), "whole batches alone"
        self.seen["opening" if not told.opened else "working"] += 1
        self.seen["acknowledged"] += len(told.acknowledged)
        if told.trying:
            self.seen["done unacknowledged" if after > durable else "not done"] += 1

    def finish(self) -> Fold:
        """An outsider reads all of it."""
        self._fold.check_books()
        return self._fold


def open_when_free(url: str) -> Engine:
    """A server lets go of the lock of a killed process when it sees that it is gone."""
    for _ in range(500):
        try:
            return opened(url)
        except JournalBusy:
            assert "://" in url, "a file's lock is free at once"
            time.sleep(0.01)
    pytest.fail("the lock is held for ever")
