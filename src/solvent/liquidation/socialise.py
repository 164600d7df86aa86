"""Losses that nobody is left to pay, shared by those who gained, or by all who hold the money.

Amounts are whole smallest units; every table adds up to the unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from solvent.account.sharing import shared_out
from solvent.errors import check
from solvent.liquidation.shares import shared


class Gain(NamedTuple):
    """What a party is to receive, and whether it is the network: the fund that holds positions."""

    party: str
    amount: int
    is_network: bool = False


def paid_gains(gains: Sequence[Gain], collected: int) -> dict[str, int]:
    """Vega: each gain's share of what was collected, rounded down; what is left over goes to the
    network where that has gained, else to the last of those who gained.

    >>> paid_gains([Gain("a", 80), Gain("b", 8_000)], 5_080)
    {'a': 50, 'b': 5030}
    >>> paid_gains([Gain("a", 10, True), Gain("b", 10), Gain("c", 0)], 15)
    {'a': 8, 'b': 7, 'c': 0}
    """
    check(collected >= 0, "what was collected is not negative", collected)
    won = sorted((gain for gain in gains if gain.amount > 0), key=lambda gain: gain.is_network)
    shares = shared_out([gain.amount for gain in won], collected) if won else []
    paid = {gain.party: share for gain, share in zip(won, shares, strict=True)}
    return {gain.party: paid.get(gain.party, 0) for gain in gains}


def with_surplus(gains: Sequence[Gain], collected: int) -> dict[str, int]:
    """Vega: more was collected than is to be paid, as each amount was rounded: parties that hold a
    position and gained nothing get a unit each, in order, and the largest gain the rest.

    >>> with_surplus([Gain("a", 6), Gain("b", 0), Gain("c", 2)], 11)
    {'a': 8, 'b': 1, 'c': 2}
    """
    left = collected - sum(gain.amount for gain in gains)
    check(left >= 0, "there is at least what is to be paid", left)
    paid = {gain.party: gain.amount for gain in gains}
    if not paid:
        return paid
    for gain in gains:
        if left and not gain.amount:
            paid[gain.party] += 1
            left -= 1
    largest = max(gains, key=lambda gain: gain.amount).party
    paid[largest] += left
    return paid


class Shared(NamedTuple):
    """What each pays of a loss, and what is left of it when all have paid what they may."""

    paid: tuple[int, ...]
    uncovered: int


def by_gains(loss: int, gains: Sequence[int], *, most: Fraction = Fraction(1)) -> Shared:
    """A loss shared by those who gained, pro rata, each up to a share of its gain.

    To the unit by largest remainder; who lost pays nothing. So Paradex, and a clearing house that
    haircuts the variation margin it owes.

    >>> by_gains(10, [30, -5, 15]), by_gains(60, [30, -5, 15])
    (Shared(paid=(7, 0, 3), uncovered=0), Shared(paid=(30, 0, 15), uncovered=15))
    """
    check(loss >= 0 and 0 <= most <= 1, "a loss, and a share", loss, most)
    may = [max(0, gain) * most.numerator // most.denominator for gain in gains]
    paid = shared(loss, may, may)
    return Shared(paid, loss - sum(paid))


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledCash:
    """Cash that all accounts hold together, backed by a balance of the stable coin (Derive).

    A loss that is socialised makes cash that nothing backs; it shows when cash is withdrawn.
    """

    stable: int
    supply: int
    borrowed: int = 0
    fees: int = 0
    """Accrued to the security module, not paid out."""
    settled: int = 0
    """Net cash that settlements have added (below 0: taken away) and nothing backs yet."""

    def exchange_rate(self) -> Fraction:
        """Stable coins for one of cash: min(1, stable / (supply + fees − borrowed − settled)).

        >>> PooledCash(stable=900, supply=1_000).exchange_rate()
        Fraction(9, 10)
        """
        owed = self.supply + self.fees - self.borrowed - self.settled
        return min(Fraction(1), Fraction(self.stable, owed)) if owed > 0 else Fraction(1)

    def socialised(self, loss: int) -> PooledCash:
        """After a loss is paid in cash made for it. Fees that can pay all of it go first.

        >>> PooledCash(stable=1_000, supply=1_000, fees=40).socialised(50)
        PooledCash(stable=1000, supply=1050, borrowed=0, fees=40, settled=0)
        """
        check(loss >= 0, "a loss is not negative", loss)
        fees = self.fees - loss if loss <= self.fees else self.fees
        return PooledCash(
            stable=self.stable, supply=self.supply + loss, borrowed=self.borrowed, fees=fees,
            settled=self.settled,
        )  # fmt: skip

    def withdrawn(self, stable: int) -> tuple[PooledCash, int]:
        """(after, cash burnt) for so many stable coins: stable / rate, rounded up.

        >>> PooledCash(stable=900, supply=1_000).withdrawn(90)[1]
        100
        """
        check(0 <= stable <= self.stable, "no more than is there", stable, self.stable)
        rate = self.exchange_rate()
        burnt = -(-stable * rate.denominator // rate.numerator) if stable else 0
        after = PooledCash(
            stable=self.stable - stable, supply=self.supply - burnt, borrowed=self.borrowed,
            fees=self.fees, settled=self.settled,
        )  # fmt: skip
        return after, burnt
