"""Sizes and prices in the venue's own units: as people tell them, and as they see them.

Sizes are in the base coin, or in dollars of an inverse future; prices in the quote currency. Both
are exact decimals. What is told as a float is refused: nobody can know which decimal was meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from difflib import get_close_matches
from fractions import Fraction
from typing import Final, TypeAlias

from solvent.account.ledger import SYSTEM_NAMES
from solvent.engine.state import State
from solvent.errors import BadInput, Problem, Reject
from solvent.instruments.contract import plain
from solvent.limits import COMBO_FIRST, LOTS_MAX, POINTS_MAX
from solvent.messages.fields import Side

Told: TypeAlias = str | int | Decimal
"""A number as people tell it."""
NANO: Final = 10**9
_PLAIN: Final = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_DIGITS_MAX: Final = 40
_PLACES: Final = Decimal(1).scaleb(-12)


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


def number_of(told: Told, *, field: str, source: str) -> Fraction:
    """A number without any rounding; BadInput for what is no plain decimal.

    >>> number_of("0.1", field="size", source="order")
    Fraction(1, 10)
    >>> number_of(0.1, field="size", source="order")
    Traceback (most recent call last):
    ...
    solvent.errors.BadInput: order, field 'size': expected a decimal in text, a Decimal or a whole
    number, found the float 0.1 [FIELD_NOT_A_NUMBER]
    """
    match told:
        case str() if len(told) <= _DIGITS_MAX and _PLAIN.fullmatch(told):
            return Fraction(told)
        case bool():
            pass
        case int() if abs(told) < 10**_DIGITS_MAX:
            return Fraction(told)
        case Decimal() if told.is_finite() and max(map(abs, _reach(told))) <= _DIGITS_MAX:
            return Fraction(told)
    found = f"the float {told!r}" if isinstance(told, float) else repr(told)
    raise bad_input(
        Reject.FIELD_NOT_A_NUMBER, source, field, "a decimal in text, a Decimal or a whole number",
        found if len(found) <= 2 * _DIGITS_MAX else f"{found[:_DIGITS_MAX]}…",
    )  # fmt: skip


def _reach(number: Decimal) -> tuple[int, int]:
    """Places of its first and its last digit."""
    exponent = number.as_tuple().exponent
    return number.adjusted(), exponent if isinstance(exponent, int) else 0


def bad_input(code: Reject, source: str, field: str | None, expected: str, found: str) -> BadInput:
    """One thing that is wrong with what was told."""
    return BadInput(Problem(code=code, source=source, field=field, expected=expected, found=found))


def decimal_of(number: Fraction | int) -> Decimal:
    """A fraction as a decimal: exactly, or to 12 places where no decimal is exact.

    >>> decimal_of(Fraction(129, 2)), decimal_of(Fraction(1, 3))
    (Decimal('64.5'), Decimal('0.333333333333'))
    """
    number = Fraction(number)
    context = Context(prec=100)
    found = context.divide(Decimal(number.numerator), Decimal(number.denominator))
    if context.flags[Inexact]:
        found = found.quantize(_PLACES, context=context)
    return Decimal(plain(found))


def spaced(number: Decimal | None) -> str:
    """A decimal for a table.

    >>> spaced(Decimal("64400.50")), spaced(None)
    ('64,400.5', '-')
    """
    if number is None:
        return "-"
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Which sizes and prices an instrument takes.

    Attributes:
        lot: size of a lot. tick, point: price of them. lots_step, price_step: sizes are multiples
            of so many lots, prices of so many ticks.
    """

    number: int
    symbol: str
    lot: Fraction
    tick: Fraction
    point: Fraction
    lots_step: int = 1
    price_step: int = 1

    def size(self, lots: int) -> Decimal:
        """Lots as a size."""
        return decimal_of(lots * self.lot)

    def price(self, ticks: int) -> Decimal:
        """Ticks as a price."""
        return decimal_of(ticks * self.tick)

    def lots(self, told: Told, *, source: str, field: str = "size") -> int:
        """A size in whole lots, or BadInput."""
        size, step = number_of(told, field=field, source=source), self.lots_step * self.lot
        if size <= 0:
            raise bad_input(Reject.ORDER_TOO_SMALL, source, field, "a size above 0", str(told))
        if size % step:
            raise bad_input(Reject.LOTS_OFF_STEP, source, field, f"a multiple of "
                            f"{plain(decimal_of(step))}", str(told))  # fmt: skip
        if size > LOTS_MAX * self.lot:
            most = plain(self.size(LOTS_MAX))
            raise bad_input(Reject.ORDER_TOO_LARGE, source, field, f"at most {most}", str(told))
        return int(size / self.lot)

    def ticks(self, told: Told, *, source: str, field: str = "price") -> int:
        """A price in whole ticks, or BadInput."""
        return self._steps(told, self.price_step, self.tick, source, field)

    def points(self, told: Told, *, source: str, field: str) -> int:
        """A price in whole points, as marks are told, or BadInput."""
        return self._steps(told, 1, self.point, source, field)

    def _steps(self, told: Told, least: int, unit: Fraction, source: str, field: str) -> int:
        price, step = number_of(told, field=field, source=source), least * unit
        if price % step:
            raise bad_input(Reject.PRICE_OFF_STEP, source, field, f"a multiple of "
                            f"{plain(decimal_of(step))}", str(told))  # fmt: skip
        if abs(price) > POINTS_MAX * unit:
            most = plain(decimal_of(POINTS_MAX * unit))
            raise bad_input(Reject.AMOUNT_TOO_LARGE, source, field, f"at most {most}", str(told))
        return int(price / unit)


