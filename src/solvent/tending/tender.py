"""Who looks at the books and does what the rulebooks ask for: again and again, until nothing is
left to be done at this moment.

Nothing is remembered between two looks but what the books hold. So a venue that stops in the middle
goes on where it was, and whoever runs this twice at the same moment does nothing the second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from solvent.engine.calls import foreseen, levels_of
from solvent.engine.closing_out import foreseen_able
from solvent.engine.state import LIQUIDATION, Account, Standing, State
from solvent.liquidation.calls import review
from solvent.messages import commands as c
from solvent.solvency.venue import VenueWatch
from solvent.tending import by_contract, debts, disposing
from solvent.tending.looked import Looked
from solvent.tending.plans import ACTOR, Plan, dollars, row, sealed
from solvent.tending.pools import (
    Pool,
    concerned,
    done,
    pools_of,
    rules_of,
    under_liquidation,
    worst_first,
)
from solvent.tending.stages import Tried, planned

if TYPE_CHECKING:
    from solvent.tending.entry import Tending

ROUNDS_MAX: Final = 1_000_000
"""Rounds of one look: more are a fault, as each does something."""
WAVE: Final = 32
"""Accounts that are planned for together, as long as they do not touch the same contracts."""
Watch = Callable[[list[Plan]], None]


@dataclass(slots=True, kw_only=True)
class Tended:
    """What was done: plans with commands by stage, commands by outcome, and what stays open."""

    plans: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    """Reject codes of commands, 0 of those that were done."""
    open: list[Plan] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """Commands that were done."""
        return self.codes[0]

    @property
    def refused(self) -> int:
        """Commands that were not."""
        return self.codes.total() - self.codes[0]

    @property
    def nothing(self) -> bool:
        """Whether there was nothing to do."""
        return not self.codes.total()


# ── looking ──────────────────────────────────────────────────────────────────────────────────────


def plans(state: State) -> list[Plan]:
    """What is to be done now, and what waits and why: first what concerns accounts that are not
    under liquidation, then each that is, then what the insurance fund sells. Nothing is done.

    Later plans may change by earlier ones: `Tender` looks anew after each.
    """
    return [*opening(state), *going(state, Tried()), *disposing.planned(state)]


def opening(
    state: State, vain: Callable[[Plan], bool] = lambda _: False, looked: Looked | None = None,
    some: Collection[int] | None = None,
) -> list[Plan]:  # fmt: skip
    """Margin calls that change, orders to be taken back, accounts to be taken over.

    An account that orders are taken back of is not taken over before one has looked again, unless
    that was in `vain`. `some`: accounts, where it is known that nothing is new of any other.
    """
    if state.house.contract is not None:
        return list(by_contract.opening(state))
    if looked is None:
        looked = Looked(state)
    known = looked.standings()
    for number in state.calls:
        known.setdefault(number, (state.account(number), Standing(0, 0, 0, True, False, False)))
    calls, cancels, begins = [], [], []
    again = known if some is None else [number for number in sorted(some) if number in known]
    for account, one in map(known.__getitem__, again):
        if account.status == LIQUIDATION or not one.known:
            continue
        closing = rules_of(state, account).closing
        relief = None
        if one.call and closing.cancel_first and state.orders_of(account.number):
            relief = _relieve(account, one)
        if relief is not None and not vain(relief):
            cancels.append(relief)
        elif one.liquidate:
            begins.append(_begin(account, one))
        near = looked.nearest.get(account.number, one)
        if not one.liquidate and _call_changes(state, account, near):
            calls.append(_review(account, near))
    begins.sort(key=lambda plan: plan.equity_micro * 10**6 // max(1, plan.maintenance_micro))
    return [*calls, *cancels, *begins]


def _call_changes(state: State, account: Account, found: Standing) -> bool:
    """Whether there is anything new to say about an account's margin."""
    was = state.calls.get(account.number)
    told = rules_of(state, account).closing.calls
    if was is None:
        # Most accounts are far away: no fractions for them.
        beyond = found.equity_micro - found.maintenance_micro
        behind = found.equity_micro + found.credit_micro
        called = found.call and told.when == "short"
        if not called and beyond > (max(told.levels) + 1e-9) * behind:
            return False
    reviewed = review(
        was, equity_micro=found.equity_micro, initial_micro=found.initial_micro,
        maintenance_micro=found.maintenance_micro, time_ms=state.log.time_ms,
        levels=levels_of(told), credit_micro=found.credit_micro,
    )  # fmt: skip
    level = 0 if was is None else was.level
    return bool(reviewed.ended) or (0 if reviewed.call is None else reviewed.call.level) != level


