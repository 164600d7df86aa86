"""`solvent credit`: counterparties on credit lines; what they owe, may owe, and what that costs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.market import Snapshot

app = typer.Typer(
    no_args_is_help=True,
    help="Margin counterparties on credit lines: agreements, lines, exposure, and a run through a "
    "crash.",
)
_FILE = "Counterparties, agreements and lines (TOML; docs/credit.md)."
File = Annotated[Path, typer.Argument(help=_FILE)]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with real chains (deribit_chains); else made-up markets."),
]
Html = Annotated[Path | None, typer.Option("--html", help="Also a report with plots.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Keep the result as JSON, for `solvent credit report`.")
]
Keep = Annotated[
    Path | None, typer.Option("--journal", help="A new folder that keeps the engine's journal.")
]
_SHOWN = 60


@app.command("demo")
def demo(
    counterparties: Annotated[int, typer.Option("--counterparties", min=1, max=1_000)] = 50,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed, the same member.")] = 1,
    data: Data = None,
    html: Html = None,
    out: Out = None,
    journal: Keep = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Also write the made-up member's file here.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Run a made-up clearing member and its counterparties through the crash of February 2026.

    Example: solvent credit demo --data ../shared/data --html out/credit.html
    """
    from solvent.credit_run.api import markets_of, run_credit
    from solvent.credit_run.demo import demo_text
    from solvent.credit_run.markets import symbols_of
    from solvent.feeds.credit import parse_credit

    markets, note = markets_of(_data(data))
    text = demo_text(markets[0], symbols_of(markets), counterparties=counterparties, seed=seed)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    told = parse_credit(text, source="made-up member")
    found = run_credit(told, markets=markets, keep=journal)
    found["notes"][0] = note
    _show(found, html=html, out=out, json=json)


@app.command("run")
def run(
    file: File,
    data: Data = None,
    html: Html = None,
    out: Out = None,
    journal: Keep = None,
    json: options.Json = False,
) -> None:
    """Run a file's counterparties through the crash of February 2026, on an engine.

    Example: solvent credit run examples/credit.toml --data ../shared/data
    """
    from solvent.credit_run.api import run_credit

    found = run_credit(file, data=_data(data), keep=journal)
    _show(found, html=html, out=out, json=json)


@app.command("report")
def report(
    result: Annotated[Path, typer.Argument(help="What a run kept with --out.")],
    html: Html = None,
    json: options.Json = False,
) -> None:
    """Show a run again that was kept with --out."""
    _show(_kept(result), html=html, out=None, json=json)


def _kept(path: Path) -> dict[str, Any]:
    import json as reader

    from solvent.errors import BadInput, Problem, Reject

    try:
        found = reader.loads(path.read_text("utf-8"))
        if not {"steps", "counterparties", "totals", "procyclicality"} <= set(found):
            raise ValueError("other fields")
    except (OSError, ValueError, TypeError) as fault:
        raise BadInput(
            Problem(code=Reject.SOURCE_UNREADABLE, source=str(path),
                    expected="what `solvent credit run --out` wrote", found=str(fault)[:120])
        ) from fault  # fmt: skip
    return dict(found)


@app.command("agreements")
def agreements(file: File, json: options.Json = False) -> None:
    """Show agreements: who nets what, thresholds, minimum transfers, deadlines and limits.

    Example: solvent credit agreements examples/credit.toml
    """
    from rich.markup import escape

    from solvent.cli import console
    from solvent.feeds.credit import read_credit

    told = read_credit(file)
    rows: list[dict[str, Any]] = []
    for one in told.register.agreements.values():
        rating = told.register.counterparties[one.counterparty].quality.rating
        rows.append(
            {
                "agreement": one.name, "counterparty": one.counterparty,
                "accounts": list(one.accounts),
                "underlyings": sorted(one.underlyings) or ["all"], "netting": one.netting,
                "threshold": one.threshold(rating) / 1e6,
                "independent_amount": one.terms.independent / 1e6,
                "minimum_transfer": one.terms.minimum_transfer / 1e6,
                "rounding": one.terms.rounding / 1e6,
                "due_hours": one.clock.due_ms / 3.6e6, "cure_hours": one.clock.cure_ms / 3.6e6,
            }
        )  # fmt: skip
    if json:
        console.print_json({"agreements": rows})
        return
    words = ["agreement", "counterparty", "accounts", "underlyings", "netting"]
    shown = console.table("", *words, "threshold", "independent", "minimum", "due h", "cure h",
                          left=words)  # fmt: skip
    for row in rows:
        shown.add_row(
            escape(row["agreement"]), escape(row["counterparty"]),
            escape(", ".join(row["accounts"])), escape(", ".join(row["underlyings"])),
            "yes" if row["netting"] else "no", console.money(row["threshold"]),
            console.money(row["independent_amount"]), console.money(row["minimum_transfer"]),
            f"{row['due_hours']:g}", f"{row['cure_hours']:g}",
        )  # fmt: skip
    console.out.print(shown)


