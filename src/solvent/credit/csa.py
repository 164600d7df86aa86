"""A credit support annex in whole numbers: what is called, and what goes back.

By the usual form (ISDA 1994 New York law annex, paragraphs 3 and 13): the credit support amount is
the exposure plus the independent amount less the threshold, never below nothing. What is missing of
it is delivered when it reaches the minimum transfer amount, rounded up; what is too much is
returned when it does, rounded down. Amounts are millionths of a dollar, exposures positive where
the counterparty owes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from solvent.errors import check
from solvent.units import Micro, div_down, div_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an annex says. All amounts are 0 or more.

    Attributes:
        threshold: exposure that stays without security. independent: to be posted beside it.
        minimum_transfer: nothing smaller moves. rounding: what moves is a multiple of it; 1 for no
            rounding.
    """

    threshold: Micro
    independent: Micro
    minimum_transfer: Micro
    rounding: Micro

    def __post_init__(self) -> None:
        for amount in (self.threshold, self.independent, self.minimum_transfer):
            check(amount >= 0, "an amount of an annex is not negative", amount)
        check(self.rounding >= 1, "what moves is a multiple of something", self.rounding)


class Transfer(NamedTuple):
    """What moves: `delivery` to us, or `back` to the counterparty; never both."""

    required: Micro
    delivery: Micro
    back: Micro


def support_amount(terms: Terms, exposure: int) -> Micro:
    """What the counterparty is to have posted: max(0, exposure + independent − threshold).

    >>> terms = Terms(threshold=Micro(100), independent=Micro(20), minimum_transfer=Micro(50),
    ...     rounding=Micro(10))
    >>> support_amount(terms, 275), support_amount(terms, -500)
    (195, 0)
    """
    return Micro(max(0, exposure + terms.independent - terms.threshold))


def transfer(terms: Terms, *, exposure: int, posted: int) -> Transfer:
    """What is called or returned, given what is posted now (at its value after haircuts).

    What goes back is no more than what is posted, whatever the rounding.

    >>> terms = Terms(threshold=Micro(100), independent=Micro(20), minimum_transfer=Micro(50),
    ...     rounding=Micro(10))
    >>> transfer(terms, exposure=275, posted=0)
    Transfer(required=195, delivery=200, back=0)
    >>> transfer(terms, exposure=100, posted=75)
    Transfer(required=20, delivery=0, back=50)
    >>> transfer(terms, exposure=100, posted=69)
    Transfer(required=20, delivery=0, back=0)
    """
    check(posted >= 0, "what is posted is not negative", posted)
    required = support_amount(terms, exposure)
    return Transfer(
        required,
        call_amount(terms, required - posted),
        _returned(terms, posted - required, posted),
    )


def call_amount(terms: Terms, missing: int) -> Micro:
    """What is asked for when so much is missing: nothing below the minimum, else rounded up."""
    if missing <= 0 or missing < terms.minimum_transfer:
        return Micro(0)
    return Micro(div_up(missing, terms.rounding) * terms.rounding)


def _returned(terms: Terms, excess: int, posted: int) -> Micro:
    if excess <= 0 or excess < terms.minimum_transfer:
        return Micro(0)
    return Micro(min(div_down(excess, terms.rounding) * terms.rounding, posted))
