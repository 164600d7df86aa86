"""What if: where an account or a portfolio stands, and where it would stand after changes.

Questions that come at about the same time are margined together, as accounts of one book, on what
was published last: the engine is not asked, and the answer is the engine's own, to the unit. One
that cannot be understood fails alone.

Batches that are quick are answered on the event loop itself. A thread beside it would have the
interpreter in turns with the loop, which then waits for it at every step: with a thread, answers
took half as long again, and twice as long where there was much to refuse. What takes longer than
`HERE_S` goes to a thread, so that nothing else waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

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
from solvent.service.speed import NEWS, Speed

TOGETHER: Final = 64
"""Questions that are margined together at most."""
LINES_MAX: Final = 4_096
"""Lines (`lines_of`) of a batch, unless one question has more."""
ROOM: Final = 4_096
"""Questions that may wait."""
FEW: Final = 16
"""Questions that may always wait. Where a batch of so many takes too long for the event loop, none
is answered there: smaller ones would hardly get anything done."""
HERE_S: Final = 0.005
"""What takes longer is not answered on the event loop."""
_TOO_LONG: Final = 4
"""Times `HERE_S` after which, for `_APART_S`, nothing is."""
_APART_S: Final = 1.0
_OWN: Final = 8
"""Lines that a question counts for by itself."""


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
    lines: int
    future: asyncio.Future[WhatIfDocument]


_Answer = WhatIfDocument | BaseException


class WhatIfs:
    """Answers questions of one event loop; see the module.

    `wait_s`: where many ask, a question waits so long for others to be margined with it.
    """

    def __init__(self, board: Board, *, wait_s: float, room: int = ROOM) -> None:
        self._board = board
        self._wait_s, self._room = wait_s, room
        self._waiting: deque[_Question] = deque()
        self._lines = self._working = 0
        """Lines that wait, and that are being worked on."""
        self._shelf = Shelf.of(board.now.state)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="solvent-whatif")
        self._next: asyncio.Handle | None = None
        self._away = False
        """Whether the thread has a batch."""
        self._together = 0
        self._usual = float(_OWN)
        """Lines of a question of late."""
        self._cost, self._pace = Speed(), Speed()
        """Of batches by themselves, on a processor; and with all that is done between two."""
        self._free_s = 0.0
        """When the last batch ended, while something waited already."""
        self._apart_until_s = 0.0
        self.asked = self.batches = self.apart = 0
        """Questions and batches that were answered, and batches that the thread has answered."""

    def waits_s(self, coming: int = 0) -> float:
        """How long what was asked before a question that comes now will take, by the speed of
        late, and `coming` that are on their way with it; 0 while few wait."""
        waiting = len(self._waiting)
        if waiting + coming < FEW:
            return 0.0
        lines = self._lines + self._working + coming * self._usual
        full = min(lines, self._most())
        return self._pace.batch_s(full) * lines / full

    async def ask(self, told: WhatIfTold, held: View | None = None) -> WhatIfDocument:
        """The answer to a question; `held` is the account, where it is of one. Raises BadInput, and
        Overloaded where too many wait."""
        if len(self._waiting) >= self._room:
            raise Overloaded("what-if", why=f"{self._room} wait already", retry_after_s=0.2)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[WhatIfDocument] = loop.create_future()
        lines = lines_of(told, held)
        self._waiting.append(_Question(told, held, lines, future))
        self._lines += lines
        self._arm(loop)
        return await future

    def stop(self) -> None:
        """Answer what waits, and no more."""
        if self._next is not None:
            self._next.cancel()
        while self._waiting:
            some, _ = self._taken()
            _settle(some, self._answers(some)[0])
        self._thread.shutdown(wait=True)

    # ── in turn ──────────────────────────────────────────────────────────────────────────────────

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that what waits is answered. Who asks alone is answered at once; where many
        ask, waiting a little costs less."""
        if self._next is not None or self._away or not self._waiting:
            return
        if self._together <= 1 or self._lines >= self._most() or len(self._waiting) >= TOGETHER:
            self._next = loop.call_soon(self._turn, loop)
        else:
            self._next = loop.call_later(self._wait_s, self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next = None
        begun_s = self._free_s or time.perf_counter()
        here = self._here()
        some, self._working = self._taken()
        if not some:
            # Nobody waits for any of them any more.
            self._free_s = 0.0
            return
        if here and self._cost.batch_s(self._working) <= HERE_S:
            answers, cost_s = self._answers(some)
            if cost_s > _TOO_LONG * HERE_S:
                self._apart_until_s = time.perf_counter() + _APART_S
            self._end(loop, some, answers, begun_s=begun_s, cost_s=cost_s)
            return

        def back(done: asyncio.Future[tuple[list[_Answer], float]]) -> None:
            self._away = False
            fault = done.exception()
            answers, cost_s = ([fault] * len(some), 0.0) if fault else done.result()
            self._end(loop, some, answers, begun_s=begun_s, cost_s=cost_s)

        self._away = True
        self.apart += 1
        loop.run_in_executor(self._thread, self._answers, some).add_done_callback(back)

    def _here(self) -> bool:
        """Whether batches are answered on the loop: the first is not, as code is compiled then."""
        quick = self._cost.batch_s(FEW * self._usual) <= HERE_S
        return quick and self.batches > 0 and time.perf_counter() >= self._apart_until_s

    def _most(self) -> float:
        """Lines of a full batch."""
        if not self._here():
            return LINES_MAX
        return min(LINES_MAX, self._cost.fits(HERE_S))

    def _taken(self) -> tuple[list[_Question], int]:
        """The questions of the next batch, and their lines."""
        most, waiting = self._most(), self._waiting
        some: list[_Question] = []
        lines = 0
        while waiting and len(some) < TOGETHER:
            if some and lines + waiting[0].lines > most:
                break
            one = waiting.popleft()
            self._lines -= one.lines
            if not one.future.done():
                some.append(one)
                lines += one.lines
        return some, lines

    def _end(
        self, loop: asyncio.AbstractEventLoop, some: Sequence[_Question],
        answers: Sequence[_Answer], *, begun_s: float, cost_s: float,
    ) -> None:  # fmt: skip
        now_s = time.perf_counter()
        self._usual += NEWS * (self._working / len(some) - self._usual)
        if self.batches:
            # The first batch waits for code to be compiled, and says nothing of the others.
            self._cost.note(self._working, cost_s)
            self._pace.note(self._working, now_s - begun_s)
        self.asked, self.batches = self.asked + len(some), self.batches + 1
        self._together, self._working = len(some), 0
        self._free_s = now_s if self._waiting else 0.0
        _settle(some, answers)
        self._arm(loop)

    # ── answers ──────────────────────────────────────────────────────────────────────────────────

    def _answers(self, questions: Sequence[_Question]) -> tuple[list[_Answer], float]:
        """What each comes to, and the seconds of a processor that it took. Raises nothing."""
        begun_s = time.thread_time()
        now = self._board.now
        if self._shelf.state is not now.state:
            self._shelf = Shelf.of(now.state)
        found: dict[int, _Answer] = {}
        asked: list[tuple[int, list[View]]] = []
        for place, one in enumerate(questions):
            try:
                asked.append((place, self._views(one, now)))
            except Exception as fault:
                found[place] = fault
        try:
            found |= self._told(now, asked)
        except Exception:
            # Somebody's numbers cannot be margined: theirs alone is the fault.
            for pair in asked:
                try:
                    found |= self._told(now, [pair])
                except Exception as fault:
                    found[pair[0]] = fault
        return [found[place] for place in range(len(questions))], time.thread_time() - begun_s

    def _views(self, one: _Question, now: Published) -> list[View]:
        told, shelf = one.told, self._shelf
        if one.held is not None:
            name = ruled(now.state, told.rulebook or one.held.account.rulebook)
            held = one.held
            before = View(
                nobody(held.account.name, name, held.account.inputs), held.positions,
                held.balances, held.margins, held.orders, held.modes, held.sides,
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

    def _told(
        self, now: Published, asked: Sequence[tuple[int, list[View]]]
    ) -> dict[int, WhatIfDocument]:
        views = [one for _, mine in asked for one in mine]
        rulebooks = [one.account.rulebook for one in views]
        labels(views)
        found = iter(zip(standings(now.state, views), rulebooks, strict=True))
        documents = {}
        for place, mine in asked:
            (before, rulebook), *rest = [next(found) for _ in mine]
            after = rest[0][0] if rest else None
            documents[place] = self._document(now, rulebook, before, after)
        return documents

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


def _settle(some: Sequence[_Question], answers: Sequence[_Answer]) -> None:
    for one, answer in zip(some, answers, strict=True):
        if one.future.done():
            continue
        if isinstance(answer, BaseException):
            one.future.set_exception(answer)
        else:
            one.future.set_result(answer)


def lines_of(told: WhatIfTold, held: View | None = None) -> int:
    """How much there is to a question: positions, balances, orders, changes, and itself.

    >>> lines_of(WhatIfTold(account="a"))
    8
    """
    lines = _OWN
    if held is not None:
        lines += len(held.positions) + len(held.balances) + len(held.orders) + len(held.sides)
    if told.portfolio is not None:
        of = told.portfolio
        lines += len(of.positions) + len(of.balances) + len(of.orders)
    if told.changes is not None:
        lines += len(told.changes.close) + len(told.changes.add) + len(told.changes.deposit)
    return lines


def asked_of(told: WhatIfTold) -> str | None:
    """The account that a question is of; BadInput for one of both, or of neither."""
    if (told.account is None) == (told.portfolio is None):
        raise bad_input(
            Reject.FIELD_MISSING, "request", "account", "either an account or a portfolio",
            "both or neither",
        )  # fmt: skip
    return told.account
