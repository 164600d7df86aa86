"""`solvent order relief`, `protect`, `combo` and `phase`: what is asked of the desk as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options
from solvent.cli.order import Symbol, gone_in
from solvent.cli.order_text import (
    Account,
    Actor,
    HoldTime,
    Key,
    duration_ms,
    happenings,
    in_words,
    listed,
    opened,
    say,
    tell,
)
from solvent.cli.venue import Where

if TYPE_CHECKING:
    from solvent.order_rows import ReliefPlan


def relief(
    where: Where,
    account: Account,
    do: Annotated[bool, typer.Option("--do", help="Take them back.")] = False,
    key: Key = None,
    actor: Actor = None,
    hold_time: HoldTime = False,
    json: options.Json = False,
) -> None:
    """Show which orders would be taken back so that an account has its initial margin again.

    Nothing is done without --do. Example: solvent order relief my-venue --account alice
    """
    from solvent.cli import console
    from solvent.cli.state import read_only
    from solvent.errors import BadInput, Reject
    from solvent.order_rows import relief_of

    if do:
        with opened(where, quiet=json, hold_time=hold_time) as (engine, time_ms, head):
            answer = engine.relieve(account, key=key, actor=actor, time_ms=time_ms)
            gone = gone_in(engine.state, answer)
            names = listed([one["order"] for one in gone]) or "nothing"
            tell(
                engine, head, answer, {"gone": gone}, [f"{account}: {names} taken back"], json=json
            )
        return
    with read_only(where, quiet=json) as (_, state):
        try:
            plan = relief_of(state, account)
        except BadInput as fault:
            if fault.problems[0].code is not Reject.ACCOUNT_NOT_SHORT_OF_MARGIN:
                raise
            plan = None
    if json:
        console.print_json(_plan_document(account, plan))
    elif plan is None:
        say(f"{account} has its initial margin: nothing would be taken back")
    else:
        _print_plan(plan)


def _plan_document(account: str, plan: ReliefPlan | None) -> dict[str, Any]:
    if plan is None:
        return {"account": account, "short": False, "orders": []}
    found = {}
    for name, one in (("before", plan.before), ("after", plan.after)):
        found[name] = {
            "equity": one.equity_micro / 1e6, "initial": one.initial_micro / 1e6,
            "available": (one.equity_micro - one.initial_micro) / 1e6,
        }  # fmt: skip
    steps = [
        {
            "order": step.order, "symbol": step.symbol, "side": step.side,
            "size": str(step.size), "price": None if step.price is None else str(step.price),
            "available": float(step.available),
        }
        for step in plan.orders
    ]  # fmt: skip
    return {"account": account, "short": True, **found, "orders": steps}


def _print_plan(plan: ReliefPlan) -> None:
    from rich.markup import escape

    from solvent.cli.console import money, out, table
    from solvent.order_units import spaced

    before = (plan.before.equity_micro - plan.before.initial_micro) / 1e6
    what = "these would be taken back" if plan.orders else "there are no orders to take back"
    say(f"{plan.account}: available {money(before)} USD; {what}")
    words = ("order", "instrument", "side")
    shown = table("", *words, "size", "price", "available after it", left=words)
    for step in plan.orders:
        shown.add_row(
            escape(step.order), escape(step.symbol), step.side, spaced(step.size),
            spaced(step.price), money(float(step.available)),
        )  # fmt: skip
    if plan.orders:
        out.print(shown)
    if plan.after.call:
        say("that is not enough: the rest is of positions")


def protect(
    where: Where,
    account: Account,
    group: Annotated[str, typer.Option("--group", help="Orders by this name.", show_default=False)],
    window: Annotated[str, typer.Option("--window", help="Such as 500ms or 2s.")] = "1s",
    frozen: Annotated[
        str, typer.Option("--frozen", help="How long no new ones come; 0s: until --reset.")
    ] = "0s",
    lots: Annotated[
        int | None, typer.Option("--lots", min=1, help="More filled lots than these trip it.")
    ] = None,
    delta: Annotated[
        str | None, typer.Option("--delta", help="More delta one way than this does, in coin.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Let it quote again.")] = False,
    key: Key = None,
    actor: Actor = None,
    hold_time: HoldTime = False,
    json: options.Json = False,
) -> None:
    """Protect a market maker's quotes: when too much is filled within a window, all of them go.

    Example: solvent order protect my-venue --account alice --group mm --window 2s --lots 5000
    """
    window_ms, frozen_ms = duration_ms(window, "--window"), duration_ms(frozen, "--frozen")
    with opened(where, quiet=json, hold_time=hold_time) as (engine, time_ms, head):
        asked: dict[str, Any] = {"key": key, "actor": actor, "time_ms": time_ms}
        if reset:
            answer = engine.reset_protection(account, group, **asked)
            line = f"group {group} of {account} may quote again"
        else:
            answer = engine.protect(
                account, group, window_ms=window_ms, frozen_ms=frozen_ms, lots=lots, delta=delta,
                **asked,
            )  # fmt: skip
            limits = [f"{lots:,} lots"] if lots is not None else []
            limits += [f"a delta of {delta}"] if delta is not None else []
            until = f"for {in_words(frozen_ms)}" if frozen_ms else "until it is reset"
            line = (
                f"group {group} of {account}: more than {' or '.join(limits)} within "
                f"{in_words(window_ms)} stop it {until}"
            )
        tell(engine, head, answer, {"account": account, "group": group}, [line], json=json)


# ── what there is to trade ───────────────────────────────────────────────────────────────────────


def combo(
    where: Where,
    symbol: Annotated[str, typer.Option("--symbol", help="Its name.", show_default=False)],
    leg: Annotated[
        list[str],
        typer.Option("--leg", help="INSTRUMENT=LOTS, negative to sell; given for each.",
                     show_default=False),
    ],
    tick_size: Annotated[
        str, typer.Option("--tick-size", help="Smallest step of its price.", show_default=False)
    ],
    key: Key = None,
    actor: Actor = None,
    hold_time: HoldTime = False,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Open a combination for trading: it trades as one and settles as its legs.

    Example: solvent order combo my-venue --symbol BTC-ROLL --leg BTC_USDC-31JUL26=1
    --leg BTC_USDC-PERPETUAL=-1 --tick-size 0.5
    """
    legs: dict[str, int] = {}
    for text in leg:
        name, _, lots = text.rpartition("=")
        if not name or name in legs or not lots.lstrip("-").isdigit() or not lots.isascii():
            raise typer.BadParameter(
                f"expected INSTRUMENT=LOTS, each instrument once, found {text!r}",
                param_hint="--leg",
            )
        legs[name] = int(lots)
    with opened(where, quiet=json, hold_time=hold_time) as (engine, time_ms, head):
        answer = engine.combo(symbol, legs, tick_size, key=key, actor=actor, time_ms=time_ms)
        ways = [f"{'buys' if n > 0 else 'sells'} {abs(n):,} {name}" for name, n in legs.items()]
        tell(engine, head, answer, {"symbol": symbol, "legs": legs},
             [f"{symbol} is listed: a lot of it {', '.join(ways)}"], json=json)  # fmt: skip


def phase(
    where: Where,
    symbol: Symbol,
    to: Annotated[str, typer.Argument(metavar="PHASE", help="continuous, auction or halted.")],
    key: Key = None,
    actor: Actor = None,
    hold_time: HoldTime = False,
    json: options.Json = False,
) -> None:
    """Call an auction, end it, halt trading or resume it.

    Example: solvent order phase my-venue auction --symbol BTC_USDC-PERPETUAL
    """
    from solvent.messages.events import Uncrossed
    from solvent.order_units import grid_of, spaced

    with opened(where, quiet=json, hold_time=hold_time) as (engine, time_ms, head):
        answer = engine.phase(symbol, to, key=key, actor=actor, time_ms=time_ms)
        lines = [f"{symbol}: {to}"]
        for one in answer.events:
            if isinstance(one, Uncrossed):
                grid = grid_of(engine.state, symbol)
                lines.append(
                    f"uncrossed: {spaced(grid.size(one.lots))} at "
                    f"{spaced(grid.price(one.price_ticks))}"
                )
        lines += happenings(engine.state, answer.events)
        tell(engine, head, answer, {"symbol": symbol, "phase": to}, lines, json=json, symbol=symbol)
