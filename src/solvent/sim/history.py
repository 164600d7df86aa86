"""Histories: commands made up from a seed, applied, and everything checked that must hold.

`run(seed, commands)` is deterministic: the same arguments give the same commands, the same events
and the same state, on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from solvent.engine.apply import Applied, apply, apply_all
from solvent.engine.image import books_hash, state_hash
from solvent.engine.state import State
from solvent.errors import Reject, check
from solvent.messages import commands as c
from solvent.messages.codec import Sealed, encode_command
from solvent.messages.events import EVENTS, Event, OrderEnded, OrderReduced, StopCancelled
from solvent.messages.fields import Command, SelfTrade, TimeInForce, Trigger
from solvent.orders.order import Why
from solvent.sim import alarm, dealings, distress, money, ordering, winding_up
from solvent.sim.blind import spoiled, told_again
from solvent.sim.checker import Checker
from solvent.sim.draws import Draws
from solvent.sim.money import Draft
from solvent.sim.worlds import START_MS, World, beginning, chosen

DRAFTS: Final[dict[type[Command], Draft]] = {
    **money.DRAFTS, **dealings.DRAFTS, **ordering.DRAFTS, **distress.DRAFTS, **winding_up.DRAFTS
}  # fmt: skip
COMPARED_EVERY: Final = 200
"""Commands between two comparisons of everything."""
HASHED_EVERY: Final = 50
"""Commands of which one is held against the hash of all books, if it is refused."""
_TAGS: Final = {kind: str(kind.__struct_config__.tag) for kind in EVENTS}
_WITH_WHY: Final = (OrderReduced, OrderEnded, StopCancelled)
_OPTIONS: Final = ("post_only", "reduce_only", "display_lots", "group", "session")
WHAT_HAPPENS: Final = (
    *(tag for kind, tag in _TAGS.items() if kind not in _WITH_WHY),
    *(
        f"{_TAGS[kind]} {why.value}"
        for kind, whys in (
            (OrderReduced, [why for why in Why if why is not Why.IMMEDIATE]),
            (OrderEnded, (Why.FILLED, Why.IMMEDIATE, Why.SELF_TRADE, Why.REDUCE_ONLY, Why.MARGIN,
                          Why.PROTECTION)),
            (StopCancelled, (Why.CANCELLED, Why.EXPIRED, Why.PROTECTION, Why.DISCONNECTED,
                             Why.CLOSED, Why.LIQUIDATION)),
        )
        for why in whys
    ),
    "market", "limit", *TimeInForce, *(f"self_trade {mode}" for mode in SelfTrade), *_OPTIONS,
    *(f"stop {trigger} {way}" for trigger in Trigger for way in ("up", "down")),
)  # fmt: skip
"""Everything that can come of commands, and that an order can ask for."""
_TRIES: Final = 6
"""Kinds of command that are tried before time alone passes."""
Timed = tuple[Command, int]


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of a history.

    Attributes:
        commands, accepted: by kind. rejected: by code. events: how many.
        happened: events by kind, those of orders with why; and options of orders that were taken.
        violations: (number of the command, what does not hold); the history ends at the first.
        history: every command with its time, where it was asked for.
    """

    seed: int
    commands: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    rejected: Counter[int] = field(default_factory=Counter)
    events: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)
    hash: str = ""
    chain: bytes = b""
    history: list[Timed] = field(default_factory=list)


