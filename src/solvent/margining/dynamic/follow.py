"""From observations to announced changes: one pure step a day.

A change is announced on a day and holds from another. A tightening that is larger than `emergency`
holds at once, and is flagged; a relaxation never does. A tightening withdraws what was announced,
does not hold yet and is looser than it, where that would hold after it or less than today's is:
nobody is promised less margin in a market that has turned. A relaxation holds after all that was
announced before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np

from solvent.errors import BadInput, Problem, Reject, RulebookError
from solvent.expressions import parse
from solvent.margining.dynamic.signals import Measured, Observation, measure, told
from solvent.margining.dynamic.text import DynamicText, FollowText
from solvent.scenarios.anti_procyclical import State as ToolState

_NEAR_A_TICK: Final = 1e-9
Place = tuple[int, str]
"""Which `follow` and which key of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One announced change of one number.

    Attributes:
        what, key: the number. value: from `effective` on; of a scale, the scale.
        before: what held when it was announced. wanted: the value before ticks and bounds.
        emergency: it held at once. withdrawn: the day on which it was taken back before it held.
    """

    what: str
    key: str
    announced: date
    effective: date
    before: float
    value: float
    wanted: float
    emergency: bool = False
    withdrawn: date | None = None

    def stands(self, on: date) -> bool:
        """Whether it holds on a day."""
        return self.withdrawn is None and self.effective <= on

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it, and as it is stored."""
        return {
            "what": self.what, "key": self.key, "announced": self.announced.isoformat(),
            "effective": self.effective.isoformat(), "before": self.before, "value": self.value,
            "wanted": self.wanted, "emergency": self.emergency,
            "withdrawn": None if self.withdrawn is None else self.withdrawn.isoformat(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Change:
        """As it was stored."""
        days = {
            name: None if stored[name] is None else date.fromisoformat(stored[name])
            for name in ("announced", "effective", "withdrawn")
        }
        return cls(**{**stored, **days})


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """State of one number: its tools, when they last stepped, and every change."""

    tools: tuple[ToolState, ...]
    stepped: date | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicState:
    """Everything that a dynamic rulebook remembers; plain data.

    Attributes:
        day: of the last step. measured: (signal, key) → its state. followed: place → its state.
    """

    day: date | None = None
    measured: Mapping[tuple[str, str], Measured] = field(default_factory=dict)
    followed: Mapping[Place, Followed] = field(default_factory=dict)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every change announced so far, by day of effect."""
        every = [change for one in self.followed.values() for change in one.changes]
        return tuple(sorted(every, key=lambda one: (one.effective, one.announced)))

    def to_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "day": None if self.day is None else self.day.isoformat(),
            "measured": [[*place, one.to_dict()] for place, one in self.measured.items()],
            "followed": [
                [
                    *place,
                    {
                        "tools": [tool.to_dict() for tool in one.tools],
                        "stepped": None if one.stepped is None else one.stepped.isoformat(),
                        "changes": [change.to_dict() for change in one.changes],
                    },
                ]
                for place, one in self.followed.items()
            ],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> DynamicState:
        """As it was stored."""
        return cls(
            day=None if stored["day"] is None else date.fromisoformat(stored["day"]),
            measured={
                (name, key): Measured.from_dict(one) for name, key, one in stored["measured"]
            },
            followed={
                (int(n), key): Followed(
                    tools=tuple(ToolState.from_dict(tool) for tool in one["tools"]),
                    stepped=None if one["stepped"] is None else date.fromisoformat(one["stepped"]),
                    changes=tuple(Change.from_dict(change) for change in one["changes"]),
                )
                for n, key, one in stored["followed"]
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """One step: the state after it, what was announced, and what could not be told."""

    state: DynamicState
    announced: tuple[Change, ...]
    notes: tuple[str, ...]


Base = Mapping[Place, float]
"""What the wrapped rulebook itself says of each number on the day; of a scale, 1."""


def step(rules: DynamicText, state: DynamicState, seen: Observation, base: Base) -> Stepped:
    """One day. Raises BadInput for a day that is not after the last one."""
    if state.day is not None and seen.day <= state.day:
        raise BadInput(
            Problem(
                code=Reject.TIME_INVALID, source=f"observation of {seen.day}",
                expected=f"a day after {state.day}", found=str(seen.day),
            )
        )  # fmt: skip
    measured = dict(state.measured)
    for name, key in _measured_places(rules):
        before = measured.get((name, key), Measured())
        measured[name, key] = measure(rules.signals[name], before, key, seen)
    followed, announced, notes = dict(state.followed), [], []
    for n, one in enumerate(rules.follow):
        for key in one.keys:
            before_it = followed.get((n, key)) or Followed(tools=one.chain().start())
            raw, missing = _raw(rules, one, key, measured, seen.day, base[n, key])
            if raw is None:
                notes.append(f"{one.what} of {key}: {missing}; it stays")
                continue
            after, change = _followed(one, key, before_it, raw, seen.day, base[n, key])
            followed[n, key] = after
            announced += [change] if change is not None else []
    return Stepped(
        state=DynamicState(day=seen.day, measured=measured, followed=followed),
        announced=tuple(announced),
        notes=tuple(notes),
    )


def _measured_places(rules: DynamicText) -> list[tuple[str, str]]:
    """Signal and key of everything that some formula uses."""
    return list(
        dict.fromkeys(
            (name, one.of.get(key, key))
            for one in rules.follow
            for key in one.keys
            for name in sorted(parse(one.formula).names & rules.signals.keys())
        )
    )


def _raw(
    rules: DynamicText,
    one: FollowText,
    key: str,
    measured: Mapping[tuple[str, str], Measured],
    on: date,
    base: float,
) -> tuple[float | None, str]:
    """What the formula says; None and why where a signal is not known."""
    formula = parse(one.formula)
    values: dict[str, float] = {**rules.parameters, "base": base}
    for name in sorted(formula.names & rules.signals.keys()):
        place = (name, one.of.get(key, key))
        value = told(rules.signals[name], measured[place], on)
        if value is None:
            return None, f"signal {name} of {place[1]} is not known"
        values[name] = value
    with np.errstate(all="ignore"):
        value = float(formula(values))
    if not math.isfinite(value):
        raise RulebookError(f"{rules.name}: {one.what} of {key}: {one.formula!r} is {value}")
    # Tools compare ratios: a formula that says nothing at all asks for the least there is.
    return (value, "") if value > 0.0 else (one.tick * _NEAR_A_TICK, "")


def _followed(
    one: FollowText, key: str, before: Followed, raw: float, on: date, base: float
) -> tuple[Followed, Change | None]:
    days = float((on - before.stepped).days) if before.stepped is not None else 1.0
    tools, wanted = one.chain().step(before.tools, raw, days=days)
    after = Followed(tools=tools, stepped=on, changes=before.changes)
    value = min(max(on_tick(wanted, one), one.least), one.most)
    holds = _newest([c for c in before.changes if c.stands(on)], base)
    latest = _newest([c for c in before.changes if c.withdrawn is None], base)
    tighter = value > holds if one.tightens == "up" else value < holds
    share = abs(value - holds) / holds if holds > 0.0 else math.inf
    change = Change(
        what=one.what, key=key, announced=on, effective=on, before=holds, value=value, wanted=wanted
    )  # fmt: skip
    if one.emergency is not None and tighter and share > one.emergency:
        return _announced(after, replace(change, emergency=True), on)
    if abs(value - latest) < 0.5 * one.tick or abs(value - latest) < one.move_least * latest:
        return after, None
    last = max((c.announced for c in before.changes), default=None)
    if last is not None and (on - last).days < one.every_days:
        return after, None
    tightening = value > latest if one.tightens == "up" else value < latest
    notice = one.notice_days
    if not tightening and one.relax_notice_days is not None:
        notice = one.relax_notice_days
    change = replace(change, effective=on + timedelta(days=notice))
    if tightening:
        return _announced(after, change, on, rule=one)
    waiting = [c.effective for c in after.changes if c.withdrawn is None and c.effective > on]
    change = replace(change, effective=max([change.effective, *waiting]))
    return replace(after, changes=(*after.changes, change)), change


def _announced(
    after: Followed, change: Change, on: date, *, rule: FollowText | None = None
) -> tuple[Followed, Change]:
    """The state with a tightening, and without what it withdraws; an emergency, without a `rule`,
    withdraws everything that does not hold yet."""
    sign = -1.0 if rule is not None and rule.tightens == "down" else 1.0
    kept: list[Change] = []
    for old in after.changes:
        if old.withdrawn is None and old.effective > on:
            looser = sign * old.value < sign * change.value
            late = old.effective >= change.effective or sign * old.value < sign * change.before
            if rule is None or (looser and late):
                old = replace(old, withdrawn=on)
        kept.append(old)
    return replace(after, changes=(*kept, change)), change


def _newest(changes: list[Change], base: float) -> float:
    return max(changes, key=lambda one: (one.effective, one.announced)).value if changes else base


def on_tick(value: float, one: FollowText) -> float:
    """A value on its ticks, as exact a decimal as the tick is."""
    ticks = value / one.tick
    if one.round == "up":
        whole = math.ceil(ticks - _NEAR_A_TICK)
    elif one.round == "down":
        whole = math.floor(ticks + _NEAR_A_TICK)
    else:
        whole = round(ticks)
    return float(Decimal(repr(one.tick)) * whole)
