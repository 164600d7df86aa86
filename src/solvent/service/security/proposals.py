"""Proposals that outlive the process: one person proposes, another approves, the engine does it.

A proposal's command has a key of its own, so the engine does it once, however often it is asked:
what was under way when the process stopped is asked again at the next start.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from solvent.errors import check
from solvent.host import Answer, clock_ms
from solvent.messages.codec import decode_command, encode_command
from solvent.messages.fields import Command
from solvent.outcomes import refusal_of
from solvent.service.approvals import NotApproved, Proposal
from solvent.service.security.audit import Audit
from solvent.service.security.keys import bad
from solvent.service.security.vault import Vault
from solvent.service.venue import Venue

OPEN_S: Final = 86_400
"""For so long a proposal may be approved."""
SHOWN: Final = 100
WAITING_MAX: Final = 1_000
_COLUMNS: Final = (
    "number, what, command, by_whom, made_ms, expires_ms, approved_by, status, detail, seal"
)


class Proposals:
    """`approvals.Approvals`, in a vault."""

    def __init__(
        self, vault: Vault, venue: Venue, *, open_s: int = OPEN_S,
        clock: Callable[[], int] = clock_ms,
    ) -> None:  # fmt: skip
        self._vault, self._venue, self._audit = vault, venue, Audit(vault)
        self._open_ms, self._clock = 1_000 * open_s, clock

    async def propose(self, by: str, what: str, command: Command) -> Proposal:
        """Put a command up for approval, as its proposer's and with a key of its own."""
        if not 1 <= len(what) <= 200:
            raise bad("what", "1 to 200 letters", str(len(what)))
        key = f"proposal {secrets.token_hex(8)}"
        named = msgspec.structs.replace(command, actor=by, key=key)
        # Whoever approves reads what will be done, whatever its proposer calls it.
        told = f"{command.__struct_config__.tag}: {what}"
        return await asyncio.to_thread(self._proposed, by, told, named)

    def _proposed(self, by: str, what: str, command: Command) -> Proposal:
        now_ms = self._clock()
        with self._vault.transaction() as db:
            (waiting,) = db.execute(
                "SELECT COUNT(*) FROM proposals WHERE status='waiting' AND expires_ms>?", (now_ms,)
            ).fetchone()
            if waiting >= WAITING_MAX:
                raise NotApproved(f"{waiting} proposals wait already: decide some of them first")
            (last,) = db.execute("SELECT COALESCE(MAX(number), 0) FROM proposals").fetchone()
            made = Proposal(
                number=last + 1, what=what, command=command, by=by, made_ms=now_ms,
                expires_ms=now_ms + self._open_ms,
            )  # fmt: skip
            values = _row(made)
            db.execute(
                f"INSERT INTO proposals ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",
                (*values, self._seal(values)),
            )
        self._note(made, by, "proposed")
        return made

    async def approve(self, number: int, by: str) -> Proposal:
        """Carry a proposal out, for a person who is not the one that proposed it."""
        found = await asyncio.to_thread(self._decided, number, by, "under way")
        return await self._carry_out(found)

    async def withdraw(self, number: int, by: str) -> Proposal:
        """Take a proposal back."""
        return await asyncio.to_thread(self._decided, number, by, "withdrawn")

    async def proposals(self) -> Sequence[Proposal]:
        """The newest first."""
        return await asyncio.to_thread(self._newest)

    async def resume(self) -> int:
        """Ask again for what was under way when the process stopped; how many there were."""
        rows = self._vault.rows(f"SELECT {_COLUMNS} FROM proposals WHERE status='under way'")
        for row in rows:
            await self._carry_out(self._read(row))
        return len(rows)

    async def _carry_out(self, found: Proposal) -> Proposal:
        (answer,) = await self._venue.submit([found.command])
        return await asyncio.to_thread(self._ended, found, answer)

    def _ended(self, found: Proposal, answer: Answer) -> Proposal:
        status = "done" if answer.accepted else "refused"
        detail = "" if answer.accepted else refusal_of(answer.events)
        made = self._changed(found, status=status, detail=detail[:500])
        self._note(made, found.approved_by, status)
        return made

    def _note(self, one: Proposal, who: str, outcome: str) -> None:
        """Whoever decides, by a route or on a page: it is recorded with what it is about."""
        told = f"proposal {one.number}, {one.what}"
        whose = str(getattr(one.command, "account", ""))
        self._audit.add(time_ms=self._clock(), who=who, what=told, whose=whose, outcome=outcome)

    def _decided(self, number: int, by: str, status: str) -> Proposal:
        """Change one that waits, so that nobody else does."""
        with self._vault.transaction() as db:
            row = db.execute(
                f"SELECT {_COLUMNS} FROM proposals WHERE number=?",
                (number,),
            ).fetchone()
            found = None if row is None else self._read(row)
            if found is None or found.status != "waiting":
                told = "none" if found is None else found.status
                raise NotApproved(f"proposal {number}: expected one that waits, found {told}")
            if status == "under way" and found.by == by:
                raise NotApproved(f"proposal {number}: expected another person than {by}")
            made = self._change(db, found, status=status, approved_by=by)
        self._note(made, by, "approved" if status == "under way" else status)
        return made

    def _changed(self, found: Proposal, *, status: str, detail: str) -> Proposal:
        with self._vault.transaction() as db:
            return self._change(db, found, status=status, detail=detail)

    def _change(self, db: sqlite3.Connection, found: Proposal, **values: str) -> Proposal:
        made = _replaced(found, **values)
        row = _row(made)
        changed = db.execute(
            "UPDATE proposals SET approved_by=?, status=?, detail=?, seal=? WHERE number=?",
            (made.approved_by, made.status, made.detail, self._seal(row), made.number),
        ).rowcount
        check(changed == 1, "one proposal is changed", made.number, changed)
        return made

    def _newest(self) -> list[Proposal]:
        rows = self._vault.rows(
            f"SELECT {_COLUMNS} FROM proposals ORDER BY number DESC LIMIT ?",
            SHOWN,
        )
        return [self._read(row) for row in rows]

    def _read(self, row: sqlite3.Row) -> Proposal:
        """A row as it is now. Raises NotApproved for one that somebody else has written."""
        if not self._vault.sealed("proposal", row):
            raise NotApproved(f"proposal {row['number']} is not as it was made")
        status = row["status"]
        if status == "waiting" and self._clock() >= row["expires_ms"]:
            status = "expired"
        return Proposal(
            number=row["number"], what=row["what"], command=decode_command(bytes(row["command"])),
            by=row["by_whom"], approved_by=row["approved_by"], status=status, detail=row["detail"],
            made_ms=row["made_ms"], expires_ms=row["expires_ms"],
        )  # fmt: skip

    def _seal(self, values: Sequence[object]) -> str:
        told = [one.hex() if isinstance(one, bytes) else one for one in values]
        return self._vault.seal("proposal", told)


def _row(one: Proposal) -> tuple[object, ...]:
    return (
        one.number, one.what, encode_command(one.command), one.by, one.made_ms, one.expires_ms,
        one.approved_by, one.status, one.detail,
    )  # fmt: skip


def _replaced(one: Proposal, **values: str) -> Proposal:
    return replace(one, **values)  # type: ignore[arg-type]
