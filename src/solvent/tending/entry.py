"""What an engine does about accounts that cannot pay, for those who run one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from solvent.engine.state import State
from solvent.solvency.venue import VenueWatch
from solvent.tending.plans import ACTOR, Plan
from solvent.tending.tender import Tended, Tender, Watch, plans

if TYPE_CHECKING:
    from solvent.host import Answer


class Tending(ABC):
    """The part of `Engine` that calls margin, liquidates, and lets others pay what is not there."""

    @property
    @abstractmethod
    def state(self) -> State:
        """The books."""

    @abstractmethod
    def submit_all(
        self, commands: Iterable[Any], *, times_ms: Sequence[int] | None = None
    ) -> list[Answer]:
        """Apply commands in order."""

    @property
    @abstractmethod
    def now_ms(self) -> int:
        """The time at which a command would happen that is submitted now."""

    def plans(self) -> list[Plan]:
        """What is to be done now about accounts that are short of margin, as data; nothing is
        done. What prices may not tell any more (arrays that are too old) brings no plan."""
        return plans(self.state)

    def tend(
        self, *, actor: str = ACTOR, time_ms: int | None = None, watch: Watch | None = None,
        verdicts: VenueWatch | None = None,
    ) -> Tended:  # fmt: skip
        """Do all that is to be done now, to the end or to where it has to wait; a second call at
        the same moment does nothing. `watch` is handed the plans of each wave before it is done.

        `verdicts`, what `Engine.watch` gave, spares asking of accounts that it proved healthy; what
        is done is the same.
        """
        return Tender(self, actor=actor, watch=watch, verdicts=verdicts).run(time_ms)