def grid_of(state: State, symbol: str) -> Grid:
    """The grid of a contract or a combination that is listed, or BadInput."""
    number = state.contract_numbers.get(symbol)
    if number is None:
        near = get_close_matches(symbol, state.contract_numbers, n=3, cutoff=0.5)
        such = f", such as {', '.join(near)}" if near else ""
        raise bad_input(
            Reject.INSTRUMENT_UNKNOWN, "order", "symbol",
            f"one of {len(state.contract_numbers)} listed instruments{such}", repr(symbol),
        )  # fmt: skip
    return grid_by_number(state, number)


def grid_by_number(state: State, number: int) -> Grid:
    """The same by number. A lot of a combination is one of each leg, times its ratio."""
    book = state.desk.books.get(number)
    steps = (1, 1) if book is None else (book.terms.lots_step, book.terms.price_step)
    if number >= COMBO_FIRST:
        combo = state.combos[number - COMBO_FIRST]
        symbol, lot = combo.listing.symbol, combo.legs[0][0].deal.lot_size
        tick = point = combo.tick
    else:
        deal = state.contracts[number].deal
        symbol, lot, point = deal.symbol, deal.lot_size, deal.point
        tick = point * deal.points_per_tick
    return Grid(
        number=number, symbol=symbol, lot=lot, tick=tick, point=point, lots_step=steps[0],
        price_step=steps[1],
    )  # fmt: skip


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def side_named(told: str) -> Side:
    """`buy` or `sell`, or BadInput."""
    if told in tuple(Side):
        return Side(told)
    raise bad_input(Reject.SIDE_UNKNOWN, "order", "side", "buy or sell", repr(told))


def side_of(lots: int) -> Side:
    """Positive lots buy."""
    return Side.BUY if lots > 0 else Side.SELL


def account_number(state: State, name: str, *, source: str = "order") -> int:
    """An account by name, or BadInput that says where the name was told."""
    number = state.account_numbers.get(name)
    if number is None:
        users = list(state.account_numbers)[len(SYSTEM_NAMES) :]
        such = f", such as {', '.join(users[-3:])}" if users else ""
        raise bad_input(
            Reject.ACCOUNT_UNKNOWN, source, "account", f"one of {len(users)} accounts{such}",
            repr(name),
        )  # fmt: skip
    return number
