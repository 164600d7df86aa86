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
from solvent.margining.requirement import Requirements
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


def closing_costs(
    subject: Subject, market: Snapshot, coins: Sequence[CoinLiquidity], *,
    known: NDArray[np.bool_] | None = None,
) -> Int64:  # fmt: skip
    """[account] what closing all that it holds would cost on a market, in millionths of a dollar.

    Raises BadInput for a coin that is held and whose liquidity is not told, and for an account for
    which the charges give no number: it would else close for nothing. `known`: [account] those of
    which something is said at all (all unless told); the others cost 0 where it has no number.
    """
    costs, untold = costs_told(subject, market, coins)
    for account in sorted(untold):
        if known is None or known[account]:
            raise BadInput(
                Problem(
                    code=Reject.PARAMETER_UNSET, source="liquidity",
                    expected="a cost of closing for all that is held",
                    found=f"account {subject.names[account]}: {untold[account]}",
                )
            )  # fmt: skip
    return costs


def costs_told(
    subject: Subject, market: Snapshot, coins: Sequence[CoinLiquidity]
) -> tuple[Int64, dict[int, str]]:
    """[account] the same costs, 0 where the charges give no number; and account → why they do not.

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
    costs, first = [np.zeros(0, dtype=np.int64)], 0
    untold: dict[int, str] = {}
    for one in subject.groups:
        book = one.books.book
        needed = requirements(plan, book, threads=1)
        reasons = _untold(plan, needed)
        mine = np.array(needed.initial, dtype=np.int64)
        mine[list(reasons)] = 0
        costs.append(mine)
        untold |= {first + account: reason for account, reason in reasons.items()}
        first += len(book)
    return np.concatenate(costs), untold


def _untold(plan: Plan, needed: Requirements) -> dict[int, str]:
    reasons = dict(needed.undefined)
    for account in np.flatnonzero(needed.refused >= 0).tolist():
        row = int(needed.layout.instrument[needed.refused[account]])
        reasons[account] = plan.refusal[row]
    return reasons


def read_liquidity(
    bars: Mapping[str, str | Path], chain: Snapshot | None = None
) -> tuple[tuple[CoinLiquidity, ...], tuple[str, ...]]:
    """Coins' liquidity from files of bars (by coin) and a chain's quotes; and what was assumed."""
    from solvent.feeds.bars import read_bars
    from solvent.lab.liquidity_report import coin_liquidity

    found = {name: coin_liquidity(name, read_bars(path), chain) for name, path in bars.items()}
    notes = dict.fromkeys(note for one in found.values() for note in one.notes)
    return tuple(one.liquidity for one in found.values()), tuple(notes)
