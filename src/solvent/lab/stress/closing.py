"""What closing accounts costs on a shocked market: the liquidity charges, as a rulebook of its own.

Spread, impact, impact on vega and concentration of `margining.liquidity`, priced on whatever market
they are asked on, so that a crash that moves deltas moves what they cost to close.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from solvent import api
from solvent.errors import BadInput, Problem, Reject
from solvent.lab.stress.subject import Subject
from solvent.margining.evaluate import requirements
from solvent.margining.fragments import merged, to_toml
from solvent.margining.liquidity import CoinLiquidity, liquidity_parts
from solvent.margining.plan import Plan
from solvent.margining.rulebook import read_rulebook
from solvent.margining.schema import RulebookText
from solvent.market import Snapshot

Int64 = NDArray[np.int64]
_BASE = {
    "schema": 1,
    "name": "closing-costs",
    "title": "What closing costs",
    "venue": "Example",
    "sources": ["margining.liquidity"],
    "scenarios": {"still": {"moves": ["0"]}},
    "nodes": {
        "expiry": {"by": ["underlying", "settlement", "expiry"]},
        "group": {"by": ["underlying", "settlement"], "numeraire": "settlement"},
        "coin": {"by": ["underlying"]},
    },
    "scans": {"still": {"scenarios": ["still"], "node": "group", "into": "coin"}},
    # The scenario itself says what collateral loses: the wrong-way charge would count it twice.
    "requirement": {
        "node": "coin",
        "initial": "spread + impact + vega_impact + concentration",
        "maintenance": "spread + impact + vega_impact + concentration",
    },
    "collateral": [{"asset": "USDC", "haircut": 0.0, "price": "par"}],
}


def closing_rulebook(coins: Sequence[CoinLiquidity]) -> RulebookText:
    """The charges of some coins as a rulebook."""
    parts = liquidity_parts(
        coins, node="coin", expiry_node="expiry", effective=date(2011, 1, 1), source="told"
    )
    text = read_rulebook(to_toml(merged(_BASE, parts)), source="closing-costs")
    assert isinstance(text, RulebookText)
    return text


def closing_costs(subject: Subject, market: Snapshot, coins: Sequence[CoinLiquidity]) -> Int64:
    """[account] what closing all that it holds would cost on a market, in millionths of a dollar.

    Raises BadInput for a coin that is held and whose liquidity is not told.
    """
    names = [subject.market.universe.underlyings[code]
             for code in np.unique(subject.market.universe.underlying[subject.held])]  # fmt: skip
    told = {one.underlying for one in coins}
    if absent := [name for name in names if name not in told]:
        raise BadInput(
            Problem(
                code=Reject.PARAMETER_UNSET, source="liquidity", found=f"none of {absent[0]}",
                expected=f"volumes and spreads of {', '.join(names)}, which are held",
            )
        )  # fmt: skip
    plan = api.prepare(market, closing_rulebook(coins))
    assert isinstance(plan, Plan)
    costs = [requirements(plan, one.books.book, threads=1).initial for one in subject.groups]
    return np.concatenate(costs) if costs else np.zeros(0, dtype=np.int64)


def read_liquidity(
    bars: Mapping[str, str | Path], chain: Snapshot | None = None
) -> tuple[tuple[CoinLiquidity, ...], tuple[str, ...]]:
    """Coins' liquidity from files of bars (by coin) and a chain's quotes; and what was assumed."""
    from solvent.feeds.bars import read_bars
    from solvent.lab.liquidity_report import coin_liquidity

    found = {name: coin_liquidity(name, read_bars(path), chain) for name, path in bars.items()}
    notes = dict.fromkeys(note for one in found.values() for note in one.notes)
    return tuple(one.liquidity for one in found.values()), tuple(notes)
