"""Scenarios on a subject: where everybody stands after each, what is missing, what covers it.

What is told of an account after a scenario is what margining says on the shocked market, to the
unit (`subject`): nothing is added up from risk arrays of before. Money is in millionths of a
dollar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import check
from solvent.feeds.market_rules import index_rule
from solvent.instruments.contract import moment_of
from solvent.lab.stress.closing import closing_costs
from solvent.lab.stress.oracle import Misjudged, OracleFault, misjudged, through_filter
from solvent.lab.stress.outage import Outage, outage
from solvent.lab.stress.scenario import Resolved, Scenario, resolve
from solvent.lab.stress.subject import Stand, Subject
from solvent.liquidation.defaults import Cover, cover, over_margin
from solvent.margining.liquidity import CoinLiquidity
from solvent.market.index import IndexRule
from solvent.scenarios.history import Series
from solvent.units import MICRO

Int64 = NDArray[np.int64]
STATES: Final = ("healthy", "call", "liquidate", "unknown")
_EXPIRY_NOTE = "time stops after {0:.2f} of {1:g} h: a contract that is held expires"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one scenario does.

    Attributes:
        hours: that pass. stand: where all stand afterwards. cost_micro: [account] what closing
            who falls costs; None where no liquidity was told. outage, misjudged: of such scenarios.
        notes: what had to be assumed.
    """

    resolved: Resolved
    hours: float
    stand: Stand
    cost_micro: Int64 | None
    outage: Outage | None
    misjudged: Misjudged | None
    notes: tuple[str, ...]

    @property
    def scenario(self) -> Scenario:
        """The scenario itself."""
        return self.resolved.scenario

    @property
    def fallen(self) -> int:
        """Accounts that are liquidated."""
        return int(self.stand.liquidate.sum())

    @property
    def short_micro(self) -> Int64:
        """[account] what equity is below nothing, after the cost of closing who is liquidated."""
        equity = self.stand.equity_micro
        if self.cost_micro is not None:
            equity = equity - np.where(self.stand.liquidate, self.cost_micro, 0)
        return np.where(self.stand.known, np.maximum(-equity, 0), 0)

    @property
    def shortfall_micro(self) -> int:
        """All of it: what others must pay."""
        return int(self.short_micro.sum())


