"""`solvent backtest`: rulebooks before the court of history."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from solvent.lab.court.markets import MarketHistory
    from solvent.lab.court.portfolios import Portfolio
    from solvent.lab.court.result import CourtResult
    from solvent.lab.court.verdict import Missed
    from solvent.scenarios.history.series import Series

_ROWS_SHOWN = 60


class Margin(StrEnum):
    """Which margin is judged."""

    INITIAL = "initial"
    MAINTENANCE = "maintenance"


class Contracts(StrEnum):
    """Which contracts are tried first."""

    USDC = "usdc"
    USDT = "usdt"
    INVERSE = "inverse"


_Prices = Annotated[
    list[Path] | None,
    typer.Option("--prices", help="Price history: bars or rows time,name,price. May be repeated."),
]
_Surfaces = Annotated[
    Path | None,
    typer.Option("--surfaces", help="Smiles by moment and expiry: snapshot, currency, expiry, …"),
]
_Chains = Annotated[
    list[Path] | None,
    typer.Option("--chain", help="A whole option chain of one moment. May be repeated."),
]
_Generated = Annotated[
    int | None, typer.Option("--generated", min=2, help="So many days of a made-up market.")
]
_Books = Annotated[
    list[str] | None,
    typer.Option(
        "--portfolios",
        help="target, linear, rolling, maker:N or generated:N, or a file account,instrument,size. "
        "May be repeated.",
    ),
]
_Coins = Annotated[
    list[str] | None, typer.Option("--coin", help="Only this coin. May be repeated.")
]
_From = Annotated[
    datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day judged.")
]
_To = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Day after the last.")
]
_Every = Annotated[int, typer.Option("--every", min=1, help="Judge every so many days.")]
_Mpor = Annotated[
    float, typer.Option("--mpor-hours", min=1.0, max=480.0, help="Margin period of risk.")
]
_Hour = Annotated[float, typer.Option("--hour", min=0.0, max=23.99, help="Hour of the day, UTC.")]
_Contracts = Annotated[
    Contracts, typer.Option("--contracts", help="Contracts that are tried first.")
]
_Assume = Annotated[
    list[str] | None,
    typer.Option(
        "--assume",
        metavar="RULEBOOK:TABLE.COLUMN=NUMBER",
        help="A number that a rulebook leaves unset. May be repeated.",
    ),
]
_Margin = Annotated[Margin, typer.Option("--margin", help="Which margin is judged.")]
_Level = Annotated[
    float, typer.Option("--level", min=0.5, max=0.9999, help="Coverage that is promised.")
]
_Benchmark = Annotated[
    str | None, typer.Option("--benchmark", help="The rulebook that costs are told against.")
]
_Impulse = Annotated[
    bool, typer.Option("--impulse", help="Also each rulebook's answer to a step of volatility.")
]
_Sensitivity = Annotated[
    str | None,
    typer.Option("--sensitivity", metavar="RULEBOOK", help="What each of its numbers moves."),
]
_Shortfall = Annotated[
    str | None,
    typer.Option(
        "--shortfall",
        metavar="VAR:ES",
        help="Two of the rulebooks as quantile and expected shortfall: Acerbi and Székely's tests.",
    ),
]
_Trace = Annotated[
    bool, typer.Option("--trace/--no-trace", help="Trace missed targets to their causes.")
]
_Store = Annotated[Path | None, typer.Option("--store", help="A folder to stop and go on with.")]
_Processes = Annotated[
    int | None, typer.Option("--processes", min=1, help="Processes; all by default.")
]
_Out = Annotated[
    Path | None,
    typer.Option("--out", help="Write an HTML report with plots; NAME.md: tables alone."),
]


def backtest(
    rulebooks: Annotated[list[str], typer.Argument(help="Names, or paths to a .toml.")],
    prices: _Prices = None, surfaces: _Surfaces = None, chain: _Chains = None,
    generated: _Generated = None, portfolios: _Books = None, coin: _Coins = None,
    start: _From = None, end: _To = None, every: _Every = 1,
    mpor_hours: _Mpor = 24.0, hour: _Hour = 9.0, contracts: _Contracts = Contracts.USDC,
    assume: _Assume = None, margin: _Margin = Margin.INITIAL, level: _Level = 0.99,
    benchmark: _Benchmark = None, step: _Impulse = False, sensitivity: _Sensitivity = None,
    shortfall: _Shortfall = None, trace: _Trace = True,
    store: _Store = None, processes: _Processes = None, out: _Out = None,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Judge rulebooks on a history: breaches, coverage, procyclicality, cost.

    Give one market history: --prices (with --surfaces from when there are some), --surfaces,
    --chain or --generated. Exit code 1 when a rulebook's coverage is rejected on the low side, 2
    when nothing could be judged. Dynamic rulebooks are judged by the rules of each day.

    Example: solvent backtest deribit-pm binance-usdm --generated 365 --out court.html
    """
    from solvent.cli import console

    market, history = _market(prices, surfaces, chain, generated, coin, mpor_hours, hour)
    market = _days(market, start, end, every)
    books = _portfolios(portfolios or ["target"], market)
    asked: dict[str, Any] = {
        "history": history, "contracts": _order(contracts), "assume": _assumed(assume or []),
    }  # fmt: skip
    result = _run(rulebooks, market, books, store, processes, asked, quiet=json)
    traced = _tracing(rulebooks, market, books, result, level, margin, benchmark, asked)
    document = _document(result, level, margin, benchmark, shortfall, traced if trace else None)
    if prices and surfaces:
        document["proxy"] = _proxy(surfaces, history, hour, market)
    if step:
        from solvent.lab.court.impulse import impulse

        document["impulse"] = impulse(
            rulebooks, contracts=asked["contracts"], assume=asked["assume"]
        )
    if sensitivity is not None:
        from solvent.lab.court.sensitivity import sensitivities

        found = sensitivities(sensitivity, market, books, **asked)
        document["sensitivity"] = [one.to_dict() for one in found]
    if out is not None:
        _write(result, document, out)
    if json:
        console.print_json(document)
    else:
        _print(result, document, out)
    if not document["rows"]:
        console.err.print("error: nothing could be judged: the reasons are above")
        raise typer.Exit(2)
    if any(_under_covered(row, 1.0 - level) for row in document["rows"]):
        raise typer.Exit(1)