class History:
    """A history that is being made up."""

    def __init__(self, seed: int, *, batch: int | None = None, keep: bool = False) -> None:
        rng = Random(seed)
        self.world: World = chosen(rng)
        self.draws = Draws(rng, self.world)
        self.state = State()
        self.checker = Checker(self.state)
        self.result = Result(seed=seed)
        self.batch = batch or self.world.batch
        self.keep = keep
        self.number = 0
        self._compared = 0

    def run(self, commands: int, *, progress: Callable[[int], None] | None = None) -> Result:
        """Make up and apply commands until there are so many, those of the beginning counted in."""
        if not self.number:
            start = beginning(self.world, self.draws.rng)[:commands]
            self._do([(command, START_MS) for command in start])
            check(not self.result.rejected, "a world begins as told", self.result.rejected)
        while self.number < commands and not self.result.violations:
            count = min(self.batch, commands - self.number)
            self._do(self._made_up(count))
            if progress is not None:
                progress(self.number)
        if not self.result.violations:
            self._note(self.checker.compare())
        self.result.hash = state_hash(self.state)
        self.result.chain = self.state.log.chain
        return self.result

    # ── making up ────────────────────────────────────────────────────────────────────────────

    def _made_up(self, count: int) -> list[Timed]:
        time_ms = self.state.log.time_ms
        alarm.resume(self.draws, self.state)
        if self.draws.often(min(0.6, self.batch / 300)):
            alarm.squeeze(self.draws, self.state)
        if self.draws.alarmed:
            alarm.look_round(self.draws, self.state)
        found = []
        for _ in range(count):
            time_ms += self.draws.step_ms(self.state)
            found.append((self._one(), time_ms))
        return found

    def _one(self) -> Command:
        """The next command: what is due, what was told before, or something new."""
        draws, state = self.draws, self.state
        if draws.alarmed and not draws.due and self.batch == 1:
            alarm.look_round(draws, state)
        if draws.due and draws.often(0.8):
            command = draws.due.popleft()(state)
        elif draws.often(draws.again):
            command = told_again(draws, state)
        else:
            command = None
            for _ in range(_TRIES):
                command = command or DRAFTS[draws.kind()](draws, state)
            if command is not None and draws.often(draws.blind):
                command = spoiled(draws, state, command)
        if command is None:
            command = c.Heartbeat(**draws.told())
        draws.past.append(command)
        return command

    # ── applying and checking ────────────────────────────────────────────────────────────────

    def _do(self, timed: Sequence[Timed]) -> None:
        if self.keep:
            self.result.history += timed
        try:
            if self.batch > 1:
                self._all(timed)
            else:
                self._each(timed)
        except Exception as fault:
            # Whatever comes out of the engine but an answer is a violation, not a failure of ours.
            at = self.state.log.sequence + 1
            self.result.violations.append((self.number + 1, f"sequence {at}: {fault!r}"))

    def _all(self, timed: Sequence[Timed]) -> None:
        commands = [command for command, _ in timed]
        bodies = [encode_command(command) for command in commands]
        found = apply_all(self.state, commands, [at for _, at in timed], bodies)
        for command, one in zip(commands, found, strict=True):
            self._follow(command, one)
        self._note(self.checker.touched())
        self._compare()

    def _each(self, timed: Sequence[Timed]) -> None:
        state = self.state
        for command, time_ms in timed:
            hashed = self.number % HASHED_EVERY == 0
            books = books_hash(state) if hashed else ""
            one = apply(state, Sealed(state.log.sequence + 1, time_ms, command))
            self._follow(command, one)
            self._note(self.checker.touched())
            if hashed and one.code and books_hash(state) != books:
                self._note([f"{one.kind}: expected the same books after a rejection"])
            self._compare()

    def _follow(self, command: Command, one: Applied) -> None:
        result = self.result
        self.number += 1
        result.commands[one.kind] += 1
        if one.code:
            result.rejected[one.code] += 1
        elif one.chain:
            result.accepted[one.kind] += 1
            if type(command) is c.PlaceOrder:
                result.happened.update(options_of(command))
        if one.chain:
            for event in one.events:
                result.happened[what_of(event)] += 1
            result.events += len(one.events)
            self._note(self.checker.see(command, one.events))

    def _compare(self) -> None:
        if self.number - self._compared >= COMPARED_EVERY:
            self._compared = self.number
            self._note(self.checker.compare())

    def _note(self, wrong: Sequence[str]) -> None:
        self.result.violations += [(self.number, one) for one in wrong]


def run(
    seed: int,
    commands: int,
    *,
    batch: int | None = None,
    keep: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """A history out of a seed. `batch` takes the place of the world's own; `keep` keeps the
    commands."""
    return History(seed, batch=batch, keep=keep).run(commands, progress=progress)


def what_of(event: Event) -> str:
    """An event's kind; of an order that shrinks or is over, why as well.

    >>> what_of(OrderReduced(17, "a", 0, 0, "relief"))
    'order_reduced relief'
    """
    kind = _TAGS[type(event)]
    return f"{kind} {event.why}" if type(event) in _WITH_WHY else kind  # type: ignore[attr-defined]


def options_of(command: c.PlaceOrder) -> list[str]:
    """What an order asks for beyond its price and lots."""
    lasts = command.time_in_force or (
        TimeInForce.GTC if command.price_ticks is not None else TimeInForce.IOC
    )
    found = [
        "market" if command.price_ticks is None else "limit", lasts.value,
        f"self_trade {command.self_trade.value}",
    ]  # fmt: skip
    found += [name for name in _OPTIONS if getattr(command, name)]
    if command.stop is not None:
        found.append(f"stop {command.stop.trigger.value} {'up' if command.stop.rises else 'down'}")
    return found


class NeverMet(NamedTuple):
    """What none of some histories came to."""

    kinds: list[str]
    codes: list[Reject]
    happened: list[str]


def never_met(results: Sequence[Result]) -> NeverMet:
    """Kinds of command that none of the histories had accepted, codes that none met, and events
    and options of orders that none had."""
    accepted = sum((one.accepted for one in results), Counter())
    rejected = sum((one.rejected for one in results), Counter())
    happened = sum((one.happened for one in results), Counter())
    kinds = [str(kind.__struct_config__.tag) for kind in c.COMMANDS]
    return NeverMet(
        [kind for kind in kinds if not accepted[kind]],
        [code for code in Reject if code >= REJECTED_FROM and not rejected[code]],
        [what for what in WHAT_HAPPENS if not happened[what]],
    )


REJECTED_FROM: Final = 501
"""Codes from here on are the engine's own."""
