"""One reconciliation from what a user names: a venue's journal or files, against files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from solvent.feeds.accounts.fetch import Fetched
from solvent.journal import Journal
from solvent.reconcile.lines import Statement
from solvent.reconcile.match import Report, compare
from solvent.reconcile.movements import Movements, movements_of
from solvent.reconcile.ours import ours_of
from solvent.reconcile.theirs import read_statement, statement_of
from solvent.reconcile.tolerances import Tolerances
from solvent.recovery import recovered


def is_venue(told: str) -> bool:
    """Whether a word names a journal: a directory, or a database of PostgreSQL."""
    return told.startswith("postgresql") or Path(told).is_dir()


def ours_and_movements(
    told: Sequence[str], *, account: str = ""
) -> tuple[Statement, Movements, dict[str, int]]:
    """Our side, what has moved on it, and decimals of its assets. Of files nothing has moved."""
    if len(told) == 1 and is_venue(told[0]):
        with Journal.open(told[0], read_only=True) as journal:
            state = recovered(journal)
            rows = journal.read(until=state.log.sequence, verify=False)
            return ours_of(state, told[0]), movements_of(state, rows), dict(state.assets)
    return read_statement(told, account=account), Movements(), {}


def reconcile(
    ours: Sequence[str],
    against: Sequence[str],
    *,
    tolerances: Tolerances | None = None,
    account: str = "",
    as_of_ms: int | None = None,
    fetched: Fetched | None = None,
) -> Report:
    """Read both sides and compare them. `account`: it alone, and whose a file is that names nobody.

    `as_of_ms`: of what tells no time. `fetched`: a venue's API is what we are held against, and no
    files. Raises BadInput naming file, row and field.
    """
    mine, moved, assets = ours_and_movements(ours, account=account)
    contracts = {key.name for key in mine.lines if key.kind in ("position", "mark")}
    if fetched is not None:
        theirs = statement_of(fetched, account, assets)
    else:
        theirs = read_statement(
            against, account=account, contracts=contracts | mine.unit_sizes.keys(),
            assets=assets, as_of_ms=as_of_ms,
        )  # fmt: skip
    only = frozenset({account}) if account else frozenset()
    return compare(mine, theirs, tolerances=tolerances, movements=moved, accounts=only)
