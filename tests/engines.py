"""Engines under load for tests: a small venue, what is asked of it, and processes to be killed."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from solvent import publishing
from solvent.engine.apply import apply
from solvent.engine.audit import audit
from solvent.engine.image import image, state_hash
from solvent.engine.state import State
from solvent.errors import Reject
from solvent.feeds.synthetic_market import generate_market
from solvent.host import Answer, CommandLike, Engine
from solvent.journal import Journal, Row
from solvent.journal import sqlite as sqlite_module
from solvent.market import Snapshot
from solvent.market.moved import moved
from solvent.messages import commands as c
from solvent.messages.codec import Sealed, decode_command
from solvent.messages.fields import (
    AccountKind,
    Command,
    SelfTrade,
    Side,
    StopAt,
    TimeInForce,
    Trigger,
)
from solvent.units import TimeMs
from solvent.verify.books import check_books

RULEBOOK: Final = "deribit-pm"
ACTOR: Final = "venue"
ACCOUNTS: Final = 12
POOR: Final = 4
"""Accounts that can afford little, so that margin refuses them often."""
ROOT: Final = Path(__file__).resolve().parent.parent

# ── a venue, and what is asked of it ─────────────────────────────────────────────────────────────


@cache
def market() -> Snapshot:
    """Twenty contracts."""
    return generate_market(seed=11, expiries=1, strikes=3)


def opened(url: str | Path, *, snapshot_every: int = 1_000_000) -> Engine:
    """An engine whose time is the market's."""
    return Engine.open(url, clock=lambda: int(market().as_of_ms), snapshot_every=snapshot_every)


def founding() -> list[Command]:
    """What makes the venue."""
    told: list[Command] = list(publishing.listings(market(), actor=ACTOR))
    told.append(
        publishing.adoption(RULEBOOK, day="2026-01-01", key="rules", actor=ACTOR, venue=True)
    )
    told.append(publishing.market(market(), key="market", actor=ACTOR))
    told.append(publishing.arrays(market(), RULEBOOK, name=RULEBOOK, key="arrays", actor=ACTOR))
    for number in range(ACCOUNTS):
        name = f"u{number}"
        kind, key = AccountKind.USER, f"open {name}"
        told.append(c.OpenAccount(key=key, actor=ACTOR, account=name, kind=kind, rulebook=RULEBOOK))
        amount = 2_000_000_000 if number < POOR else 10**12
        told.append(_deposit(f"fund {name}", name, amount))
    return told


def found(url: str | Path) -> None:
    """Make the venue in a new journal."""
    Engine.create(url).close()
    with opened(url) as engine:
        assert all(answer.accepted for answer in engine.submit_all(founding()))


def batch(state: State, draw: random.Random, size: int) -> list[Command]:
    """Mixed commands that none has asked before: most can be done, some cannot."""
    return [_drawn(state, draw, f"{state.log.sequence}.{place}") for place in range(size)]


def _drawn(state: State, draw: random.Random, key: str) -> Command:
    account = f"u{draw.randrange(ACCOUNTS)}"
    what = draw.random()
    if what < 0.25:
        return _deposit(key, account, draw.randint(1, 10**7))
    if what < 0.6:
        return _trade(state, draw, key)
    if what < 0.7:
        return c.RequestWithdrawal(
            key=key, actor=ACTOR, account=account, asset="USDC", reference=key,
            amount=draw.choice((1, 10**6, 10**9, 10**13)),
        )  # fmt: skip
    if what < 0.8:
        kind = draw.choice((c.ConfirmWithdrawal, c.CancelWithdrawal))
        pending = list(state.pending) or ["none"]
        return kind(key=key, actor=ACTOR, reference=draw.choice(pending))
    if what < 0.92:
        symbol, ticks = _price(state, draw)
        return c.PlaceOrder(
            key=key, actor=ACTOR, account=account, order=key, symbol=symbol,
            side=draw.choice((Side.BUY, Side.SELL)), lots=draw.randint(3, 30), price_ticks=ticks,
            **_terms(state, draw),
        )  # fmt: skip
    number = state.account_numbers[account]
    order = draw.choice([*state.orders_of(number), *state.desk.stops.get(number, ()), "none"])
    if what < 0.95:
        lots = draw.randint(1, 30)
        return c.AmendOrder(key=key, actor=ACTOR, account=account, order=order, lots=lots)
    return c.CancelOrder(key=key, actor=ACTOR, account=account, order=order)