def _review(account: Account, found: Standing) -> Plan:
    why = f"equity {dollars(found.equity_micro)}, maintenance {dollars(found.maintenance_micro)}"
    return _simple(account, found, "call", "warnings and margin calls", why, c.ReviewMargin)


def _relieve(account: Account, found: Standing) -> Plan:
    short = dollars(found.initial_micro - found.equity_micro)
    why = f"{short} dollars below initial margin"
    return _simple(account, found, "cancel", "orders go before positions do", why, c.RelieveMargin)


def _begin(account: Account, found: Standing) -> Plan:
    short = dollars(found.maintenance_micro - found.equity_micro)
    why = f"{short} dollars below maintenance margin"
    return _simple(account, found, "begin", "equity below maintenance", why, c.BeginLiquidation)


def _simple(
    account: Account, found: Standing, stage: str, rule: str, why: str, kind: type[c.Command]
) -> Plan:
    return Plan(
        account=account.name, stage=stage, rule=rule, equity_micro=found.equity_micro,
        maintenance_micro=found.maintenance_micro,
        rows=(row(why, kind, account=account.name),),
    )  # fmt: skip


def going(
    state: State, tried: Tried, accounts: Sequence[Account] | None = None
) -> list[Plan]:  # fmt: skip
    """The next step of every account under liquidation (or of some), those that are worst first."""
    whose = under_liquidation(state) if accounts is None else accounts
    if state.house.contract is not None:
        return [by_contract.step(state, account) for account in whose]
    found = [_next(state, account, mine, tried) for account, mine in zip(
        whose, pools_of(state, whose), strict=True)]  # fmt: skip
    return [plan for plan in found if plan is not None]


def _next(state: State, account: Account, pools: list[Pool], tried: Tried) -> Plan | None:
    """One account's next step: reduce what is short, then pay debts, then give it back."""
    name = account.name
    short = [pool for pool in pools if concerned(state, pool) and not done(state, pool)]
    waiting: Plan | None = None
    for pool in worst_first(short):
        if not pool.found.known:
            continue
        plan = planned(state, pool, tried)
        if plan.rows:
            return plan
        waiting = waiting or plan
    flat = [pool for pool in pools if not pool.seen.positions]
    for pool in flat:
        plan_of_debt = debts.planned(state, pool)
        if plan_of_debt is None:
            continue
        if plan_of_debt.rows and not tried.has(name, plan_of_debt.pool, "debt"):
            return plan_of_debt
        why = plan_of_debt.open or "nobody pays what is owed"
        waiting = waiting or replace(plan_of_debt, rows=(), open=why)
    if short or waiting is not None or tried.has(name, "", "end"):
        return waiting
    if account.number in state.auctions:
        return _end(account, pools[0], "auction", c.EndAuction)
    return _end(account, pools[0], "end", c.EndLiquidation)


def _end(account: Account, pool: Pool, stage: str, kind: type[c.Command]) -> Plan:
    why = (
        f"equity {dollars(pool.found.equity_micro)}, maintenance "
        f"{dollars(pool.found.maintenance_micro)}"
        if pool.seen.positions else "nothing is held, nothing is owed"
    )  # fmt: skip
    return _simple(account, pool.found, stage, "its target is reached", why, kind)


# ── doing ────────────────────────────────────────────────────────────────────────────────────────


