"""`solvent rulebooks`: which there are, and what one says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from solvent.cli import options
from solvent.cli.dynamic import list_dynamic, run_dynamic, show_dynamic

if TYPE_CHECKING:
    from solvent.margining.levels.text import LevelsText


def rulebooks(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME | check FILE | diff A B | schema | dynamic [NAME FILE...]]",
            help="A rulebook to show (a name, or a path to a .toml), or what to do with one.",
        ),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option("--out", help="With dynamic: write the rulebook with all announced rows."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="With dynamic: a file that keeps its state between runs."),
    ] = None,
    json: options.Json = False,
) -> None:
    """List the rulebooks; show one; check a file; tell two apart; print the JSON Schema.

    `dynamic` steps a rulebook whose numbers follow the market over observed days
    (`day,key,price,depth,...`, or any file of prices) and tells what it announces.

    Examples: solvent rulebooks deribit-pm · solvent rulebooks check mine.toml ·
    solvent rulebooks diff deribit-pm@2026-01-01 deribit-pm@2026-03-01 ·
    solvent rulebooks dynamic deribit-pm-dynamic prices.csv --out announced.toml
    """
    match words or []:
        case []:
            _list(as_json=json)
        case ["check", path]:
            _check(path, as_json=json)
        case ["diff", one, other]:
            _diff(one, other, as_json=json)
        case ["schema"]:
            _schema()
        case ["dynamic"]:
            list_dynamic(as_json=json)
        case ["dynamic", name, *paths] if paths:
            run_dynamic(name, paths, target=target, state_file=state, as_json=json)
        case [name] if _is_dynamic(name):
            show_dynamic(name, as_json=json)
        case [name]:
            _show(name, as_json=json)
        case _:
            raise typer.BadParameter(
                "expected NAME, check FILE, diff A B, schema, or dynamic NAME FILE"
            )


def _is_dynamic(name: str) -> bool:
    from solvent.feeds.dynamic import is_dynamic

    return is_dynamic(name)


def _check(path: str, *, as_json: bool) -> None:
    from solvent.cli.console import out, print_json
    from solvent.feeds.dynamic import load_dynamic
    from solvent.feeds.library import load_rulebook

    text = load_dynamic(path).text if _is_dynamic(path) else load_rulebook(path)
    if as_json:
        print_json({"path": path, "name": text.name, "ok": True})
    else:
        out.print(f"{path}: {text.name} is a sound rulebook", highlight=False)


def _schema() -> None:
    """JSON Schema of both kinds of rulebook: editors complete and check with it."""
    from pydantic import TypeAdapter

    from solvent.cli.console import print_json
    from solvent.margining.levels.text import LevelsText
    from solvent.margining.schema import RulebookText

    adapter: TypeAdapter[RulebookText | LevelsText] = TypeAdapter(RulebookText | LevelsText)
    print_json(adapter.json_schema(by_alias=True))


def _diff(one: str, other: str, *, as_json: bool) -> None:
    from solvent.cli.console import out, print_json, table
    from solvent.feeds.library import differences

    rows = differences(one, other)
    if as_json:
        print_json({"rows": [{"key": key, "left": a, "right": b} for key, a, b in rows]})
        return
    shown = table(f"{one} → {other}", "key", one, other, left=["key", one, other])
    for key, left, right in rows:
        shown.add_row(key, _cell(left), _cell(right))
    out.print(shown if rows else "no difference")


def _cell(value: object) -> str:
    return "-" if value is None else " ".join(str(value).split())


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
