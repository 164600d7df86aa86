"""What waits for the engine, in three lanes of which none can starve another.

Every batch keeps a part for each lane; what a lane leaves of its part others may use. So a flood of
new orders never keeps a cancellation waiting, and no flood of cancellations stops trading.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

from solvent.engine.state import State
from solvent.errors import SolventError
from solvent.messages import commands as c
from solvent.messages.fields import Command

Draft: TypeAlias = Command | Callable[[State], Command]
"""A command, or what makes one of the books as they are when its turn comes (a size in lots, say).
It may raise BadInput: then it was no command."""


class Lane(StrEnum):
    """Which queue a request waits in."""

    HOUSE = "house"
    """The venue's own: prices, arrays, rules, liquidations."""
    RELIEF = "relief"
    """What makes risk smaller: cancel, reduce only, deposit."""
    ORDINARY = "ordinary"
    """Everything else."""


PARTS: Final[Mapping[Lane, float]] = {Lane.HOUSE: 0.25, Lane.RELIEF: 0.25, Lane.ORDINARY: 0.5}
"""Share of a batch that is kept for each lane."""
_LONGER: Final[Mapping[Lane, int]] = {Lane.HOUSE: 4, Lane.RELIEF: 4, Lane.ORDINARY: 1}
"""Times `patience_s` that a request may wait in a lane: what makes the venue safer is rather done
late than refused."""
_LATE: Final = 4
"""Times `patience_s` after which a request is not done any more."""
_RELIEF: Final = (
    c.CancelOrder, c.CancelOrders, c.Disconnect, c.Deposit, c.AnnounceDeposit, c.ConfirmDeposit,
    c.AddIsolatedMargin, c.RelieveMargin,
)  # fmt: skip
_HOUSE: Final = (
    c.PublishMarket, c.PublishArrays, c.Heartbeat, c.AdoptRulebook, c.ListAsset, c.ListInstrument,
    c.DelistInstrument, c.SetPhase, c.PayFunding, c.SettleVariation, c.SettleExpiry,
    c.AccrueInterest, c.FreezeAccount, c.UnfreezeAccount, c.ImportBooks, c.ReviewMargin,
    c.BeginLiquidation, c.Liquidate, c.LiquidateInBook, c.TakeOver, c.Deleverage, c.Confiscate,
    c.CoverDebt, c.SocialiseLoss, c.EndLiquidation, c.SetBackstop, c.ConvertCollateral,
    c.FundMarket, c.StartAuction, c.EndAuction, c.PortAccount,
)  # fmt: skip


def lane_of(drafts: Iterable[Draft]) -> Lane:
    """The lane of a request: that of its slowest command.

    >>> lane_of([c.CancelOrder(key="1", actor="a", account="a", order="o")])
    <Lane.RELIEF: 'relief'>
    >>> lane_of([c.Heartbeat(key="1", actor="clock")])
    <Lane.HOUSE: 'house'>
    """
    lanes = {_lane(one) for one in drafts}
    if Lane.ORDINARY in lanes:
        return Lane.ORDINARY
    return Lane.RELIEF if Lane.RELIEF in lanes else Lane.HOUSE


def _lane(one: Draft) -> Lane:
    if isinstance(one, c.PlaceOrder):
        return Lane.RELIEF if one.reduce_only else Lane.ORDINARY
    if isinstance(one, _RELIEF):
        return Lane.RELIEF
    return Lane.HOUSE if isinstance(one, _HOUSE) else Lane.ORDINARY


