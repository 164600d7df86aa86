"""`solvent allocate`: a book over venues, collateral over venues, trades between accounts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from solvent.cli import options
from solvent.cli.capital import Html, Measure, draw, tell_written

if TYPE_CHECKING:
    from solvent.lab.capital.allocation import Allocation

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="Place a book, its collateral or trades between accounts so that less capital is bound.",
)  # fmt: skip
_PLACES = """Places are such as

\b
    [[places]]
    name       = "deribit"
    rulebook   = "deribit-pm"         # solvent rulebooks lists them
    [[places]]
    name       = "clearing"
    rulebook   = "tims"
    mode       = "isolated"           # cross if unsaid
    lists      = ["BTC-*", "ETH-*"]   # everything if unsaid
    margin_max = 500_000              # USD: the most that may be posted here
"""
_COLLATERAL = """The file is such as (what is marked may be left out)

\b
    [required]
    deribit      = 80_000      # USD to be covered at each venue
    [[assets]]
    asset        = "BTC"
    amount       = 3
    price        = 64_000      # USD
    yield_a_year = 0.02        # lost where it is posted; 0 if unsaid
    at           = "wallet"    # where it is; your own wallet, "", if unsaid
    [[terms]]                  # what a venue takes; nothing else counts
    venue        = "deribit"
    asset        = "BTC"
    haircut      = 0.05        # 0 if unsaid
    cap          = 100_000     # USD of worth; without limit if unsaid
    share_max    = 1.0         # of all that counts there; 1 if unsaid
    yield_a_year = 0.0         # paid on what is posted; 0 if unsaid
    [[routes]]                 # what may move; the rest counts where it is, or not at all
    source       = "wallet"
    target       = "deribit"
    asset        = "BTC"       # any if unsaid
    cost_bps     = 2           # 0 if unsaid
    most         = 120_000     # USD; without limit if unsaid
"""
_TRADES = """The file is such as

\b
    long,short,instrument,lots
    ann,bob,BTC-PERPETUAL,500
    bob,cat,BTC-PERPETUAL,300
"""


@app.command("book", epilog=_PLACES)
def book(
    market: options.Market,
    positions: options.Positions,
    places: Annotated[
        Path,
        typer.Option(
            "--places",
            help="TOML: a [[places]] table for each venue, as below.",
        ),
    ],
    fixed: Annotated[
        list[str] | None,
        typer.Option("--fixed", help="A pattern of instruments that stay; may be given again.",
                     show_default=False),
    ] = None,
    moved_max: Annotated[
        float | None, typer.Option("--moved-max", help="USD of notional that may move in all.")
    ] = None,
    move_bps: Annotated[
        float, typer.Option("--move-bps", min=0.0, help="What moving costs, of the notional.")
    ] = 0.0,
    history: options.History = None,
    measure: Measure = "initial",
    html: Html = None,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Place a book over venues so that all of them together need least margin.

    The account of a position is the venue where it stands now; of any other name it stands nowhere
    yet. Example: solvent allocate book --market chain.csv.gz --positions book.csv
    --places venues.toml
    """
    from solvent.cli import console
    from solvent.lab.capital.allocation import allocate, places_of

    told = places_of(_tables(places, "places"))
    found = allocate(
        positions, list(market), told, fixed=fixed or (), moved_max=moved_max, move_bps=move_bps,
        measure=measure, history=history or None,
    )  # fmt: skip
    document = found.to_dict()
    draw(html, found.plot, document)
    if json:
        console.print_json(document)
        return
    _print_book(found)
    if not any(row["before"] for row in found.table().iter_rows(named=True)):
        names = ", ".join(one.name for one in told)
        console.out.print(f"[dim]no account is named as a place ({names}): the book stood nowhere "
                          "before[/dim]")  # fmt: skip
    tell_written(html)


def _print_book(found: Allocation) -> None:
    from solvent.cli.console import money, out, table
    from solvent.units import MICRO

    shown = table(f"{found.measure} margin, USD", "place", "before", "after", left=["place"])
    for row in found.places().iter_rows(named=True):
        shown.add_row(row["place"], money(row["before"]), money(row["after"]))
    before = found.total_before
    total = None if before is None else before / MICRO
    shown.add_row("together", money(total), money(found.total / MICRO))
    out.print(shown)
    where = table("where it stands", "instrument", "place", "before", "after", left=["instrument",
                  "place"])  # fmt: skip
    for row in found.table().iter_rows(named=True):
        where.add_row(row["instrument"], row["place"], f"{row['before']:,g}", f"{row['after']:,g}")
    out.print(where)
    out.print(
        f"[dim]{found.how}; moves {money(found.moved)} of notional for "
        f"{money(found.cost / MICRO)}[/dim]"
    )


