"""Two persons for what changes the rules: one proposes, another approves, then it is done."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from solvent.host import Answer
from solvent.messages.fields import Command
from solvent.outcomes import refusal_of
from solvent.service.approvals import Approvals, NotApproved, Proposal
from solvent.service.venue import Venue

__all__ = ["Approvals", "NotApproved", "Proposal", "TwoPersons"]

KEPT: Final = 50


class TwoPersons:
    """Proposals of this process: a restart forgets those that wait, and none is done by it."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._numbers = itertools.count(1)
        self._kept: dict[int, Proposal] = {}

    async def propose(self, by: str, what: str, command: Command) -> Proposal:
        """Put a command up for approval."""
        found = Proposal(number=next(self._numbers), what=what, command=command, by=by)
        self._kept[found.number] = found
        while len(self._kept) > KEPT:
            self._kept.pop(next(iter(self._kept)))
        return found

    async def approve(self, number: int, by: str) -> Proposal:
        """Carry a proposal out, for a person who is not the one that proposed it."""
        found = self._waiting(number)
        if found.by == by:
            raise NotApproved(f"proposal {number}: expected another person than {by}")
        # Nobody approves twice, whatever the engine takes its time for.
        self._kept[number] = replace(found, approved_by=by, status="under way")
        try:
            (answer,) = await self._venue.submit([found.command])
        except BaseException:
            self._kept[number] = found
            raise
        self._kept[number] = _carried_out(self._kept[number], answer)
        return self._kept[number]

    async def withdraw(self, number: int, by: str) -> Proposal:
        """Take a proposal back."""
        found = self._waiting(number)
        self._kept[number] = replace(found, status="withdrawn", approved_by=by)
        return self._kept[number]

    async def proposals(self) -> Sequence[Proposal]:
        """The newest first."""
        return list(reversed(self._kept.values()))

    def _waiting(self, number: int) -> Proposal:
        found = self._kept.get(number)
        if found is None or found.status != "waiting":
            status = "none" if found is None else found.status
            raise NotApproved(f"proposal {number}: expected one that waits, found {status}")
        return found


def _carried_out(found: Proposal, answer: Answer) -> Proposal:
    if answer.accepted:
        return replace(found, status="done")
    return replace(found, status="refused", detail=refusal_of(answer.events))
