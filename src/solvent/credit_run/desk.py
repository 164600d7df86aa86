"""The lender's desk, step by step: lines set, calls made and met, cures, cuts and close-outs.

At each market: publish; let announced cuts come; see what each annex calls; take what is paid; let
clocks run; end the lines of who has defaulted; close out who is beyond its line by maintenance.
Nothing is decided here that the engine does not check: a line is an input of its rulebook, and what
that leaves short of margin it refuses to trade, calls, and closes out by itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import numpy as np

from solvent.credit.agreement import Agreement, cost_of, rate_ppm, shares
from solvent.credit.csa import call_amount
from solvent.credit.lines import Breach, Point, Schedule, Usage, breaches, changed
from solvent.credit.quality import Quality, rated
from solvent.credit.requirement import need
from solvent.credit.states import CallState, Stand, goes_on
from solvent.credit_run.exposures import Exposure, draw, exposure_of
from solvent.credit_run.venue import RULEBOOK, Venue
from solvent.engine.audit import violations
from solvent.engine.margined import margined
from solvent.engine.standing import view
from solvent.engine.state import Standing
from solvent.feeds.credit import CreditFile
from solvent.host import Engine
from solvent.margining.assess import by_formulas
from solvent.margining.levels.book import LevelsPlan
from solvent.market import Snapshot
from solvent.messages.commands import CoverDebt
from solvent.messages.fields import CoverFrom
from solvent.tending.plans import Plan
from solvent.units import MICRO, Micro, TimeMs

Progress = Callable[[int, int], None]
_STANDS: Final = (CallState.CALL, CallState.CURE)


@dataclass(slots=True)
class Lent:
    """One counterparty on the way.

    Attributes:
        quality: now. schedule: its line over time. abrupt: what its line would be without notice.
        outside_micro: what it can still pay. stand: its state. calls, called_micro, paid_micro: how
            often it was called, for how much at first, and what it paid. lost_micro: its debts that
            others made good. limits: limits passed → at how many steps.
    """

    quality: Quality
    schedule: Schedule
    abrupt: Micro
    outside_micro: int
    stand: Stand = field(default_factory=Stand)
    calls: int = 0
    called_micro: int = 0
    paid_micro: int = 0
    lost_micro: int = 0
    utilisation: Fraction = Fraction(0)
    defaulted_ms: int | None = None
    closed_ms: int | None = None
    closed_by: str = ""
    limits: Counter[str] = field(default_factory=Counter)
    states: list[str] = field(default_factory=list)
    exposures: dict[int, Exposure | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Where one counterparty stands at one market; millionths of a dollar. `abrupt_micro` is what
    initial margin would be had its line been cut without notice."""

    name: str
    risk_micro: int
    equity_micro: int
    initial_micro: int
    abrupt_micro: int
    missing_micro: int
    known: bool
    usage: Usage
    breaches: tuple[Breach, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One market, after everything that it led to was done."""

    time_ms: int
    index: dict[str, float]
    seen: tuple[Seen, ...]
    states: dict[str, int]
    called_micro: int
    paid_micro: int
    lost_micro: int
    defaults: tuple[str, ...]
    closed: tuple[str, ...]
    engine_calls: int


class Desk:
    """A run: `step` for each market after the first, which opens the books."""

    def __init__(self, engine: Engine, told: CreditFile, opening: Snapshot) -> None:
        self.told, self.register = told, told.register
        self.venue = Venue(engine, told, opening)
        self.steps: list[Step] = []
        now = TimeMs(int(opening.as_of_ms))
        self.lent = {
            name: Lent(
                quality=one.quality,
                schedule=Schedule((Point(now, self.register.line(name)),)),
                abrupt=self.register.line(name),
                outside_micro=told.payers[name].outside_micro,
            )
            for name, one in self.register.counterparties.items()
        }
        self._waiting = list(told.downgrades)
        self._risk: dict[str, int] = {}
        for name in self.lent:
            self._tell_inputs(name, [1] * len(self._agreement(name).accounts), "opening")
        self.venue.take_over_books()
        self._after_publication(opening)

    def _agreement(self, name: str) -> Agreement:
        return self.register.agreement_of(name)

    def step(self, market: Snapshot) -> Step:
        """What one market leads to."""
        self.venue.publish(market)
        return self._after_publication(market)

    def _after_publication(self, market: Snapshot) -> Step:
        self._downgrade()
        self._look()
        for name in self.lent:
            needs = [self._risk[account] for account in self._agreement(name).accounts]
            self._tell_inputs(name, needs, "line as scheduled")
        seen = self._look()
        called = self._call(seen)
        paid = self._take_payments(self._look())
        defaults = self._let_clocks_run(self._look())
        done = self.venue.close_out()
        lost, closed = self._count(done, market)
        after = self._look()
        for one in after:
            lent = self.lent[one.name]
            lent.utilisation = max(lent.utilisation, one.usage.utilisation)
            lent.limits.update(breach.limit for breach in one.breaches)
            lent.states.append(str(lent.stand.state))
        step = Step(
            time_ms=self.venue.time_ms,
            index=dict(zip(market.universe.underlyings, market.index.tolist(), strict=True)),
            seen=tuple(after),
            states=dict(Counter(str(one.stand.state) for one in self.lent.values())),
            called_micro=called, paid_micro=paid, lost_micro=lost, defaults=tuple(defaults),
            closed=tuple(closed), engine_calls=len(self.venue.state.calls),
        )  # fmt: skip
        self.steps.append(step)
        return step

    # ── lines ────────────────────────────────────────────────────────────────────────────────

    def _downgrade(self) -> None:
        now = self.venue.time_ms
        while self._waiting and self._waiting[0].time_ms <= now:
            down = self._waiting.pop(0)
            lent = self.lent[down.counterparty]
            quality = rated(down.rating, lgd=lent.quality.lgd,
                            correlation=lent.quality.correlation)  # fmt: skip
            target = self.register.line(down.counterparty, quality)
            # The clock of the notice begins when the rating fell, not when a market came.
            lent.schedule = changed(
                self.register.policy, lent.schedule, time_ms=down.time_ms, target_micro=target
            )
            lent.quality, lent.abrupt = quality, target

    def _tell_inputs(self, name: str, weights: Sequence[int], reason: str) -> None:
        """A counterparty's line and terms, over its accounts by what each needs."""
        lent, agreement = self.lent[name], self._agreement(name)
        over = lent.stand.state in (CallState.DEFAULT, CallState.CLOSED)
        line = Micro(0) if over else lent.schedule.at(self.venue.time_ms)
        threshold = Micro(0) if over else agreement.threshold(lent.quality.rating)
        gross = agreement.limits.gross_micro
        parts = {
            "line": shares(line, weights), "threshold": shares(threshold, weights),
            "independent_amount": shares(agreement.terms.independent, weights),
        }  # fmt: skip
        for place, account in enumerate(agreement.accounts):
            told = {key: dollars(part[place]) for key, part in parts.items()}
            told["stressed_pd"] = decimal(rate_ppm(lent.quality.stressed_pd()))
            told["lgd"] = decimal(lent.quality.lgd)
            told["netted"] = str(int(agreement.netting))
            if gross is not None:
                told["gross_limit"] = dollars(shares(gross, weights)[place])
            if over:
                told["closed_out"] = "1"
            self.venue.set_inputs(account, told, "default" if over else reason)

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    def _stands(self, name: str) -> list[Standing]:
        return self.venue.standings(self._agreement(name).accounts)

    def _look(self) -> list[Seen]:
        """Every counterparty, all accounts margined together."""
        venue, state = self.venue, self.venue.state
        names = [account for one in self.lent for account in self._agreement(one).accounts]
        views = [view(state, venue.account(account)) for account in names]
        rules = state.rules[RULEBOOK]
        plan = rules.plan
        assert isinstance(plan, LevelsPlan)
        told = margined(state, rules, plan, views, with_orders=True)
        answer = by_formulas(
            plan, told.book, balances=told.balances, orders=told.orders, modes=None,
            inputs=told.inputs,
        ).answer  # fmt: skip
        row = {account: place for place, account in enumerate(names)}
        risks = np.nan_to_num(answer.components["risk"]) * MICRO
        self._risk = {account: int(risks[place]) for account, place in row.items()}
        stands = dict(zip(names, venue.standings(names), strict=True))
        found = []
        for name in self.lent:
            agreement = self._agreement(name)
            rows = [row[account] for account in agreement.accounts]
            risk, drawn, lent = (
                int(sum(np.nan_to_num(column[rows]).tolist()) * MICRO)
                for column in (answer.components["risk"], answer.components["drawn"], answer.credit)
            )
            usage = self._usage(agreement, lent, drawn)
            mine = [stands[account] for account in agreement.accounts]
            found.append(
                Seen(
                    name=name, risk_micro=risk, usage=usage, known=all(one.known for one in mine),
                    equity_micro=sum(one.equity_micro for one in mine),
                    initial_micro=sum(one.initial_micro for one in mine),
                    abrupt_micro=self._abrupt(name, mine, risk, lent),
                    missing_micro=sum(max(one.initial_micro - one.equity_micro, 0) for one in mine),
                    breaches=breaches(agreement.limits, usage),
                )
            )  # fmt: skip
        return found

    def _abrupt(self, name: str, mine: Sequence[Standing], risk: int, line: int) -> int:
        """Initial margin by the rule's formula, with the line that a cut at once leaves."""
        lent, agreement = self.lent[name], self._agreement(name)
        scheduled = lent.schedule.at(self.venue.time_ms)
        initial = sum(one.initial_micro for one in mine)
        if lent.abrupt >= scheduled or not scheduled or not line:
            return initial
        rating = lent.quality.rating
        found = need(
            risk=Fraction(risk), held_risk=Fraction(risk),
            equity=Fraction(sum(one.equity_micro for one in mine)),
            independent=Fraction(agreement.terms.independent),
            line=Fraction(lent.abrupt * line, scheduled),
            threshold=Fraction(agreement.threshold(rating)), cost=cost_of(lent.quality),
            maintenance_factor=Fraction(1),
        )  # fmt: skip
        return math.ceil(found.initial)

    def _usage(self, agreement: Agreement, line: int, drawn: int) -> Usage:
        venue, state = self.venue, self.venue.state
        arrays = state.rules[RULEBOOK].arrays
        gross: Counter[str] = Counter()
        net: Counter[str] = Counter()
        tenor = 0
        for account in agreement.accounts:
            for number, position in (venue.account(account).positions or {}).items():
                contract = state.contracts[number]
                row = None if arrays is None else arrays.universe.row(contract.listing.symbol)
                if arrays is None or row is None:
                    continue
                coin = contract.deal.underlying
                index = float(arrays.index[arrays.universe.underlyings.index(coin)])
                notional = float(arrays.units["notional"][row])
                gross[coin] += round(abs(position.lots) * notional * MICRO)
                delta = float(arrays.units["delta"][row])
                net[coin] += round(position.lots * delta * index * MICRO)
                tenor = max(tenor, (contract.deal.expiry_ms or 0) - venue.time_ms)
        return Usage(
            line_micro=Micro(line), drawn_micro=Micro(min(drawn, line)), tenor_ms=tenor,
            gross_by_underlying={coin: Micro(one) for coin, one in gross.items()},
            net_by_underlying=dict(net),
        )  # fmt: skip

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    def _asked(self, one: Seen) -> Micro:
        """What the annex calls now; of who is not known nothing is called."""
        return call_amount(self._agreement(one.name).terms, one.missing_micro if one.known else 0)

    def _call(self, seen: Sequence[Seen]) -> int:
        """New calls; their sum."""
        total = 0
        for one in seen:
            lent = self.lent[one.name]
            was = lent.stand.state
            asked = self._asked(one)
            found = self._next(one, lent, asked)
            if found.state is CallState.DEFAULT:
                continue  # what comes at the last moment still counts
            lent.stand = found
            if lent.stand.state in _STANDS and was not in _STANDS:
                lent.calls += 1
                lent.called_micro += asked
                total += asked
        return total

    def _next(self, one: Seen, lent: Lent, asked: int) -> Stand:
        return goes_on(
            lent.stand, self._agreement(one.name).clock, time_ms=self.venue.time_ms,
            call_micro=asked, utilisation=one.usage.utilisation,
        )  # fmt: skip

    def _take_payments(self, seen: Sequence[Seen]) -> int:
        """Who has a call pays what it has of it, when its time has come."""
        total = 0
        for one in seen:
            lent, payer = self.lent[one.name], self.told.payers[one.name]
            late = self.venue.time_ms < lent.stand.called_ms + payer.after_ms
            if lent.stand.state not in _STANDS or late:
                continue
            pays = min(self._asked(one), lent.outside_micro)
            if pays <= 0:
                continue
            accounts = self._agreement(one.name).accounts
            gaps = [max(s.initial_micro - s.equity_micro, 0) for s in self._stands(one.name)]
            for account, part in zip(accounts, shares(pays, gaps), strict=True):
                if part:
                    self.venue.deposit(account, part)
            lent.outside_micro -= pays
            lent.paid_micro += pays
            total += pays
        return total

    def _let_clocks_run(self, seen: Sequence[Seen]) -> list[str]:
        """States after payments; who is in default loses its line at once. Their names."""
        found = []
        for one in seen:
            lent = self.lent[one.name]
            lent.stand = self._next(one, lent, self._asked(one))
            if lent.stand.state is CallState.DEFAULT and lent.defaulted_ms is None:
                found.append(one.name)
                lent.defaulted_ms = self.venue.time_ms
                lent.closed_by = "cure period over"
                self._tell_inputs(one.name, [1] * len(self._agreement(one.name).accounts), "")
        return found

    # ── afterwards ───────────────────────────────────────────────────────────────────────────

    def _count(self, done: Sequence[Plan], market: Snapshot) -> tuple[int, list[str]]:
        """What others paid of debts, and who has been closed out."""
        owner = {account: name for name in self.lent for account in self._agreement(name).accounts}
        total = 0
        begun: dict[str, str] = {}
        for plan in done:
            name = owner.get(plan.account)
            if name is None:
                continue
            if plan.stage == "begin":
                begun[name] = "beyond its line by maintenance"
            for row in plan.rows:
                if (
                    isinstance(row.command, CoverDebt)
                    and row.command.source is not CoverFrom.MARKET
                ):
                    price = market.price_of(row.command.asset) or 1.0
                    decimals = dict(self.venue.state.assets)[row.command.asset]
                    lost = round(row.command.amount / 10**decimals * price * MICRO)
                    self.lent[name].lost_micro += lost
                    total += lost
        return total, self._close(begun)

    def _close(self, begun: dict[str, str]) -> list[str]:
        closed = []
        for name, lent in self.lent.items():
            accounts = [self.venue.account(one) for one in self._agreement(name).accounts]
            flat = not any(one.positions for one in accounts)
            if name in begun and not lent.closed_by:
                lent.closed_by = begun[name]
            over = lent.stand.state is CallState.DEFAULT or name in begun
            if over and flat and lent.stand.state is not CallState.CLOSED:
                lent.stand = Stand(state=CallState.CLOSED, since_ms=self.venue.time_ms)
                lent.closed_ms = self.venue.time_ms
                self._tell_inputs(name, [1] * len(accounts), "closed out")
                closed.append(name)
        return closed

    def measure_exposure(self, market: Snapshot) -> None:
        """Exposure and cost of every counterparty on this market, kept under its time."""
        told = self.told.exposure
        drawn = draw(market, self.venue.symbols, told)
        for name, lent in self.lent.items():
            lent.exposures[int(market.as_of_ms)] = exposure_of(
                self.venue.state, self._agreement(name), lent.quality, drawn, told
            )


def dollars(micro: int) -> str:
    """Millionths as a decimal.

    >>> dollars(1_500_000), dollars(7)
    ('1.500000', '0.000007')
    """
    return f"{micro // MICRO}.{micro % MICRO:06d}"


def decimal(rate: Fraction) -> str:
    """A share as a decimal of nine digits, rounded up: against the counterparty.

    >>> decimal(Fraction(3, 5)), decimal(Fraction(1, 3))
    ('0.600000000', '0.333333334')
    """
    nano = -(-rate.numerator * 10**9 // rate.denominator)
    return f"{nano // 10**9}.{nano % 10**9:09d}"


def run(
    engine: Engine, told: CreditFile, markets: Sequence[Snapshot], *,
    exposure_at: Sequence[int] = (0, -1), progress: Progress | None = None,
) -> Desk:  # fmt: skip
    """Run a file through markets in order on a new engine. Exposure is measured at some of the
    markets, by place; every step is checked: what moved nets to nothing."""
    wanted = {place % len(markets) for place in exposure_at}
    desk = Desk(engine, told, markets[0])
    for place, market in enumerate(markets):
        if place:
            desk.step(market)
        if place in wanted:
            desk.measure_exposure(market)
        if progress is not None:
            progress(place + 1, len(markets))
    return desk


def audit_of(desk: Desk) -> dict[str, Any]:
    """What holds at the end: nothing is created by lending, and a line is in no balance."""
    state = desk.venue.state
    totals = {state.assets[asset][0]: total for asset, total in state.ledger.totals().items()}
    return {"violations": list(violations(state)), "ledger_sums": totals,
            "state_hash": desk.venue.engine.hash(), "commands": state.log.sequence,
            "refused": sum(desk.venue.counts.values()) - desk.venue.counts[0]}  # fmt: skip
