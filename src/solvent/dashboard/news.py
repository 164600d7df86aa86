"""What happened to accounts that cannot pay, told in words from a command's events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from solvent.dashboard.text import dollars_text
from solvent.dashboard.venue_view import News
from solvent.messages import events as e
from solvent.service.streams import Entry


def news_of(entry: Entry, names: Mapping[int, str]) -> Iterator[News]:
    """Calls, warnings, liquidations and losses of one command.

    Args:
        names: account number → name; a number that is not there is told as it is.
    """
    for event in entry.events:
        told = _told(event)
        if told is not None:
            number, kind, text = told
            yield News(
                sequence=entry.sequence, time_ms=entry.time_ms, kind=kind,
                account=names.get(number, f"#{number}"), text=text,
            )  # fmt: skip


def _told(event: e.Event) -> tuple[int, str, str] | None:
    match event:
        case e.MarginCalled(call_micro=0, level=level):
            return event.account, "warning", f"warned, level {level}"
        case e.MarginCalled(call_micro=micro):
            return event.account, "call", f"margin call of {dollars_text(micro)}"
        case e.CallEnded(how=how):
            kind = "call" if how == "unmet" else "well"
            words = {"met": "margin call met", "lifted": "warning lifted",
                     "unmet": "margin call not met in time"}  # fmt: skip
            return event.account, kind, words.get(how, how)
        case e.LiquidationBegun(equity_micro=equity, maintenance_micro=maintenance):
            short = dollars_text(maintenance - equity)
            return event.account, "liquidation", f"liquidation begun, {short} short"
        case e.AuctionStarted():
            return event.account, "liquidation", "offered in an auction"
        case e.StatusChanged(status="frozen"):
            return event.account, "warning", "frozen by an operator"
        case _:
            return None
