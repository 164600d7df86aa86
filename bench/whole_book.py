"""Rulebooks of each family over a whole book, as ratios to the bare positions × scenarios product.

The book holds inverse and linear futures and options. A rulebook that lists less than that does all
its work on the rest as well, and ends with UNKNOWN for those accounts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.accounts import identity
from bench.harness import Candidate
from solvent import api
from solvent.feeds.library import shipped_levels, shipped_rulebook
from solvent.feeds.synthetic_book import generate_book
from solvent.feeds.synthetic_market import generate_market
from solvent.instruments.contract import moment_of
from solvent.margining.evaluate import arrange, requirements
from solvent.margining.levels.book import LevelsPlan, evaluate
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rulebook import LevelsRulebook, in_force
from solvent.margining.plan import Plan
from solvent.market import Snapshot
from solvent.risk import Book, Layout, RiskArrays, publish
from solvent.risk.product import scan

ACCOUNTS = 200_000
FORMULAS = (
    "binance-usdm", "bybit-uta", "paradex-xm", "derive-srm", "paradex-pm", "okx-pm", "derive-pmrm2",
    "im-schedule",
)  # fmt: skip
"""Rulebooks of formulas at levels that are timed: each family has one."""


@dataclass(frozen=True)
class Work:
    """One book, arranged for each rulebook."""

    book: Book
    plans: dict[str, Plan]
    layouts: dict[str, Layout]
    formulas: dict[str, LevelsPlan]

    @classmethod
    def make(cls) -> Work:
        snapshot = generate_market(seed=1)
        book = generate_book(snapshot, accounts=ACCOUNTS, seed=1).book
        names = ("deribit-pm", "deribit-sm")
        plans = {name: api.prepare(snapshot, shipped_rulebook(name)) for name in names}
        formulas = {
            f"{name} ({rulebook.text.family})": LevelsPlan(rulebook, arrays)
            for name in FORMULAS
            for rulebook, arrays in [published(snapshot, name)]
        }
        arranged = {name: arrange(plan, book) for name, plan in plans.items()}
        return cls(book, plans, arranged, formulas)


def published(snapshot: Snapshot, name: str) -> tuple[LevelsRulebook, RiskArrays]:
    """A rulebook of formulas in force on the market's day, and the market under its scenarios."""
    rulebook = in_force(shipped_levels(name), moment_of(snapshot.as_of_ms).date())
    shocks = shocking(rulebook)
    return rulebook, publish(snapshot, sets=shocks.sets, rules=shocks.rules, tables=shocks.tables)


def bare_product(work: Work) -> object:
    """Every account's worst scenario, without maps, charges or money."""
    plan = work.plans["deribit-pm"]
    width = plan.arrays.pnl.shape[1]
    return scan(
        matrix=plan.arrays.pnl,
        columns=plan.arrays.scenarios,
        set_first=np.arange(len(work.book) + 1, dtype=np.int64),
        row_first=work.book.first,
        row_node=np.zeros(len(work.book), dtype=np.int32),
        index=work.book.instrument,
        lots=work.book.lots,
        node_map=identity(width),
    )


def candidates(work: Work) -> dict[str, Candidate]:
    """The bare product, and each rulebook on an arranged book."""
    found = {"bare product": Candidate(run=lambda: bare_product(work))}
    for name, plan in work.plans.items():
        arranged = work.layouts[name]
        found[name] = Candidate(
            run=lambda plan=plan, arranged=arranged: requirements(  # type: ignore[misc]
                plan, work.book, arranged=arranged
            )
        )
    for name, levels_plan in work.formulas.items():
        found[name] = Candidate(run=lambda plan=levels_plan: evaluate(plan, work.book))  # type: ignore[misc]
    return found
