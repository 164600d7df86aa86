"""What came of orders, in words; and what several commands of `solvent order` share."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from solvent.engine.state import State
    from solvent.host import Answer, Engine
    from solvent.messages.events import Event
    from solvent.order_rows import OpenOrder
    from solvent.outcomes import Outcome

Account = Annotated[str, typer.Option("--account", help="Whose.", show_default=False)]
Key = Annotated[
    str | None,
    typer.Option("--key", help="Names the request: the same one again is answered as it was."),
]
Actor = Annotated[str | None, typer.Option("--actor", help="Who asks; the account otherwise.")]
HoldTime = Annotated[
    bool,
    typer.Option(
        "--hold-time", envvar="SOLVENT_HOLD_TIME",
        help="It happens at the journal's last time, not at the clock's.",
    ),
]  # fmt: skip
_NAMES_SHOWN = 12
_AGED = (
    "note: the risk arrays are missing or too old for this time; publish newer ones (solvent "
    "publish), or hold the time (--hold-time)"
)


@contextmanager
def opened(where: str, *, quiet: bool, hold_time: bool) -> Iterator[tuple[Engine, int | None, int]]:
    """An engine to trade on, the time at which that is (None: the clock's), and its head."""
    from solvent.cli import console
    from solvent.host import Engine

    with console.progress(quiet=quiet) as bar:
        task = bar.add_task("recovering the state", total=None)
        engine = Engine.open(
            where, progress=lambda done, head: bar.update(task, completed=done, total=head)
        )
    with engine:
        log = engine.state.log
        yield engine, log.time_ms if hold_time else None, log.sequence


def say(line: str) -> None:
    """A line on stdout, as it is."""
    from solvent.cli.console import out

    out.print(line, markup=False, highlight=False, soft_wrap=True)


def tell(
    engine: Engine, head: int, answer: Answer, document: dict[str, Any], lines: Sequence[str], *,
    json: bool, symbol: str | None = None,
) -> None:  # fmt: skip
    """What came of a command after `head`: lines, or a document; of a refusal the reason, with exit
    code 1."""
    from solvent.cli import console
    from solvent.errors import Reject
    from solvent.messages.codec import event_fields
    from solvent.outcomes import refusal_of
    from solvent.refusal_text import readable

    detail = refusal_of(answer.events)
    again = 0 < answer.sequence <= head
    code = Reject(answer.code) if answer.code else None
    if json:
        console.print_json(
            {
                "accepted": answer.accepted, "sequence": answer.sequence or None,
                "repeated": again,
                "code": None if code is None else code.name, "detail": detail or None, **document,
                "events": [event_fields(event) for event in answer.events],
            }
        )  # fmt: skip
    elif code is None:
        for line in lines:
            say(line)
        if again:
            say(f"answered before, as command {answer.sequence:,}")
    else:
        told = readable(engine.state, detail, code, symbol)
        print(f"rejected: {told} [{code.name}]", file=sys.stderr)
        if code is Reject.RISK_UNKNOWN:
            print(_AGED, file=sys.stderr)
    if code is not None:
        raise typer.Exit(1)


# ── an order ─────────────────────────────────────────────────────────────────────────────────────


def outcome_lines(engine: Engine, outcome: Outcome) -> list[str]:
    """What came of an order: what it traded, and what became of the rest."""
    from solvent.documents import stop_words
    from solvent.order_units import spaced

    parts = []
    if outcome.fills:
        verb = "bought" if outcome.side == "buy" else "sold"
        mean = " on average" if len({fill.price for fill in outcome.fills}) > 1 else ""
        parts.append(
            f"{verb} {spaced(outcome.filled)} {outcome.symbol} at {spaced(outcome.average)}{mean}"
        )
    open_now = [one for one in _open(engine, outcome.account) if one.order == outcome.order]
    for one in open_now if outcome.status in ("resting", "waiting") else []:
        what = f"{one.side} {spaced(one.size)} {one.symbol}"
        price = "" if one.price is None else f" at {spaced(one.price)}"
        hidden = f", {spaced(one.shown)} of it shown" if 0 < one.shown < one.size else ""
        rests = f"waits for {stop_words(one)}" if one.stop_trigger else f"rests{hidden}"
        parts.append(f"{what}{price} {rests}")
    if outcome.status == "ended" or not parts:
        why = f"ended: {outcome.why}" if outcome.why else outcome.status
        parts.append(f"{spaced(outcome.left)} {outcome.symbol} {why}")
    head = f"{outcome.order} of {outcome.account}: {'; '.join(parts)}"
    mine = outcome.account, outcome.order
    return [head, *happenings(engine.state, outcome.answer.events, mine=mine)]


def _open(engine: Engine, account: str) -> list[OpenOrder]:
    return engine.orders(account) if account in engine.state.account_numbers else []


def happenings(
    state: State, events: Sequence[Event], *, mine: tuple[str, str] | None = None
) -> list[str]:
    """What else a command brought about: protections that tripped, stops, orders that went."""
    from solvent.messages.events import (
        OrderReduced,
        ProtectionTripped,
        StopCancelled,
        StopTriggered,
    )

    lines: list[str] = []
    gone: dict[tuple[str, str], list[str]] = {}
    for event in events:
        if isinstance(event, ProtectionTripped):
            owner = state.account(event.account).name
            until = f"until {moment(event.until_ms)}" if event.until_ms else "until it is reset"
            lines.append(f"protection tripped: group {event.group} of {owner}, {until}")
        elif isinstance(event, StopTriggered):
            lines.append(f"triggered: {event.order} of {state.account(event.account).name}")
        elif isinstance(event, StopCancelled) or (isinstance(event, OrderReduced)
                                                  and not event.lots):  # fmt: skip
            one = state.account(event.account).name, event.order
            if one != mine and event.why not in ("filled", "amended"):
                gone.setdefault((one[0], event.why), []).append(event.order)
    for (owner, why), names in gone.items():
        lines.append(f"gone: {listed(names)} of {owner} ({why})")
    return lines


def listed(names: Sequence[str]) -> str:
    """Names, or how many there are besides the first."""
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown} and {more:,} more" if more > 0 else shown


