"""Refusals for people: the engine tells numbers of accounts, lots, ticks, points, millionths of a
dollar and milliseconds; here they become names, sizes, prices, dollars and times."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from solvent.engine.state import State
from solvent.errors import Reject
from solvent.instruments.contract import moment_of
from solvent.order_units import NANO, Grid, decimal_of, grid_by_number, grid_of, spaced

_PRICES = (
    Reject.PRICE_OFF_STEP, Reject.PRICE_OUT_OF_BAND, Reject.PRICE_NOT_POSITIVE,
    Reject.POST_ONLY_CROSSES,
)  # fmt: skip
"""Of these what was found is a price in ticks."""
_SIZES = (
    Reject.LOTS_OFF_STEP, Reject.ORDER_TOO_SMALL, Reject.ORDER_TOO_LARGE, Reject.AMEND_BELOW_FILLED,
    Reject.POSITION_TOO_LARGE,
)  # fmt: skip
"""Of these it is lots."""


def readable(state: State, detail: str, code: Reject, symbol: str | None = None) -> str:
    """A refusal in words and units that people know; `symbol` is the instrument that it is of."""
    text = detail
    for pattern, words in _everywhere(state):
        text = re.sub(pattern, words, text)
    if symbol not in state.contract_numbers:
        return text
    for pattern, words in _of_instrument(grid_of(state, str(symbol)), code):
        text = re.sub(pattern, words, text)
    return text


def moment(time_ms: int) -> str:
    """A time in UTC, to the millisecond where it is no whole second."""
    return f"{moment_of(time_ms):%Y-%m-%d %H:%M:%S.%f}"[:-3].removesuffix(".000")


Words = Callable[[re.Match[str]], str]


def _everywhere(state: State) -> list[tuple[str, Words]]:
    def account(found: re.Match[str]) -> str:
        number = int(found[1])
        known = number < len(state.accounts) and found[1] not in state.account_numbers
        one = state.accounts[number] if known else None
        return f"account {found[1] if one is None else one.name}"

    def instrument(found: re.Match[str]) -> str:
        known = int(found[1]) in state.desk.books and found[1] not in state.contract_numbers
        return grid_by_number(state, int(found[1])).symbol if known else found[0]

    def dollars(found: re.Match[str]) -> str:
        wanted, there = (f"{int(text) / 1e6:,.2f}" for text in found.groups())
        return f"{wanted} USD, found {there}"

    return [
        (r"\baccount (\d+)\b", account),
        (r"\binstrument (\d+)\b", instrument),
        (r"(-?\d+) micro, found (-?\d+)", dollars),
        (r"\b(until|before|after|at) (\d{13})\b", lambda told: f"{told[1]} {moment(int(told[2]))}"),
        (r"(\btime\b[^,]*, found) (\d{13})$", lambda told: f"{told[1]} {moment(int(told[2]))}"),
    ]


def _of_instrument(grid: Grid, code: Reject) -> list[tuple[str, Words]]:
    def size(text: str) -> str:
        return spaced(grid.size(int(text)))

    def price(text: str) -> str:
        return spaced(grid.price(int(text)))

    def trigger(found: re.Match[str]) -> str:
        unit = Fraction(1, NANO) if found[2] == "index" else grid.point
        return f"{found[1]} {spaced(decimal_of(int(found[3]) * unit))}"

    found: list[tuple[str, Words]] = [
        (r"(that the (mark|last|index) has not reached, found) (\d+)", trigger),
        (
            r"(\d+) lots to display, (\d+) at most, found (\d+)$",
            lambda told: "{} to display, {} at most, found {}".format(*map(size, told.groups())),
        ),
        (r"(-?\d+) lots\b", lambda told: size(told[1])),
        (r"(-?\d+) ticks\b", lambda told: price(told[1])),
    ]
    if code in _PRICES:
        found.append((r"(, found) (-?\d+)$", lambda told: f"{told[1]} {price(told[2])}"))
    elif code in _SIZES:
        found.append((r"(, found) (-?\d+)$", lambda told: f"{told[1]} {size(told[2])}"))
    elif code is Reject.BLOCK_MISMATCHED:
        found.append((r"(-?\d+) at (-?\d+)$", lambda told: f"{size(told[1])} at {price(told[2])}"))
    return found