@dataclass(frozen=True)
class Stressed:
    """A subject before and after scenarios. `to_polars()` has a row a scenario, `accounts(name)` a
    row an account, `cover(n)` what the largest defaults need."""

    subject: Subject
    outcomes: tuple[Outcome, ...]

    @property
    def before(self) -> Stand:
        """Where all stand now."""
        return self.subject.now

    def of(self, name: str) -> Outcome:
        """One scenario's outcome."""
        found = [one for one in self.outcomes if one.scenario.name == name]
        check(len(found) == 1, "a scenario that was run", name)
        return found[0]

    def moved(self, name: str) -> NDArray[np.int64]:
        """[before, after] how many accounts went from where to where, in the order of `STATES`."""
        count = np.zeros((len(STATES), len(STATES)), dtype=np.int64)
        at = {word: place for place, word in enumerate(STATES)}
        was, now = self.before.words, self.of(name).stand.words
        np.add.at(count, ([at[one] for one in was], [at[one] for one in now]), 1)
        return count

    def to_polars(self) -> pl.DataFrame:
        """A row a scenario; dollars."""
        rows = [self._row(one) for one in self.outcomes]
        return pl.DataFrame(rows, infer_schema_length=None)

    def _row(self, one: Outcome) -> dict[str, Any]:
        before, after = self.before, one.stand
        both = before.known & after.known
        fund = self.subject.fund_micro
        row: dict[str, Any] = {
            "scenario": one.scenario.name, "title": one.scenario.title, "kind": one.scenario.kind,
            "hours": one.hours, "accounts": len(after),
            "unknown": int((~after.known).sum()),
            "called": int((after.call & ~after.liquidate).sum()), "liquidated": one.fallen,
            "liquidated_before": int(before.liquidate.sum()),
            "equity": int(after.equity_micro.sum()) / MICRO,
            "change": int((after.equity_micro - before.equity_micro)[both].sum()) / MICRO,
            "initial_margin": int(after.initial_micro.sum()) / MICRO,
            "maintenance_margin": int(after.maintenance_micro.sum()) / MICRO,
            "closing_cost": None if one.cost_micro is None
            else int(one.cost_micro[after.liquidate].sum()) / MICRO,
            "shortfall": one.shortfall_micro / MICRO,
            "fund_after": (fund - one.shortfall_micro) / MICRO,
        }  # fmt: skip
        for members in (1, 2):
            row[f"cover_{members}"] = self._largest(one, members) / MICRO
        return row

    def accounts(self, name: str) -> pl.DataFrame:
        """A row an account: before and after one scenario; dollars, null where not known."""
        one, before = self.of(name), self.before
        columns: dict[str, Any] = {"account": list(self.subject.names)}
        for words, stand in (("before", before), ("after", one.stand)):
            columns[f"status_{words}"] = stand.words.tolist()
            for amount in ("equity", "initial", "maintenance"):
                micro = getattr(stand, f"{amount}_micro")
                columns[f"{amount}_{words}"] = _dollars(micro, stand.known)
        if one.cost_micro is not None:
            columns["closing_cost"] = _dollars(one.cost_micro, one.stand.known)
        columns["shortfall"] = _dollars(one.short_micro, one.stand.known)
        if one.misjudged is not None:
            columns["status_judged"] = one.misjudged.judged.words.tolist()
        return pl.DataFrame(columns)

    # ── cover ────────────────────────────────────────────────────────────────────────────────────

    def over_margin(self, name: str) -> dict[str, int]:
        """Member → what its accounts lose beyond their initial margin; see `losses_over_margin`."""
        return losses_over_margin(self.subject, self.of(name))

    def cover(self, members: int) -> Cover:
        """The sum of so many largest losses over margin in each scenario, and the worst of them.

        A clearing house counts on margin alone: what a member has beyond it may be gone by then.
        """
        check(len(self.outcomes) > 0, "a scenario or more")
        losses = {one.scenario.name: self.over_margin(one.scenario.name) for one in self.outcomes}
        return cover(losses, members)

    def _largest(self, one: Outcome, members: int) -> int:
        """The sum of the largest members' shortfalls beyond all that they have."""
        sums = by_member(self.subject, one.short_micro)
        return sum(sorted(sums.values())[-members:])

    @cached_property
    def worst(self) -> str:
        """The scenario with the largest shortfall; of equal ones that which liquidates most."""
        return max(self.outcomes, key=lambda one: (one.shortfall_micro, one.fallen)).scenario.name

    def to_dict(self) -> dict[str, Any]:
        """Everything as one document; dollars."""
        before = self.before
        document: dict[str, Any] = {
            "as_of": f"{moment_of(self.subject.market.as_of_ms):%Y-%m-%d %H:%M:%S}",
            "accounts": len(self.subject), "fund": self.subject.fund_micro / MICRO,
            "notes": list(self.subject.notes),
            "now": {
                "equity": int(before.equity_micro.sum()) / MICRO,
                "initial_margin": int(before.initial_micro.sum()) / MICRO,
                "maintenance_margin": int(before.maintenance_micro.sum()) / MICRO,
                "liquidated": int(before.liquidate.sum()), "unknown": int((~before.known).sum()),
            },
            "scenarios": [],
        }  # fmt: skip
        for one, row in zip(self.outcomes, self.to_polars().to_dicts(), strict=True):
            moves = {
                name: {"spot": move.spot, "level": move.level, "skew": move.skew,
                       "term": move.term, "basis": move.basis}
                for name in self.subject.underlyings
                for move in [one.resolved.shock.of(name)]
            }  # fmt: skip
            row |= {"moves": moves, "worth": dict(one.resolved.shock.worth),
                    "moved": self.moved(one.scenario.name).tolist(),
                    "notes": list(one.notes)}  # fmt: skip
            row |= _special(one)
            document["scenarios"].append(row)
        return document


