"""`solvent stress`: scenarios on a book or a venue, the move that breaks it, ladders, cover."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options, stress_show
from solvent.cli.folded import folded

if TYPE_CHECKING:
    from solvent.lab.stress.scenario import Scenario
    from solvent.lab.stress.subject import Subject
    from solvent.margining.liquidity import CoinLiquidity
    from solvent.scenarios.history import Series

app = typer.Typer(
    help="What would break a book or a venue: told scenarios, the nearest breaking move, ladders, "
    "cover. Who is stressed is a book (--market, --positions, --collateral) or a venue's journal "
    "(--venue).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_Venue = Annotated[
    str | None,
    typer.Option(
        "--venue", metavar="URL",
        help="A venue's journal (a directory or postgresql://…) instead of a book: everybody, each "
        "under its own rulebook, on the market that it published last.",
    ),
]  # fmt: skip
_Rulebook = Annotated[
    str | None,
    typer.Option(
        "--rulebook",
        help="A shipped rulebook's name, or a path to a .toml (default: deribit-pm; of a --venue "
        "each account's own).",
    ),
]
_Fund = Annotated[
    float | None,
    typer.Option(
        "--fund", min=0.0, max=1e12,
        help="Dollars that cover shortfalls (default: a venue's insurance fund; of a book 0).",
    ),
]  # fmt: skip
_Members = Annotated[
    Path | None,
    typer.Option("--members", help="account,member as CSV: whose accounts fail together."),
]
_Account = Annotated[
    list[str] | None,
    typer.Option("--account", help="Only this account; may be given again.", show_default=False),
]
_History = Annotated[
    list[Path] | None,
    typer.Option(
        "--history",
        help="Prices (and surfaces) over time: time,name,price, bars as venues write them, or a "
        "chain's summary. May be given again.",
        show_default=False,
    ),
]
_Bars = Annotated[
    list[str] | None,
    typer.Option(
        "--bars", metavar="COIN=FILE",
        help="Bars with high, low, close, volume: whoever is liquidated then pays for being "
        "closed out (spread, impact). May be given again.", show_default=False,
    ),
]  # fmt: skip
_Html = Annotated[
    Path | None,
    typer.Option("--html", help="Write a page with plots, its data beside it as .json."),
]
_Hours = Annotated[float, typer.Option("--hours", min=1.0, max=720.0, help="Length of a move.")]
_SpotOnly = Annotated[bool, typer.Option("--spot-only", help="Prices alone move, no surfaces.")]
_Reach = Annotated[
    float, typer.Option("--reach", min=0.1, max=100.0, help="How far is looked, in deviations.")
]
_Prove = Annotated[
    bool, typer.Option("--prove/--no-prove", help="Prove that nothing is nearer, if possible.")
]
_Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SCENARIO]...", help="Names of shipped ones, or paths to a .toml.",
                   show_default=False),
]  # fmt: skip
_Scale = Annotated[
    float, typer.Option("--scale", min=0.0, max=10.0, help="Every scenario so many times as far.")
]


_FILES = """A scenario of one's own is a .toml such as

\b
    [scenario]
    name  = "my-crash"
    kind  = "hypothetical"
    hours = 12                # that pass
    [[move]]
    underlying = "BTC"        # "*": every other one
    spot   = -0.3             # relative
    level  = 0.6              # volatility times e^0.6
    basis  = -0.1             # annualised, in logs
    source = "our risk committee"
    [[collateral]]
    asset  = "USDT"
    worth  = -0.05            # relative
    source = "assumed"

