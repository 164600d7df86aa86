"""What if, for one account on the page: another trade, other prices, before and after at once.

Both are the rulebook's own margin of the whole account (`whatif.Desk`), on the market that was
published last and on that market moved. Dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from solvent.dashboard.gaps import Shift, everywhere, shifted
from solvent.dashboard.holding import AccountNow, holding_of
from solvent.errors import BadInput, RulebookError
from solvent.market import Snapshot
from solvent.whatif import Desk, Holding, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Before and after; `reason` says why there is no answer."""

    before: State | None
    after: State | None
    reason: str = ""


def ask(
    now: AccountNow, market: Snapshot, rulebook: Any, *, add: Mapping[str, float], spot: float,
    vol: float,
) -> Asked:  # fmt: skip
    """Add sizes by symbol at the mark, move all prices by a share and volatilities by a factor.

    The trade is done at the prices of now, so that what moves afterwards is gained or lost on it.
    """
    try:
        holding = holding_of(now, market)
        desk = Desk(holding, market, rulebook, also=add)
        changed = _traded(desk, holding, add)
        before, after = desk.after_each([holding, changed])
        if spot or vol != 1.0:
            moves = everywhere(desk.market, 1.0 + spot)
            there = shifted(desk.market, Shift(spot=moves, vol=vol))
            after = Desk(changed, there, desk.rulebook).now()
    except (BadInput, RulebookError) as fault:
        return Asked(before=None, after=None, reason=str(fault))
    return Asked(before=before, after=after, reason=before.reason or after.reason)


def _traded(desk: Desk, holding: Holding, add: Mapping[str, float]) -> Holding:
    """After trades at the marks of now: a future enters there, an option's premium is paid."""
    universe = desk.market.universe
    premiums: dict[str, float] = {}
    marks: dict[str, float] = {}
    for name, size in add.items():
        row = universe.row(name)
        assert row is not None, "the desk was made with it"
        mark = float(desk.market.mark[row])
        if universe.is_option[row]:
            asset = universe.settlements[universe.settlement[row]]
            premiums[asset] = premiums.get(asset, 0.0) - size * mark
        else:
            marks[name] = mark
    changed = holding.changed(add=add, deposit=premiums)
    positions = {
        name: (size, marks.get(name.lstrip("+")) if entry is None else entry)
        for name, (size, entry) in changed.positions.items()
    }
    return replace(changed, positions=positions)
