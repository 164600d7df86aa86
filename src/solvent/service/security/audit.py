"""The record of what was privileged: appended, never changed, each row chained to the one before.

Somebody with the database alone can cut its end off, and change nothing in it unseen: the chain's
key is made of the master key. It holds names, ids and statuses, never a secret or a body.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from solvent.service.security.masking import masked
from solvent.service.security.vault import Vault

_LONGEST: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row: who did what to whose, and what came of it. `request` names the request; a row
    `let in` is written before it is worked on, another with its status after."""

    number: int
    time_ms: int
    who: str
    what: str
    whose: str
    outcome: str
    request: str

    def to_dict(self) -> dict[str, Any]:
        """As a document."""
        return asdict(self)


class Audit:
    """The record of a vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def add(
        self, *, time_ms: int, who: str, what: str, whose: str = "", outcome: str, request: str = ""
    ) -> None:
        """Append a row; durable when this returns."""
        told = tuple(masked(one)[:_LONGEST] for one in (who, what, whose, outcome, request))
        with self._vault.transaction() as db:
            last = db.execute(
                "SELECT number, chain FROM audit ORDER BY number DESC LIMIT 1"
            ).fetchone()
            number, before = (0, "") if last is None else (last["number"], last["chain"])
            values = (number + 1, time_ms, *told)
            chain = self._vault.seal("audit", [before, *values])
            db.execute(
                "INSERT INTO audit (number, time_ms, who, what, whose, outcome, request, chain) "
                "VALUES (?,?,?,?,?,?,?,?)",
                (*values, chain),
            )

    def read(self, *, after: int = 0, limit: int = 1_000) -> list[Record]:
        """Rows after a number, in order."""
        rows = self._vault.rows(
            "SELECT number, time_ms, who, what, whose, outcome, request FROM audit "
            "WHERE number>? ORDER BY number LIMIT ?",
            after, limit,
        )  # fmt: skip
        return [Record(**dict(row)) for row in rows]

    def broken_at(self) -> int | None:
        """The number of the first row that is not as it was written; None where all are."""
        before, expected = "", 1
        for row in self._vault.rows("SELECT * FROM audit ORDER BY number"):
            *values, chain = tuple(row)
            if values[0] != expected or self._vault.seal("audit", [before, *values]) != chain:
                return expected
            before, expected = chain, expected + 1
        return None
