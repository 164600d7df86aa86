"""What a plan is: data that can be printed, tested and refused, before anything is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import structs

from solvent.engine.state import State
from solvent.messages.fields import Command

ACTOR: Final = "tender"
"""Who asks for what is done about accounts, unless somebody else is named."""
UNSEALED: Final = "-"
"""The key of a command that is planned and not sent yet."""


@dataclass(frozen=True, slots=True)
class Row:
    """One command of a plan, and why it comes, with its numbers."""

    why: str
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done about one account now.

    Attributes:
        stage: `call`, `cancel`, `begin`, one of the rulebook's stages, `debt`, `end`, or `dispose`
            where the insurance fund sells.
        rule: what of the rulebook asks for it.
        pool: the isolated contract that it is about; empty for all that is not isolated.
        equity_micro, maintenance_micro: where the pool stood, in millionths of a dollar.
        touches: what no two plans may use at once: contracts and funds.
        open: what nobody pays or takes, in words; empty where everything has found its place.
    """

    account: str
    stage: str
    rule: str
    rows: tuple[Row, ...]
    pool: str = ""
    equity_micro: int = 0
    maintenance_micro: int = 0
    touches: frozenset[tuple[str, int]] = field(default=frozenset())
    open: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The plan as a document; commands without key and actor."""
        return {
            "account": self.account, "stage": self.stage, "rule": self.rule, "pool": self.pool,
            "equity_micro": self.equity_micro, "maintenance_micro": self.maintenance_micro,
            "steps": [{"why": row.why, **_told(row.command)} for row in self.rows],
            "open": self.open,
        }  # fmt: skip


def _told(command: Command) -> dict[str, Any]:
    fields = structs.asdict(command)
    del fields["key"], fields["actor"]
    if "shares" in fields:
        fields["shares"] = [[share.account, share.amount] for share in fields["shares"]]
    return {"do": type(command).__struct_config__.tag, **fields}


def row(why: str, kind: type[Command], **fields: Any) -> Row:
    """A row with a command that has no key yet."""
    return Row(why, kind(key=UNSEALED, actor=ACTOR, **fields))


def sealed(state: State, plans: list[Plan], actor: str) -> list[Command]:
    """All commands of plans in order, each with a key that was never used: where history stands,
    and its place after that."""
    sequence = state.log.sequence
    told = [one.command for plan in plans for one in plan.rows]
    return [
        structs.replace(command, key=f"tend {sequence}.{place}", actor=actor)
        for place, command in enumerate(told)
    ]


def dollars(micro: int) -> str:
    """Millionths of a dollar in words.

    >>> dollars(1_234_567_890), dollars(-5)
    ('1,234.57', '-0.00')
    """
    return f"{micro / 1_000_000:,.2f}"
