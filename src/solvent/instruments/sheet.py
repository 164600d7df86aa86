"""Term sheets: what an instrument pays is a sum of terms, so a new product is a new sheet.

Four payoffs of the settlement price S span everything here, each with one weight and one strike:

| payoff | pays | worth before expiry, per unit of weight |
|---|---|---|
| `CALL` | max(S − K, 0) | F·N(d₁) − K·N(d₂) |
| `PUT` | max(K − S, 0) | K·N(−d₂) − F·N(−d₁) |
| `ABOVE` | 1 if S > K | N(d₂) |
| `BELOW` | 1 if S < K | N(−d₂) |

All four are `asset·F·N(side·d₁) − cash·N(side·d₂)` (`Term.coefficients`), which is why the kernel
has no branch on the product. A call struck at 0 is a forward, `ABOVE` at 0 is cash.

An inverse instrument pays its sum divided by S, in coin. One dollar of inverse future is thus
minus one unit of cash, divided by S: worth −1/S coin, it gains when S rises.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from functools import partial

from solvent.errors import check
from solvent.instruments.contract import Contract, Kind, OptionType
from solvent.instruments.symbols import listed_symbol
from solvent.units import TimeMs


class Payoff(IntEnum):
    """The elementary payoffs; see the table above."""

    CALL = 1
    PUT = 2
    ABOVE = 3
    BELOW = 4


@dataclass(frozen=True, slots=True)
class Term:
    """`weight` units of one elementary payoff struck at `strike` (quote currency)."""

    payoff: Payoff
    strike: float
    weight: float = 1.0

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """(asset, cash, side) of `asset·F·N(side·d₁) − cash·N(side·d₂)`.

        >>> Term(Payoff.PUT, 100.0).coefficients
        (-1.0, -100.0, -1.0)
        """
        match self.payoff:
            case Payoff.CALL:
                return self.weight, self.weight * self.strike, 1.0
            case Payoff.PUT:
                return -self.weight, -self.weight * self.strike, -1.0
            case Payoff.ABOVE:
                return 0.0, -self.weight, 1.0
            case Payoff.BELOW:
                return 0.0, -self.weight, -1.0


FORWARD = Term(Payoff.CALL, 0.0)
"""The settlement price itself."""
CASH = Term(Payoff.ABOVE, 0.0)
"""One unit of the quote currency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """How a venue trades a contract. Sizes are in the venue's own unit: the base coin, or dollars
    of an inverse future."""

    lot_size: Decimal
    contract_size: Decimal
    tick_size: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A tradable instrument: an identity, its terms per unit of size, and its sizes.

    `inverse` divides the payoff by S and pays the base coin. `quanto_rate` (settlement units per
    quote unit, fixed for the contract's life) makes it pay another asset than its quote.
    """

    symbol: str
    contract: Contract
    terms: tuple[Term, ...]
    specification: Specification
    inverse: bool
    quanto_rate: float = 1.0

    def __post_init__(self) -> None:
        check(len(self.terms) > 0, "an instrument has a term", self.symbol)
        check(self.specification.lot_size > 0, "a lot has a size", self.symbol)
        check(not (self.inverse and self.quanto_rate != 1.0), "inverse or quanto", self.symbol)

    @property
    def expiry_ms(self) -> TimeMs | None:
        """When it settles; None for spot and perpetuals."""
        return self.contract.expiry_ms


def term_sheet(contract: Contract, specification: Specification) -> Instrument:
    """The instrument that a listed contract is: one term, inverse when it settles in its coin.

    >>> from solvent.instruments import parse_symbol
    >>> ten_dollars = Specification(
    ...     lot_size=Decimal(10), contract_size=Decimal(10), tick_size=Decimal("0.5"))
    >>> term_sheet(parse_symbol("BTC-PERPETUAL"), ten_dollars).terms
    (Term(payoff=<Payoff.ABOVE: 3>, strike=0.0, weight=-1.0),)
    """
    return Instrument(
        symbol=listed_symbol(contract),
        contract=contract,
        terms=(_vanilla_term(contract),),
        specification=specification,
        inverse=contract.inverse,
    )


def _vanilla_term(contract: Contract) -> Term:
    if contract.strike is not None:
        call = contract.option_type is OptionType.CALL
        return Term(Payoff.CALL if call else Payoff.PUT, float(contract.strike))
    if contract.inverse:
        return Term(CASH.payoff, CASH.strike, -1.0)
    return FORWARD


def structure(
    *, symbol: str, like: Contract, terms: tuple[Term, ...], specification: Specification
) -> Instrument:
    """An instrument made of several terms on the underlying, expiry and settlement of `like`.

    >>> from solvent.instruments import parse_symbol
    >>> lot = Specification(
    ...     lot_size=Decimal("0.1"), contract_size=Decimal(1), tick_size=Decimal("0.1"))
    >>> july = parse_symbol("BTC_USDC-31JUL26")
    >>> spread = structure(symbol="CS", like=july, terms=call_spread(60_000, 70_000),
    ...                    specification=lot)
    >>> [term.weight for term in spread.terms]
    [1.0, -1.0]
    """
    check(like.expiry_ms is not None, "a structure expires", symbol)
    identity = partial(Contract, base=like.base, quote=like.quote, settlement=like.settlement)
    return Instrument(
        symbol=symbol,
        contract=identity(kind=Kind.STRUCTURE, expiry_ms=like.expiry_ms),
        terms=terms,
        specification=specification,
        inverse=like.inverse,
    )


def call_spread(low: float, high: float) -> tuple[Term, ...]:
    """Long the lower call, short the higher: pays between 0 and `high − low`."""
    check(low < high, "strikes ascend", low, high)
    return Term(Payoff.CALL, low), Term(Payoff.CALL, high, -1.0)


def straddle(strike: float) -> tuple[Term, ...]:
    """Long a call and a put at one strike: pays |S − K|."""
    return Term(Payoff.CALL, strike), Term(Payoff.PUT, strike)


def capped_future(cap: float) -> tuple[Term, ...]:
    """A future that settles at min(S, cap)."""
    return FORWARD, Term(Payoff.CALL, cap, -1.0)


def digital(strike: float, *, cash: float = 1.0) -> tuple[Term, ...]:
    """Pays `cash` when S ends above the strike."""
    return (Term(Payoff.ABOVE, strike, cash),)
