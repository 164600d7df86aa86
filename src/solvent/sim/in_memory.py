"""An engine without a journal: the same `apply`, the same plans, nothing on a disk.

For histories that are made up by the thousand and thrown away: what each came to is kept, and the
chain, which is the same to the byte as that of a journal with these commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from solvent.engine.apply import Applied, apply_all
from solvent.engine.image import state_hash
from solvent.engine.state import State
from solvent.errors import BadInput, Problem
from solvent.host import Answer
from solvent.messages.codec import stored_command
from solvent.messages.fields import Command
from solvent.tending.entry import Tending

Listener = Callable[[Sequence[Command], Sequence[Applied]], None]


class InMemory(Tending):
    """A venue's state, and who may tell it commands; not durable.

    `listener` hears every batch with what came of it. A repeated key takes no place in history, and
    is answered with sequence 0.

    >>> from solvent.messages.commands import ListAsset
    >>> venue = InMemory()
    >>> told = ListAsset(key="1", actor="me", asset="USDC", decimals=6)
    >>> venue.submit_all([told], times_ms=[1])[0].accepted, venue.state.log.sequence
    (True, 1)
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self._state = State()
        self._listener = listener

    @property
    def state(self) -> State:
        """The books, to be read only."""
        return self._state

    @property
    def now_ms(self) -> int:
        """The last command's time: there is no clock."""
        return self._state.log.time_ms

    def submit_all(
        self, commands: Iterable[Command], *, times_ms: Sequence[int] | None = None
    ) -> list[Answer]:
        """Apply commands in order; at the last one's time unless times are told."""
        told = list(commands)
        times = [self.now_ms] * len(told) if times_ms is None else times_ms
        bodies = [_stored(one) for one in told]
        sequence = self._state.log.sequence
        found = apply_all(self._state, told, times, bodies)
        if self._listener is not None:
            self._listener(told, found)
        answers = []
        for one in found:
            sequence += bool(one.chain)
            answers.append(Answer(sequence if one.chain else 0, one.code, one.events))
        return answers

    def hash(self) -> str:
        """A hash of everything that the engine remembers."""
        return state_hash(self._state)


def _stored(command: Command) -> bytes:
    found = stored_command(command)
    if isinstance(found, Problem):
        raise BadInput(found)
    return found
