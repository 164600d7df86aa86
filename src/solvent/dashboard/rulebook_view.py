"""Rulebooks side by side: what they say, and what each would ask of everybody on this venue now."""

from __future__ import annotations

from dataclasses import dataclass

from solvent import api
from solvent.dashboard.crowd import Judged, judged
from solvent.dashboard.gaps import Room
from solvent.dashboard.venue_view import Stands, stands_of
from solvent.errors import BadInput, RulebookError
from solvent.feeds.library import differences, rulebook_names, rulebook_source, shipped_text
from solvent.host import Engine
from solvent.instruments.contract import moment_of
from solvent.market import Snapshot
from solvent.messages.commands import AdoptRulebook
from solvent.publishing import adoption
from solvent.solvency.classes import State as Class


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A rulebook on everybody of another: totals and states, or why it cannot be asked."""

    name: str
    title: str
    stands: dict[Class, Stands]
    reason: str = ""

    @property
    def total(self) -> Stands:
        """All states together."""
        rows = self.stands.values()
        return Stands(
            accounts=sum(one.accounts for one in rows),
            equity_micro=sum(one.equity_micro for one in rows),
            initial_micro=sum(one.initial_micro for one in rows),
            maintenance_micro=sum(one.maintenance_micro for one in rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two rulebooks: figures of both, and accounts that only one of them would liquidate."""

    left: Asked
    right: Asked
    only_left: int
    only_right: int
    rows: tuple[tuple[str, str, str], ...]
    """Key, left, right: where their texts differ."""


def shipped() -> dict[str, str]:
    """Name → title of every rulebook that ships."""
    return {name: f"{name} · {shipped_text(name).title}" for name in rulebook_names()}


def compare(room: Room, market: Snapshot, left: str, right: str) -> Compared:
    """Ask two rulebooks of the same accounts on the same market."""
    (one, first), (other, second) = (_asked(room, market, name) for name in (left, right))
    only_left = only_right = 0
    if first is not None and second is not None:
        only_left = int((first.found.liquidate & ~second.found.liquidate).sum())
        only_right = int((second.found.liquidate & ~first.found.liquidate).sum())
    rows = tuple((key, _cell(a), _cell(b)) for key, a, b in differences(left, right))
    return Compared(left=one, right=other, only_left=only_left, only_right=only_right, rows=rows)


def _asked(room: Room, market: Snapshot, name: str) -> tuple[Asked, Judged | None]:
    title = shipped_text(name).title
    try:
        found = judged(room.part, api.prepare(market, name))
    except (BadInput, RulebookError) as fault:
        return Asked(name=name, title=title, stands={}, reason=str(fault)), None
    return Asked(name=name, title=title, stands=stands_of([found])), found


def _cell(value: object) -> str:
    return "–" if value is None else " ".join(str(value).split())


def adoption_of(name: str, *, by: str, at_ms: int, venue: bool) -> AdoptRulebook:
    """The command that puts a shipped rulebook in force with the parameters of a day."""
    day = moment_of(at_ms).date().isoformat()
    return adoption(
        name, day=day, key=f"adopt {name} {at_ms}", actor=by, venue=venue,
        toml=rulebook_source(name),
    )  # fmt: skip


def in_force(engine: Engine) -> list[tuple[str, str, str, bool]]:
    """Name, day, digest and whether it is the venue's, of every rulebook in force; for the engine's
    thread."""
    state = engine.state
    return [
        (name, one.day, one.rulebook.digest, name == state.venue_rulebook)
        for name, one in state.rules.items()
    ]