def moment(time_ms: int) -> str:
    """A time in UTC, to the millisecond where it is no whole second.

    >>> moment(1_782_813_618_000), moment(1_782_813_618_250)
    ('2026-06-30 10:00:18', '2026-06-30 10:00:18.250')
    """
    from solvent.refusal_text import moment as told

    return told(time_ms)


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """The same for machines; sizes and prices are decimals in text."""
    return {
        "account": outcome.account, "order": outcome.order, "symbol": outcome.symbol or None,
        "side": outcome.side, "status": outcome.status, "why": outcome.why or None,
        "filled": str(outcome.filled), "left": str(outcome.left),
        "average": None if outcome.average is None else str(outcome.average),
        "fills": [
            {
                "price": str(fill.price), "size": str(fill.size), "role": fill.role or None,
                "account": fill.account, "order": fill.order,
            }
            for fill in outcome.fills
        ],
    }  # fmt: skip


# ── what is told in words ────────────────────────────────────────────────────────────────────────

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def duration_ms(told: str, option: str) -> int:
    """A time such as 500ms, 2s, 1m in milliseconds.

    >>> duration_ms("2s", "--window"), duration_ms("0.5m", "--window")
    (2000, 30000)
    """
    from fractions import Fraction

    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h)", told)
    if found is None:
        raise typer.BadParameter(f"expected a time such as 500ms, 2s or 1m, found {told!r}",
                                 param_hint=option)  # fmt: skip
    exact = Fraction(found[1]) * _UNITS[found[2]]
    if exact.denominator != 1:
        raise typer.BadParameter(f"expected whole milliseconds, found {told!r}", param_hint=option)
    return int(exact)


def in_words(time_ms: int) -> str:
    """Milliseconds as they would be told.

    >>> in_words(60_000), in_words(1_500)
    ('1m', '1500ms')
    """
    unit = next(name for name in ("h", "m", "s", "ms") if time_ms % _UNITS[name] == 0)
    return f"{time_ms // _UNITS[unit]}{unit}"
