"""Talking to a terminal: tables, notes on stderr, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from solvent.errors import Problem

WIDTH_OF_A_PIPE = 150
"""Columns when stdout is no terminal: rich would cut tables at 80."""

out = Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE)
err = Console(stderr=True)
_PROBLEMS_SHOWN = 20


def print_json(document: Any) -> None:
    """One JSON document on stdout; NaN is not JSON and is refused."""
    json.dump(document, sys.stdout, allow_nan=False, indent=1)
    sys.stdout.write("\n")


def print_problems(problems: Sequence[Problem], dropped: int) -> None:
    """What was left out, a line each, on stderr."""
    for problem in problems[:_PROBLEMS_SHOWN]:
        print(f"skipped: {problem}", file=sys.stderr)
    if dropped > min(len(problems), _PROBLEMS_SHOWN):
        print(f"skipped: {dropped} rows in all", file=sys.stderr)


def money(dollars: float | None, *, signed: bool = False) -> str:
    """Dollars for a table."""
    if dollars is None:
        return "-"
    return f"{dollars:+,.2f}" if signed else f"{dollars:,.2f}"


def table(title: str, *columns: str, left: Iterable[str] = (), folds: str = "") -> Table:
    """A table; columns are right-aligned unless named in `left`; `folds` may take several lines."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        justify = "left" if column in set(left) else "right"
        made.add_column(column, justify=justify, no_wrap=column != folds)  # type: ignore[arg-type]
    return made


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Progress]:
    """A progress display on stderr; nothing where stderr is no terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=err, transient=True, disable=quiet or not err.is_terminal
    ) as bar:
        yield bar