@app.command("collateral", epilog=_COLLATERAL)
def collateral(
    file: Annotated[
        Path,
        typer.Argument(
            help="TOML: what is required, assets, terms of venues and routes, as below."
        ),
    ],
    days: Annotated[
        float, typer.Option("--days", min=0.0, help="Over which costs of moving are earned back.")
    ] = 365.0,
    json: options.Json = False,
) -> None:
    """The cheapest collateral to deliver under haircuts, caps, shares, yields and routes.

    Example: solvent allocate collateral collateral.toml
    """
    from solvent.cli import console
    from solvent.lab.capital.delivery import deliver

    told = _read(file)
    required = told.get("required", {})
    found = deliver(
        _numbers(file, required), _rows(file, told, "assets"), _rows(file, told, "terms"),
        _rows(file, told, "routes"), days=days,
    )  # fmt: skip
    if json:
        console.print_json(found.to_dict())
        return
    shown = console.table(
        "what to post, USD", "venue", "asset", "from", "amount", "worth", "counts", "lost a year",
        "moving", left=["venue", "asset", "from"],
    )  # fmt: skip
    for row in found.table().iter_rows(named=True):
        shown.add_row(
            row["venue"], row["asset"], row["source"], f"{row['amount']:,.9g}",
            console.money(row["worth"]), console.money(row["counted"]),
            console.money(row["cost_a_year"]), console.money(row["moving"]),
        )  # fmt: skip
    console.out.print(shown)
    console.out.print(
        f"[dim]{found.ending}: {console.money(found.cost_a_year)} of yield a year is given up, "
        f"{console.money(found.moving)} paid for moving[/dim]"
    )


@app.command("compress", epilog=_TRADES)
def compress(
    trades: Annotated[
        Path,
        typer.Argument(
            help="long,short,instrument,lots: who holds how much against whom. CSV, Parquet, JSON."
        ),
    ],
    way: Annotated[
        Literal["conservative", "free"],
        typer.Option(
            "--way",
            help="conservative: no trade grows, nobody faces anybody new; free: the least gross.",
        ),
    ] = "conservative",
    json: options.Json = False,
) -> None:
    """Trades between accounts with the least gross, every net position unchanged.

    Example: solvent allocate compress trades.csv
    """
    from solvent.cli import console
    from solvent.lab.capital.compression import compress as run

    found = run(trades, way=way)
    if json:
        console.print_json(found.to_dict())
        return
    shown = console.table(
        "lots", "instrument", "long", "short", "before", "after", left=["instrument", "long",
        "short"],
    )  # fmt: skip
    for row in found.table().iter_rows(named=True):
        shown.add_row(
            row["instrument"], row["long"], row["short"], f"{row['before']:,}", f"{row['after']:,}"
        )
    console.out.print(shown)
    before, after = found.gross(after=False), found.gross(after=True)
    for name, lots in sorted(before.items()):
        left = after.get(name, 0)
        console.out.print(f"{name}: {lots:,} lots gross to {left:,} ({1 - left / lots:.1%} less)")


def _read(path: Path) -> dict[str, Any]:
    from solvent.lab.capital.faults import wrong
    from solvent.lab.wording import unreadable

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as fault:
        raise wrong(str(path), "file", "a file that can be read", unreadable(fault)) from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise wrong(str(path), "file", "TOML", str(fault)) from fault


def _tables(path: Path, name: str) -> list[dict[str, Any]]:
    return _rows(path, {name: None, **_read(path)}, name)


def _rows(path: Path, told: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Tables of a file that was read; none where the name is not told."""
    from solvent.lab.capital.faults import wrong

    rows = told.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(one, dict) for one in rows):
        raise wrong(str(path), name, f"[[{name}]] tables", "none" if rows is None else repr(rows))
    return rows


def _numbers(path: Path, told: Any) -> dict[str, float]:
    from solvent.lab.capital.faults import wrong

    if not isinstance(told, dict) or not all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in told.values()
    ):
        raise wrong(str(path), "required", "a table of venue = USD", repr(told))
    return {venue: float(one) for venue, one in told.items()}