class Overloaded(SolventError):
    """A lane is full, or a request has waited too long: nothing of it was done. It may be sent
    again, with the same key, after `retry_after_s`."""

    def __init__(self, lane: str, *, why: str, retry_after_s: float) -> None:
        super().__init__(f"lane {lane}: {why}; try again in {retry_after_s:.3g} s")
        self.lane = lane
        self.retry_after_s = retry_after_s


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that waits. `finish` is called once, on the engine's thread, with what it came to
    or what went wrong; `given_up` says whether nobody waits for it any more."""

    drafts: Sequence[Draft]
    lane: Lane
    times_ms: Sequence[int | None]
    entered_s: float
    finish: Callable[[Any, BaseException | None], None]
    given_up: Callable[[], bool]
    told: Callable[..., Any] | None = None
    commands: list[Command] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.drafts)


class Lanes:
    """Three bounded queues of tickets; not for several threads at once.

    A lane takes requests while fewer than `room` commands wait in it and its wait, at the speed at
    which commands were done lately, is below `patience_s` (four times that in the lanes of the
    house and of relief); one request always finds an empty lane.
    """

    def __init__(self, *, room: int, patience_s: float) -> None:
        self.room, self.patience_s = room, patience_s
        self.waiting: dict[Lane, int] = dict.fromkeys(Lane, 0)
        """Commands that wait, by lane."""
        self.refused: dict[Lane, int] = dict.fromkeys(Lane, 0)
        """Requests that found their lane full or waited too long."""
        self._queues: dict[Lane, deque[Ticket]] = {lane: deque() for lane in Lane}
        self.watchers: list[Callable[[int, float], None]] = []
        """Told of each batch: commands, seconds."""
        self._batch_s = 0.0
        self._most = room
        """Commands of a full batch."""

    def __bool__(self) -> bool:
        return any(self._queues.values())

    def put(self, ticket: Ticket) -> None:
        """Let a request wait. Raises Overloaded where its lane is full."""
        waiting = self.waiting[ticket.lane]
        if waiting:
            if waiting + len(ticket) > self.room:
                raise self._full(ticket.lane, f"{waiting} commands wait already")
            patience_s = _LONGER[ticket.lane] * self.patience_s
            if self.wait_s(ticket.lane) > patience_s:
                raise self._full(ticket.lane, f"it would wait more than {patience_s:.3g} s")
        self._queues[ticket.lane].append(ticket)
        self.waiting[ticket.lane] += len(ticket)

    def wait_s(self, lane: Lane) -> float:
        """How long a request that comes now will wait: for so many batches as its lane needs, each
        as long as those of late. Most of a batch is its sync, which all that waits shares."""
        batches = math.ceil(self.waiting[lane] / max(1, int(self._most * PARTS[lane])))
        return batches * self._batch_s

    def _full(self, lane: Lane, why: str) -> Overloaded:
        self.refused[lane] += 1
        return Overloaded(lane, why=why, retry_after_s=max(0.05, self.wait_s(lane)))

    def take(self, most: int, now_s: float) -> tuple[list[Ticket], list[Ticket]]:
        """Requests for a batch of about `most` commands, each lane's part first; and those that
        have waited too long to be done."""
        self._most = most
        taken: list[Ticket] = []
        late: list[Ticket] = []
        left = most
        for lane in Lane:
            left -= self._take(lane, max(1, int(most * PARTS[lane])), now_s, taken, late)
        for lane in Lane:
            if left > 0:
                left -= self._take(lane, left, now_s, taken, late)
        return taken, late

    def _take(
        self, lane: Lane, most: int, now_s: float, taken: list[Ticket], late: list[Ticket]
    ) -> int:
        queue, count = self._queues[lane], 0
        while queue and (count == 0 or count + len(queue[0]) <= most):
            ticket = queue.popleft()
            self.waiting[lane] -= len(ticket)
            if ticket.given_up():
                continue
            if now_s - ticket.entered_s > _LATE * self.patience_s:
                self.refused[lane] += 1
                late.append(ticket)
                continue
            taken.append(ticket)
            count += len(ticket)
        return count

    def done(self, commands: int, seconds: float) -> None:
        """Note how long a batch took."""
        self._batch_s += 0.2 * (seconds - self._batch_s)
        for one in self.watchers:
            one(commands, seconds)

    def drain(self) -> list[Ticket]:
        """Everything that waits; nothing does then."""
        found = [ticket for queue in self._queues.values() for ticket in queue]
        for lane, queue in self._queues.items():
            queue.clear()
            self.waiting[lane] = 0
        return found
