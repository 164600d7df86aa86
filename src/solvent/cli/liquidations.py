"""`solvent liquidations`: what happened to accounts that could not pay, and what is to be done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options
from solvent.cli.order_text import Actor, HoldTime, opened, say
from solvent.cli.venue import Where

if TYPE_CHECKING:
    from solvent.engine.state import State
    from solvent.journal import Journal
    from solvent.tending.plans import Plan
    from solvent.tending.told import Step

_LATEST = 40


def liquidations(
    where: Where,
    account: Annotated[
        str | None,
        typer.Option("--account", help="One account: its statement, to be checked by itself."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="What is to be done now; nothing is done.")
    ] = False,
    do: Annotated[
        bool, typer.Option("--do", help="Do all that is to be done now.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="At most so many of the last steps; 0: all.")
    ] = _LATEST,
    actor: Actor = None,
    hold_time: HoldTime = False,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Show who was reduced, by which rule, from what to what, at which price, and who paid what.

    Examples: solvent liquidations my-venue; solvent liquidations my-venue --plan; solvent
    liquidations my-venue --account alice --json
    """
    from solvent.cli import console
    from solvent.cli.state import read_only

    if (account is not None) + plan + do > 1:
        raise typer.BadParameter("expected at most one of --account, --plan and --do")
    if do:
        _do(where, actor, hold_time=hold_time, json=json)
        return
    with read_only(where, quiet=json) as (journal, state):
        if plan:
            _show_plans(state, json=json)
            return
        steps = list(_steps(journal, state))
        if account is not None:
            _show_statement(journal, state, account, steps, json=json)
            return
    if json:
        console.print_json({"steps": [one.to_dict() for one in steps]})
        return
    _print_steps(steps, limit)


def _steps(journal: Journal, state: State) -> Iterable[Step]:
    from solvent.tending.told import Teller

    return Teller(state).take(journal.read(verify=False))


# ── what is to be done ───────────────────────────────────────────────────────────────────────────


def _show_plans(state: State, *, json: bool) -> None:
    from solvent.cli import console
    from solvent.tending.tender import plans

    found = plans(state)
    if json:
        console.print_json({"plans": [one.to_dict() for one in found]})
    elif not found:
        say("nothing is to be done")
    for one in found if not json else ():
        _print_plan(one)


def _print_plan(plan: Plan) -> None:
    from solvent.tending.disposing import STAGE
    from solvent.tending.plans import dollars

    where = f" ({plan.pool})" if plan.pool else ""
    stands = f"; equity {dollars(plan.equity_micro)}, maintenance {dollars(plan.maintenance_micro)}"
    if plan.stage == STAGE:
        stands = ""  # no margin is asked of the fund
    say(f"{plan.account}{where}: {plan.stage}, {plan.rule}{stands}")
    for row in plan.rows:
        say(f"  {type(row.command).__name__}: {row.why}")
    if plan.open:
        say(f"  {plan.open}")


def _do(where: str, actor: str | None, *, hold_time: bool, json: bool) -> None:
    from solvent.cli import console
    from solvent.tending.plans import ACTOR

    with opened(where, quiet=json, hold_time=hold_time) as (engine, time_ms, _):
        done = engine.tend(actor=actor or ACTOR, time_ms=time_ms)
    if json:
        console.print_json(
            {
                "plans": dict(done.plans), "accepted": done.accepted, "refused": done.refused,
                "open": [one.to_dict() for one in done.open],
            }
        )  # fmt: skip
        return
    if done.nothing:
        say("nothing was to be done")
    for stage, count in done.plans.items():
        say(f"{stage}: {count:,}")
    if not done.nothing:
        say(f"{done.accepted:,} commands accepted, {done.refused:,} refused")
    for one in done.open:
        _print_plan(one)


# ── what happened ────────────────────────────────────────────────────────────────────────────────


def _print_steps(steps: list[Step], limit: int) -> None:
    from rich.markup import escape

    from solvent.cli.console import out, table
    from solvent.instruments.contract import moment_of

    if not steps:
        say("nobody was called or liquidated")
        return
    last = steps if not limit else steps[-limit:]
    columns = ("time", "account", "stage", "instrument", "from", "to", "price", "mark", "value",
               "other side", "paid", "note")  # fmt: skip
    words = ("time", "account", "stage", "instrument", "other side", "note")
    shown = table("", *columns, left=words, folds="note")
    for one in last:
        moved = one.before != one.after
        shown.add_row(
            f"{moment_of(one.time_ms):%m-%d %H:%M:%S}", escape(one.account), one.stage,
            escape(one.symbol), f"{one.before:,}" if moved else "",
            f"{one.after:,}" if moved else "", one.price, one.mark,
            f"{one.value_micro / 1e6:,.2f}" if moved else "", escape(one.who),
            f"{(one.paid_micro or one.fee_micro) / 1e6:,.2f}"
            if one.paid_micro or one.fee_micro else "",
            escape(_note(one)),
        )  # fmt: skip
    out.print(shown)
    if len(last) < len(steps):
        say(f"the last {len(last):,} of {len(steps):,} steps (--limit 0 shows all)")
    for line in _totals(steps):
        say(line)


