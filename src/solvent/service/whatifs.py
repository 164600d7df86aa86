"""What if: where an account or a portfolio stands, and where it would stand after changes.

Questions that come at about the same time are margined together, as accounts of one book, on a
thread of their own and on what was published last: the engine is not asked, and the answer is the
engine's own, to the unit. One that cannot be understood fails alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Any, Final, NamedTuple

from msgspec import Struct

from solvent.documents import standing_of
from solvent.engine.standing import View, standings
from solvent.engine.state import Standing
from solvent.errors import Reject
from solvent.order_units import bad_input
from solvent.served import WhatIfDocument
from solvent.service.lanes import Overloaded
from solvent.service.portfolios import (
    ChangesTold,
    Named,
    PortfolioTold,
    Shelf,
    changed,
    labels,
    nobody,
    ruled,
    seen,
)
from solvent.service.published import Board, Published

TOGETHER: Final = 64
"""Questions that are margined together at most."""
ROOM: Final = 4_096
"""Questions that may wait."""
_NEWS: Final = 0.2
"""What the last batch counts for in the speed of late."""


class WhatIfTold(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A question: of an `account`, or of a `portfolio` under a rulebook (the account's own, or the
    venue's, unless it is told), before and after `changes`."""

    account: Named | None = None
    portfolio: PortfolioTold | None = None
    rulebook: Named | None = None
    changes: ChangesTold | None = None


class _Question(NamedTuple):
    told: WhatIfTold
    held: View | None
    settle: Callable[[Any, BaseException | None], None]


class WhatIfs:
    """Answers questions of event loops on a thread of its own.

    `wait_s`: a question waits so long for others to be margined with it.
    """

    def __init__(self, board: Board, *, wait_s: float, room: int = ROOM) -> None:
        self._board = board
        self._wait_s, self._room = wait_s, room
        self._waiting: deque[_Question] = deque()
        self._wake = Condition()
        self._stop = False
        self._settled: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
        self._shelf = Shelf.of(board.now.state)
        self._thread = Thread(target=self._live, name="solvent-whatif", daemon=True)
        self._each_s = 0.0
        self.asked = self.batches = 0

    def waits_s(self) -> float:
        """How long a question that comes now would wait for its turn, by the speed of late."""
        return len(self._waiting) * self._each_s

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, and no more."""
        with self._wake:
            self._stop = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    async def ask(self, told: WhatIfTold, held: View | None = None) -> WhatIfDocument:
        """The answer to a question; `held` is the account, where it is of one. Raises BadInput, and
        Overloaded where too many wait."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[WhatIfDocument] = loop.create_future()

        def settle(result: Any, fault: BaseException | None) -> None:
            def on_loop() -> None:
                if future.done():
                    return
                if fault is None:
                    future.set_result(result)
                else:
                    future.set_exception(fault)

            self._settled.setdefault(loop, []).append(on_loop)

        with self._wake:
            if len(self._waiting) >= self._room:
                raise Overloaded("what-if", why=f"{self._room} wait already", retry_after_s=0.2)
            self._waiting.append(_Question(told, held, settle))
            self._wake.notify()
        return await future

    def _live(self) -> None:
        together = 0
        while True:
            with self._wake:
                while not (self._waiting or self._stop):
                    self._wake.wait()
                if not self._waiting:
                    return
            # Who asks alone is answered at once; where many ask, waiting a little costs less.
            if together > 1 and len(self._waiting) < TOGETHER:
                time.sleep(self._wait_s)
            waiting = self._waiting
            some = [waiting.popleft() for _ in range(min(TOGETHER, len(waiting)))]
            together = len(some)
            begun_s = time.perf_counter()
            self._answer(some)
            each_s = (time.perf_counter() - begun_s) / together
            self._each_s += _NEWS * (each_s - self._each_s)
            self.asked, self.batches = self.asked + len(some), self.batches + 1
            for loop, settled in self._settled.items():
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_run_all, settled)
            self._settled = {}

    def _answer(self, questions: Sequence[_Question]) -> None:
        now = self._board.now
        if self._shelf.state is not now.state:
            self._shelf = Shelf.of(now.state)
        asked: list[tuple[_Question, list[View]]] = []
        for one in questions:
            try:
                asked.append((one, self._views(one, now)))
            except Exception as fault:
                one.settle(None, fault)
        try:
            self._told(now, asked)
        except Exception:
            # Somebody's numbers cannot be margined: theirs alone is the fault.
            for pair in asked:
                try:
                    self._told(now, [pair])
                except Exception as fault:
                    pair[0].settle(None, fault)

    def _views(self, one: _Question, now: Published) -> list[View]:
        told, shelf = one.told, self._shelf
        if one.held is not None:
            name = ruled(now.state, told.rulebook or one.held.account.rulebook)
            held = one.held
            before = View(
                nobody(held.account.name, name), held.positions, held.balances, held.margins,
                held.orders, held.modes, held.sides,
            )  # fmt: skip
        elif told.portfolio is not None:
            before = seen(shelf, told.portfolio, ruled(now.state, told.rulebook))
        else:
            raise bad_input(
                Reject.FIELD_MISSING, "request", "portfolio", "an account or a portfolio", "neither"
            )
        return [before] if told.changes is None else [
            before, changed(shelf, before, told.changes)
        ]  # fmt: skip

    def _told(self, now: Published, asked: Sequence[tuple[_Question, list[View]]]) -> None:
        views = [one for _, mine in asked for one in mine]
        rulebooks = [one.account.rulebook for one in views]
        labels(views)
        found = iter(zip(standings(now.state, views), rulebooks, strict=True))
        for question, mine in asked:
            (before, rulebook), *rest = [next(found) for _ in mine]
            question.settle(
                self._document(now, rulebook, before, rest[0][0] if rest else None), None
            )

    def _document(
        self, now: Published, rulebook: str, before: Standing, after: Standing | None
    ) -> WhatIfDocument:
        age_ms = now.age_ms(rulebook, self._board.time_ms) or 0
        rules = now.rules[rulebook]
        return WhatIfDocument(
            rulebook=rulebook,
            as_of_ms=0 if rules.arrays is None else int(rules.arrays.as_of_ms),
            age_ms=age_ms, stale=age_ms > rules.house.age_ms_max, sequence=now.sequence,
            before=standing_of(before), after=None if after is None else standing_of(after),
        )  # fmt: skip


def _run_all(settled: Sequence[Callable[[], None]]) -> None:
    for one in settled:
        one()


def asked_of(told: WhatIfTold) -> str | None:
    """The account that a question is of; BadInput for one of both, or of neither."""
    if (told.account is None) == (told.portfolio is None):
        raise bad_input(
            Reject.FIELD_MISSING, "request", "account", "either an account or a portfolio",
            "both or neither",
        )  # fmt: skip
    return told.account
