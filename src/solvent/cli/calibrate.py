"""`solvent calibrate`: jumps, gaps, liquidity and haircuts, set by data, told as rulebook rows."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import calibrate_jumps, options
from solvent.cli.calibrate_jumps import prices_of

if TYPE_CHECKING:
    from solvent.lab.gap_study import GapStudy
    from solvent.lab.liquidity_report import Found
    from solvent.margining.haircuts import Haircuts

app = typer.Typer(
    help="Set jumps, gaps, liquidity and haircuts by data, as rows of a rulebook.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_History = Annotated[
    list[Path],
    typer.Argument(help="Price histories: bars with a close, or rows time,name,price."),
]
app.command("jumps")(calibrate_jumps.jumps)
_Coin = Annotated[
    str | None, typer.Option("--coin", help="Whose history, where the files do not tell.")
]
_Toml = Annotated[
    Path | None, typer.Option("--toml", help="Write what was found as parts of a rulebook.")
]


@app.command("gap")
def gap(
    files: _History,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots.")] = None,
    toml: _Toml = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            min=0.5,
            max=0.9999,
            help="Share of moves beyond the edge that the parts written by --toml stay within; "
            "without it the one that the first part sets.",
        ),
    ] = None,
    wings: Annotated[
        bool, typer.Option("--wings", help="Write the form that forgives what futures explain.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Set the gap charge on the history before 2019 and judge it on the rest (decision 0024).

    Needs prices of BTC, and takes those of ETH, at least every two hours, before and after
    2019-01-01. Exit code 1 when the target is missed.
    """
    from solvent.cli import console
    from solvent.feeds.histories import read_history
    from solvent.lab.gap_report import gap_document, write_gap_html
    from solvent.lab.gap_study import GRID, run_study
    from solvent.lab.gap_windows import PriceHistory

    series = read_history(files)
    histories = []
    for name in GRID:
        if name in series.names:
            time_ms, price = prices_of(series, name)
            histories.append(PriceHistory(name=name, time_ms=time_ms, price=price))
    if not histories:
        raise typer.BadParameter(f"expected prices of {' or '.join(GRID)}")
    study = run_study(histories)
    document = gap_document(study)
    if html is not None:
        write_gap_html(study, html)
    if toml is not None:
        _write_toml(toml, _gap_toml(study, share, forgiven=float(wings)))
    if json:
        console.print_json(document)
    else:
        _print_gap(document)
    if not document["met"]:
        raise typer.Exit(1)


def _gap_toml(study: GapStudy, share: float | None, *, forgiven: float) -> dict[str, Any]:
    from solvent.lab.gap_study import gaps_at
    from solvent.margining.gap import gap_parts

    gaps = study.gaps if share is None else gaps_at(share, study.laws)
    told = study.share if share is None else share
    return gap_parts(
        list(gaps.values()), node="group", into="currency", core="core",
        effective=date(2019, 1, 1), forgiven=forgiven,
        source=f"solvent calibrate gap, share {told}, decision 0024",
    )  # fmt: skip


def _write_toml(path: Path, content: dict[str, Any]) -> None:
    from solvent.margining.fragments import to_toml

    path.write_text(to_toml(content), "utf-8")


def _print_gap(document: dict[str, Any]) -> None:
    from solvent.cli.console import out, table

    for name, one in document["gaps"].items():
        told = ", ".join(f"{x:+.1%}" for x in (*one["down"], *one["up"]))
        out.print(f"[bold]{name}[/bold]: moves {told}", highlight=False)
    shown = table(
        f"Jump days from {document['split']} on", "coin", "book", "jump days", "lost beyond",
        "strict", "wings", "grid", "strict charge", "wings charge", left=["coin", "book"],
    )  # fmt: skip
    for one in document["books"]:
        shown.add_row(
            one["coin"], one["book"], str(one["jump_days"]), f"{one['loss_beyond']:.3f}",
            *("-" if one[form] is None else f"{one[form]:.1%}" for form in ("strict", "wings")),
            f"{one['core']:.1%}", f"{one['strict_charge']:.1%}", f"{one['wings_charge']:.1%}",
        )  # fmt: skip
    out.print(shown)
    ladder = table("What less would have done", "share", "first part", "strict", "wings",
                   "charge over grid")  # fmt: skip
    for one in document["ladder"]:
        ladder.add_row(
            f"{one['share']:.1%}", f"{one['first']:.1%}", f"{one['strict']:.1%}",
            f"{one['wings']:.1%}", f"{one['charge_over_core']['strict']:.1f}",
        )  # fmt: skip
    out.print(ladder)
    second = document["second"]
    out.print(
        f"covered of the losses beyond the grid: {second['strict']:.2%} on {second['days']} jump "
        f"days (strict); {second['wings']:.2%} on {second['option_days']} of books of options "
        f"(wings); without the charge 0 %. Target {document['target']:.0%}: "
        f"{'met' if document['met'] else 'missed'}."
    )


