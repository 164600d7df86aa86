"""Two persons for what changes the rules: what a proposal is, and what keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from solvent.errors import SolventError
from solvent.messages.fields import Command


class NotApproved(SolventError):
    """A proposal could not be approved; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A command that waits for a second person.

    Attributes:
        status: `waiting`, `under way`, `done`, `refused` (by the engine, with `detail`),
            `withdrawn` or `expired`.
        expires_ms: when nobody may approve it any more; 0 for never.
    """

    number: int
    what: str
    command: Command
    by: str
    approved_by: str = ""
    status: str = "waiting"
    detail: str = ""
    made_ms: int = 0
    expires_ms: int = 0


class Approvals(Protocol):
    """Keeps proposals, and carries out what two persons want."""

    async def propose(self, by: str, what: str, command: Command) -> Proposal:
        """Put a command up for approval; nothing is done yet."""

    async def approve(self, number: int, by: str) -> Proposal:
        """Carry a proposal out. Raises NotApproved: of one's own, or of one that does not wait."""

    async def withdraw(self, number: int, by: str) -> Proposal:
        """Take a proposal back. Raises NotApproved for one that does not wait."""

    async def proposals(self) -> Sequence[Proposal]:
        """The newest first."""