def _run(
    rulebooks: list[str], market: MarketHistory, books: list[Portfolio], store: Path | None,
    processes: int | None, asked: dict[str, Any], *, quiet: bool,
) -> CourtResult:  # fmt: skip
    """The days judged, behind a bar; who stops them is told what is kept."""
    from solvent.api import available_threads
    from solvent.cli import console
    from solvent.lab.court.run import backtest as run

    days = [0, len(market)]

    def told(done: int, count: int) -> None:
        days[:] = done, count
        bar.update(task, completed=done, total=count, description=f"judging {count:,} days")

    try:
        with console.progress(quiet=quiet) as bar:
            task = bar.add_task("judging days", total=len(market))
            return run(
                rulebooks, market, books, store=store, **asked,
                processes=processes or available_threads(), progress=told,
            )  # fmt: skip
    except KeyboardInterrupt:
        console.err.print(_stopped(days[0], days[1], store), markup=False, highlight=False)
        raise typer.Exit(130) from None


def _stopped(done: int, count: int, store: Path | None) -> str:
    """What somebody who stops a run wants to know."""
    if store is None:
        return f"stopped after {done:,} of {count:,} days; nothing is kept without --store"
    return f"stopped: {done:,} of {count:,} days are kept in {store}; the same command goes on"


def _tracing(
    rulebooks: list[str], market: MarketHistory, books: list[Portfolio], result: CourtResult,
    level: float, margin: Margin, benchmark: str | None, asked: dict[str, Any],
) -> Callable[[Sequence[Missed]], list[Missed]]:  # fmt: skip
    """What finds the causes of missed targets, by computing their days again."""
    from dataclasses import replace

    from solvent.lab.court.run import bench_of
    from solvent.lab.court.trace import Trace, traced

    def find(misses: Sequence[Missed]) -> list[Missed]:
        if not misses:
            return []
        bench = bench_of(rulebooks, market, books, history=asked["history"], assume=asked["assume"])
        trace = Trace(
            bench=replace(bench, styles=result.contracts), result=result, which=margin.value,
            level=level,
        )  # fmt: skip
        return traced(
            trace, misses, benchmark=benchmark, history=asked["history"],
            contracts=asked["contracts"],
        )  # fmt: skip

    return find


def _proxy(
    surfaces: Path, history: Series | None, hour: float, market: MarketHistory
) -> list[dict[str, Any]]:
    """How far the proxy's volatilities are from the surfaces of the days that have both."""
    from solvent.lab.court import sources

    if history is None:
        return []
    real = sources.read_strips(surfaces)
    wanted = {coin: strips for coin, strips in real.items() if coin in market.coins}
    return sources.proxy_error(wanted, history, hour=hour)