@app.command("lines")
def lines(file: File, json: options.Json = False) -> None:
    """Show lines: quality, default probabilities, what the policy gives, after a downgrade.

    Example: solvent credit lines examples/credit.toml
    """
    from rich.markup import escape

    from solvent.cli import console
    from solvent.credit.quality import rated, worse
    from solvent.feeds.credit import read_credit

    told = read_credit(file)
    rows: list[dict[str, Any]] = []
    for name, one in told.register.counterparties.items():
        quality = one.quality
        lower = None
        if quality.rating:
            down = rated(worse(quality.rating), lgd=quality.lgd, correlation=quality.correlation)
            lower = told.register.line(name, down) / 1e6
        rows.append(
            {
                "counterparty": name, "rating": quality.rating or "own",
                "pd_1y": quality.default_within(1.0), "stressed_pd": quality.stressed_pd(),
                "lgd": float(quality.lgd), "correlation": float(quality.correlation),
                "line": told.register.line(name) / 1e6, "line_one_notch_down": lower,
            }
        )  # fmt: skip
    if json:
        console.print_json({"lines": rows})
        return
    words = ["counterparty", "rating"]
    shown = console.table("", *words, "PD 1y", "stressed PD", "LGD", "correlation", "line",
                          "one notch down", left=words)  # fmt: skip
    for row in rows:
        shown.add_row(
            escape(str(row["counterparty"])), str(row["rating"]), f"{row['pd_1y']:.3%}",
            f"{row['stressed_pd']:.2%}", f"{row['lgd']:.0%}", f"{row['correlation']:.2f}",
            console.money(row["line"]), console.money(row["line_one_notch_down"]),
        )  # fmt: skip
    console.out.print(shown)