class Tender:
    """Carries plans out on an engine, wave by wave; `watch` sees each wave before it is done.

    `verdicts` is a watch over the same engine: accounts that it proved healthy are not asked.
    """

    def __init__(
        self, engine: Tending, *, actor: str = ACTOR, watch: Watch | None = None,
        verdicts: VenueWatch | None = None,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._actor = actor
        self._watch = watch
        self._verdicts = verdicts
        self._looked = Looked(engine.state, verdicts)
        self._tried = Tried()
        self._done: set[tuple[str, ...]] = set()
        self._time_ms = 0

    def run(self, time_ms: int | None = None) -> Tended:
        """Do all that is to be done at a moment (the engine's clock unless told).

        Time passes first: what has cooled down by now, and what has grown too old, is seen.
        """
        now_ms = self._engine.now_ms if time_ms is None else time_ms
        self._time_ms = max(now_ms, self._engine.state.log.time_ms)
        self._done = set()
        tended = Tended()
        self._pass()
        self._looked = Looked(self._engine.state, self._verdicts)
        self._tried = Tried(looked=self._looked)
        some: set[int] | None = None
        numbers = self._engine.state.account_numbers
        for _ in range(ROUNDS_MAX):
            looked = opening(self._engine.state, self._vain, self._looked, some)
            first = [plan for plan in looked if not self._vain(plan)]
            self._submit(first, tended)
            if not self._wind_up(tended) and not first and not self._dispose(tended):
                break
            some = self._looked.changed | {numbers[plan.account] for plan in looked}
        return tended

    def _pass(self) -> None:
        log = self._engine.state.log
        if self._time_ms > log.time_ms:
            beat = c.Heartbeat(key=f"tend {log.sequence}.time", actor=self._actor)
            self._engine.submit_all([beat], times_ms=[self._time_ms])

    def _vain(self, plan: Plan) -> bool:
        if self._tried.has(plan.account, plan.pool, plan.stage):
            return True
        # A call that a liquidation has ended may be due again, in the same words.
        return plan.stage != "call" and _body(plan) in self._done

    def _wind_up(self, tended: Tended) -> bool:
        """Every account under liquidation, to its end or to where it waits; whether anything was
        done."""
        state = self._engine.state
        pending = under_liquidation(state)
        self._looked.coming(pending)
        tended.open.clear()
        did, most = False, WAVE
        contracts = sum(bool(one.holders) for one in state.contracts)
        while pending:
            wave, rest = _apart(pending, most, contracts)
            chosen, still = self._chosen(going(state, self._tried, wave), tended)
            if chosen:
                did = True
                self._submit(chosen, tended)
            # Where all want the same fund, few are planned for together.
            most = min(WAVE, 2 * max(1, len(chosen)))
            names = {plan.account for plan in [*chosen, *still]}
            again = [one for one in wave if one.name in names and one.status == LIQUIDATION]
            # Who has just been served goes on first: a liquidation is finished before others begin.
            pending = [*again, *rest]
        return did

    def _dispose(self, tended: Tended) -> bool:
        """What the insurance fund sells once accounts are wound up; whether anything was done."""
        found = disposing.planned(self._engine.state)
        tended.open += [plan for plan in found if not plan.rows]
        chosen = [plan for plan in found if plan.rows and not self._vain(plan)]
        self._submit(chosen, tended)
        return bool(chosen)

    def _chosen(self, found: Iterable[Plan], tended: Tended) -> tuple[list[Plan], list[Plan]]:
        """Plans of a wave that touch nothing in common, and those that have to be made anew."""
        touched: set[tuple[str, int]] = set()
        chosen, later = [], []
        for plan in found:
            if not plan.rows:
                tended.open.append(plan)
            elif _body(plan) in self._done:
                # It was done and changed nothing: another stage has to.
                self._tried.add(plan)
                later.append(plan)
            elif touched & plan.touches:
                later.append(plan)
            else:
                touched |= plan.touches
                chosen.append(plan)
        return chosen, later

    def _submit(self, chosen: list[Plan], tended: Tended) -> None:
        if not chosen:
            return
        if self._watch is not None:
            self._watch(chosen)
        engine = self._engine
        told_of = [plan.account for plan in chosen if plan.stage == "call"]
        if len(told_of) > 1:
            numbers = engine.state.account_numbers
            foreseen(engine.state, [engine.state.account(numbers[name]) for name in told_of])
        gives = [one.command for plan in chosen for one in plan.rows
                 if isinstance(one.command, c.Deleverage)]  # fmt: skip
        if gives and engine.state.house.contract is None:
            foreseen_able(engine.state, gives)
        commands = sealed(engine.state, chosen, self._actor)
        times = [self._time_ms] * len(commands)
        told = engine.submit_all(commands, times_ms=times)
        for one in told:
            self._looked.happened(one.events)
        answers = iter(told)
        for plan in chosen:
            self._done.add(_body(plan))
            tended.plans[plan.stage] += 1
            codes = [next(answers).code for _ in plan.rows]
            tended.codes.update(codes)
            if all(codes):
                self._tried.add(plan)


def _body(plan: Plan) -> tuple[str, ...]:
    """What a plan does and from where, by which it is known again."""
    stands = f"{plan.equity_micro} {plan.maintenance_micro}"
    return plan.account, plan.pool, plan.stage, stands, *(repr(one) for one in plan.rows)


def _apart(
    pending: list[Account], most: int, contracts: int
) -> tuple[list[Account], list[Account]]:
    """Some accounts of which no two hold the same of so many contracts, and all others in their
    order."""
    wave: list[Account] = []
    rest: list[Account] = []
    held: set[int] = set()
    for place, account in enumerate(pending):
        if len(wave) == most or len(held) >= contracts > 0:
            rest += pending[place:]
            break
        mine = set(account.positions or ())
        if wave and mine & held:
            rest.append(account)
        else:
            wave.append(account)
            held |= mine
    return wave, rest