def _terms(state: State, draw: random.Random) -> dict[str, Any]:
    """What else an order may say; most say nothing."""
    later = TimeInForce.GTD, state.log.time_ms + draw.choice((1, 10**9))
    stop = StopAt(Trigger.LAST, draw.choice((1, 10**9)), draw.random() < 0.5)
    return draw.choice((
        {}, {}, {"display_lots": 2}, {"reduce_only": True}, {"stop": stop},
        {"self_trade": draw.choice(list(SelfTrade))}, {"time_in_force": TimeInForce.IOC},
        {"time_in_force": later[0], "expire_ms": later[1]},
    ))  # fmt: skip


def _deposit(key: str, account: str, amount: int) -> Command:
    return c.Deposit(key=key, actor=ACTOR, account=account, asset="USDC", amount=amount)


def _trade(state: State, draw: random.Random, key: str) -> Command:
    symbol, ticks = _price(state, draw)
    buyer, seller = draw.sample(range(ACCOUNTS), 2)
    return c.Trade(
        key=key, actor=ACTOR, buyer=f"u{buyer}", seller=f"u{seller}", symbol=symbol,
        lots=draw.randint(1, 40), price_ticks=ticks, aggressor=draw.choice((Side.BUY, None)),
    )  # fmt: skip


def _price(state: State, draw: random.Random) -> tuple[str, int]:
    contract = draw.choice(state.contracts)
    points = contract.mark_points or contract.deal.points_per_tick
    return contract.listing.symbol, max(1, points // contract.deal.points_per_tick)


# ── what must be true of a journal afterwards ────────────────────────────────────────────────────


class Fold:
    """A journal's commands applied one by one from the first, beside whatever the engine does."""

    def __init__(self) -> None:
        self.state = State()
        self.chains: dict[int, bytes] = {}
        self.rows: list[Row] = []
        self.codes: dict[int, int] = {}
        self.done: Counter[str] = Counter()
        """How often each kind of command was accepted."""

    def follow(self, journal: Journal) -> None:
        """Apply what is new; it must come out as it was recorded."""
        for row in journal.read(after=self.state.log.sequence):
            sealed = Sealed(row.sequence, row.time_ms, decode_command(row.command))
            one = apply(self.state, sealed)
            assert (one.chain, one.stored) == (row.chain, row.events), row.sequence
            self.chains[row.sequence] = row.chain
            self.codes[one.code] = self.codes.get(one.code, 0) + 1
            self.done[row.kind] += not one.code
            self.rows.append(row)

    def check(self, engine: Engine) -> None:
        """The engine's books are those of the fold, and hold together."""
        self.follow(engine.journal)
        assert engine.state.log.sequence == engine.journal.head.sequence
        assert engine.hash() == state_hash(self.state)
        assert audit(engine.state).violations == ()

    def check_books(self) -> None:
        """An outsider comes to the same balances."""
        findings = check_books(self.rows, image=image(self.state))
        assert findings.agrees, findings.problems[:3]

    def check_mixture(self) -> None:
        """Much was done, and much was refused for want of margin."""
        assert self.codes[0] > len(self.rows) // 3
        assert self.codes[int(Reject.MARGIN_INSUFFICIENT)] > len(self.rows) // 100


# ── processes to be killed ───────────────────────────────────────────────────────────────────────


class Life(NamedTuple):
    """What an engine in a process of its own is to do until it is killed."""

    url: str
    seed: int
    snapshot_every: int
    checkpoint_bytes: int
    storm: bool = False
    """Whether prices fall and rise, and whoever cannot pay is wound up."""


class Told(NamedTuple):
    """What a process said in its life.

    `acknowledged` are pairs of a sequence and its chain in hex, `trying` how many new commands the
    batch has that was not acknowledged any more, or 0.
    """

    opened: bool
    acknowledged: list[tuple[int, str]]
    trying: int


class Nursery:
    """A process with everything loaded, that has children: engines which start at once.

    One line tells it of a life; it answers the child's number, what the child says, and its end.
    """

    def __init__(self, *, hash_seed: int) -> None:
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engines"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=ROOT, env=environment, bufsize=1,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._said, self._asked = self._process.stdout, self._process.stdin

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._asked.close()
        self._process.wait(timeout=30)
        self._said.close()

    def born(self, life: Life) -> int:
        """The number of a process that begins this life."""
        self._asked.write(json.dumps(life) + "\n")
        number = self._said.readline().split()
        assert number[0] == "born", number
        return int(number[1])

    def wait_until_opened(self) -> None:
        """Its engine is at work."""
        line = self._said.readline()
        assert line == "opened\n", line

    def wait_for_lines(self, count: int) -> list[str]:
        """What its engine says next."""
        return [self._said.readline() for _ in range(count)]

    def end(self, number: int, said: list[str], *, opened: bool) -> Told:
        """Kill it, and read what it had said before, after the lines that were read already."""
        os.kill(number, signal.SIGKILL)
        acknowledged: list[tuple[int, str]] = []
        trying = 0
        for line in chain(said, iter(self._said.readline, "")):
            word, *rest = line.split()
            if word == "gone":
                assert rest == [str(-signal.SIGKILL)], rest
                return Told(opened, acknowledged, trying)
            if word == "opened":
                opened = True
            elif word == "trying":
                trying = int(rest[0])
            else:
                assert word == "durable", line
                acknowledged.append((int(rest[0]), rest[1]))
                trying = 0
        raise AssertionError("the nursery is gone")


def _nursery() -> None:
    with tempfile.TemporaryDirectory() as place:
        # Whatever is compiled or loaded at first use is used before there are children.
        found(f"{place}/venue")
        with opened(f"{place}/venue") as engine:
            engine.submit_all(batch(engine.state, random.Random(0), 500))
    for line in sys.stdin:
        number = os.fork()
        if number == 0:
            _live(Life(*json.loads(line)))
        _say(f"born {number}")
        _, status = os.waitpid(number, 0)
        _say(f"gone {os.waitstatus_to_exitcode(status)}")


def _live(life: Life) -> None:
    """Work until killed; anything that goes wrong is another end than that."""
    sqlite_module._CHECKPOINT_BYTES = life.checkpoint_bytes  # type: ignore[misc]
    draw = random.Random(life.seed)
    try:
        if life.storm:
            _weather(life, draw)
        # What the process before this one was told last may be told again.
        with opened(life.url, snapshot_every=life.snapshot_every) as engine:
            _say("opened")
            known = deque(_last_commands(engine, 20), maxlen=50)
            for commands in _batches(engine, draw, known):
                repeats = {one.key: at for at, one in known}
                new = [one for one in commands if one.key not in repeats]
                _say(f"trying {len(new)}")
                answers = engine.submit_all(commands)
                for one, answer in zip(commands, answers, strict=True):
                    assert repeats.get(one.key, answer.sequence) == answer.sequence > 0
                    if one.key not in repeats:
                        known.append((answer.sequence, one))
                _say(f"durable {engine.journal.head.sequence} {engine.journal.head.chain.hex()}")
                if draw.random() < 0.05:
                    engine.snapshot()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(3)


class Telling(Engine):
    """An engine that says what it is about to do, and what is durable."""

    def submit_all(
        self, commands: Iterable[CommandLike], *, times_ms: Sequence[int] | None = None
    ) -> list[Answer]:
        told = list(commands)
        _say(f"trying {len(told)}")
        answers = super().submit_all(told, times_ms=times_ms)
        _say(f"durable {self.journal.head.sequence} {self.journal.head.chain.hex()}")
        return answers


def _weather(life: Life, draw: random.Random) -> None:
    """Trades, prices that jump, and what has to be done about it, until killed."""
    clock = lambda: int(market().as_of_ms)  # noqa: E731
    with Telling.open(life.url, clock=clock, snapshot_every=life.snapshot_every) as engine:
        _say("opened")
        while True:
            storm(engine, draw)
            if draw.random() < 0.05:
                engine.snapshot()


def storm(engine: Engine, draw: random.Random) -> None:
    """Some trades, another price seconds later, and everybody is looked at."""
    engine.submit_all(batch(engine.state, draw, draw.choice((6, 12, 24))))
    sequence = engine.state.log.sequence
    time_ms = engine.state.log.time_ms + draw.randint(1, 3_000)
    factor = {name: math.exp(draw.gauss(0, 0.25)) for name in market().universe.underlyings}
    now = replace(moved(market(), factor), as_of_ms=TimeMs(time_ms))
    told: list[Command] = [
        publishing.market(now, key=f"market {sequence}", actor=ACTOR),
        publishing.arrays(now, RULEBOOK, name=RULEBOOK, key=f"arrays {sequence}", actor=ACTOR),
    ]
    engine.submit_all(told, times_ms=[time_ms] * len(told))
    engine.tend(time_ms=time_ms)


def _batches(
    engine: Engine, draw: random.Random, known: deque[tuple[int, Command]]
) -> Iterator[list[Command]]:
    """New commands of all sizes, with some old ones between them."""
    while True:
        commands = batch(engine.state, draw, draw.choice((1, 2, 4, 12)))
        repeats = [draw.choice(known)[1] for _ in range(draw.choice((0, 0, 1, 3)))]
        yield [*commands, *repeats] if draw.random() < 0.5 else [*repeats, *commands]


def _last_commands(engine: Engine, count: int) -> list[tuple[int, Any]]:
    head = engine.journal.head.sequence
    rows = engine.journal.read(after=head - count)
    return [(row.sequence, decode_command(row.command)) for row in rows]


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    _nursery()
