"""`solvent rulebooks dynamic`: step a dynamic rulebook over a history; what it announces."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from solvent.margining.dynamic.follow import Change, DynamicState
    from solvent.margining.dynamic.wrap import Dynamic

_SHOWN = 40


def list_dynamic(*, as_json: bool) -> None:
    """Which dynamic rulebooks ship."""
    from solvent.cli.console import out, print_json, table
    from solvent.feeds.dynamic import dynamic_names, load_dynamic

    texts = [load_dynamic(name).text for name in dynamic_names()]
    if as_json:
        rows = [{"name": one.name, "base": one.base, "title": one.title} for one in texts]
        print_json({"rulebooks": rows})
        return
    shown = table("", "name", "wraps", "title", left=["name", "wraps", "title"])
    for one in texts:
        shown.add_row(one.name, one.base, one.title)
    out.print(shown)


def show_dynamic(name: str, *, as_json: bool) -> None:
    """What a dynamic rulebook follows, and how."""
    from solvent.cli.console import out, print_json, table
    from solvent.feeds.dynamic import load_dynamic

    text = load_dynamic(name).text
    if as_json:
        print_json(text.model_dump(by_alias=True, mode="json"))
        return
    out.print(f"[bold]{text.title}[/bold] ({text.name}, wraps {text.base})")
    out.print(text.summary.strip(), highlight=False)
    for one in text.sources:
        out.print(f"[dim]source: {one}[/dim]", highlight=False)
    columns = ("number", "keys", "follows", "tools", "bounds", "notice")
    shown = table("", *columns, left=columns)
    for row in text.follow:
        tools = ", ".join(one["tool"] for one in row.chain().to_rows()) or "-"
        relax = row.notice_days if row.relax_notice_days is None else row.relax_notice_days
        notice = f"{row.notice_days} d, {relax} d to relax"
        if row.emergency is not None:
            notice += f", none beyond {100 * row.emergency:g} %"
        formula = row.formula if row.scale is None else f"times {row.formula}"
        keys = ", ".join(row.keys)
        shown.add_row(row.what, keys, formula, tools, f"{row.least:g} to {row.most:g}", notice)
    out.print(shown)


def run_dynamic(
    name: str,
    paths: Sequence[str],
    *,
    target: Path | None,
    state_file: Path | None,
    as_json: bool,
) -> None:
    """Step over every day of the observations; print what was announced, write the rulebook.

    With `state_file` the state is read from there if it is there, and written back: days that it
    has passed are left out.
    """
    from solvent.cli.console import print_json
    from solvent.feeds.dynamic import load_dynamic, read_observations
    from solvent.margining.dynamic.follow import DynamicState

    dynamic = load_dynamic(name)
    before = _stored(state_file) or DynamicState()
    seen = [
        one for one in read_observations(paths) if before.day is None or one.day > before.day
    ]  # fmt: skip
    state = before
    announced: list[Change] = []
    missing: dict[str, int] = {}
    for one in seen:
        stepped = dynamic.step(state, one)
        state = stepped.state
        announced += stepped.announced
        for note in stepped.notes:
            missing[note] = missing.get(note, 0) + 1
    notes = [f"{note} ({count} days)" for note, count in missing.items()]
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(dynamic.toml(state), "utf-8")
    if state_file is not None:
        state_file.write_text(json_text.dumps(state.to_dict()), "utf-8")
    if as_json:
        print_json(
            {
                "name": dynamic.text.name,
                "base": dynamic.base.name,
                "days": len(seen),
                "announced": [one.to_dict() for one in announced],
                "notes": notes,
            }
        )
        return
    _print(dynamic, state, announced, notes, days=len(seen))


def _stored(state_file: Path | None) -> DynamicState | None:
    from solvent.errors import BadInput, Problem, Reject
    from solvent.margining.dynamic.follow import DynamicState

    if state_file is None or not state_file.exists():
        return None
    try:
        return DynamicState.from_dict(json_text.loads(state_file.read_text("utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as fault:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE, source=str(state_file),
                expected="a state that `solvent rulebooks dynamic` has written",
                found=" ".join(f"{type(fault).__name__}: {fault}".split())[:120],
            )
        ) from fault  # fmt: skip


def _print(
    dynamic: Dynamic,
    state: DynamicState,
    announced: Sequence[Change],
    notes: Sequence[str],
    *,
    days: int,
) -> None:
    from solvent.cli.console import out, table

    columns = ("announced", "holds from", "number", "key", "before", "value", "")
    left = ("announced", "holds from", "number", "key", "")
    title = f"{dynamic.text.name}: {len(announced)} changes in {days} days, to {state.day}"
    shown = table(title, *columns, left=left)
    last = {(one.what, one.key, one.announced): one for one in state.changes}
    for one in announced[-_SHOWN:]:
        now = last.get((one.what, one.key, one.announced), one)
        said = "without notice" if one.emergency else ""
        said = f"withdrawn {now.withdrawn}" if now.withdrawn else said
        shown.add_row(
            str(one.announced), str(one.effective), one.what, one.key,
            f"{one.before:g}", f"{one.value:g}", said,
        )  # fmt: skip
    out.print(shown)
    if len(announced) > _SHOWN:
        out.print(f"[dim]the last {_SHOWN} of {len(announced)}[/dim]")
    for note in notes:
        out.print(f"[dim]note: {note}[/dim]", highlight=False)
