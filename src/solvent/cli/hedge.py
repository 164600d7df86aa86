"""`solvent hedge`: trades that free margin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from solvent.cli import options
from solvent.cli.capital import Html, Measure, draw, tell_written

if TYPE_CHECKING:
    from solvent.lab.capital.hedge import Hedge

_Account = Annotated[str | None, typer.Option("--account", help="Which, where there are several.")]
_Budget = Annotated[
    float | None, typer.Option("--budget", help="USD of cost; the most margin is freed for it.")
]
_Target = Annotated[
    float | None, typer.Option("--target", help="USD of margin, to be reached at least cost.")
]
_Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        help="Instruments that may be traded, as a pattern such as 'BTC-*-P'; may be given again. "
        "Without it all of the underlyings that are held.",
        show_default=False,
    ),
]
_Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        help="INSTRUMENT=SIZE to trade at most, either way; '*'=SIZE for all others. May be given "
        "again.",
        show_default=False,
    ),
]
_Trades = Annotated[
    int | None, typer.Option("--trades", min=1, help="In no more instruments than this.")
]
_FeeCap = Annotated[
    float | None,
    typer.Option("--option-fee-cap", help="A fee is at most this part of an option's mark."),
]
_Unquoted = Annotated[
    float,
    typer.Option(
        "--unquoted-bps",
        min=0.0,
        help="Half spread assumed of futures without a quote; the answer names them.",
    ),
]
_Rate = Annotated[
    float | None,
    typer.Option("--capital-rate", help="What a dollar of capital costs a year, as 0.08."),
]
_Days = Annotated[
    float,
    typer.Option("--days-min", min=0.0, help="Leave alone what expires within so many days."),
]
_Hold = Annotated[
    float,
    typer.Option("--hold-days", min=0.0, help="Count the carry lost in so many days as cost."),
]
_Seconds = Annotated[float, typer.Option("--seconds", min=0.01, help="Time limit of a program.")]


def hedge(
    market: options.Market,
    positions: options.Positions,
    account: _Account = None,
    budget: _Budget = None,
    target: _Target = None,
    allow: _Allow = None,
    limit: _Limit = None,
    trades: _Trades = None,
    fee_bps: Annotated[float, typer.Option("--fee-bps", min=0.0, help="Of the notional.")] = 0.0,
    option_fee_cap: _FeeCap = None,
    unquoted_bps: _Unquoted = 1.0,
    days_min: _Days = 1.0,
    hold_days: _Hold = 0.0,
    capital_rate: _Rate = None,
    seconds: _Seconds = 2.0,
    collateral: options.Collateral = None,
    orders: options.Orders = None,
    modes: options.Modes = None,
    inputs: options.Inputs = None,
    history: options.History = None,
    rulebook: options.Rulebook = "deribit-pm",
    measure: Measure = "initial",
    html: Html = None,
    json: options.Json = False,
) -> None:
    """Trades that free margin: the most for a budget, or a target at least cost; whole lots.

    One of --budget and --target at least. Prices are the sides of the market file's quotes; their
    sizes are not in it, so tell what can be traded with --limit.

    Example: solvent hedge --market chain.csv.gz --positions book.csv --account alice --budget 500
    """
    from solvent.cli import console
    from solvent.cli.whatif import amounts
    from solvent.lab.capital.hedge import hedge as run
    from solvent.lab.capital.trades import Costs

    limits = amounts(limit, "--limit")
    rest = limits.pop("*", None)
    found = run(
        positions, list(market), rulebook, account=account, budget=budget, target=target,
        allow=allow, limits=limits, limit=rest, trades_max=trades, capital_rate=capital_rate,
        costs=Costs(
            fee_bps=fee_bps, option_fee_cap=option_fee_cap, unquoted_bps=unquoted_bps,
            hold_days=hold_days,
        ),
        days_min=days_min,
        measure=measure, collateral=collateral, orders=orders, modes=modes, inputs=inputs,
        history=history or None, seconds=seconds,
    )  # fmt: skip
    document = found.to_dict()
    draw(html, found.plot, document)
    if json:
        console.print_json(document)
        return
    _print_hedge(found, limited=rest is not None)
    tell_written(html)


def _print_hedge(found: Hedge, *, limited: bool) -> None:
    from solvent.cli.console import money, out, table
    from solvent.units import MICRO

    shown = table(
        f"{found.account}: {found.measure} margin under {found.rulebook} "
        f"{found.before / MICRO:,.2f} to {found.after / MICRO:,.2f} USD",
        "trade", "instrument", "size", "notional", "cost", "of it fee", "premium", "carry a day",
        "spread", left=["trade", "instrument", "spread"],
    )  # fmt: skip
    for one in found.trades:
        shown.add_row(
            "buy" if one.lots > 0 else "sell", one.symbol, f"{abs(one.size):,g}",
            money(abs(one.notional)), money(one.cost), money(one.fee),
            money(one.premium, signed=True), money(one.carry, signed=True),
            "assumed" if one.assumed else "quoted",
        )  # fmt: skip
    out.print(shown if found.trades else f"{found.account}: no trade frees margin within this.")
    per = "" if found.freed_per_cost is None else f", {found.freed_per_cost:,.1f} per dollar"
    out.print(
        f"frees {money(found.freed / MICRO)} for {money(found.cost / MICRO)}{per}; premium "
        f"{money(found.premium, signed=True)}, carry {money(found.carry, signed=True)} a day"
    )
    if found.saved_a_year is not None:
        out.print(
            f"at {found.capital_rate:.1%} a year that saves "
            f"{money(found.saved_a_year, signed=True)} a year, the carry counted in"
        )
    if found.single_symbol:
        freed = (found.before - found.single_after) / MICRO
        out.print(
            f"[dim]the best trade in one instrument ({found.single_symbol}) frees {money(freed)} "
            f"for {money(found.single_cost / MICRO)}[/dim]"
        )
    out.print(f"[dim]{_program(found)}[/dim]")
    if not limited:
        out.print(
            "[dim]no --limit '*'=SIZE: sizes may be more than what stands at the quotes[/dim]"
        )


def _program(found: Hedge) -> str:
    """What the program said, and how the answer came to be."""
    few = "all of them" if found.stepped == found.allowed else f"{found.stepped} of them"
    tried = f"{found.allowed} instruments allowed, each tried alone, {few} lot by lot"
    if found.model_after is None:
        return f"{found.how}; the rulebook has no scenarios for a program; {tried}"
    model = "stands in for the rulebook's formulas and says" if found.stand_in else "says"
    gap = "" if found.gap is None else f", gap {found.gap:.2%}"
    return (
        f"{found.how}; the program ({found.ending}, {found.seconds:.2f} s{gap}) {model} "
        f"{found.model_after:,.2f}; {tried}"
    )
