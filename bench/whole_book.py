"""A rulebook over a whole book, as a ratio to the bare positions × scenarios product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.accounts import identity
from bench.harness import Candidate
from solvent import api
from solvent.feeds.library import shipped_rulebook
from solvent.feeds.synthetic_book import generate_book
from solvent.feeds.synthetic_market import generate_market
from solvent.margining.evaluate import arrange, requirements
from solvent.margining.plan import Plan
from solvent.risk import Book, Layout
from solvent.risk.product import scan

ACCOUNTS = 200_000


@dataclass(frozen=True)
class Work:
    """One book, arranged for each rulebook."""

    book: Book
    plans: dict[str, Plan]
    layouts: dict[str, Layout]

    @classmethod
    def make(cls) -> Work:
        snapshot = generate_market(seed=1)
        book = generate_book(snapshot, accounts=ACCOUNTS, seed=1).book
        names = ("deribit-pm", "deribit-sm")
        plans = {name: api.prepare(snapshot, shipped_rulebook(name)) for name in names}
        return cls(book, plans, {name: arrange(plan, book) for name, plan in plans.items()})


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
    return found
