"""What is held against each other: lines of a statement, in whole numbers.

A line is one amount of one thing: a balance in smallest units of its asset, a position in
billionths of Solvent's unit of size, a mark in billionths of what is quoted, a requirement in
millionths of a dollar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from solvent.errors import BadInput, Problem, Reject
from solvent.units import asset_decimals

NANO_PLACES: Final = 9
MICRO_PLACES: Final = 6
AMOUNT_MAX: Final = 10**27
"""Beyond this an amount is a fault of the statement."""


class Kind(StrEnum):
    """What a line is of."""

    BALANCE = "balance"
    POSITION = "position"
    MARK = "mark"
    REQUIREMENT = "requirement"


class Key(NamedTuple):
    """Whose line it is and of what: an asset, a contract, or the name of a requirement. A mark is
    nobody's: its account is empty."""

    kind: Kind
    account: str
    name: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.account, self.name) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An amount as it is told; `digits` are the decimals that it was told with, or, of a table,
    the most that its column has; `row` is where."""

    key: Key
    amount: int
    places: int
    digits: int
    time_ms: int | None = None
    row: int | None = None

    @property
    def told(self) -> Decimal:
        """The amount in whole units of what it is of."""
        return Decimal(self.amount).scaleb(-self.places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One side: lines by key, and when they were so."""

    source: str
    lines: Mapping[Key, Line]
    time_ms: int | None = None
    unit_sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Contract → billionths of a unit of size that somebody may count it in: a lot, a contract."""

    @property
    def accounts(self) -> frozenset[str]:
        """Whose lines there are."""
        return frozenset(key.account for key in self.lines if key.account)

    @property
    def kinds(self) -> frozenset[Kind]:
        """What there are lines of."""
        return frozenset(key.kind for key in self.lines)


def places_of(kind: Kind, name: str, assets: Mapping[str, int]) -> int:
    """Decimals in which a kind is counted; of a balance those of its asset."""
    if kind is Kind.BALANCE:
        return assets.get(name, asset_decimals(name))
    return MICRO_PLACES if kind is Kind.REQUIREMENT else NANO_PLACES


def line_of(
    key: Key, told: Decimal, places: int, *, time_ms: int | None, row: int | None, source: str
) -> Line:
    """A line from a decimal, rounded half-even to its places. Raises BadInput for what is too big.

    >>> key = Key(Kind.BALANCE, "a", "USDC")
    >>> line_of(key, Decimal("1.0000005"), 6, time_ms=None, row=None, source="x").amount
    1000000
    """
    exponent = told.as_tuple().exponent
    digits = max(0, -exponent) if isinstance(exponent, int) else 0
    amount = int(told.scaleb(places).to_integral_value(ROUND_HALF_EVEN))
    if abs(amount) >= AMOUNT_MAX:
        raise BadInput(
            Problem(
                code=Reject.AMOUNT_TOO_LARGE, source=source, field=str(key),
                row=None if row is None else row + 1,
                expected=f"less than {AMOUNT_MAX:.0e} of its smallest units", found=f"{told:e}",
            )
        )  # fmt: skip
    return Line(key=key, amount=amount, places=places, digits=digits, time_ms=time_ms, row=row)


def by_key(lines: Iterable[Line], source: str) -> dict[Key, Line]:
    """Lines by key. Raises BadInput where one thing is told twice."""
    found: dict[Key, Line] = {}
    problems = []
    for line in lines:
        first = found.setdefault(line.key, line)
        if first is not line:
            problems.append(
                Problem(
                    code=Reject.ROW_DUPLICATED, source=source, field=str(line.key),
                    row=None if line.row is None else line.row + 1, expected="it told once",
                    found="it twice" if first.row is None else f"it in row {first.row + 1} too",
                )
            )  # fmt: skip
    if problems:
        raise BadInput(*problems)
    return found