@app.command("liquidity")
def liquidity(
    files: Annotated[
        list[Path],
        typer.Argument(help="Bars with high, low, close and volume, one coin a file."),
    ],
    coin: Annotated[
        list[str], typer.Option("--coin", help="The coin of each file, in their order.")
    ],
    chain: Annotated[
        Path | None, typer.Option("--chain", help="A chain: option spreads and traded vega.")
    ] = None,
    depth: Annotated[
        float | None, typer.Option("--depth", min=0.0, help="Coins resting near the best, a side.")
    ] = None,
    effective: Annotated[
        str | None, typer.Option("--effective", help="The day the rows count from, YYYY-MM-DD.")
    ] = None,
    toml: _Toml = None,
    json: options.Json = False,
) -> None:
    """Average volume, spread and deviation of each coin, as the table `liquidity` of a rulebook.

    Volume is the smaller of the last 30 days' mean and the lower quartile of such means. Without a
    chain an option's half-spread is one point of volatility and its vega volume follows from the
    coin's volume; both are told as assumed.
    """
    from solvent.cli import console
    from solvent.feeds.bars import read_bars, read_traded_vega
    from solvent.lab.liquidity_report import coin_liquidity
    from solvent.margining.liquidity import liquidity_parts

    if len(files) != len(coin):
        raise typer.BadParameter(f"expected a --coin a file, found {len(coin)} for {len(files)}")
    market = None
    if chain is not None:
        from solvent.feeds.market import read_market

        market = read_market([chain], skip_bad=True).snapshot
    found = [
        coin_liquidity(
            name, read_bars(path), market, depth=depth,
            vega_volume=None if chain is None else read_traded_vega(chain, name),
        )
        for name, path in zip(coin, files, strict=True)
    ]  # fmt: skip
    if toml is not None:
        day = date.fromisoformat(effective) if effective else found[0].last_day
        parts = liquidity_parts(
            [one.liquidity for one in found], node="currency", expiry_node="expiry", effective=day,
            source="solvent calibrate liquidity",
        )  # fmt: skip
        _write_toml(toml, parts)
    if json:
        console.print_json({one.liquidity.underlying: one.document() for one in found})
    else:
        _print_liquidity(found)


def _print_liquidity(found: list[Found]) -> None:
    from solvent.cli.console import out, table

    shown = table(
        "", "coin", "volume/day", "depth", "half-spread", "daily deviation", "option half-spread",
        "note", left=["coin", "note"], folds="note",
    )  # fmt: skip
    for one in found:
        it = one.liquidity
        shown.add_row(
            it.underlying, f"{it.volume:,.1f}", f"{it.depth:,.1f}", f"{it.half_spread:.3%}",
            f"{it.daily_sd:.2%}", f"{100 * it.vol_half_spread:.2f} pt", "; ".join(one.notes),
        )  # fmt: skip
    out.print(shown)


@app.command("haircuts")
def haircuts(
    files: _History,
    coin: _Coin = None,
    coverage: Annotated[
        float, typer.Option("--coverage", min=0.5, max=0.9999, help="Share of falls covered.")
    ] = 0.995,
    amount: Annotated[float, typer.Option("--amount", min=0.0, help="Coins to be sold.")] = 0.0,
    volume: Annotated[
        float | None, typer.Option("--volume", min=0.0, help="Coins that trade in a day.")
    ] = None,
    floor: Annotated[float, typer.Option("--floor", min=0.0, max=1.0, help="Least.")] = 0.02,
    depeg: Annotated[
        float, typer.Option("--depeg", min=0.0, max=1.0, help="Fall of a peg that is covered.")
    ] = 0.0,
    long_run: Annotated[
        bool,
        typer.Option("--long-run/--no-long-run", help="Never below the ten-year root mean square."),
    ] = True,
    toml: _Toml = None,
    json: options.Json = False,
) -> None:
    """Haircuts of collateral over a history, as `[[collateral]]` rows, and how they covered."""
    from solvent.cli import console
    from solvent.feeds.histories import read_history
    from solvent.margining import haircuts as of
    from solvent.scenarios.anti_procyclical import Chain, Floor

    if amount > 0.0 and not volume:
        raise typer.BadParameter("--amount needs --volume: how many coins trade in a day")
    rule = of.HaircutRule(
        coverage=coverage, floor=floor, depeg=depeg,
        chain=Chain((Floor(of="rms"),)) if long_run else None,
    )  # fmt: skip
    series = read_history(files, name=coin)
    found = [
        of.haircuts(name, *prices_of(series, name), rule, amount=amount, volume=volume or 1.0)
        for name in series.names
    ]
    source = f"solvent calibrate haircuts, coverage {coverage}"
    if toml is not None:
        _write_toml(toml, {"collateral": [row for one in found for row in one.rows(source=source)]})
    if json:
        console.print_json({one.asset: _haircut_document(one) for one in found})
    else:
        _print_haircuts(found)


def _haircut_document(one: Haircuts) -> dict[str, Any]:
    return {
        "now": float(one.haircut[-1]),
        "mean": float(one.haircut.mean()),
        "highest": float(one.haircut.max()),
        "rows": len(one.rows(source="")),
        "coverage": one.coverage,
        "p_value": one.p_value,
        "notes": [note.value for note in one.notes],
        **one.disclosure(),
    }


def _print_haircuts(found: list[Haircuts]) -> None:
    from solvent.cli.console import out, table

    shown = table(
        "", "asset", "now", "mean", "highest", "days", "exceeded", "covered", "worst excess",
        "note", left=["asset", "note"], folds="note",
    )  # fmt: skip
    for one in found:
        shown.add_row(
            one.asset, f"{one.haircut[-1]:.1%}", f"{one.haircut.mean():.1%}",
            f"{one.haircut.max():.1%}", f"{one.judged:,}", str(one.breaches),
            f"{one.coverage:.2%}", f"{one.disclosure()['worst_excess']:.1%}",
            "; ".join(note.value for note in one.notes),
        )  # fmt: skip
    out.print(shown)
