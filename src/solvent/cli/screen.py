"""`solvent screen`: a bound on what every account could lose, without an exact look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.margining.parametric import Screened
    from solvent.units import Float64

_SHOWN = 25


def screen(
    market: options.Market,
    positions: options.Positions,
    rulebook: options.Rulebook = "deribit-pm",
    history: options.History = None,
    capital: Annotated[
        Path | None,
        typer.Option("--capital", help="account,equity in dollars: who survives every scenario?"),
    ] = None,
    level: Annotated[
        float, typer.Option("--level", help="Of the estimates of value at risk.", min=0.5)
    ] = 0.99,
    skip_bad: options.SkipBad = False,
    json: options.Json = False,
) -> None:
    """Bound the loss of every account over a rulebook's scenarios, and estimate its value at risk.

    The bound is proved and quick; who has more than it survives every scenario. A requirement may
    be more than that loss: its factors, charges and maps are not in the bound. Estimates assume
    normal factors with the scenarios' covariance (Ledoit-Wolf) and decide nothing.
    """
    from solvent import api
    from solvent.cli.console import print_json, print_problems
    from solvent.feeds.positions import resolve
    from solvent.instruments.contract import moment_of
    from solvent.margining.parametric import screen as screened

    snapshot = api.read_market(*market, skip_bad=skip_bad)
    book = api.rulebook_in_force(rulebook, moment_of(snapshot.as_of_ms).date())
    arrays, notes = api.published(snapshot, book, history=history)
    told = api.read_positions(positions, skip_bad=skip_bad)
    found = resolve(told, arrays.universe, arrays.as_of_ms, skip_bad=skip_bad)
    answer = screened(arrays, found.book, level=level)
    equity = None if capital is None else _capital(capital, list(found.book.accounts))
    document = _document(answer, list(found.book.accounts), equity, level)
    document["notes"] = [*notes, *document["notes"]]
    if json:
        print_json(document)
    else:
        _print(document)
        print_problems(found.problems, found.dropped)


def _capital(path: Path, accounts: list[str]) -> Float64:
    """[account] dollars, NaN where the file tells none."""
    import numpy as np

    from solvent.feeds.columns import names, numbers, require
    from solvent.feeds.table import Faults, read_table

    faults = Faults.of(path, skip=False)
    frame = read_table(path, faults)
    require(frame, ("account", "equity"), faults)
    amounts = numbers(frame, "equity", faults, required=True)
    faults.settle()
    by_name = dict(zip(names(frame, "account", faults).to_list(), amounts.tolist(), strict=True))
    return np.array([by_name.get(account, np.nan) for account in accounts])


def _document(
    answer: Screened, accounts: list[str], equity: Float64 | None, level: float
) -> dict[str, Any]:
    import numpy as np

    from solvent.margining.parametric import needs_exact

    look = None if equity is None else needs_exact(answer.bound, equity)
    known = np.isfinite(answer.bound)
    rows = [
        {
            "account": account,
            "bound": float(answer.bound[n]) if known[n] else None,
            "delta_normal": float(answer.normal[n]) if known[n] else None,
            "delta_gamma": float(answer.gamma.var[n]) if known[n] else None,
            "delta_gamma_is_a_bound": bool(answer.gamma.fallback[n]),
            "proved": None if look is None else not bool(look[n]),
        }
        for n, account in enumerate(accounts)
    ]
    notes = [
        "bounded is the loss over the scenarios; what the rulebook asks for besides is not in it",
        f"covariance shrunk by {answer.covariance.shrinkage:.4f}",
    ]
    if answer.covariance.fallback:
        notes.append(f"covariance {answer.covariance.fallback}")
    if unknown := int((~known).sum()):
        notes.append(f"{unknown} accounts hold what has no known PnL")
    return {"level": level, "accounts": rows, "notes": notes}


def _print(document: dict[str, Any]) -> None:
    from solvent.cli.console import money, out, table

    rows = sorted(document["accounts"], key=lambda row: -(row["bound"] or float("inf")))
    columns = ("account", "loss at most", "delta-normal", "delta-gamma", "proved")
    title = f"{len(rows)} accounts, value at risk at {100 * document['level']:g} %"
    shown = table(title, *columns, left=("account", "proved"))
    for row in rows[:_SHOWN]:
        gamma = money(row["delta_gamma"])
        proved = {None: "-", True: "yes", False: "look"}[row["proved"]]
        shown.add_row(
            row["account"],
            "not known" if row["bound"] is None else money(row["bound"]),
            money(row["delta_normal"]),
            f"<= {gamma}" if row["delta_gamma_is_a_bound"] else gamma,
            proved,
        )
    out.print(shown)
    if len(rows) > _SHOWN:
        out.print(f"[dim]the {_SHOWN} largest of {len(rows)}[/dim]")
    told = [row["proved"] for row in rows if row["proved"] is not None]
    if told:
        out.print(
            f"{sum(told)} of {len(told)} accounts have more than they could lose", highlight=False
        )
    for note in document["notes"]:
        out.print(f"[dim]note: {note}[/dim]", highlight=False)
