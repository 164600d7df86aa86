"""What a crash under one rulebook came to: moment by moment, and as a whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from solvent.sim.cascade_prices import Prices
from solvent.sim.lateness import Judgement, Lateness
from solvent.sim.regimes import Regime
from solvent.tending.told import Step


@dataclass(slots=True, kw_only=True)
class Moment:
    """What one publication brought. Money in millionths of a dollar.

    Attributes:
        reduced: stage → value that changed hands. lost: stage → what accounts lost against the
            mark in it (a gain is negative). fund: what the insurance fund has, positions at the
            marks. begun, ended, calls, cancelled: accounts. initial: margin asked of all.
        price: true, of each coin; mark: what the venue decided on.
    """

    time_ms: int
    price: dict[str, float]
    mark: dict[str, float]
    reduced: dict[str, int]
    lost: dict[str, int]
    fund: int
    begun: int
    ended: int
    calls: int
    cancelled: int
    adl_accounts: int
    open: int
    fees: int
    initial: int


@dataclass(slots=True, kw_only=True)
class Crashed:
    """A crash under one regime.

    Attributes:
        paid: who → millionths of a dollar of others' debts that they paid. uncovered: debts of
            accounts that nobody has paid at the end. violations: of the books, at any step.
        steps: every command about an account in distress, in order. rejected: of these, those that
            the engine refused, by stage and reason.
        sent, refused: orders and other requests of people and dealers after the opening, by kind;
            of these, those that were refused, by kind and reason.
        judged: what deleveraged winners gave up at true prices, for each length of a wave.
    """

    regime: Regime
    prices: Prices
    lateness: Lateness
    accounts: int
    open_interest_micro: int
    money_micro: int
    moments: list[Moment] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    commands: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    paid: Counter[str] = field(default_factory=Counter)
    uncovered: int = 0
    seized: Fraction = Fraction(0)
    """What deleveraged traders gave up against the venue's own mark, smallest units; `overshoot`:
    beyond what was needed; `regret`: what a fairer allocation would have asked less of who gave
    most."""
    overshoot: Fraction = Fraction(0)
    regret: Fraction = Fraction(0)
    judged: tuple[Judgement, ...] = ()
    audits: int = 0
    violations: list[str] = field(default_factory=list)
    state_hash: str = ""

    @property
    def liquidated(self) -> int:
        """Accounts that were taken over at least once."""
        return len({one.account for one in self.steps if one.stage == "begin" and not one.rejected})

    def total(self, what: str, stage: str) -> int:
        """A sum over all moments, such as `total("reduced", "adl")`."""
        return sum(getattr(one, what).get(stage, 0) for one in self.moments)
