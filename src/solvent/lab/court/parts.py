"""What each part of a rulebook costs: its mean margin without that part, over a benchmark's.

A part is a tool of a history (a floor, a buffer, a speed limit) or a parameter that is set to 0.
Parts work together, so what each saves alone does not add up to what all save.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from solvent.errors import RulebookError
from solvent.lab.court.books import STYLES, Style
from solvent.lab.court.judge import Bench
from solvent.lab.court.parameters import with_number, without_item
from solvent.lab.court.result import Cell, Which
from solvent.lab.court.run import backtest
from solvent.margining.compile import AnyRulebook
from solvent.margining.rulebook import Rulebook
from solvent.scenarios.history.series import Series

DAYS: Final = 40
"""Days on which parts are taken away, evenly through the history."""


def without_each(rulebook: AnyRulebook) -> dict[str, AnyRulebook]:
    """Words for a part → the rulebook without it; parts that it cannot be without are left out."""
    made: dict[str, AnyRulebook] = {}
    content = rulebook.text.model_dump(by_alias=True, exclude_unset=True)
    if isinstance(rulebook, Rulebook):
        for name, told in content.get("scenarios", {}).items():
            tools = (told.get("history") or {}).get("tools") or []
            for place, tool in enumerate(tools):
                path = f"scenarios.{name}.history.tools"
                made[f"{name}'s {tool['tool']}"] = without_item(rulebook, path, place)
    for name, number in content.get("parameters", {}).items():
        if not number:
            continue
        try:
            made[name] = with_number(rulebook, f"parameters.{name}", 0.0)
        except RulebookError:
            continue
    return made


def costs(
    bench: Bench,
    rulebook: int,
    benchmark: int,
    portfolios: Sequence[int],
    *,
    history: Series | None,
    contracts: Sequence[Style] = STYLES,
    which: Which = "initial",
    days: int = DAYS,
) -> dict[int, tuple[int, dict[str, float]]]:
    """Portfolio → days looked at, and words for a part → mean margin without it over the
    benchmark's ("": with all parts). A portfolio of which nothing is known on both is left out.
    """
    variants = {"": bench.rulebooks[rulebook], **without_each(bench.rulebooks[rulebook])}
    told: list[Any] = [bench.rulebooks[benchmark], *variants.values()]
    found = backtest(
        told, bench.history.every(max(1, len(bench.history) // days)),
        [bench.portfolios[one] for one in portfolios], history=history, contracts=contracts,
    )  # fmt: skip
    asked = found.initial_micro if which == "initial" else found.maintenance_micro
    rate = asked / np.maximum(found.gross_micro, 1)
    made = {}
    for place, portfolio in enumerate(portfolios):
        known = np.flatnonzero((found.state[:2, place] == Cell.JUDGED).all(axis=0))
        base = float(rate[0, place, known].sum())
        if not len(known) or base == 0.0:
            continue
        shares = {}
        for row, words in enumerate(variants, start=1):
            if bool((found.state[row, place, known] == Cell.JUDGED).all()):
                shares[words] = float(rate[row, place, known].sum()) / base
        made[portfolio] = (len(known), shares)
    return made
