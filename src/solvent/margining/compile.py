"""A rulebook of either kind and risk arrays that are ready: what every account is margined with.

Nothing is priced here, so whoever holds published arrays compiles the same plan from them.
"""

from __future__ import annotations

from collections.abc import Sequence

from solvent.errors import RulebookError
from solvent.margining.levels.book import LevelsPlan
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.margining.plan import Plan, compile_plan
from solvent.margining.rulebook import Rulebook
from solvent.risk import RiskArrays
from solvent.scenarios import ScenarioSet
from solvent.scenarios.scenario import JOINT_VOL

AnyRulebook = Rulebook | LevelsRulebook
AnyPlan = Plan | LevelsPlan


def plan_of(rulebook: AnyRulebook, arrays: RiskArrays) -> AnyPlan:
    """Compile a rulebook against risk arrays, which may hold scenarios of other rulebooks besides.

    Raises RulebookError where the arrays lack scenarios of the rulebook, and where it has no finite
    number for what can be margined.
    """
    if isinstance(rulebook, LevelsRulebook):
        _check_scenarios(rulebook.name, shocking(rulebook).sets, arrays)
        return LevelsPlan(rulebook, arrays)
    _check_scenarios(rulebook.name, rulebook.sets, arrays)
    return compile_plan(rulebook, arrays)


def _check_scenarios(name: str, sets: Sequence[ScenarioSet], arrays: RiskArrays) -> None:
    """The arrays' scenarios of each set are as many, and of the same volatilities, as its own."""
    shocks = arrays.shocks
    held: dict[str, list[str]] = {}
    for of, vol in zip(shocks.set_names, shocks.vol_names, strict=True):
        held.setdefault(of, []).append(vol)
    for one in sets:
        found = held.get(one.name, [])
        wanted = [JOINT_VOL] * max(1, len(found)) if one.is_joint else [point.vol for point in one]
        if wanted != found:
            raise RulebookError(
                f"{name}: scenarios {one.name!r}: expected {len(wanted)} published risk columns, "
                f"found {len(found) if len(found) != len(wanted) else 'others'}"
            )
