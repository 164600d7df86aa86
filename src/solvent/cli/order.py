"""`solvent order`: place, amend and cancel orders, and what else is asked about them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options, remote
from solvent.cli.order_text import (
    Account,
    Actor,
    HoldTime,
    Key,
    listed,
    opened,
    outcome_document,
    outcome_lines,
    say,
    tell,
)
from solvent.cli.venue import Where

if TYPE_CHECKING:
    from solvent.engine.state import State
    from solvent.host import Answer
    from solvent.order_rows import OpenOrder

app = typer.Typer(no_args_is_help=True, help="Place, amend and cancel orders; look at books.")

Symbol = Annotated[str, typer.Option("--symbol", help="The instrument.", show_default=False)]
_Side = Annotated[str, typer.Option("--side", help="buy or sell.", show_default=False)]
_Size = Annotated[
    str,
    typer.Option("--size", help="In the venue's own unit: coin, or dollars of an inverse future.",
                 show_default=False),
]  # fmt: skip
_Price = Annotated[str | None, typer.Option("--price", help="Of a limit order.")]
_Type = Annotated[
    str | None,
    typer.Option(
        "--type",
        help="market, limit, stop, stop-limit, take-profit or take-profit-limit; limit if there is "
        "a price.",
    ),
]
_Order = Annotated[
    str | None, typer.Option("--order", help="The order's name; made up where it is not told.")
]
_Tif = Annotated[
    str | None,
    typer.Option("--tif", help="gtc, gtd, ioc or fok; gtc unless told, ioc of a market order."),
]
_Expire = Annotated[
    str | None, typer.Option("--expire", help="Good till then: 2026-06-30T10:05, UTC.")
]
_PostOnly = Annotated[bool, typer.Option("--post-only", help="It never takes.")]
_ReduceOnly = Annotated[
    bool, typer.Option("--reduce-only", help="It never makes the position larger.")
]
_Display = Annotated[
    str | None, typer.Option("--display", help="Size to show at a time (an iceberg).")
]
_SelfTrade = Annotated[
    str,
    typer.Option(
        "--self-trade",
        help="What goes when it meets an order of its own account: newest, oldest, both or "
        "decrement.",
    ),
]
_StopPrice = Annotated[
    str | None, typer.Option("--stop-price", help="Where a stop becomes an order.")
]
_StopTrigger = Annotated[
    str, typer.Option("--stop-trigger", help="By which price: mark, index or last.")
]
_Group = Annotated[str | None, typer.Option("--group", help="Protected with others: see protect.")]
_Session = Annotated[
    str | None, typer.Option("--session", help="It goes when this ends: see cancel.")
]


@app.command("place")
def place(
    where: Where, account: Account, symbol: Symbol, side: _Side, size: _Size,
    price: _Price = None, order_type: _Type = None, order: _Order = None, tif: _Tif = None,
    expire: _Expire = None, post_only: _PostOnly = False, reduce_only: _ReduceOnly = False,
    display: _Display = None, self_trade: _SelfTrade = "newest", stop_price: _StopPrice = None,
    stop_trigger: _StopTrigger = "mark", group: _Group = None, session: _Session = None,
    key: Key = None, actor: Actor = None, hold_time: HoldTime = False, json: options.Json = False,
) -> None:  # fmt: skip
    """Place an order, and tell what came of it. Exit code 1 when it was refused.

    Example: solvent order place my-venue --account alice --symbol BTC_USDC-PERPETUAL --side buy
    --size 0.5 --price 64000
    """
    terms: dict[str, Any] = {
        "order": order, "order_type": order_type, "time_in_force": tif, "expire": _moment(expire),
        "post_only": post_only, "reduce_only": reduce_only, "display": display,
        "self_trade": self_trade, "stop_price": stop_price, "stop_trigger": stop_trigger,
        "group": group, "session": session, "key": key,
    }  # fmt: skip
    if remote.is_url(where):
        with remote.connected(where, actor=actor, hold_time=hold_time) as client:
            remote.tell_outcome(
                client.place(account, symbol, side, size, price, **terms), json=json
            )
        return
    with opened(where, quiet=json, hold_time=hold_time) as (engine, time_ms, head):
        found = engine.place(
            account, symbol, side, size, price, **terms, actor=actor, time_ms=time_ms
        )
        tell(engine, head, found.answer, outcome_document(found), outcome_lines(engine, found),
             json=json, symbol=symbol)  # fmt: skip


def _moment(told: str | None) -> datetime | None:
    """A time, UTC where it has no zone."""
    from datetime import UTC

    if told is None:
        return None
    try:
        found = datetime.fromisoformat(told)
    except ValueError:
        raise typer.BadParameter(
            f"expected a time such as 2026-06-30T10:05, found {told!r}", param_hint="--expire"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@app.command("amend")
def amend(
    where: Where,
    account: Account,
    order: Annotated[str, typer.Option("--order", help="Its name.", show_default=False)],
    size: Annotated[
        str | None, typer.Option("--size", help="All of it, what has traded counted.")
    ] = None,
    price: Annotated[str | None, typer.Option("--price", help="The new price.")] = None,
    key: Key = None,
    actor: Actor = None,
    hold_time: HoldTime = False,
    json: options.Json = False,
) -> None:
    """Change an order's price or size. It keeps its place where only size is taken off.

    Example: solvent order amend my-venue --account alice --order a1 --size 0.3
    """
    if remote.is_url(where):
        with remote.connected(where, actor=actor, hold_time=hold_time) as client:
            done = client.amend(account, order, size=size, price=price, key=key)
            remote.tell_outcome(done, json=json)
        return
    with opened(where, quiet=json, hold_time=hold_time) as (engine, time_ms, head):
        found = engine.amend(account, order, size=size, price=price, key=key, actor=actor,
                             time_ms=time_ms)  # fmt: skip
        tell(engine, head, found.answer, outcome_document(found), outcome_lines(engine, found),
             json=json, symbol=found.symbol or None)  # fmt: skip


@app.command("cancel")
def cancel(
    where: Where,
    account: Annotated[str | None, typer.Option("--account", help="Whose.")] = None,
    order: Annotated[str | None, typer.Option("--order", help="One order, by name.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that fit what is told besides.")
    ] = False,
    symbol: Annotated[str | None, typer.Option("--symbol", help="With --all.")] = None,
    underlying: Annotated[str | None, typer.Option("--underlying", help="With --all.")] = None,
    side: Annotated[str | None, typer.Option("--side", help="With --all.")] = None,
    group: Annotated[str | None, typer.Option("--group", help="With --all.")] = None,
    session: Annotated[
        str | None, typer.Option("--session", help="All of a session that has ended.")
    ] = None,
    key: Key = None,
    actor: Actor = None,
    hold_time: HoldTime = False,
    json: options.Json = False,
) -> None:
    """Take one order back, all that fit (--all), or those of a session.

    Examples: solvent order cancel my-venue --account alice --order a1; solvent order cancel
    my-venue --all --underlying BTC --side buy
    """
    filters = (symbol, underlying, side, group)
    if (order is not None) + everything + (session is not None) != 1:
        raise typer.BadParameter("expected one of --order, --all and --session")
    if not everything and (account is None or any(filters)):
        raise typer.BadParameter("expected --account and no filters without --all")
    if remote.is_url(where):
        named = {"symbol": symbol, "underlying": underlying, "side": side, "group": group}
        with remote.connected(where, actor=actor, hold_time=hold_time) as client:
            remote.cancel(client, account, order, session, named, key=key, actor=actor, json=json)
        return
    with opened(where, quiet=json, hold_time=hold_time) as (engine, time_ms, head):
        asked: dict[str, Any] = {"key": key, "actor": actor, "time_ms": time_ms}
        if everything:
            answer = engine.cancel_all(
                account, symbol=symbol, underlying=underlying, side=side, group=group, **asked
            )
        elif session is not None:
            answer = engine.disconnect(str(account), session, **asked)
        else:
            answer = engine.cancel(str(account), str(order), **asked)
        gone = gone_in(engine.state, answer)
        owners = dict.fromkeys(one["account"] for one in gone)
        whose = [
            f"{listed([one['order'] for one in gone if one['account'] == owner])} of {owner}"
            for owner in owners
        ]
        line = f"{len(gone):,} taken back{': ' if whose else ''}{'; '.join(whose)}"
        tell(engine, head, answer, {"gone": gone}, [line], json=json, symbol=symbol)


def gone_in(state: State, answer: Answer) -> list[dict[str, str]]:
    """Orders and stops that a command took back."""
    from solvent.messages.events import OrderReduced, StopCancelled

    return [
        {"account": state.account(one.account).name, "order": one.order, "why": one.why}
        for one in answer.events
        if isinstance(one, StopCancelled) or (isinstance(one, OrderReduced) and not one.lots)
    ]


# ── which orders there are ───────────────────────────────────────────────────────────────────────


@app.command("ls")
def ls(
    where: Where,
    account: Annotated[str | None, typer.Option("--account", help="Only its orders.")] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", help="Only in this one.")] = None,
    json: options.Json = False,
) -> None:
    """List orders that rest and stops that wait. It only reads: an engine may be running."""
    from solvent.cli import console
    from solvent.cli.state import read_only
    from solvent.order_rows import open_orders

    if remote.is_url(where):
        if account is None:
            raise typer.BadParameter("expected one of a served venue", param_hint="--account")
        with remote.connected(where) as client:
            rows = client.orders(account, symbol=symbol)
    else:
        with read_only(where, quiet=json) as (_, state):
            rows = open_orders(state, account, symbol)
    if json:
        console.print_json({"orders": [_order_document(row) for row in rows]})
    elif not rows:
        say("no orders")
    else:
        _print_orders(rows)


def _order_document(row: OpenOrder) -> dict[str, Any]:
    from dataclasses import asdict
    from decimal import Decimal

    found = asdict(row)
    return {name: str(one) if isinstance(one, Decimal) else one for name, one in found.items()}


def _print_orders(rows: list[OpenOrder]) -> None:
    from rich.markup import escape

    from solvent.cli.console import out, table
    from solvent.documents import stop_words
    from solvent.order_units import spaced

    told = [
        {
            "account": row.account, "order": row.order, "instrument": row.symbol,
            "side": row.side, "size": spaced(row.size), "price": spaced(row.price),
            "filled": spaced(row.filled) if row.filled else "",
            "shown": spaced(row.shown) if 0 < row.shown < row.size else "",
            "stop": stop_words(row), "terms": _terms(row), "group": row.group,
            "session": row.session,
        }
        for row in rows
    ]  # fmt: skip
    used = [name for name in told[0] if any(row[name] for row in told)]
    numbers = {"size", "price", "filled", "shown"}
    shown = table("", *used, left=[name for name in used if name not in numbers])
    for line in told:
        shown.add_row(*(escape(line[name]) for name in used))
    out.print(shown)


def _terms(row: OpenOrder) -> str:
    """What else there is to say of an order."""
    from solvent.instruments.contract import moment_of

    words = [] if row.time_in_force in ("gtc", "gtd") else [row.time_in_force]
    if row.expire_ms:
        words.append(f"until {moment_of(row.expire_ms):%Y-%m-%d %H:%M:%S}")
    words += ["post-only"] * row.post_only + ["reduce-only"] * row.reduce_only
    words += ["expired"] * (row.status == "expired")
    return ", ".join(words)


# ── what trades otherwise ────────────────────────────────────────────────────────────────────────


@app.command("block")
def block(
    where: Where,
    account: Account,
    reference: Annotated[
        str, typer.Option("--reference", help="What both sides call it.", show_default=False)
    ],
    counterparty: Annotated[
        str | None, typer.Option("--counterparty", help="The other side.")
    ] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", help="The instrument.")] = None,
    side: Annotated[str | None, typer.Option("--side", help="buy or sell.")] = None,
    size: Annotated[str | None, typer.Option("--size", help="In the venue's own unit.")] = None,
    price: Annotated[str | None, typer.Option("--price", help="As agreed.")] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take the report back; no more is told.")
    ] = False,
    key: Key = None,
    actor: Actor = None,
    hold_time: HoldTime = False,
    json: options.Json = False,
) -> None:
    """Report one side of a trade agreed elsewhere; it is done when the other side's report fits.

    Example: solvent order block my-venue --account alice --counterparty bob --reference b-1
    --symbol BTC_USDC-PERPETUAL --side buy --size 1 --price 64400
    """
    from solvent.messages.events import BlockReported

    told = (counterparty, symbol, side, size, price)
    if withdraw != all(one is None for one in told) or (not withdraw and None in told):
        raise typer.BadParameter(
            "expected --counterparty, --symbol, --side, --size and --price, or --withdraw alone"
        )
    with opened(where, quiet=json, hold_time=hold_time) as (engine, time_ms, head):
        asked: dict[str, Any] = {"key": key, "actor": actor, "time_ms": time_ms}
        if withdraw:
            answer = engine.withdraw_block(account, reference, **asked)
        else:
            answer = engine.block(
                account, str(counterparty), str(symbol), str(side), str(size), str(price),
                reference=reference, **asked,
            )  # fmt: skip
        status = next((one.status for one in answer.events if isinstance(one, BlockReported)), "")
        waits = f" by {account}, waits for {counterparty}" if status == "reported" else ""
        line = f"block {reference}: {status}{waits}"
        tell(engine, head, answer, {"reference": reference, "status": status or None}, [line],
             json=json, symbol=symbol)  # fmt: skip
