"""`sv.stress` and `sv.reverse_stress`: a book or a venue under scenarios, and what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solvent import api
from solvent.engine.state import State
from solvent.errors import BadInput, Problem, Reject
from solvent.host import Engine
from solvent.lab.stress import factors, run
from solvent.lab.stress.closing import read_liquidity
from solvent.lab.stress.ladders import LadderKind, Ladders, ladders
from solvent.lab.stress.reverse import REACH, Goal, Reversal, reverse
from solvent.lab.stress.scenario import Scenario, load_scenario, scenario_names
from solvent.lab.stress.subject import Subject, book_subject, last_market, venue_subject
from solvent.margining.liquidity import CoinLiquidity
from solvent.market import Snapshot
from solvent.units import MICRO

Who = Any
"""A subject, an engine or its state, or positions as `sv.margin` takes them."""


def subject_of(
    who: Who, market: Any = None, rulebook: api.RulebookLike | None = None, *,
    collateral: Any = None, orders: Any = None, modes: Any = None, inputs: Any = None,
    joint: api.Joint = None, history: api.HistoryLike = None, fund: float | None = None,
    members: Mapping[str, str] | None = None,
) -> Subject:  # fmt: skip
    """Who is stressed, laid out once: worth keeping where several things are asked.

    Args:
        who: positions as `sv.margin` takes them; or an engine, or its state, whose accounts stand
            under their own rulebooks (then only `market`, `history` and `fund` are taken).
        market: a snapshot or paths; of an engine the one that it published last.
        rulebook: deribit-pm where none is told.
        history: of which rulebooks with joint scenarios make them.
        fund: dollars that cover shortfalls; of a venue its insurance fund.
        members: account → member that answers for it.
    """
    if isinstance(who, Subject):
        return who
    micro = None if fund is None else _micro(fund)
    if isinstance(who, Engine | State):
        state = who.state if isinstance(who, Engine) else who
        if market is None and isinstance(who, Engine):
            market = last_market(who.journal, state)
        there = _read(market)
        shocks = {
            name: api.joint_shocks(rules.rulebook, there, joint=joint, history=history)
            for name, rules in state.rules.items()
        }
        return venue_subject(state, there, fund_micro=micro, joint=shocks)
    return book_subject(
        who, _read(market), rulebook or api.DEFAULT_RULEBOOK, collateral=collateral, orders=orders,
        modes=modes, inputs=inputs, joint=joint, history=history, fund_micro=micro or 0,
        members=members,
    )  # fmt: skip


def stress(
    who: Who, market: Any = None, scenarios: Sequence[str | Path | Scenario] | None = None, *,
    rulebook: api.RulebookLike | None = None, collateral: Any = None, orders: Any = None,
    modes: Any = None, inputs: Any = None, history: api.HistoryLike = None,
    fund: float | None = None, members: Mapping[str, str] | None = None,
    liquidity: Sequence[CoinLiquidity] | Mapping[str, str | Path] | None = None,
    scale: float = 1.0, progress: Callable[[str], object] | None = None,
) -> run.Stressed:  # fmt: skip
    """Every account after each scenario, by a full re-margin of the shocked market.

    Args:
        who, market, rulebook, collateral, orders, modes, inputs, fund, members: see `subject_of`.
        scenarios: names of shipped ones, paths to a user's .toml, or scenarios; without it all
            that ship (those made of a history only where one is told).
        history: prices (and surfaces) of which factors and jumps are made, and joint scenarios of
            rulebooks.
        liquidity: of the coins that are held, or their bars by coin: who is liquidated then pays
            for being closed out.
        scale: every scenario so many times as far, in logs.

    Raises BadInput before anything is computed for scenarios that cannot be read or do not fit.
    """
    series = api.read_history(history)
    chosen = chosen_scenarios(scenarios, has_history=series is not None)
    subject = subject_of(
        who, market, rulebook, collateral=collateral, orders=orders, modes=modes, inputs=inputs,
        history=series, fund=fund, members=members,
    )  # fmt: skip
    coins = liquidity
    if isinstance(coins, Mapping):
        coins, _ = read_liquidity(coins, subject.market)
    return run.run(subject, chosen, history=series, liquidity=coins, scale=scale, progress=progress)


def chosen_scenarios(
    told: Sequence[str | Path | Scenario] | None, *, has_history: bool
) -> list[Scenario]:
    """Scenarios by name, path or themselves; all that ship where none is told.

    Raises BadInput for one that cannot be read, and where a name stands twice.
    """
    if told is None:
        shipped = [load_scenario(name) for name in scenario_names()]
        return [one for one in shipped if has_history or not one.needs_history]
    found = [one if isinstance(one, Scenario) else load_scenario(one) for one in told]
    names = [one.name for one in found]
    if not names or len(set(names)) < len(names):
        raise BadInput(
            Problem(code=Reject.INPUT_INVALID, source="scenarios", found=", ".join(names) or "none",
                    expected="one scenario or more, each name once")
        )  # fmt: skip
    return found


def reverse_stress(
    who: Who, market: Any = None, goal: Goal | str = Goal.LIQUIDATED, *, history: api.HistoryLike,
    rulebook: api.RulebookLike | None = None, collateral: Any = None, orders: Any = None,
    modes: Any = None, inputs: Any = None, fund: float | None = None,
    accounts: Sequence[str] | None = None, hours: float = 24.0, volatility: bool | None = None,
    reach: float = REACH, certify: bool = True,
    liquidity: Sequence[CoinLiquidity] | None = None,
    progress: Callable[[str], object] | None = None,
) -> Reversal:  # fmt: skip
    """The nearest move, by its Mahalanobis distance under a history, that breaks a goal.

    Args:
        who, market, …: see `subject_of`. accounts: only these.
        goal: `liquidated`, `insolvent`, `margin` or `fund`; see `reverse.Goal`.
        history: prices (and surfaces) whose moves over `hours` are what is plausible.
        volatility: whether surface levels move too; where the history tells them unless told.
        reach: how far is looked, in deviations. certify: prove that nothing is nearer, where that
            can be.
    """
    word = _goal(goal)
    series = api.read_history(history)
    if series is None:
        raise BadInput(
            Problem(code=Reject.SOURCE_EMPTY, source="history", found="none",
                    expected="prices whose moves say what is plausible")
        )  # fmt: skip
    subject = subject_of(
        who, market, rulebook, collateral=collateral, orders=orders, modes=modes, inputs=inputs,
        history=series, fund=fund,
    )  # fmt: skip
    if accounts is not None:
        subject = subject.only(accounts)
    known = [name for name in subject.underlyings if name in series.names]
    if not known:
        raise BadInput(
            Problem(code=Reject.SOURCE_EMPTY, source=series.source, found="none of them",
                    expected=f"prices of {', '.join(subject.underlyings)}")
        )  # fmt: skip
    with_vol = series.has_surfaces if volatility is None else volatility
    moves = factors.measured(series, known, hours=hours, volatility=with_vol)
    return reverse(
        subject, moves, word, reach=reach, certify=certify, liquidity=liquidity, progress=progress
    )


def ladder(
    who: Who, market: Any = None, kinds: Sequence[LadderKind] | None = None, *,
    steps: Sequence[float] | None = None, **told: Any,
) -> Ladders:  # fmt: skip
    """Sensitivity ladders (`ladders.ladders`) of whoever `subject_of` takes."""
    subject = subject_of(who, market, **told)
    every: Sequence[LadderKind] = ("spot", "vol", "time", "basis", "collateral")
    return ladders(subject, kinds or every, steps=steps)


def _goal(told: Goal | str) -> Goal:
    try:
        return Goal(told)
    except ValueError:
        raise BadInput(
            Problem(code=Reject.INPUT_INVALID, source="goal", found=repr(told),
                    expected=f"one of {', '.join(Goal)}")
        ) from None  # fmt: skip


def _micro(dollars: float) -> int:
    if not 0.0 <= dollars <= 1e12:
        raise BadInput(
            Problem(code=Reject.INPUT_INVALID, source="fund", expected="dollars from 0 to 1e12",
                    found=repr(dollars))
        )  # fmt: skip
    return round(dollars * MICRO)


def _read(market: Any) -> Snapshot:
    if isinstance(market, Snapshot):
        return market
    if isinstance(market, str | Path):
        return api.read_market(market)
    if isinstance(market, list | tuple):
        return api.read_market(*market)
    raise BadInput(
        Problem(code=Reject.SOURCE_UNREADABLE, source="market", expected="a snapshot or a path",
                found=type(market).__name__)
    )  # fmt: skip