def _special(one: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if one.outage is not None:
        found["outage"] = {
            "closed_out_with_trading": int((one.outage.closed_step >= 0).sum()),
            "shortfall_with_trading": int(one.outage.open_micro.sum()) / MICRO,
            "shortfall_without": int(one.outage.shut_micro.sum()) / MICRO,
            "cost": one.outage.cost_micro / MICRO, "spared": one.outage.spared,
        }  # fmt: skip
    if one.misjudged is not None:
        told = one.misjudged.published
        found["oracle"] = {
            "underlying": told.underlying, "true_move": told.move,
            "published_move": None if told.ratio is None else told.ratio - 1.0,
            "reason": told.reason, "unknown_seconds": told.unknown_seconds,
            "worst_off": told.worst_off, "faults": dict(told.faults),
            "wrongly_liquidated": int(one.misjudged.wrongly.sum()),
            "missed": int(one.misjudged.missed.sum()),
            "frozen": int(one.misjudged.frozen.sum()),
        }  # fmt: skip
    return found


def _dollars(micro: Int64, known: NDArray[np.bool_]) -> pl.Series:
    return pl.Series(np.where(known, micro / MICRO, np.nan)).fill_nan(None)


# ── running ──────────────────────────────────────────────────────────────────────────────────────


def run(
    subject: Subject, scenarios: Sequence[Scenario], *, history: Series | None = None,
    liquidity: Sequence[CoinLiquidity] | None = None, scale: float = 1.0,
    rules: Mapping[str, IndexRule] | None = None, progress: Callable[[str], object] | None = None,
) -> Stressed:  # fmt: skip
    """Run scenarios. All are made out before any is run, so bad input stops before work is done.

    Args:
        history: prices (and surfaces) of which factors and jumps are made.
        liquidity: of the coins that are held; then who is liquidated pays for being closed.
        scale: every scenario so many times as far, in logs.
        rules: index rules by name, instead of those that ship.
    """
    # Of the whole market: what a scenario is must not hang on who is asked about.
    names = subject.universe
    resolved = [resolve(one, names, history=history, scale=scale) for one in scenarios]
    for one in resolved:
        _oracle_rule(one.scenario, rules)
    outcomes = []
    for one in resolved:
        if progress is not None:
            progress(one.scenario.name)
        outcomes.append(_outcome(subject, one, liquidity, rules))
    return Stressed(subject, tuple(outcomes))


def _oracle_rule(scenario: Scenario, rules: Mapping[str, IndexRule] | None) -> IndexRule | None:
    told = scenario.text.oracle
    if told is None:
        return None
    return rules[told.rule] if rules is not None and told.rule in rules else index_rule(told.rule)


def _outcome(
    subject: Subject, resolved: Resolved, liquidity: Sequence[CoinLiquidity] | None,
    rules: Mapping[str, IndexRule] | None,
) -> Outcome:  # fmt: skip
    shock, text = resolved.shock, resolved.scenario.text
    hours, notes = subject.hours(shock), list(resolved.notes)
    owned = {asset for one in subject.groups for asset in one.books.balances.asset}
    if nobody := [asset for asset in shock.worth if asset not in owned]:
        notes.append(f"nobody owns: {', '.join(nobody)}")
    if hours < shock.hours:
        notes.append(_EXPIRY_NOTE.format(hours, shock.hours))
    stopped: Outage | None = None
    if text.outage is not None:
        stopped, stand = outage(subject, shock, steps=text.outage.steps)
    else:
        stand = subject.at(shock)
    costs = None
    if liquidity is not None:
        costs = closing_costs(subject, subject.shocked(shock), liquidity, known=stand.known)
    seen = _misjudged(subject, resolved, stand, _oracle_rule(resolved.scenario, rules), notes)
    return Outcome(
        resolved=resolved, hours=hours, stand=stand, cost_micro=costs, outage=stopped,
        misjudged=seen, notes=tuple(notes),
    )  # fmt: skip


def _misjudged(
    subject: Subject, resolved: Resolved, stand: Stand, rule: IndexRule | None, notes: list[str]
) -> Misjudged | None:
    told, shock = resolved.scenario.text.oracle, resolved.shock
    if told is None or rule is None:
        return None
    if told.underlying not in subject.underlyings:
        there = told.underlying in subject.universe
        word = "held by nobody" if there else "not in this market"
        notes.append(f"{word}: {told.underlying}, whose sources fail")
        return None
    fault = OracleFault(
        silent=told.silent, stuck=told.stuck, wrong=told.wrong, seconds=told.seconds,
        ramp_seconds=told.ramp_seconds,
    )  # fmt: skip
    code = subject.underlyings.index(told.underlying)
    published = through_filter(
        rule, fault, underlying=told.underlying, price=float(subject.market.index[code]),
        move=shock.of(told.underlying).spot, now_ms=int(subject.market.as_of_ms),
    )  # fmt: skip
    return misjudged(subject, shock, published, stand)


def by_member(subject: Subject, amounts: Int64) -> dict[str, int]:
    """Member → the sum over its accounts."""
    sums: dict[str, int] = {}
    for name, amount in zip(subject.names, amounts.tolist(), strict=True):
        member = subject.members.get(name, name)
        sums[member] = sums.get(member, 0) + amount
    return sums


def losses_over_margin(subject: Subject, outcome: Outcome) -> dict[str, int]:
    """Member → loss over margin, not below 0: of each account what its equity falls by (and costs
    to close), less the initial margin that it must hold now.

    Margin of one account does not pay for another's (they are segregated); of an account that is
    not known nothing is counted.
    """
    before, after = subject.now, outcome.stand
    loss = before.equity_micro - after.equity_micro
    if outcome.cost_micro is not None:
        loss = loss + outcome.cost_micro
    known = before.known & after.known
    margin = before.initial_micro
    over = [
        over_margin(lost, held) if sure else 0
        for lost, held, sure in zip(loss.tolist(), margin.tolist(), known.tolist(), strict=True)
    ]
    return by_member(subject, np.array(over, dtype=np.int64))
