"""`solvent replay --rulebooks`: one history under several rulebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def trial(
    where: str, told: str, *, rulebook: str | None, only: str | None, history: list[Path] | None,
    accounts: int, seed: int, start: int | None, bars: int | None, out: Path | None, json: bool,
) -> None:  # fmt: skip
    """Put rulebooks on trial, tell who was better for whom, and write the report."""
    from solvent.cli import console
    from solvent.lab.page import shown
    from solvent.lab.trial import is_history, of_history, of_journal, verdict, whom, write_trial

    if rulebook is not None or history:
        raise typer.BadParameter("expected --rulebooks without --rulebook and --history")
    names = tuple(one.strip() for one in told.split(",") if one.strip())
    past = is_history(where)
    if (past and only is not None) or (not past and (start, bars) != (None, None)):
        raise typer.BadParameter("expected --only of a journal, --start and --bars of a history")
    with console.progress(quiet=json) as bar:
        task = bar.add_task(f"{len(names)} rulebooks", total=None)

        def done(ready: int, count: int) -> None:
            bar.update(task, completed=ready, total=count)

        document: dict[str, Any]
        if past:
            document = of_history(
                Path(where), names, accounts=accounts, seed=seed, start=start, bars=bars, done=done
            )
        else:
            document = of_journal(where, names, only=only, done=done)
    if out is not None:
        write_trial(document, out)
    if json:
        console.print_json(document)
        return
    for title, of in ((document["source"], verdict), ("for whom", whom)):
        columns, rows = of(document)
        # A rulebook a column: there are more numbers than rulebooks.
        turned = list(zip(columns, *rows, strict=True))
        shown_as = console.table(title, *map(str, turned[0]), left=[str(turned[0][0])])
        for row in turned[1:]:
            shown_as.add_row(*map(shown, row))
        console.out.print(shown_as)
    console.out.print(f"[dim]{document['note']}[/dim]", highlight=False)
    if out is not None:
        console.out.print(f"written: {out}", markup=False, highlight=False)
