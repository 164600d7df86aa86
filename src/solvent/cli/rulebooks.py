"""`solvent rulebooks`: which there are, and what one says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.margining.levels.text import LevelsText


def rulebooks(
    name: Annotated[
        str | None, typer.Argument(help="A rulebook to show: a shipped name or a path to a .toml.")
    ] = None,
    json: options.Json = False,
) -> None:
    """List the rulebooks, or show one: its parameters, their sources, and what is not known."""
    if name is None:
        _list(as_json=json)
    else:
        _show(name, as_json=json)


def _list(*, as_json: bool) -> None:
    from solvent.cli.console import out, print_json, table
    from solvent.feeds.library import rulebook_names, shipped_text

    texts = [shipped_text(name) for name in rulebook_names()]
    if as_json:
        rows = [{"name": t.name, "title": t.title, "venue": t.venue} for t in texts]
        print_json({"rulebooks": rows})
        return
    shown = table("", "name", "title", "venue", left=["name", "title", "venue"])
    for text in texts:
        shown.add_row(text.name, text.title, text.venue)
    out.print(shown)


def _show(name: str, *, as_json: bool) -> None:
    from solvent.cli.console import out, print_json, table
    from solvent.feeds.library import load_rulebook
    from solvent.margining.schema import RulebookText

    text = load_rulebook(name)
    if as_json:
        print_json(text.model_dump(by_alias=True, mode="json"))
        return
    out.print(f"[bold]{text.title}[/bold] ({text.name}, {text.venue})")
    out.print(text.summary.strip(), highlight=False)
    for label, texts in (("sources", text.sources), ("notes", text.notes)):
        for one in texts:
            out.print(f"[dim]{label[:-1]}:[/dim] {one}", highlight=False)
    if text.parameters:
        shown = table("parameters", "name", "value", left=["name"])
        for key, value in text.parameters.items():
            shown.add_row(key, f"{value:g}")
        out.print(shown)
    for table_name, part in text.tables.items():
        columns = ("key", "from", "evidence", "parameter")
        shown = table(f"{table_name}, by {part.by}", *columns, "value", left=columns)
        for row in part.rows:
            values: Mapping[str, float | list[float]] = row.values
            for parameter, told in values.items():
                keys = ", ".join(row.keys)
                shown.add_row(keys, str(row.effective), row.evidence, parameter, _numbers(told))
        out.print(shown)
    if text.unset:
        shown = table("not known", "what", "what is done", left=["what", "what is done"])
        for key, done in text.unset.items():
            shown.add_row(key, done)
        out.print(shown)
    if isinstance(text, RulebookText):
        out.print(
            f"[dim]requirement: initial = {text.requirement.initial}; maintenance = "
            f"{text.requirement.maintenance}[/dim]",
            highlight=False,
        )
    else:
        _print_formulas(text)


def _numbers(value: float | list[float]) -> str:
    return ", ".join(f"{one:,g}" for one in value) if isinstance(value, list) else f"{value:,g}"


def _print_formulas(text: LevelsText) -> None:
    from solvent.cli.console import out, table

    for level, inputs in text.inputs.items():
        shown = table(f"inputs of {level}", "name", "about", "default", left=["name", "about"])
        for name, one in inputs.items():
            shown.add_row(name, one.about, "not set" if one.default is None else f"{one.default:g}")
        out.print(shown)
    for level, formulas in text.at.items():
        shown = table(f"at {level}", "column", "formula", left=["column", "formula"])
        for name, formula in formulas.items():
            shown.add_row(name, " ".join(formula.split()))
        out.print(shown)
