"""`solvent watch --positions …`: a book of one's own under a rulebook as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvent.margining.compile import AnyPlan
    from solvent.market import Snapshot
    from solvent.solvency.by_rulebook import RulebookWatch

GAPS = (-0.5, -0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
_GAP = 0.1
"""The gap of solvency-delta, against a fund of one percent of all equity."""


def document(
    market: Sequence[Path], positions: Path, collateral: Path | None, rulebook: str, *,
    skip_bad: bool,
) -> dict[str, Any]:  # fmt: skip
    """States, the most urgent accounts, what underlyings hold, a gap ladder and solvency-delta.

    A rung reprices the whole market with every price times its factor; of the book it recomputes
    the accounts that their bands do not prove standing there.
    """
    from solvent import api
    from solvent.market.moved import moved
    from solvent.solvency.classes import State
    from solvent.solvency.exposure import solvency_delta_by_rulebook

    read = api.market_report(*market, skip_bad=skip_bad)
    names = read.snapshot.universe.underlyings
    watch = _read(read.snapshot, positions, collateral, rulebook, skip_bad=skip_bad)
    figures, accounts = watch.figures, watch.book.accounts
    found = {
        "rulebook": watch.plan.rulebook.name,
        "as_of_ms": int(watch.plan.arrays.as_of_ms),
        "unbounded": watch.unbounded,
        "accounts_with_a_band": watch.bounded,
        "accounts": {s.name.lower(): asdict(figures.total(s)) for s in State},
        "urgent": [
            {
                "account": accounts[one], "state": State(figures.state[one]).name.lower(),
                "equity_micro": int(figures.equity[one]),
                "maintenance_micro": int(figures.maintenance[one]),
            }
            for one in figures.urgent(20).tolist()
        ],
        "underlyings": {
            name: {s.name.lower(): figures.at_node(node, s) for s in State}
            for node, name in enumerate(names) if node < watch.nodes
        },
        "problems": [str(problem) for problem in read.problems],
    }  # fmt: skip

    def at(**factors: float) -> AnyPlan:
        return api.prepare(moved(read.snapshot, factors), rulebook)

    rungs = []
    for gap in GAPS:
        shifted = watch.plan if gap == 0.0 else at(**dict.fromkeys(names, 1.0 + gap))
        made = asdict(watch.rung(shifted, gap))
        rungs.append(made | {"skipped": len(accounts) - made["recomputed"]})
    deltas = {}
    buffer = max(sum(figures.total(s).equity for s in State), 0) // 100
    for node, name in enumerate(names):
        ends = at(**{name: 1.0 - _GAP}), at(**{name: 1.0 + _GAP})
        deltas[name] = asdict(
            solvency_delta_by_rulebook(
                watch, node, ends=ends, buffer=buffer, limit_ppm=250_000, gap=_GAP
            )
        )
    return {**found, "ladder": rungs, "solvency_delta": deltas}


def _read(
    snapshot: Snapshot, positions: Path, collateral: Path | None, rulebook: str, *, skip_bad: bool
) -> RulebookWatch:
    from solvent import api
    from solvent.feeds import positions as feed
    from solvent.margining.levels.book import Balances
    from solvent.margining.levels.held import priced
    from solvent.solvency.by_rulebook import RulebookWatch

    plan = api.prepare(snapshot, rulebook)
    told = api.read_positions(positions, skip_bad=skip_bad)
    resolved = feed.resolve(
        told, plan.arrays.universe, plan.arrays.as_of_ms, hedged=(), skip_bad=skip_bad
    )
    book, balances = resolved.book, Balances.none()
    if collateral is not None:
        read = feed.read_collateral(collateral, skip_bad=skip_bad, accounts=told.accounts)
        owned = read.collateral
        book = api.with_accounts(book, read.accounts.names)
        balances = priced(
            plan.arrays, account=owned.account, asset=owned.asset, amount=owned.amount
        )
    return RulebookWatch(plan, book, balances)


def show(found: dict[str, Any]) -> None:
    """The document as tables."""
    from rich.markup import escape

    from solvent.cli import console

    table = console.table(
        "accounts", "state", "accounts", "equity $", "shortfall $", left=("state",)
    )
    for name, total in found["accounts"].items():
        table.add_row(
            name, f"{total['accounts']:,}", f"{total['equity'] / 1e6:,.0f}",
            f"{total['shortfall'] / 1e6:,.0f}",
        )  # fmt: skip
    console.out.print(table)
    table = console.table(
        "most urgent", "account", "state", "equity $", "maintenance $", left=("account", "state")
    )
    for one in found["urgent"]:
        table.add_row(
            escape(one["account"]), one["state"], f"{one['equity_micro'] / 1e6:,.2f}",
            f"{one['maintenance_micro'] / 1e6:,.2f}",
        )  # fmt: skip
    console.out.print(table)
    table = console.table(
        "gap ladder, all prices", "gap", "fallen", "unknown", "shortfall $", "recomputed", "skipped"
    )
    for one in found["ladder"]:
        table.add_row(
            f"{one['gap']:+.0%}", f"{one['fallen']:,}", f"{one['unknown']:,}",
            f"{one['shortfall'] / 1e6:,.0f}", f"{one['recomputed']:,}", f"{one['skipped']:,}",
        )  # fmt: skip
    console.out.print(table)
    table = console.table(
        "solvency-delta, accounts near ruin", "underlying", "accounts", "delta $",
        f"{_GAP:.0%} gap loses", "hedge $", left=("underlying",),
    )  # fmt: skip
    for name, one in found["solvency_delta"].items():
        table.add_row(
            escape(name), f"{one['accounts']:,}", f"{one['delta'] / 1e6:,.0f}",
            f"{one['share']:.1%}", f"{one['hedge'] / 1e6:,.0f}",
        )  # fmt: skip
    console.out.print(table)
    if found["unbounded"]:
        console.out.print(f"all accounts are recomputed: {escape(found['unbounded'])}")
    else:
        console.out.print(f"accounts with a band: {found['accounts_with_a_band']:,}")
