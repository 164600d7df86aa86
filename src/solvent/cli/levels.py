"""An account under a rulebook of formulas, for a terminal: a table a level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvent.levels_answer import LevelsMargin, LevelsView, LevelView

_WIDEST = 14
"""Columns of a level beyond which the table is turned on its side."""


def print_or_dump(answer: LevelsMargin, view: LevelsView, *, as_json: bool) -> None:
    """An account explained: one document, or a table a level."""
    from rich.markup import escape

    from solvent.cli.console import out, print_json

    if as_json:
        print_json(
            {
                "account": view.account,
                "rulebook": answer.plan.rulebook.name,
                "reason": view.reason or None,
                "levels": {one.level: [dict(row) for row in one.rows] for one in view.levels},
            }
        )
        return
    out.print(f"[bold]{escape(view.account)}[/bold] under {answer.plan.rulebook.name}")
    if view.reason:
        out.print(f"[magenta]not known: {escape(view.reason)}[/magenta]")
    for one in view.levels:
        _print_level(one)


def _print_level(view: LevelView) -> None:
    from solvent.cli.console import out, table

    names = list(dict.fromkeys(name for row in view.rows for name in row))
    if len(view.rows) == 1 or len(names) > _WIDEST:
        for row in view.rows:
            shown = table(view.level, "column", "value", left=["column"])
            for name, value in row.items():
                shown.add_row(name, _text(value))
            out.print(shown)
        return
    words = [name for name in names if any(isinstance(row.get(name), str) for row in view.rows)]
    shown = table(view.level, *names, left=words)
    for row in view.rows:
        shown.add_row(*(_text(row.get(name)) for name in names))
    out.print(shown)


def _text(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return "not known"
    if isinstance(value, list):
        return f"{min(value):,.2f} … {max(value):,.2f} ({len(value)} scenarios)"
    return (
        f"{value:,.6g}"
        if isinstance(value, float) and abs(value) < 1
        else (f"{value:,.2f}" if isinstance(value, float) else escape(str(value)))
    )
