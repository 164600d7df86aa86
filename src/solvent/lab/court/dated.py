"""The rules of each day of a backtest, of a dynamic rulebook.

A dynamic rulebook is stepped over the prices of the history as it would have been lived: on a day
only what was observed up to the midnight before it is known, and what was announced holds from its
own day. A day's rulebook is the wrapped one with the changes that hold then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from solvent.errors import BadInput, Problem, Reject, RulebookError
from solvent.feeds.dynamic import is_dynamic, load_dynamic, observations_of
from solvent.instruments.contract import moment_of
from solvent.lab.court.parameters import assumed
from solvent.lab.court.result import Note
from solvent.margining.compile import AnyRulebook
from solvent.margining.dynamic.follow import DynamicState
from solvent.margining.dynamic.wrap import Dynamic
from solvent.margining.levels import rulebook as levels
from solvent.margining.levels.text import LevelsText
from solvent.margining.rulebook import in_force
from solvent.scenarios.history.series import Series
from solvent.units import DAY_MS


@dataclass(frozen=True, kw_only=True)
class Dated:
    """A dynamic rulebook with what holds on each date.

    Attributes:
        held: what holds, and since when, each time that it is something else.
        at: [date] number in `held`.
        on: [date] the day; the wrapped rulebook has its own rows of it too.
        assume: numbers that the wrapped text does not set.
    """

    dynamic: Dynamic
    held: tuple[DynamicState, ...]
    at: tuple[int, ...]
    on: tuple[date, ...]
    assume: Mapping[str, float] = field(default_factory=dict)
    _made: dict[tuple[int, date], AnyRulebook] = field(
        default_factory=dict, repr=False, compare=False
    )

    def rulebook(self, place: int) -> AnyRulebook:
        """The rules of a date; the last one made is kept, as neighbours share theirs."""
        state, day = self.held[self.at[place]], self.on[place]
        key = (self.at[place], self._since(day))
        if key not in self._made:
            self._made.clear()
            text = self.dynamic.rulebook(state, day)
            made: AnyRulebook = (
                levels.in_force(text, day) if isinstance(text, LevelsText) else in_force(text, day)
            )
            self._made[key] = assumed(made, self.assume) if self.assume else made
        return self._made[key]

    @property
    def digest(self) -> str:
        """Of everything that the rules of any date depend on."""
        told = sha256(self.dynamic.text.model_dump_json(by_alias=True).encode())
        told.update(self.dynamic.base.model_dump_json(by_alias=True).encode())
        told.update(repr([one.to_dict()["followed"] for one in self.held]).encode())
        told.update(repr((self.at, self.on, sorted(self.assume.items()))).encode())
        return told.hexdigest()

    def _since(self, day: date) -> date:
        """The newest day, not after `day`, from which a row of the wrapped rulebook holds."""
        days = [one for one in _turns(self.dynamic.base.model_dump()) if one <= day]
        return max(days, default=date.min)


def dynamic_of(told: object) -> Dynamic | None:
    """What `backtest` was told, where that is a dynamic rulebook or the name of one."""
    if isinstance(told, Dynamic):
        return told
    if not isinstance(told, str | Path):
        return None
    name, _, day = str(told).partition("@")
    if not is_dynamic(name):
        return None
    if day:
        raise BadInput(
            Problem(
                code=Reject.INPUT_INVALID, source=f"rulebook {told}", field="day",
                expected=f"{name} alone: it is judged by the rules of each day", found=f"@{day}",
            )
        )  # fmt: skip
    return load_dynamic(name)


def dated(
    dynamic: Dynamic,
    series: Series | None,
    time_ms: Sequence[int],
    notes: list[Note],
    *,
    assume: Mapping[str, float] | None = None,
) -> Dated:
    """Step a dynamic rulebook over a history; the rules of each of `time_ms`, ascending.

    Days observed are whole days, UTC, that had ended by a moment. What could not be told is in
    `notes`, and how many changes held.

    Raises RulebookError without a history.
    """
    name = dynamic.text.name
    if series is None:
        raise RulebookError(f"{name} follows a history: bring one (history=, --prices)")
    seen = observations_of(series)
    state, held, at, on = DynamicState(), [DynamicState()], [], []
    missing: dict[str, int] = {}
    done = unseen = 0
    for moment in time_ms:
        first = moment_of(int(moment) // DAY_MS * DAY_MS).date()
        while done < len(seen) and seen[done].day < first:
            stepped = dynamic.step(state, seen[done])
            state, done = stepped.state, done + 1
            for note in stepped.notes:
                missing[note] = missing.get(note, 0) + 1
        unseen += done == 0
        holds = _holding(state, first)
        if holds != held[-1]:
            held.append(holds)
        at.append(len(held) - 1)
        on.append(first)
    _tell(name, state, on[-1], missing, unseen, notes)
    return Dated(
        dynamic=dynamic, held=tuple(held), at=tuple(at), on=tuple(on), assume=dict(assume or {})
    )


def _holding(state: DynamicState, day: date) -> DynamicState:
    """The changes that hold on a day, and nothing else: what is only announced asks for nothing."""
    followed = {}
    for place, one in state.followed.items():
        stands = [change for change in one.changes if change.stands(day)]
        if stands:
            newest = max(stands, key=lambda change: (change.effective, change.announced))
            followed[place] = replace(one, tools=(), stepped=None, changes=(newest,))
    return DynamicState(followed=followed)


def _tell(
    name: str,
    state: DynamicState,
    last: date,
    missing: Mapping[str, int],
    unseen: int,
    notes: list[Note],
) -> None:
    held = sum(change.stands(last) for change in state.changes)
    text = f"{name}: changes of its numbers that held by the last day, each from its own day"
    notes.append(Note(code="dynamic-changes", text=text, count=held))
    if unseen:
        text = f"{name}: days before anything was observed, with the numbers of what it wraps"
        notes.append(Note(code="dynamic-unseen", text=text, count=unseen))
    for why, count in missing.items():
        notes.append(Note(code="dynamic-unknown", text=f"{name}: {why}", count=count))


def _turns(content: Any) -> set[date]:
    """Every day from which something in a rulebook's text holds."""
    if isinstance(content, Mapping):
        own = content.get("effective")
        found = {own} if isinstance(own, date) else set()
        return found.union(*(_turns(one) for one in content.values()))
    if isinstance(content, list | tuple):
        return set().union(*(_turns(one) for one in content))
    return set()
