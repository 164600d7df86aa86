"""Exact arithmetic for the readable way: rationals, and roots and logarithms to 60 digits.

`+ - * /`, comparisons and roundings of rationals are exact, as venues that compute in integers need
it. What is irrational (`sqrt exp log **`) is rounded at the sixtieth digit; a root of a perfect
square is exact. `normal` and `normal_quantile` are as good as float64.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from solvent.expressions import Arithmetic
from solvent.portable import normal, normal_quantile

_DIGITS: Final = Context(prec=60)
_EXPONENT_MAX: Final = 10_000
_BITS_MAX: Final = 10_000
"""A power whose exact numerator or denominator would be longer is rounded as well."""


def decimal_of(number: Fraction) -> Decimal:
    """The nearest number of sixty digits.

    >>> decimal_of(Fraction(1, 8))
    Decimal('0.125')
    """
    return _DIGITS.divide(Decimal(number.numerator), Decimal(number.denominator))


def _rounded(number: Decimal) -> Fraction:
    """A number of sixty digits. Raises OverflowError for one beyond every money."""
    if not number.is_finite() or abs(number.adjusted()) > _EXPONENT_MAX:
        raise OverflowError(f"{number:.3e} is out of range")
    return Fraction(number)


def _root(number: Fraction) -> Fraction:
    over, under = math.isqrt(number.numerator), math.isqrt(number.denominator)
    if over * over == number.numerator and under * under == number.denominator:
        return Fraction(over, under)
    return _rounded(_DIGITS.sqrt(decimal_of(number)))


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """base ** exponent, exact for whole exponents while the result stays short.

    >>> power(Fraction(2, 3), Fraction(-2))
    Fraction(9, 4)
    """
    digits = base.numerator.bit_length() + base.denominator.bit_length()
    if exponent.denominator == 1 and abs(exponent) * digits < _BITS_MAX:
        return Fraction(base ** int(exponent))
    return _rounded(_DIGITS.power(decimal_of(base), decimal_of(exponent)))


def _at(decimals: Fraction, rounding: Callable[[Fraction], int], number: Fraction) -> Fraction:
    unit = Fraction(10) ** int(decimals)
    return rounding(number * unit) / unit


def _half_up(number: Fraction) -> int:
    whole = math.floor(abs(number) + Fraction(1, 2))
    return whole if number >= 0 else -whole


def _rounding(rounding: Callable[[Fraction], int]) -> Callable[..., Fraction]:
    return lambda number, decimals=Fraction(0): _at(decimals, rounding, number)


RATIONALS: Final = Arithmetic(
    number=Fraction,
    functions={
        "max": max,
        "min": min,
        "abs": abs,
        "sign": lambda number: Fraction((number > 0) - (number < 0)),
        "clip": lambda number, low, high: min(max(number, low), high),
        "round": _rounding(round),
        "round_half_up": _rounding(_half_up),
        "floor": _rounding(math.floor),
        "ceil": _rounding(math.ceil),
        "trunc": _rounding(math.trunc),
        "where": lambda condition, yes, no: yes if condition else no,
        "sqrt": _root,
        "exp": lambda number: _rounded(_DIGITS.exp(decimal_of(number))),
        "log": lambda number: _rounded(_DIGITS.ln(decimal_of(number))),
        "normal": lambda number: Fraction(float(normal(float(number)))),
        "normal_quantile": lambda number: Fraction(float(normal_quantile(float(number)))),
        "and": lambda left, right: bool(left) and bool(right),
        "or": lambda left, right: bool(left) or bool(right),
        "not": operator.not_,
        "**": power,
    },
)
"""One number at a time, exactly."""
