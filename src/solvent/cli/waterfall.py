"""`solvent waterfall`: who pays what when members of a clearing house default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.feeds.clearing_house import HouseFile, Stress
    from solvent.liquidation.waterfall import Waterfall

_WORDS = {
    "defaulter_margin": "defaulters' margin",
    "defaulter_fund": "defaulters' contributions",
    "skin": "house, first part",
    "members_fund": "members' contributions",
    "assessments": "assessments",
    "second_skin": "house, second part",
    "gains": "gains, haircut",
    "tear_up": "claims, torn up",
}
_BAR = 40
_MICRO = 1_000_000


def waterfall(
    file: Annotated[
        Path, typer.Argument(help="A clearing house: members, own money, scenarios (TOML).")
    ],
    scenario: Annotated[
        str | None, typer.Option("--scenario", help="Its name; else the one that needs most.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Show who pays what when members default, step by step, and whether the fund is large enough.

    Exit code 1 when a part of the loss is paid by nobody.

    Example: solvent waterfall examples/clearing_house.toml --scenario crash
    """
    from solvent.cli import console
    from solvent.feeds.clearing_house import read_clearing_house
    from solvent.liquidation.defaults import cover
    from solvent.liquidation.waterfall import waterfall as run

    told = read_clearing_house(file)
    losses = {one.name: one.over_margin for one in told.stresses if one.sizes_fund}
    covers = [cover(losses, members) for members in sorted({1, 2, told.cover})]
    needed = next(one for one in covers if one.members == told.cover)
    stress = _chosen(told, scenario or needed.worst, str(file))
    done = run(
        told.house,
        [stress.defaults[name] for name in stress.defaulters],
        gains=stress.gains,
        claims=stress.claims,
        juniors=stress.juniors,
    )
    fund = sum(member.contribution for member in told.house.members)
    if json:
        console.print_json(_document(told, stress, done, covers, fund))
    else:
        _print_cover(covers, told.cover, fund)
        _print_stairs(stress, done)
        _print_rows(done)
    if done.uncovered:
        raise typer.Exit(1)


def _chosen(told: HouseFile, name: str, source: str) -> Stress:
    from solvent.errors import BadInput, Problem, Reject

    found = next((stress for stress in told.stresses if stress.name == name), None)
    if found is None:
        names = ", ".join(stress.name for stress in told.stresses)
        raise BadInput(
            Problem(code=Reject.INPUT_INVALID, source=source, field="scenario",
                    expected=f"one of {names}", found=repr(name))
        )  # fmt: skip
    return found


def _document(
    told: HouseFile, stress: Stress, done: Waterfall, covers: list[Any], fund: int
) -> dict[str, Any]:
    """Amounts in millionths of a dollar."""
    have = done.had()
    return {
        "name": told.name,
        "scenario": stress.name,
        "defaulters": list(stress.defaulters),
        "default_fund_micro": fund,
        "cover": [
            {
                "members": one.members,
                "by_scenario_micro": one.by_scenario,
                "worst": one.worst,
                "required_micro": one.required,
                "is_covered": one.required <= fund,
            }
            for one in covers
        ],
        "loss_micro": done.loss,
        "layers": [
            {"layer": layer.value, "paid_micro": paid, "of_micro": have[layer]}
            for layer, paid in done.by_layer().items()
        ],
        "rows": [
            {
                "layer": row.layer.value,
                "payer": row.payer,
                "paid_micro": row.paid,
                "balance_micro": row.balance,
                "left_micro": row.left,
            }
            for row in done.rows
        ],
        "uncovered_micro": done.uncovered,
    }


def _print_cover(covers: list[Any], rule: int, fund: int) -> None:
    from rich.markup import escape

    from solvent.cli import console

    headings = [f"cover-{one.members}" for one in covers]
    shown = console.table("Loss over margin", "scenario", *headings, left=["scenario"])
    for name in covers[0].by_scenario:
        amounts = [one.by_scenario[name] / _MICRO for one in covers]
        shown.add_row(escape(name), *map(console.money, amounts))
    console.out.print(shown)
    needed = next(one for one in covers if one.members == rule)
    short = needed.required - fund
    end = (
        f"[red]{console.money(short / _MICRO)} short[/red]" if short > 0
        else f"{console.money(-short / _MICRO)} to spare"
    )  # fmt: skip
    console.out.print(
        f"default fund {console.money(fund / _MICRO)}, cover-{rule} needs "
        f"{console.money(needed.required / _MICRO)} ({escape(needed.worst)}): {end}\n",
        highlight=False,
    )


def _print_stairs(stress: Stress, done: Waterfall) -> None:
    """A bar a layer: each begins where the one before has ended."""
    from rich.markup import escape

    from solvent.cli import console

    who = ", ".join(stress.defaulters) or "nobody"
    title = f"{stress.name}: {who} default, {console.money(done.loss / _MICRO)} lost"
    shown = console.table(escape(title), "layer", "pays", "of", "left", "", left=["layer", ""])
    have, left = done.had(), done.loss
    for layer, paid in done.by_layer().items():
        start = _BAR * (done.loss - left) // done.loss if done.loss else 0
        left -= paid
        stop = _BAR * (done.loss - left) // done.loss if done.loss else 0
        bar = "·" * start + "█" * max(stop - start, 1 if paid else 0)
        shown.add_row(
            _WORDS[layer.value], console.money(paid / _MICRO), console.money(have[layer] / _MICRO),
            console.money(left / _MICRO), bar,
        )  # fmt: skip
    if done.uncovered:
        start = _BAR * (done.loss - left) // done.loss
        shown.add_row("[red]nobody[/red]", console.money(done.uncovered / _MICRO), "", "",
                      "·" * start + "[red]" + "█" * max(1, _BAR - start) + "[/red]")  # fmt: skip
    console.out.print(shown)


def _print_rows(done: Waterfall) -> None:
    from rich.markup import escape

    from solvent.cli import console

    shown = console.table("", "layer", "payer", "pays", "keeps", "loss left",
                          left=["layer", "payer"])  # fmt: skip
    for row in done.rows:
        if row.paid:
            shown.add_row(
                _WORDS[row.layer.value], escape(row.payer), console.money(row.paid / _MICRO),
                console.money(row.balance / _MICRO), console.money(row.left / _MICRO),
            )  # fmt: skip
    console.out.print(shown)