Other kinds: solvent stress show market-5sd --toml (factor), btc-jump (jump), outage-8h (outage),
oracle-stuck (oracle), usdt-depeg-10 (depeg)."""


@dataclass(frozen=True, kw_only=True)
class Who:
    """Who is stressed, as the command line tells it."""

    market: options.MaybeMarket = None
    positions: options.MaybePositions = None
    collateral: options.Collateral = None
    orders: options.Orders = None
    modes: options.Modes = None
    inputs: options.Inputs = None
    rulebook: _Rulebook = None
    venue: _Venue = None
    fund: _Fund = None
    members: _Members = None
    account: _Account = None

    def of_a_book(self) -> list[str]:
        """Options that were given and say nothing of a venue, which has its own."""
        names = ("market", "positions", "collateral", "orders", "modes", "inputs", "rulebook")
        return [f"--{name}" for name in names if getattr(self, name)]


@app.command("list")
def listed(json: options.Json = False) -> None:
    """The scenarios that ship with Solvent."""
    from solvent.cli import console
    from solvent.lab.stress.scenario import load_scenario, scenario_names

    found = [load_scenario(name) for name in scenario_names()]
    if json:
        console.print_json({"scenarios": [stress_show.short_document(one) for one in found]})
    else:
        stress_show.print_list(found)


@app.command("show", epilog=_FILES)
def show(
    scenario: Annotated[str, typer.Argument(help="A shipped name, or a path to a .toml.")],
    toml: Annotated[
        bool, typer.Option("--toml", help="The file itself, to begin one's own with.")
    ] = False,
    json: options.Json = False,
) -> None:
    """One scenario: each of its numbers, and where it is from.

    Example: solvent stress show crash-50 --toml > mine.toml
    """
    from solvent.cli import console
    from solvent.lab.stress.scenario import load_scenario, scenario_text

    found = load_scenario(scenario)
    if toml:
        sys.stdout.write(scenario_text(scenario))
    elif json:
        console.print_json(stress_show.document(found))
    else:
        stress_show.print_scenario(found)


@app.command("run", epilog=_FILES)
@folded("who", Who)
def run(
    who: Who,
    scenarios: _Names = None,
    history: _History = None,
    bars: _Bars = None,
    scale: _Scale = 1.0,
    accounts_of: Annotated[
        str | None,
        typer.Option(
            "--accounts-of", metavar="SCENARIO", help="Also a row an account of this one."
        ),
    ] = None,
    html: _Html = None,
    json: options.Json = False,
) -> None:
    """Run scenarios: who falls, what is missing, what the fund could bear.

    Without names all that ship are run (those made of a history with --history alone). Everybody is
    margined anew on each shocked market.

    Example: solvent stress run 2020-03-12 crash-50 --market chain.csv.gz --positions book.csv
    --collateral balances.csv --html stress.html
    """
    from solvent.lab.stress.run import run as run_all

    chosen, series = _scenarios(scenarios, history), _series(history)
    if accounts_of is not None and accounts_of not in [one.name for one in chosen]:
        raise typer.BadParameter("expected a scenario that is run", param_hint="--accounts-of")
    with _progress(quiet=json) as told:
        told("reading")
        subject = _subject(who, series, quiet=json)
        coins, assumed = _liquidity(bars, subject)
        found = run_all(
            subject, chosen, history=series, liquidity=coins, scale=scale, progress=told
        )
    document = found.to_dict()
    document["notes"] += assumed
    if accounts_of is not None:
        document["accounts_of"] = {
            "scenario": accounts_of,
            "rows": found.accounts(accounts_of).to_dicts(),
        }
    _out(document, html, json, lambda: stress_show.print_run(document))


@app.command("reverse")
@folded("who", Who, without=["members"])
def reverse(
    who: Who,
    goal: Annotated[
        stress_show.Goal,
        typer.Argument(
            help="liquidated: an account falls below maintenance; insolvent: equity below nothing; "
            "margin: a loss beyond initial margin; fund: shortfalls beyond the fund."
        ),
    ],
    history: Annotated[
        list[Path],
        typer.Option("--history", help="Prices (and surfaces) whose moves say what is plausible. "
                     "May be given again.", show_default=False),
    ],
    hours: _Hours = 24.0,
    spot_only: _SpotOnly = False,
    reach: _Reach = 12.0,
    prove: _Prove = True,
    html: _Html = None,
    json: options.Json = False,
) -> None:  # fmt: skip
    """The smallest plausible move (by Mahalanobis distance) that breaks a goal.

    Exit code 0 whether one was found within reach or not. Example: solvent stress reverse
    insolvent --history btc.csv --history eth.csv --market chain.csv.gz --positions book.csv
    --collateral balances.csv --account alice
    """
    from solvent.lab.stress.api import reverse_stress

    series = _series(history)
    with _progress(quiet=json) as told:
        told("reading")
        subject = _subject(who, series, quiet=json)
        found = reverse_stress(
            subject, goal=goal.value, history=series, hours=hours, reach=reach, certify=prove,
            volatility=False if spot_only else None, progress=told,
        )  # fmt: skip
    document = found.to_dict()
    _out(document, html, json, lambda: stress_show.print_reverse(document))


@app.command("ladder")
@folded("who", Who, without=["members"])
def ladder(
    who: Who,
    kinds: Annotated[
        list[stress_show.LadderKind] | None,
        typer.Argument(help="Which ladders (default: all).", show_default=False),
    ] = None,
    history: _History = None,
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps",
            help="Numbers with commas between, instead of the usual ones: relative moves (-0.2 is "
            "-20 %), hours for time, annualised for basis.",
        ),
    ] = None,
    html: _Html = None,
    json: options.Json = False,
) -> None:
    """Sensitivity ladders: prices, volatility, time, basis and collateral, one thing at a time.

    Example: solvent stress ladder spot vol --market chain.csv.gz --positions book.csv --collateral
    balances.csv
    """
    from solvent.lab.stress.api import ladder as climb

    numbers = None if steps is None else _numbers(steps)
    chosen: Any = None if not kinds else [one.value for one in kinds]
    subject = _subject(who, _series(history), quiet=json)
    found = climb(subject, kinds=chosen, steps=numbers)
    document = stress_show.ladder_document(found)
    _out(document, html, json, lambda: stress_show.print_ladders(document))


@app.command("cover")
@folded("who", Who, without=["orders", "modes", "account"])
def cover(
    who: Who,
    scenarios: _Names = None,
    history: _History = None,
    bars: _Bars = None,
    scale: _Scale = 1.0,
    count: Annotated[
        int, typer.Option("--count", min=1, max=100, help="How many largest members default.")
    ] = 2,
    json: options.Json = False,
) -> None:
    """Cover-1 and cover-2: what the largest members' defaults lose beyond their margin, and the
    fund.

    Exit code 1 where the fund does not cover them. Example: solvent stress cover --venue my-venue
    """
    from solvent.cli import console
    from solvent.lab.stress.run import run as run_all

    chosen, series = _scenarios(scenarios, history), _series(history)
    with _progress(quiet=json) as told:
        told("reading")
        subject = _subject(who, series, quiet=json)
        coins, assumed = _liquidity(bars, subject)
        found = run_all(
            subject, chosen, history=series, liquidity=coins, scale=scale, progress=told
        )
    document = stress_show.cover_document(found, count)
    document["notes"] += assumed
    if json:
        console.print_json(document)
    else:
        stress_show.print_cover(document)
    if not document["covered"]:
        raise typer.Exit(1)


# ── what is asked of ─────────────────────────────────────────────────────────────────────────────


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    from solvent.cli import console

    with console.progress(quiet=quiet) as bar:
        task = bar.add_task("", total=None)
        yield lambda words: bar.update(task, description=words)


def _out(document: dict[str, Any], html: Path | None, json: bool, show: Callable[[], None]) -> None:
    """Write the page first, so that what is said of it is so."""
    from solvent.cli import console

    if html is not None:
        from solvent.lab.stress.report import write_report

        write_report(document, html)
    if json:
        console.print_json(document)
        return
    show()
    if html is not None:
        beside = html.with_suffix(".json")
        console.out.print(f"written: {html}, its data {beside}", markup=False, highlight=False)


def _series(history: list[Path] | None) -> Series | None:
    from solvent import api

    return api.read_history(history or None)


def _scenarios(names: list[str] | None, history: list[Path] | None) -> list[Scenario]:
    from solvent.lab.stress.api import chosen_scenarios

    return chosen_scenarios(names or None, has_history=bool(history))


def _subject(who: Who, series: Series | None, *, quiet: bool) -> Subject:
    from solvent.lab.stress.api import subject_of

    if who.venue is not None:
        if told := who.of_a_book():
            raise typer.BadParameter(
                f"expected a book or a --venue, not both; a venue has its own of {', '.join(told)}"
            )
        subject = _of_venue(who, series, quiet=quiet)
    elif not who.market or who.positions is None:
        raise typer.BadParameter("expected --market and --positions, or --venue")
    else:
        subject = subject_of(
            who.positions, who.market, who.rulebook, collateral=who.collateral, orders=who.orders,
            modes=who.modes, inputs=who.inputs, history=series, fund=who.fund,
            members=None if who.members is None else stress_show.read_members(who.members),
        )  # fmt: skip
    return subject if not who.account else subject.only(who.account)


def _of_venue(who: Who, series: Series | None, *, quiet: bool) -> Subject:
    from dataclasses import replace

    from solvent.cli.state import read_only
    from solvent.lab.stress.api import subject_of
    from solvent.lab.stress.subject import last_market

    assert who.venue is not None
    with read_only(who.venue, quiet=quiet) as (journal, state):
        market = last_market(journal, state)
        subject = subject_of(state, market, history=series, fund=who.fund)
    if who.members is None:
        return subject
    return replace(subject, members=stress_show.read_members(who.members))


def _liquidity(
    bars: list[str] | None, subject: Subject
) -> tuple[tuple[CoinLiquidity, ...] | None, list[str]]:
    from solvent.lab.stress.closing import read_liquidity

    if not bars:
        return None, []
    told = {}
    for one in bars:
        coin, _, path = one.partition("=")
        if not coin or not path:
            raise typer.BadParameter(f"expected COIN=FILE, found {one}", param_hint="--bars")
        told[coin.upper()] = path
    coins, notes = read_liquidity(told, subject.market)
    return coins, list(notes)


def _numbers(text: str) -> list[float]:
    try:
        return [float(one) for one in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"expected numbers with commas between, found {text!r}", param_hint="--steps"
        ) from None
