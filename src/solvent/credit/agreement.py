"""Counterparties, their agreements and the netting sets under them.

An agreement is between the lender and one counterparty. It names the accounts that belong to it,
the underlyings that it covers, whether parts net at a close-out, the terms of its annex, limits and
deadlines. An account is in one netting set only; a counterparty has one agreement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from solvent.credit.csa import Terms
from solvent.credit.lines import Limits, Policy, line_of
from solvent.credit.quality import Quality
from solvent.credit.states import Clock
from solvent.errors import BadInput, Problem, Reject, check
from solvent.units import Micro, div_down


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterparty:
    """Who is lent to. `line_micro` overrides what the policy gives its quality; None for that."""

    name: str
    quality: Quality
    net_assets_micro: Micro
    line_micro: Micro | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What holds between the lender and a counterparty.

    Attributes:
        accounts: of the engine, all of one netting set. underlyings: that it covers; empty for all.
        netting: parts net at a close-out; without it each underlying of each account stands alone.
        thresholds: rating → exposure without security; a rating that is not there has
            `terms.threshold`.
    """

    name: str
    counterparty: str
    accounts: tuple[str, ...]
    underlyings: frozenset[str]
    netting: bool
    terms: Terms
    thresholds: Mapping[str, Micro]
    limits: Limits
    clock: Clock

    def threshold(self, rating: str) -> Micro:
        """The threshold at a rating."""
        return self.thresholds.get(rating, self.terms.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """All counterparties and agreements of one lender, checked against each other.

    Raises BadInput (from `register`) for names told twice, agreements of nobody, counterparties
    without one, and accounts in two netting sets.
    """

    policy: Policy
    counterparties: Mapping[str, Counterparty]
    agreements: Mapping[str, Agreement]

    def line(self, name: str, quality: Quality | None = None) -> Micro:
        """The line of a counterparty by its own quality, or by another one."""
        one = self.counterparties[name]
        quality = one.quality if quality is None else quality
        given = line_of(self.policy, quality, one.net_assets_micro)
        if one.line_micro is None or (quality is one.quality):
            return given if one.line_micro is None else one.line_micro
        # A line told by hand shrinks as the policy's own would.
        usual = line_of(self.policy, one.quality, one.net_assets_micro)
        if not usual:
            return Micro(min(one.line_micro, given))
        return Micro(div_down(one.line_micro * min(given, usual), usual))

    def agreement_of(self, counterparty: str) -> Agreement:
        """Its agreement."""
        return self.agreements[counterparty]


def register(
    policy: Policy, counterparties: Sequence[Counterparty], agreements: Sequence[Agreement],
    *, source: str = "credit register",
) -> Register:  # fmt: skip
    """Check everything against everything; nothing is made where something is wrong."""
    problems = [
        *_twice("counterparty", [one.name for one in counterparties], source),
        *_twice("agreement", [one.name for one in agreements], source),
        *_twice("agreement of counterparty", [one.counterparty for one in agreements], source),
    ]
    known = {one.name for one in counterparties}
    with_one = {one.counterparty for one in agreements}
    for one in agreements:
        if one.counterparty not in known:
            problems.append(_problem(source, one.name, "a counterparty that is told",
                                     repr(one.counterparty), "counterparty"))  # fmt: skip
        if not one.accounts:
            problems.append(_problem(source, one.name, "one account or more", "none", "accounts"))
    problems += [
        _problem(source, name, "an agreement of this counterparty", "none", "agreement")
        for name in sorted(known - with_one)
    ]
    owner: dict[str, str] = {}
    for one in agreements:
        for account in one.accounts:
            if account in owner:
                problems.append(_problem(
                    source, one.name, f"account {account!r} in one netting set only",
                    f"it in {owner[account]} and in {one.name}", "accounts",
                ))  # fmt: skip
            owner.setdefault(account, one.name)
    if problems:
        raise BadInput(*problems)
    return Register(
        policy=policy,
        counterparties={one.name: one for one in counterparties},
        agreements={one.counterparty: one for one in agreements},
    )


def _twice(what: str, names: Sequence[str], source: str) -> list[Problem]:
    return [
        _problem(source, name, f"each {what} once", f"it {count} times", "name")
        for name, count in Counter(names).items()
        if count > 1
    ]


def _problem(source: str, whose: str, expected: str, found: str, field: str) -> Problem:
    return Problem(
        code=Reject.INPUT_INVALID, source=f"{source}, {whose}", field=field, expected=expected,
        found=found,
    )  # fmt: skip


def shares(amount_micro: int, weights: Sequence[int]) -> list[Micro]:
    """One agreement's line over its accounts, by what each needs: parts rounded down, the rest to
    the largest, so that together they are the line and no more. Evenly where none needs anything.

    >>> shares(100, [1, 2, 0]), shares(5, [0, 0])
    ([33, 67, 0], [3, 2])
    """
    check(amount_micro >= 0 and len(weights) > 0, "something to share", amount_micro)
    weights = weights if any(weights) else [1] * len(weights)
    total = sum(weights)
    parts = [amount_micro * one // total for one in weights]
    largest = max(range(len(weights)), key=lambda place: (weights[place], -place))
    parts[largest] += amount_micro - sum(parts)
    return [Micro(one) for one in parts]


def cost_of(quality: Quality) -> Fraction:
    """Share of what is drawn that is charged: stressed PD times loss given default, exact in the
    six decimals with which it is told to an engine."""
    return rate_ppm(quality.stressed_pd()) * quality.lgd


def rate_ppm(rate: float) -> Fraction:
    """A probability in millionths, rounded up, against the counterparty, and at most 1.

    >>> str(rate_ppm(0.0000001)), str(rate_ppm(1.0))
    ('1/1000000', '1')
    """
    check(0.0 <= rate <= 1.0, "a probability", rate)
    ppm = Fraction(rate) * 1_000_000
    return Fraction(min(-(-ppm.numerator // ppm.denominator), 1_000_000), 1_000_000)
