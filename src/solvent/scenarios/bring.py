"""What a rulebook's joint sets need from whoever publishes a market: shocks, or a history of them.

A rulebook only names a joint set, or says how it is made of a history (`HistorySpec`). Here the
two meet, at the market's own moment: nothing after it is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from solvent.errors import RulebookError
from solvent.scenarios.joint import JointShocks
from solvent.scenarios.scenario import ScenarioSet

if TYPE_CHECKING:
    from solvent.scenarios.history.note import Note
    from solvent.scenarios.history.series import Series


def bring(
    sets: Sequence[ScenarioSet],
    *,
    rulebook: str,
    as_of_ms: int,
    joint: Mapping[str, JointShocks] | None = None,
    history: Series | None = None,
) -> tuple[tuple[ScenarioSet, ...], tuple[Note, ...]]:
    """Every set with its joint shocks, and what was repaired or assumed on the way.

    `joint` tells shocks by the name under which a set asks for them, or by the set's own name,
    which goes before its history. Raises RulebookError that names rulebook, set and what to bring.
    """
    told = dict(joint or {})
    made: list[ScenarioSet] = []
    notes: list[Note] = []
    used: set[str] = set()
    for one in sets:
        if not one.is_joint or one.told is not None:
            made.append(one)
            continue
        key = one.joint if one.joint in told else one.name
        if key in told:
            used.add(key)
            made.append(replace(one, told=told[key]))
        elif one.history is not None and history is not None:
            from solvent.scenarios.history import joint_shocks

            built = joint_shocks(one.history, history, as_of_ms=as_of_ms)
            notes.extend(built.notes)
            made.append(replace(one, told=built.shocks))
        else:
            raise RulebookError(_missing(rulebook, one))
    if strange := sorted(told.keys() - used):
        names = sorted({one.joint or one.name for one in sets if one.is_joint})
        raise RulebookError(
            f"{rulebook}: joint: expected shocks for {', '.join(names) or 'no set'}, found "
            f"{', '.join(strange)}"
        )
    return tuple(made), tuple(notes)


def history_needed(sets: Sequence[ScenarioSet]) -> bool:
    """Whether a set is made of a history."""
    return any(one.history is not None and one.told is None for one in sets)


def _missing(rulebook: str, one: ScenarioSet) -> str:
    if one.history is not None:
        what = "a history (history=SERIES, --history FILE) or its shocks (joint={...})"
    else:
        what = f"joint shocks (joint={{{one.joint!r}: SHOCKS}})"
    return f"{rulebook}: scenarios.{one.name}: expected {what}, found none"
