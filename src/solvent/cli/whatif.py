"""`solvent compare`, `whatif` and `liquidation`: an account asked again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options, remote

if TYPE_CHECKING:
    from solvent.market import Snapshot
    from solvent.whatif import Desk, State

_Account = Annotated[
    list[str] | None,
    typer.Option("--account", help="Only this account; may be given again.", show_default=False),
]


def compare(
    market: options.Market,
    positions: options.Positions,
    rulebooks: Annotated[
        str,
        typer.Option(
            "--rulebooks", help="Names or paths, with commas between.", show_default=False
        ),
    ],
    collateral: options.Collateral = None,
    orders: options.Orders = None,
    modes: options.Modes = None,
    history: options.History = None,
    account: _Account = None,
    json: options.Json = False,
) -> None:
    """The same accounts under several rulebooks: margin, leverage, distance to liquidation.

    Example: solvent compare --market chain.csv.gz --positions book.csv --collateral balances.csv
    --rulebooks deribit-pm,deribit-sm,paradex-pm
    """
    from solvent.cli import console
    from solvent.whatif import compare as run

    names = [name.strip() for name in rulebooks.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("expected names with commas between", param_hint="--rulebooks")
    frame = run(
        positions,
        _read(market),
        names,
        collateral=collateral,
        orders=orders,
        modes=modes,
        history=history or None,
        accounts=account,
    ).to_polars()
    if json:
        console.print_json({"rows": frame.to_dicts()})
        return
    for (name,), part in frame.group_by("account", maintain_order=True):
        shown = console.table(
            str(name), "rulebook", "initial", "maintenance", "equity", "leverage", "notional/IM",
            "down", "up", "binding", left=["rulebook", "binding"], folds="binding",
        )  # fmt: skip
        for row in part.iter_rows(named=True):
            shown.add_row(
                row["rulebook"], console.money(row["initial_margin"]),
                console.money(row["maintenance_margin"]), console.money(row["equity"]),
                _times(row["leverage"]), _times(row["capital_efficiency"]),
                _percent(row["liquidation_down"]), _percent(row["liquidation_up"]),
                row["reason"] or row["binding"],
            )  # fmt: skip
        console.out.print(shown)
    console.out.print(
        "[dim]down, up: the move of all underlyings together that liquidates the account[/dim]"
    )


def whatif(
    account: Annotated[str, typer.Option("--account", help="The account to change.")],
    market: options.MaybeMarket = None,
    positions: options.MaybePositions = None,
    collateral: options.Collateral = None,
    orders: options.Orders = None,
    modes: options.Modes = None,
    history: options.History = None,
    rulebook: options.MaybeRulebook = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", help="INSTRUMENT=SIZE to trade at the mark; may be given again."),
    ] = None,
    close: Annotated[
        list[str] | None, typer.Option("--close", help="INSTRUMENT to close; may be given again.")
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", min=-1e6, max=1e6, help="Every position times this.")
    ] = 1.0,
    deposit: Annotated[
        list[str] | None,
        typer.Option("--deposit", help="ASSET=AMOUNT, negative to withdraw; may be given again."),
    ] = None,
    url: options.Url = None,
    json: options.Json = False,
) -> None:
    """What trades, transfers or scaling would do to one account: before and after.

    Example: solvent whatif --market chain.csv.gz --positions book.csv --collateral balances.csv
    --account alice --add BTC-PERPETUAL=-10000 --deposit USDC=5000
    """
    from solvent import api
    from solvent.cli import console
    from solvent.whatif import Desk, holdings

    if url is not None:
        changes = _told(add, close, deposit)
        others = (market, orders, modes, history, scale != 1.0)
        remote.whatif(url, account, positions, collateral, rulebook, changes, others, json=json)
        return
    if not market or positions is None:
        raise typer.BadParameter("expected --market and --positions, or --url")
    rulebook = rulebook or "deribit-pm"
    snapshot, series = _read(market), api.read_history(history or None)
    held = holdings(positions, collateral, orders=orders, modes=modes, accounts=[account])[account]
    added, deposited = amounts(add, "--add"), amounts(deposit, "--deposit")
    changed = held.changed(add=added, close=close or [], scale=scale, deposit=deposited)
    desks = {
        "before": Desk(held, snapshot, rulebook, also=added, history=series),
        "after": Desk(changed, snapshot, rulebook, also=added, history=series),
    }
    states = {name: desk.now() for name, desk in desks.items()}
    edges = {name: _edges(desk, states[name]) for name, desk in desks.items()}
    if json:
        console.print_json(
            {name: {**_document(states[name]), "liquidation": edges[name]} for name in desks}
        )
        return
    _print_change(account, desks["before"].rulebook.name, states, edges)


def liquidation(
    market: options.Market,
    positions: options.Positions,
    collateral: Annotated[
        Path, typer.Option("--collateral", help="account,asset,amount as CSV, Parquet or JSON.")
    ],
    orders: options.Orders = None,
    modes: options.Modes = None,
    history: options.History = None,
    rulebook: options.Rulebook = "deribit-pm",
    account: _Account = None,
    json: options.Json = False,
) -> None:
    """Prices of each underlying, and of all together, at which accounts would be liquidated."""
    from solvent.cli import console
    from solvent.whatif import liquidation_prices

    frame = liquidation_prices(
        positions,
        _read(market),
        rulebook,
        collateral=collateral,
        orders=orders,
        modes=modes,
        history=history or None,
        accounts=account,
    )
    if json:
        console.print_json({"rows": frame.to_dicts()})
        return
    shown = console.table(
        "liquidation prices", "account", "underlying", "below", "move", "bankrupt", "above", "move",
        "bankrupt", left=["account", "underlying"],
    )  # fmt: skip
    for row in frame.iter_rows(named=True):
        if row["already"]:
            shown.add_row(row["account"], row["underlying"], "[red]now[/red]", *[""] * 5)
            continue
        if row["unknown"] and row["below"] is None and row["above"] is None:
            shown.add_row(row["account"], row["underlying"], "not known", *[""] * 5)
            continue
        shown.add_row(
            row["account"], row["underlying"], console.money(row["below"]),
            _percent(row["below_distance"]), console.money(row["bankrupt_below"]),
            console.money(row["above"]), _percent(row["above_distance"]),
            console.money(row["bankrupt_above"]),
        )  # fmt: skip
    console.out.print(shown)


def _read(market: list[Path]) -> Snapshot:
    from solvent import api

    return api.read_market(*market)


def amounts(told: list[str] | None, option: str) -> dict[str, float]:
    """NAME=NUMBER pairs, of one name added up. Raises BadInput naming the option."""
    from solvent.errors import BadInput, Problem, Reject

    amounts: dict[str, float] = {}
    for one in told or []:
        name, _, number = one.rpartition("=")
        try:
            amount = float(number)
        except ValueError:
            amount = math.nan
        if math.isfinite(amount):
            amounts[name] = amounts.get(name, 0.0) + amount
        else:
            name = ""
        if not name:
            raise BadInput(
                Problem(code=Reject.ROW_MALFORMED, source=option, expected="NAME=NUMBER", found=one)
            )
    return amounts


def _told(
    add: list[str] | None, close: list[str] | None, deposit: list[str] | None
) -> dict[str, Any]:
    """Changes as a service takes them."""
    return {
        "add": [{"symbol": one, "size": size} for one, size in _texts(add, "--add")],
        "close": close or [], "deposit": dict(_texts(deposit, "--deposit")),
    }  # fmt: skip


def _texts(told: list[str] | None, option: str) -> list[tuple[str, str]]:
    """The same pairs as they were told, in order."""
    amounts(told, option)
    return [(name, number) for name, _, number in (one.rpartition("=") for one in told or [])]


def _edges(desk: Desk, state: State) -> dict[str, dict[str, Any]]:
    """Liquidation prices by underlying; nothing for an account without collateral or numbers."""
    if not desk.holding.balances or not state.known:
        return {}
    found = {}
    for name in desk.market.universe.underlyings:
        down, up = desk.liquidation(name, below=True), desk.liquidation(name, below=False)
        found[name] = {
            "already": down.reach == "already", "unknown": "unknown" in (down.reach, up.reach),
            "below": down.price, "above": up.price,
        }  # fmt: skip
    return found


def _document(state: State) -> dict[str, Any]:
    if not state.known:
        return {"status": "unknown", "reason": state.reason}
    return {
        "equity": state.equity,
        "initial_margin": state.initial,
        "maintenance_margin": state.maintenance,
        "worst_scenario": state.binding or None,
    }


def _print_change(
    account: str,
    rulebook: str,
    states: dict[str, State],
    edges: dict[str, dict[str, dict[str, Any]]],
) -> None:
    from solvent.cli.console import money, out, table

    shown = table(f"{account} under {rulebook}, USD", "", "before", "after", "change", left=[""])
    before, after = states["before"], states["after"]
    for label, name in (("equity", "equity"), ("initial margin", "initial"),
                        ("maintenance", "maintenance")):  # fmt: skip
        old, new = getattr(before, name), getattr(after, name)
        known = before.known and after.known
        shown.add_row(label, money(old if before.known else None),
                      money(new if after.known else None),
                      money(new - old, signed=True) if known else "-")  # fmt: skip
    for name in sorted({*edges["before"], *edges["after"]}):
        for side in ("below", "above"):
            cells = [_edge(edges[when].get(name), side) for when in ("before", "after")]
            shown.add_row(f"liquidated when {name} {side}", *cells, "")
    shown.add_row("binding scenario", before.binding or "-", after.binding or "-", "")
    out.print(shown)
    for state in (before, after):
        if not state.known:
            out.print(f"[magenta]not known: {state.reason}[/magenta]")


def _edge(found: dict[str, Any] | None, side: str) -> str:
    from solvent.cli.console import money

    if found is None:
        return "-"
    if found["already"]:
        return "now"
    if found[side] is None:
        return "not known" if found["unknown"] else "never"
    return money(found[side])


def _times(number: float | None) -> str:
    return "-" if number is None else f"{number:,.1f}x"


def _percent(move: float | None) -> str:
    return "-" if move is None else f"{100 * move:+.1f} %"