def _write(result: CourtResult, document: dict[str, Any], out: Path) -> None:
    """The report; of a name that ends in .md tables alone: rows, missed targets, the proxy."""
    from solvent.lab.court.report import write_court_report
    from solvent.lab.court.table import markdown, missed_markdown, proxy_markdown

    if out.suffix == ".md":
        tables = [markdown(document["rows"])]
        if document["missed_rows"]:
            tables.append(missed_markdown(document["missed_rows"]))
        if document.get("proxy"):
            tables.append(proxy_markdown(document["proxy"]))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n\n".join(tables) + "\n", "utf-8")
    else:
        write_court_report(result, document, out)


def _document(
    result: CourtResult,
    level: float,
    margin: Margin,
    benchmark: str | None,
    pair: str | None,
    traced: Callable[[Sequence[Missed]], list[Missed]] | None = None,
) -> dict[str, Any]:
    """The verdict, with the targets of the shipped rulebooks that have some."""
    from solvent.lab.court.shortfall import shortfall
    from solvent.lab.court.verdict import SHIPPED_TARGETS, verdict

    wanted = {name: SHIPPED_TARGETS[name] for name in result.rulebooks if name in SHIPPED_TARGETS}
    document = verdict(
        result, level=level, which=margin.value, benchmark=benchmark, targets=wanted, traced=traced
    )
    if pair is not None:
        var, _, es = pair.partition(":")
        document["shortfall"] = shortfall(result, var, es, level=level, which=margin.value)
    document["disclosure"] = _disclosed(result, document, level, margin)
    return document


def _disclosed(
    result: CourtResult, document: dict[str, Any], level: float, margin: Margin
) -> list[dict[str, str]]:
    """Fields of the public quantitative disclosure, of every rulebook of which anything is told."""
    from solvent.lab.court.disclosure import disclosure

    judged = dict.fromkeys(row["rulebook"] for row in document["rows"])
    told = [disclosure(result, name, level=level, which=margin.value) for name in judged]
    return [row for one in told for row in one.rows()]


def _order(first: Contracts) -> Any:
    rest = [one.value for one in Contracts if one is not first]
    return (first.value, *rest)


def _under_covered(row: dict[str, Any], p: float) -> bool:
    found = {test["name"]: test["p_value"] for test in row["tests"]}
    low = found.get("one-sided binomial")
    return low is not None and low < 0.05 and row["breaches"] > p * row["days"]


def _assumed(told: list[str]) -> dict[str, dict[str, float]]:
    made: dict[str, dict[str, float]] = {}
    for one in told:
        name, _, rest = one.partition(":")
        path, _, number = rest.partition("=")
        try:
            made.setdefault(name, {})[path] = float(number)
        except ValueError:
            raise typer.BadParameter(
                f"expected RULEBOOK:TABLE.COLUMN=NUMBER, found {one}", param_hint="--assume"
            ) from None
    return made


def _market(
    prices: list[Path] | None,
    surfaces: Path | None,
    chain: list[Path] | None,
    generated: int | None,
    coins: list[str] | None,
    mpor_hours: float,
    hour: float,
) -> tuple[MarketHistory, Series | None]:
    """The market history that is told, and what rulebooks may learn from."""
    from solvent.feeds.histories import read_history
    from solvent.lab.court import sources

    told = [name for name, one in (("--prices", prices), ("--chain", chain),
                                   ("--generated", generated)) if one]  # fmt: skip
    if len(told) > 1 or not (told or surfaces):
        raise typer.BadParameter(
            "expected one of --prices, --chain, --generated, or --surfaces alone, found "
            f"{', '.join(told) or 'none'}"
        )
    if generated:
        market = sources.generated(
            days=generated, coins=[one.upper() for one in coins or ("BTC", "ETH")],
            mpor_hours=mpor_hours, hour=hour,
        )  # fmt: skip
        return market, sources.series_of(market)
    if chain:
        market = sources.chains(chain, surfaces=surfaces, mpor_hours=mpor_hours)
        series = sources.series_of(sources.surfaces(surfaces)) if surfaces else None
        return _of_coins(market, coins), series
    if not prices:
        assert surfaces is not None
        market = sources.surfaces(surfaces, mpor_hours=mpor_hours, hour=hour)
        return _of_coins(market, coins), sources.series_of(market)
    series = read_history(prices)
    real = sources.read_strips(surfaces) if surfaces else None
    market = sources.prices(series, mpor_hours=mpor_hours, hour=hour, real=real)
    return _of_coins(market, coins), sources.series_of(market, series)


def _of_coins(market: MarketHistory, coins: list[str] | None) -> MarketHistory:
    if not coins:
        return market
    wanted = [one.upper() for one in coins]
    strange = sorted(set(wanted) - set(market.coins))
    if strange:
        raise typer.BadParameter(
            f"expected coins of {', '.join(market.coins)}, found {strange[0]}", param_hint="--coin"
        )
    return market.of_coins(wanted)


