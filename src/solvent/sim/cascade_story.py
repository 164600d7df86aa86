"""What crashes came to, as a document: for a report, for JSON, for a terminal. Dollars are numbers
here: nothing is decided on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from solvent.sim.cascade import Crashed
from solvent.tending.told import REDUCING
from solvent.units import MICRO

_WHO: Final = {
    "book": "those who rest in the book", "trade": "who takes it", "auction": "bidders",
    "backstop": "the backstop", "fund": "the insurance fund", "adl": "traders of the other side",
}  # fmt: skip


def document(crashes: Sequence[Crashed], *, accounts: int, seed: int) -> dict[str, Any]:
    """All crashes, in order of their prices and regimes."""
    names = list(dict.fromkeys(one.prices.name for one in crashes))
    return {
        "accounts": accounts,
        "seed": seed,
        "stages": [one for one in REDUCING if any(_used(crash, one) for crash in crashes)],
        "crashes": [_crash([one for one in crashes if one.prices.name == name]) for name in names],
    }


def _used(crash: Crashed, stage: str) -> bool:
    return any(stage in one.reduced for one in crash.moments)


def _crash(runs: Sequence[Crashed]) -> dict[str, Any]:
    prices = runs[0].prices
    first = next(iter(prices.coins))
    return {
        "name": prices.name, "title": prices.title, "source": prices.source,
        "coins": {
            coin: {"first": path[0], "low": min(path), "last": path[-1]}
            for coin, path in prices.price.items()
        },
        "times_ms": list(prices.times_ms), "price": list(prices.price[first]), "coin": first,
        "regimes": [_regime(one) for one in runs],
    }  # fmt: skip


def _regime(run: Crashed) -> dict[str, Any]:
    dollars = {name: amount / MICRO for name, amount in run.paid.items()}
    counts = Counter(one.stage for one in run.steps)
    adl = {one.who for one in run.steps if one.stage == "adl"}
    fund_lost = sum(one.lost_micro for one in run.steps if one.stage == "fund")
    return {
        "name": run.regime.name, "title": run.regime.title, "rulebook": run.regime.rulebook,
        "open_interest": run.open_interest_micro / MICRO, "money": run.money_micro / MICRO,
        "liquidated": run.liquidated, "called": counts["call"], "cancelled": counts["cancel"],
        "deleveraged": len(adl), "adl_given_up": float(run.seized) / MICRO,
        "adl_overshoot": float(run.overshoot) / MICRO, "adl_regret": float(run.regret) / MICRO,
        "fund_first": run.moments[0].fund / MICRO, "fund_last": run.moments[-1].fund / MICRO,
        "fund_low": min(one.fund for one in run.moments) / MICRO,
        "fund_took_at": -fund_lost / MICRO,
        "paid": dollars, "uncovered": run.uncovered / MICRO,
        "fees": sum(one.fees for one in run.moments) / MICRO,
        "stages": [_stage(run, stage) for stage in REDUCING if _used(run, stage)],
        "moments": {
            "reduced": {stage: [one.reduced.get(stage, 0) / MICRO for one in run.moments]
                        for stage in REDUCING if _used(run, stage)},
            "fund": [one.fund / MICRO for one in run.moments],
            "begun": [one.begun for one in run.moments],
            "open": [one.open for one in run.moments],
        },
        "commands": run.commands, "refused": dict(run.rejected), "audits": run.audits,
        "violations": run.violations, "state_hash": run.state_hash,
    }  # fmt: skip


def _stage(run: Crashed, stage: str) -> dict[str, Any]:
    steps = [one for one in run.steps if one.stage == stage]
    return {
        "stage": stage, "to": _WHO[stage], "steps": len(steps),
        "accounts": len({one.account for one in steps}),
        "value": run.total("reduced", stage) / MICRO,
        "lost": run.total("lost", stage) / MICRO,
        "fees": sum(one.fee_micro for one in steps) / MICRO,
    }  # fmt: skip