def _note(one: Step) -> str:
    if one.rejected:
        return f"refused: {one.detail}"
    if one.stage == "begin":
        return (
            f"equity {one.equity_micro / 1e6:,.2f}, maintenance {one.maintenance_micro / 1e6:,.2f}"
        )
    return one.detail


def _totals(steps: list[Step]) -> Iterable[str]:
    """Who paid what, in all."""
    from solvent.tending.told import REDUCING

    done = [one for one in steps if not one.rejected]
    for stage in REDUCING:
        mine = [one for one in done if one.stage == stage]
        if mine:
            value = sum(one.value_micro for one in mine) / 1e6
            lost = sum(one.lost_micro for one in mine) / 1e6
            yield f"{stage}: {value:,.2f} dollars, {lost:,.2f} lost against the mark"
    for stage in ("cover", "socialise", "confiscate"):
        paid = sum(one.paid_micro for one in done if one.stage == stage) / 1e6
        if paid:
            yield f"{stage}: {paid:,.2f} dollars"


# ── a statement ──────────────────────────────────────────────────────────────────────────────────


def _show_statement(
    journal: Journal, state: State, account: str, steps: list[Step], *, json: bool
) -> None:
    from solvent.cli import console
    from solvent.errors import SolventError
    from solvent.tending.statement import state_before, statement

    mine = [one for one in steps if account in (one.account, one.who)]
    begun = [one for one in mine if one.stage == "begin" and not one.rejected
             and one.account == account]  # fmt: skip
    if account not in state.account_numbers:
        raise SolventError(f"account {account!r}: expected one of this venue")
    if not begun:
        raise SolventError(f"account {account}: expected one that was liquidated")
    at = begun[-1]
    found = statement(
        state_before(journal, at.sequence), account, at.time_ms,
        [one for one in mine if one.sequence >= at.sequence],
    )  # fmt: skip
    if json:
        console.print_json({"sequence": at.sequence, **found})
        return
    _print_statement(found, at.sequence)


def _print_statement(found: dict[str, Any], sequence: int) -> None:
    from rich.markup import escape

    from solvent.cli.console import out, table
    from solvent.instruments.contract import moment_of

    say(
        f"{found['account']}, taken over at {moment_of(found['time_ms']):%Y-%m-%d %H:%M:%S} UTC by "
        f"command {sequence:,}"
    )
    rules, arrays = found["rulebook"], found["arrays"]
    say(f"rulebook {rules['name']} of {rules['day']}, sha256 {rules['sha256']}")
    say(f"risk arrays as of {arrays['as_of_ms']}, sha256 {arrays['sha256']}")
    columns = ("instrument", "lots", "mark", "value", "gain", "maintenance alone")
    shown = table("", *columns, left=["instrument"])
    for one in found["positions"]:
        shown.add_row(
            escape(one["instrument"]), f"{one['lots']:,}", one["mark"], _money(one["value"]),
            _money(one["gain"]), _money(one["maintenance_alone"]),
        )  # fmt: skip
    out.print(shown)
    for one in found["balances"]:
        of = f", margin of {one['margin_of']}" if one["margin_of"] else ""
        say(f"{one['units']:,} units of {one['asset']}{of}: {_money(one['dollars'])} dollars")
    say(
        f"money {_money(found['money'])} + gains {_money(found['gains'])} − haircuts "
        f"{_money(found['haircuts'])} = equity {_money(found['equity'])}"
    )
    say(f"maintenance {_money(found['maintenance'])}: short by {_money(found['short'])}")
    for one in found["steps"]:
        moved = ""
        if one["before"] != one["after"]:
            moved = f" {one['symbol']} from {one['before']:,} to {one['after']:,}"
            moved += f" at {one['price']} (mark {one['mark']})"
        paid = f", {one['paid_micro'] / 1e6:,.2f} dollars" if one["paid_micro"] else ""
        who = f" with {one['who']}" if one["who"] else ""
        say(f"  {one['sequence']:,} {one['stage']}{moved}{who}{paid}")


def _money(text: str) -> str:
    from decimal import Decimal

    return f"{Decimal(text):,.2f}"