def _days(
    market: MarketHistory, start: datetime | None, end: datetime | None, every: int
) -> MarketHistory:
    first = _ms(start) if start else 0
    last = _ms(end) if end else 2**62
    kept = market.between(first, last)
    if len(kept) == 0:
        raise typer.BadParameter("no day of the history lies between --from and --to")
    return kept.every(every) if every > 1 else kept


def _ms(day: datetime) -> int:
    return round(day.replace(tzinfo=UTC).timestamp() * 1_000)


def _portfolios(told: list[str], market: MarketHistory) -> list[Portfolio]:
    """Books by the names of their sorts, and static ones from files."""
    from solvent.api import read_positions
    from solvent.lab.court.portfolios import named, static_books

    sorts = [one for one in told if not Path(one).suffix]
    files = [one for one in told if Path(one).suffix]
    made = named(sorts, market.coins) if sorts else []
    for file in files:
        made += static_books(read_positions(file))
    return made


# ── what is printed ──────────────────────────────────────────────────────────────────────────


def _print(result: CourtResult, document: dict[str, Any], out: Path | None) -> None:
    from solvent.cli.console import out as console
    from solvent.cli.console import table
    from solvent.instruments.contract import moment_of

    first, last = (moment_of(document[name]) for name in ("first_ms", "last_ms"))
    console.print(
        f"[bold]{document['days']:,} days, {first:%Y-%m-%d} to {last:%Y-%m-%d}[/bold], "
        f"{document['margin']} margin against losses over {document['mpor_hours']:g} hours, "
        f"promised coverage {100 * document['level']:g} %",
        highlight=False,
    )
    columns = ["rulebook", "portfolio", "days", "breaches", "coverage", "95 % interval", "Kupiec p",
               "Basel", "mean margin", "peak/trough", "5-day", "30-day", "cost"]  # fmt: skip
    shown = table("the court", *columns, left=["rulebook", "portfolio", "Basel"])
    rows = document["rows"]
    for row in rows[:_ROWS_SHOWN]:
        shown.add_row(*_cells(row))
    console.print(shown)
    if not rows:
        console.print("nothing could be judged")
    if len(rows) > _ROWS_SHOWN:
        console.print(f"and {len(rows) - _ROWS_SHOWN:,} rows more (--json or --out shows all)")
    _print_sensitivity(document)
    for one in document.get("shortfall", ()):
        deep, often = one["z1"], one["z2"]
        console.print(
            f"shortfall: {one['portfolio']}: Z1 {'-' if deep is None else f'{deep:.2f}'}, "
            f"Z2 {often['statistic']:.2f} (p {often['p_value']:.3f}) over {one['days']:,} days",
            markup=False, highlight=False,
        )  # fmt: skip
    for miss in document["missed"]:
        console.print(f"missed: {miss}", markup=False, highlight=False)
    refused = sorted(
        {(one["rulebook"], one["why"]) for one in document["not_judged"] if one["why"]}
    )
    for name, why in refused[:12]:
        console.print(f"refused: {name}: {why}", markup=False, highlight=False)
    if len(refused) > 12:
        console.print(f"and {len(refused) - 12:,} refusals more (--json shows all)")
    for note in document["notes"]:
        console.print(f"note: {note['text']} ({note['count']:,})", markup=False, highlight=False)
    if result.overlapping:
        console.print("note: periods overlap: tests that take breaches as independent say less")
    if out is not None:
        console.print(f"written: {out}", markup=False, highlight=False)


def _cells(row: dict[str, Any]) -> list[str]:
    tests = {test["name"]: test["p_value"] for test in row["tests"]}
    run = row["procyclicality"]

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return [
        row["rulebook"], row["portfolio"], f"{row['days']:,}", f"{row['breaches']:,}",
        number(row["coverage"], ".2%"), f"{row['coverage_low']:.2%} .. {row['coverage_high']:.2%}",
        number(tests.get("Kupiec POF"), ".3f"), row["basel"], number(row["mean_rate"], ".2%"),
        number(run["peak_to_trough"], ".2f"), number(run["rises"].get("5"), ".2f"),
        number(run["rises"].get("30"), ".2f"), number(row["cost"], ".2f"),
    ]  # fmt: skip


def _print_sensitivity(document: dict[str, Any]) -> None:
    from solvent.cli.console import out as console
    from solvent.cli.console import table

    rows = document.get("sensitivity")
    if not rows:
        return
    shown = table("margin's change when a number grows by a tenth", "number", "is", "change",
                  left=["number"])  # fmt: skip
    for row in rows[:25]:
        change = "refused" if row["change"] is None else f"{row['change']:+.2%}"
        shown.add_row(row["path"], f"{row['number']:g}", change)
    console.print(shown)