@app.command("exposure")
def exposure(
    file: File,
    market: options.MaybeMarket = None,
    counterparty: Annotated[
        str | None, typer.Option("--counterparty", help="One alone, horizon by horizon.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Show potential and expected exposure, and what the line costs (CVA).

    Example: solvent credit exposure examples/credit.toml --market chain.csv.gz --json
    """
    from rich.markup import escape

    from solvent.cli import console
    from solvent.credit_run.api import exposures

    found = exposures(file, _market(market))
    if counterparty is not None:
        found = {counterparty: found[counterparty]} if counterparty in found else _nobody(
            counterparty, file, found)  # fmt: skip
    if json:
        console.print_json({"exposure": found})
        return
    shown = console.table("", "counterparty", "EPE", "effective EPE", "peak PFE", "CVA",
                          "with wrong-way", left=["counterparty"])  # fmt: skip
    for name, one in found.items():
        if one is None:
            shown.add_row(escape(name), *["unknown"] * 5)
            continue
        shown.add_row(
            escape(name), console.money(one["epe"]), console.money(one["effective_epe"]),
            console.money(one["peak"]), console.money(one["cva"]),
            console.money(one["cva_wrong_way"]),
        )  # fmt: skip
    console.out.print(shown)
    chosen = None if counterparty is None else found[counterparty]
    if chosen is not None:
        by_day = console.table("", "days", "expected", "potential")
        for row in zip(chosen["days"], chosen["expected"], chosen["potential"], strict=True):
            by_day.add_row(f"{row[0]:.2f}", console.money(row[1]), console.money(row[2]))
        console.out.print(by_day)


def _nobody(name: str, file: Path, found: dict[str, Any]) -> dict[str, Any]:
    from solvent.errors import BadInput, Problem, Reject

    raise BadInput(
        Problem(code=Reject.INPUT_INVALID, source=str(file), field="counterparty",
                expected=f"one of {', '.join(found)}", found=repr(name))
    )  # fmt: skip


def _market(paths: list[Path] | None) -> Snapshot:
    from solvent import api
    from solvent.credit_run.markets import made_up_markets

    return api.read_market(*paths, skip_bad=True) if paths else made_up_markets()[0]


def _data(told: Path | None) -> Path:
    """Where real data is: as told, as the environment says, or beside the checkout."""
    if told is not None:
        return told
    shared = os.environ.get("SOLVENT_SHARED")
    return (Path(shared) if shared else Path("..") / "shared") / "data"


# ── what is shown ────────────────────────────────────────────────────────────────────────────────


def _show(found: dict[str, Any], *, html: Path | None, out: Path | None, json: bool) -> None:
    from solvent.cli import console

    if out is not None:
        import json as writer

        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(writer.dumps(found, allow_nan=False, indent=1), "utf-8")
    if html is not None:
        from solvent.lab.credit_report import write_credit_report

        write_credit_report(found, html)
    if json:
        console.print_json(found)
        return
    _print_steps(found)
    _print_counterparties(found)
    _print_totals(found)
    for path in (one for one in (html, out) if one is not None):
        console.out.print(f"wrote {path}", highlight=False)


def _print_steps(found: dict[str, Any]) -> None:
    from solvent.cli import console

    coins = list(found["steps"][0]["index"])
    shown = console.table("", "time", *coins, "within", "warned", "call", "cure", "closed", "used",
                          "called", "paid", "lost", "limits", left=["time"])  # fmt: skip
    for step in found["steps"]:
        states = step["states"]
        over = states.get("closed", 0) + states.get("default", 0)
        counts = [states.get(name, 0) for name in ("within", "warning", "call", "cure")]
        shown.add_row(
            step["time"][5:16].replace("T", " "),
            *(f"{step['index'][coin]:,.0f}" for coin in coins), *map(str, [*counts, over]),
            f"{step['utilisation']:.0%}", f"{step['called']:,.0f}", f"{step['paid']:,.0f}",
            f"{step['lost']:,.0f}", str(len(step["breaches"])),
        )  # fmt: skip
    console.out.print(shown)


def _print_counterparties(found: dict[str, Any]) -> None:
    from rich.markup import escape

    from solvent.cli import console

    words = ["counterparty", "rating", "limits passed", "state", "cut"]
    shown = console.table("Who was called, passed a limit, or was cut (thousands of dollars)",
                          "counterparty", "rating", "line", "now", "peak", "calls", "called",
                          "paid", "lost", "state", "cut", "limits passed", left=words,
                          folds="limits passed")  # fmt: skip
    rows = [row for row in found["counterparties"]
            if row["calls"] or row["limits_passed"] or row["cut"]]  # fmt: skip
    for row in sorted(rows, key=lambda one: (not one["cut"], one["name"]))[:_SHOWN]:
        same = row["rating"] == row["rating_before"]
        rating = row["rating"] if same else f"{row['rating_before']}→{row['rating']}"
        line, now, called, paid, lost = (
            f"{row[name] / 1e3:,.0f}" for name in ("line_before", "line", "called", "paid", "lost")
        )
        shown.add_row(
            escape(row["name"]), rating, line, now, f"{row['utilisation_peak']:.0%}",
            str(row["calls"]), called, paid, lost, row["state"], row["cut"],
            escape(", ".join(row["limits_passed"])),
        )  # fmt: skip
    console.out.print(shown)


def _print_totals(found: dict[str, Any]) -> None:
    from rich.markup import escape

    from solvent.cli import console

    totals, rise = found["totals"], found["procyclicality"]
    called = (
        f"{totals['counterparties']} counterparties, {totals['calls']} calls for "
        f"{totals['called']:,.0f}, {totals['paid']:,.0f} paid; {totals['limit_breaches']} limit "
        f"breaches by {totals['breached_by']}; {totals['downgraded']} downgraded"
    )
    cut = (
        f"closed out: {', '.join(totals['closed']) or 'nobody'}; reduced: "
        f"{', '.join(totals['reduced']) or 'nobody'}; lost {totals['lost']:,.0f}"
    )
    lines = [called, cut]
    for time, cost in totals["cost"].items():
        lines.append(
            f"cost of the lines at {time[:16]}: CVA {cost['cva']:,.0f}, with wrong-way "
            f"{cost['cva_wrong_way']:,.0f}; EPE {cost['epe']:,.0f}, peak PFE "
            f"{cost['peak_exposure']:,.0f}"
        )
    for name, one in rise.items():
        ratio = one["peak_to_trough"]
        lines.append(
            f"requirement, {name} cuts: peak to trough {'-' if ratio is None else f'{ratio:.2f}'}, "
            f"largest rise in a day {one['largest_rise_in_a_day']:,.0f}"
        )
    faults = found["audit"]["violations"]
    lines.append(f"audit: {'money adds up' if not faults else '; '.join(faults)}")
    for line in [*lines, *found["notes"]]:
        console.out.print(escape(line), highlight=False)
