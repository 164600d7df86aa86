"""Generated defaults: small venues, a move of prices, and what must be true of all that follows.

Margin is a tenth of the notional, half of it for maintenance, so that everything is computed again
here by hand, in fractions, from balances and positions alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from functools import cache
from random import Random
from typing import Any

import numpy as np
from msgspec import structs

from solvent import publishing
from solvent.account.ledger import (
    CLEARING,
    EXTERNAL,
    FIRST_ACCOUNT,
    GENERAL,
    INSURANCE,
    margin_slot,
    node,
    parts,
)
from solvent.engine.apply import apply
from solvent.engine.audit import violations
from solvent.engine.image import image, restore
from solvent.engine.standing import standing, view
from solvent.engine.state import LIQUIDATION, OPEN, Account, Contract, State
from solvent.host import Answer
from solvent.instruments import Kind
from solvent.margining.levels.rulebook import in_force
from solvent.margining.rulebook import read_rulebook
from solvent.market import Quotes, Snapshot, assemble
from solvent.messages import commands as c
from solvent.messages.codec import Sealed
from solvent.messages.events import LiquidationBegun, Traded
from solvent.messages.fields import (
    AccountKind,
    Command,
    MarginMode,
    OpeningBalance,
    OpeningPosition,
    Side,
)
from solvent.sim.cascade_prices import instruments
from solvent.tending.entry import Tending
from solvent.tending.plans import Plan
from solvent.units import TimeMs
from tests.venues import TENTH

COINS = ("BTC", "ETH", "SOL")
FIRST = (64_000.0, 1_900.0, 85.0)
T0 = 1_780_000_000_000
USDC = "USDC"
SLIPPAGE = Fraction(1, 20)
RESERVE = Fraction(1, 10)
"""Of the value of what it holds, that the fund must be worth."""
STAGES = (
    ("book", "fund", "adl", "socialise"), ("book", "fund", "adl"), ("book", "adl"),
    ("book", "socialise"), ("fund", "socialise"), ("adl", "socialise"),
)  # fmt: skip


def market(factors: Sequence[float], step: int) -> Snapshot:
    """Three perpetuals at their first prices times factors."""
    found = instruments(COINS)
    price = np.array([FIRST[COINS.index(one.contract.base)] * factors[COINS.index(
        one.contract.base)] for one in found])  # fmt: skip
    nothing = np.full(len(found), np.nan)
    time_ms = TimeMs(T0 + step * 1_000)
    assert all(one.contract.kind is Kind.PERPETUAL for one in found)
    return assemble(
        Quotes(instruments=found, index=price, forward=price, mark=price, vol=nothing, bid=nothing,
               ask=nothing, rate=np.zeros(len(found)), time_ms=np.full(len(found), time_ms)),
        as_of_ms=time_ms,
    )  # fmt: skip


def rules(stages: Sequence[str]) -> str:
    """The rulebook, with these stages."""
    told = ", ".join(f'"{one}"' for one in stages)
    return f'{TENTH}\n[engine]\nmatching = "book"\n[liquidation]\nstages = [{told}]\n'


@cache
def opening(stages: tuple[str, ...]) -> bytes:
    """A venue with contracts, the rulebook, prices and arrays, as bytes."""
    world = World(State())
    first = market((1.0, 1.0, 1.0), 0)
    world.must(publishing.listings(first, actor="op"))
    world.must([c.AdoptRulebook(key="rules", actor="op", name="tenth", toml=rules(stages),
                                day="2026-06-01", venue=True)])  # fmt: skip
    world.publish(first)
    return image(world.state)


@cache
def read(stages: tuple[str, ...]) -> Any:
    """The rulebook, read."""
    text: Any = read_rulebook(rules(stages), source="tenth")
    return in_force(text, date(2026, 6, 1))


class World(Tending):
    """A venue's books; every batch is sound."""

    def __init__(self, state: State, stages: tuple[str, ...] = STAGES[0]) -> None:
        self.books = state
        self.stages = stages
        self.time_ms = T0
        self.asked = 0
        self.done: list[tuple[Command, int, Any]] = []

    @property
    def state(self) -> State:
        return self.books

    @property
    def now_ms(self) -> int:
        return self.time_ms

    def submit_all(
        self, commands: Iterable[Any], *, times_ms: Sequence[int] | None = None
    ) -> list[Answer]:
        assert times_ms is None or set(times_ms) <= {self.time_ms}
        answers = []
        for command in commands:
            found = apply(self.state, Sealed(self.state.log.sequence + 1, self.time_ms, command))
            self.done.append((command, found.code, found.events))
            answers.append(Answer(self.state.log.sequence, found.code, found.events))
        assert list(violations(self.state)) == []
        return answers

    def make(self, what: type[Command], **fields: Any) -> Command:
        self.asked += 1
        return what(key=f"w{self.asked}", actor="op", **fields)

    def must(self, commands: Iterable[Command]) -> None:
        for answer in self.submit_all(commands):
            assert answer.accepted, answer.events

    def publish(self, found: Snapshot) -> None:
        self.time_ms = int(found.as_of_ms)
        self.asked += 1
        self.must([publishing.market(found, key=f"m{self.asked}", actor="op"),
                   publishing.arrays(found, read(self.stages), name="tenth", key=f"a{self.asked}",
                                     actor="op")])  # fmt: skip


def generated(seed: int) -> tuple[World, list[float]]:
    """A venue before its prices move, and by how much they will: accounts of random leverage,
    some isolated, dealers on the other side, a fund of any size, orders in the books."""
    random = Random(seed)
    stages = random.choice(STAGES)
    world = World(restore(opening(stages)), stages)
    world.time_ms = T0
    names = [f"a{place}" for place in range(random.choice((3, 12, 40)))]
    dealers = [f"d{place}" for place in range(random.choice((1, 2, 5)))]
    world.must(
        world.make(c.OpenAccount, account=name, kind=AccountKind.USER, rulebook="tenth")
        for name in [*names, *dealers]
    )
    positions: list[OpeningPosition] = []
    balances: list[OpeningBalance] = []
    net: Counter[str] = Counter()
    symbols = [contract.listing.symbol for contract in world.state.contracts]
    for name in names:
        alone = random.random() < 0.25
        leverage = random.choice((3.0, 6.0, 9.0)) * random.uniform(0.8, 1.1)
        money = 0.0
        for symbol in random.sample(symbols, random.randint(1, len(symbols))):
            contract = world.state.contracts[world.state.contract_numbers[symbol]]
            points = contract.mark_points or 1
            lots = max(1, round(random.lognormvariate(9, 1.5) / _lot(world.state, symbol)))
            lots *= random.choice((1, 1, 1, -1))
            entry = round(points * random.uniform(0.9, 1.1))
            positions.append(OpeningPosition(name, symbol, lots, entry))
            net[symbol] += lots
            part = abs(lots) * _lot(world.state, symbol) / leverage
            part += max(0.0, lots * (entry - points) / points * _lot(world.state, symbol))
            if alone:
                world.must([world.make(c.SetMarginMode, account=name, symbol=symbol,
                                       mode=MarginMode.ISOLATED, leverage="10")])  # fmt: skip
                balances.append(OpeningBalance(name, USDC, round(part * 1e6) + 1, symbol))
                part = random.uniform(0.0, 100.0)
            money += part
        balances.append(OpeningBalance(name, USDC, round(money * 1e6) + 1))
    for symbol, lots in net.items():
        points = world.state.contracts[world.state.contract_numbers[symbol]].mark_points or 1
        for place, name in enumerate(dealers):
            share = lots // len(dealers) + (place < lots % len(dealers))
            if share:
                positions.append(OpeningPosition(name, symbol, -share, points))
    worth = sum(abs(one.lots) * _lot(world.state, one.symbol) for one in positions)
    for name in dealers:
        amount = round(worth * random.choice((0.05, 0.3, 2.0)) * 1e6) + 1
        balances.append(OpeningBalance(name, USDC, amount))
    world.must([world.make(c.ImportBooks, balances=tuple(balances), positions=tuple(positions))])
    fund = random.choice((0, 1, 50, 2_000, 10**6)) * 10**6
    if fund:
        world.must([world.make(c.Deposit, account="insurance", asset=USDC, amount=fund)])
    if random.random() < 0.5:
        world.must([world.make(c.Deposit, account="venue", asset=USDC, amount=7 * 10**6)])
    move = (
        random.choice((-1, -1, -1, 1)) * random.choice((0.06, 0.15, 0.35)) * random.uniform(0.2, 1)
    )
    factors = [max(0.1, 1 + move * random.uniform(0.7, 1.4)) for _ in COINS]
    world.publish(market(factors, 1))
    _orders(world, random, dealers, symbols)
    return world, factors


def _orders(world: World, random: Random, dealers: list[str], symbols: list[str]) -> None:
    told = []
    for symbol in symbols:
        contract = world.state.contracts[world.state.contract_numbers[symbol]]
        ticks = (contract.mark_points or 0) // contract.deal.points_per_tick
        for _ in range(random.choice((0, 2, 6))):
            away = 1 + random.choice((-1, 1)) * random.choice((0.002, 0.01, 0.07)) * random.random()
            lots = max(1, round(random.lognormvariate(10, 1.5) / _lot(world.state, symbol)))
            told.append(world.make(
                c.PlaceOrder, account=random.choice(dealers), order=f"o{world.asked}",
                symbol=symbol, side=Side.BUY if away < 1 else Side.SELL, lots=lots,
                price_ticks=max(1, round(ticks * away)),
            ))  # fmt: skip
    world.submit_all(told)


def _lot(state: State, symbol: str) -> float:
    """Dollars of a lot at the mark."""
    contract = state.contracts[state.contract_numbers[symbol]]
    return float(contract.deal.money(contract.deal.value(1, contract.mark_points or 1))) / 1e6


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────


def gain(state: State, number: int, lots: int, basis: int) -> Fraction:
    """Smallest units that a position has gained at its mark."""
    contract = state.contracts[number]
    return contract.deal.money(lots * (contract.mark_points or 0) - basis)


def worth(state: State, owner: int) -> Fraction:
    """All that an owner has, its positions at the marks, in smallest units; debts negative."""
    total = Fraction(sum(amount for which, amount in state.ledger.balances.items()
                         if parts(which)[0] == owner))  # fmt: skip
    for number, one in (state.account(owner).positions or {}).items():
        total += gain(state, number, one.lots, one.basis_value)
    if owner == CLEARING:
        # It owes what positions have at stake, in whole units.
        total += sum(one.deal.money(one.basis_total) for one in state.contracts)
    return total


def pool_health(state: State, account: Account, pool: int | None) -> tuple[Fraction, Fraction]:
    """Equity and maintenance margin of a pool: 5 % of what it holds at the index, in units."""
    equity = maintenance = Fraction(0)
    slot = GENERAL if pool is None else margin_slot(pool)
    equity += state.ledger.balance(node(account.number, slot, 0))
    for number, one in (account.positions or {}).items():
        alone = account.isolates(number)
        if (pool is None and alone) or (pool is not None and number != pool):
            continue
        contract = state.contracts[number]
        index = Fraction(state.underlyings[contract.deal.underlying].price_nano, 10**9)
        size = abs(one.lots) * contract.deal.lot_size * index * 10**6
        maintenance += size / 20
        equity += gain(state, number, one.lots, one.basis_value)
    return equity, maintenance


@dataclass(slots=True)
class Checked:
    """What was seen in a world."""

    defaults: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    shortfalls: int = 0
    partial: int = 0
    isolated: int = 0


def tolerance(account: Account) -> Fraction:
    """Units by which the engine's margin may differ: its risk is in whole millionths a lot."""
    return 2 + Fraction(sum(abs(one.lots) for one in (account.positions or {}).values()), 2)


def run(seed: int) -> Checked:
    """Generate, tend, and check everything; an AssertionError names what does not hold."""
    world, _ = generated(seed)
    state = world.state
    checked = Checked()
    owners = [EXTERNAL, *range(CLEARING, INSURANCE + 2), *(
        one.number for one in state.accounts[FIRST_ACCOUNT:] if one is not None)]  # fmt: skip
    before = {owner: worth(state, owner) for owner in owners}
    general = {
        one.number: state.ledger.balance(node(one.number, GENERAL, 0))
        for one in state.accounts[FIRST_ACCOUNT:] if one is not None
    }  # fmt: skip
    bad: dict[int, list[int | None]] = {}
    done_before = len(world.done)

    def watch(plans: list[Plan]) -> None:
        for plan in plans:
            checked.stages[plan.stage] += 1
            if plan.stage == "begin":
                number = state.account_numbers[plan.account]
                pools = _bad_pools(state, state.account(number))
                assert pools, f"{plan.account} is well"
                bad.setdefault(number, []).extend(pools)
            _check_plan(state, plan, world.stages)

    tended = world.tend(watch=watch)
    told = world.done[done_before:]
    _check_minimum(told, world, checked)
    after = {owner: worth(state, owner) for owner in owners}
    assert sum(before.values()) == sum(after.values()), "nothing is created"
    owed = min(Fraction(0), before[INSURANCE])
    assert after[INSURANCE] >= owed, "the fund owes nothing at the marks"
    begun = {event.account for _, _, events in told for event in events
             if isinstance(event, LiquidationBegun)}  # fmt: skip
    assert begun == set(bad)
    shared: Counter[str] = Counter()
    for command, code, _ in told:
        if isinstance(command, c.SocialiseLoss) and not code:
            shared.update({share.account: share.amount for share in command.shares})
    open_now = {one.account for one in tended.open}
    for number in begun:
        account = state.account(number)
        checked.defaults += 1
        _check_end(state, account, open_now)
        # Others' losses are a winner's to share, as anybody's.
        own = general[number] - shared[account.name]
        _check_isolated(state, account, bad[number], own, checked)
    _check_shortfall(state, begun, before, after, open_now, checked)
    assert world.tend().nothing or tended.open, "a second look finds nothing to do"
    return checked


def _check_gains(state: State, command: c.SocialiseLoss) -> None:
    """Nobody shares more than it has gained in what it holds, and not what it has shared before."""
    for share in command.shares:
        account = state.account(state.account_numbers[share.account])
        held = (account.positions or {}).items()
        gained: Fraction = Fraction(0)
        gained += sum(gain(state, n, one.lots, one.basis_value) + one.realised for n, one in held)
        gained -= (account.given or {}).get(0, 0)
        assert share.amount <= gained, f"{share.account}: shares {share.amount} of {gained}"


def _bad_pools(state: State, account: Account) -> list[int | None]:
    """Pools of an account that are below maintenance margin, by hand."""
    pools: list[int | None] = [None, *(n for n in account.positions or () if account.isolates(n))]
    found: list[int | None] = []
    for pool in pools:
        equity, maintenance = pool_health(state, account, pool)
        if equity < maintenance + tolerance(account) and maintenance:
            found.append(pool)
    return found


def _check_plan(state: State, plan: Plan, stages: Sequence[str]) -> None:
    """The order of the waterfall, and of the queue, when a plan is about to be done."""
    number = state.account_numbers[plan.account]
    account = state.account(number)
    if plan.stage in ("fund", "adl") and "book" in stages[: stages.index(plan.stage)]:
        for one in plan.rows:
            if isinstance(one.command, c.TakeOver | c.Deleverage):
                assert not _rests(state, account, one.command), f"{plan.account}: the book first"
    if plan.stage == "adl":
        _check_ranks(state, plan, account)
        if "fund" in stages[: stages.index("adl")]:
            assert _fund_spent(state, plan), f"{plan.account}: the fund first"
    if plan.stage == "debt":
        mine = [n for n in account.positions or () if account.isolates(n) == bool(plan.pool)]
        assert plan.pool or not mine, f"{plan.account}: positions go before debts"
        sources = [str(one.command.source) for one in plan.rows
                   if isinstance(one.command, c.CoverDebt)]  # fmt: skip
        assert sources == sorted(sources, key=["insurance", "venue"].index)
        for one in plan.rows:
            if isinstance(one.command, c.SocialiseLoss):
                _check_gains(state, one.command)


def _rests(state: State, account: Account, command: c.TakeOver | c.Deleverage) -> bool:
    """Whether a price rests that is better than what the position is closed at, within 5 % of the
    mark."""
    contract = state.contracts[state.contract_numbers[command.symbol]]
    long = contract.holders[account.number].lots > 0
    bids, asks = state.desk.depth(contract.number)
    mark = Fraction(contract.mark_points or 0, contract.deal.points_per_tick)
    if long:
        return any(price >= max(Fraction(command.price_ticks), mark * (1 - SLIPPAGE))
                   for price, lots, _ in bids if lots)  # fmt: skip
    return any(price <= min(Fraction(command.price_ticks), mark * (1 + SLIPPAGE))
               for price, lots, _ in asks if lots)  # fmt: skip


def _fund_spent(state: State, plan: Plan) -> bool:
    """Whether the fund could not take one lot more of what is deleveraged."""
    held = worth(state, INSURANCE)
    for number, position in (state.account(INSURANCE).positions or {}).items():
        contract = state.contracts[number]
        held -= RESERVE * abs(contract.deal.money(position.lots * (contract.mark_points or 0)))
    for one in plan.rows:
        if not isinstance(one.command, c.Deleverage):
            continue
        contract = state.contracts[state.contract_numbers[one.command.symbol]]
        long = contract.holders[state.account_numbers[plan.account]].lots > 0
        points = one.command.price_ticks * contract.deal.points_per_tick
        loss = contract.deal.money(points - (contract.mark_points or 0)) * (1 if long else -1)
        mine = contract.holders.get(INSURANCE)
        nets = mine is not None and (mine.lots > 0) != long
        at_mark = abs(contract.deal.money(contract.mark_points or 0))
        each = loss + (-RESERVE if nets else RESERVE) * at_mark
        most = one.command.lots
        if nets and mine is not None:
            most = min(most, abs(mine.lots))
        lots = 1 if each > 0 else most
        if held - each * lots >= 0:
            return False
    return True


def _check_ranks(state: State, plan: Plan, account: Account) -> None:
    """Who gives up ranks above who is spared: Binance's score, by hand."""
    taken: dict[int, dict[int, int]] = {}
    price: dict[int, int] = {}
    for one in plan.rows:
        if isinstance(one.command, c.Deleverage):
            number = state.contract_numbers[one.command.symbol]
            price[number] = one.command.price_ticks
            other = state.account_numbers[one.command.counterparty]
            lots = taken.setdefault(number, {})
            lots[other] = lots.get(other, 0) + one.command.lots
    for number, lots in taken.items():
        contract = state.contracts[number]
        long = contract.holders[account.number].lots > 0
        line = {
            other: _score(state, state.account(other), number)
            for other, one in contract.holders.items()
            if other >= FIRST_ACCOUNT and (one.lots < 0) == long
            and state.account(other).status != LIQUIDATION
        }  # fmt: skip
        spared = [
            (score, -other)
            for other, score in line.items()
            if lots.get(other, 0) < abs(contract.holders[other].lots)
            and _able(state, other, contract, lots.get(other, 0) + 1, price[number])
        ]
        worst = min((line[other], -other) for other in lots)
        if spared:
            assert worst >= max(spared), f"{contract.listing.symbol}: rank"


def _able(state: State, other: int, contract: Contract, lots: int, ticks: int) -> bool:
    """Whether so many lots, given up at a price, leave what backs them at maintenance margin."""
    account, held = state.account(other), contract.holders[other].lots
    pool = contract.number if account.isolates(contract.number) else None
    equity, maintenance = pool_health(state, account, pool)
    points = ticks * contract.deal.points_per_tick
    signed = lots if held > 0 else -lots
    equity += contract.deal.money(signed * (points - (contract.mark_points or 0)))
    index = Fraction(state.underlyings[contract.deal.underlying].price_nano, 10**9)
    maintenance -= lots * contract.deal.lot_size * index * 10**6 / 20
    return equity - maintenance > tolerance(account)


def _score(state: State, account: Account, number: int) -> Fraction:
    """max(0, U)/max(1, W) · MM/(W + U) of an account, with margin as the engine tells it."""
    position = (account.positions or {})[number]
    contract = state.contracts[number]
    gained = (
        contract.deal.money(position.lots * (contract.mark_points or 0) - position.entry_value)
        / 10**6
    )
    found = standing(state, view(state, account))
    micro = Fraction(found.equity_micro, 10**6)
    if micro <= 0:
        return Fraction(-1_000_000)
    wallet = micro - gained
    ratio = Fraction(found.maintenance_micro, 10**6) / micro
    return Fraction(max(Fraction(0), gained)) / max(Fraction(1), wallet) * ratio


def _check_minimum(told: list[tuple[Command, int, Any]], world: World, checked: Checked) -> None:
    """A step into the book that reached its target would not have with one lot less."""
    # Replayed one by one on a copy, so that the books are those right before each step.
    copy = restore(opening(world.stages))
    done = len(world.done) - len(told)
    for command, _, _ in world.done[:done]:
        apply(copy, Sealed(copy.log.sequence + 1, _time(command, copy, world), command))
    for command, code, _ in told:
        if isinstance(command, c.LiquidateInBook) and not code:
            _one_less(copy, command, world, checked)
        apply(copy, Sealed(copy.log.sequence + 1, world.time_ms, command))


def _time(command: Command, copy: State, world: World) -> int:
    published = isinstance(command, c.PublishMarket | c.PublishArrays)
    return world.time_ms if published else max(copy.log.time_ms, T0)


def _one_less(copy: State, command: c.LiquidateInBook, world: World, checked: Checked) -> None:
    number = copy.contract_numbers[command.symbol]
    account = copy.account(copy.account_numbers[command.account])
    pool = number if account.isolates(number) else None
    before_image = image(copy)
    full = restore(before_image)
    found = apply(full, Sealed(full.log.sequence + 1, world.time_ms, command))
    traded = sum(one.lots for one in found.events if isinstance(one, Traded))
    equity, maintenance = pool_health(full, full.account(account.number), pool)
    if traded != command.lots or equity < maintenance or traded == 1:
        return
    less = restore(before_image)
    apply(less, Sealed(less.log.sequence + 1, world.time_ms,
                       structs.replace(command, lots=command.lots - 1)))  # fmt: skip
    equity, maintenance = pool_health(less, less.account(account.number), pool)
    slack = tolerance(account)
    assert equity < maintenance + slack, f"{command.account}: one lot less was enough"
    checked.partial += 1


def _check_end(state: State, account: Account, open_now: set[str]) -> None:
    """At its target, or flat; or it is told what nobody takes or pays."""
    if account.status == LIQUIDATION:
        assert account.name in open_now, f"{account.name}: left without a word"
        return
    assert account.status == OPEN
    pools: list[int | None] = [None, *(n for n in account.positions or () if account.isolates(n))]
    for pool in pools:
        equity, maintenance = pool_health(state, account, pool)
        assert equity >= maintenance - tolerance(account), f"{account.name}: {pool}"


def _check_isolated(
    state: State, account: Account, pools: list[int | None], general: int, checked: Checked
) -> None:
    """Where isolated positions alone were short, the account's own money only grew."""
    if None in pools or not pools:
        return
    checked.isolated += 1
    now = state.ledger.balance(node(account.number, GENERAL, 0))
    assert now >= general, f"{account.name}: an isolated loss left its margin"


def _check_shortfall(
    state: State, begun: set[int], before: dict[int, Fraction], after: dict[int, Fraction],
    open_now: set[str], checked: Checked,
) -> None:  # fmt: skip
    """What defaulters lacked is what all others gave up, to the unit; who was closed down and whose
    debts were paid ends with nothing."""
    for number in begun:
        account = state.account(number)
        flat = not account.positions and account.name not in open_now
        if flat and before[number] < 0 and not account.modes:
            checked.shortfalls += 1
            assert after[number] >= 0, f"{account.name}: a debt is left"
    theirs = sum((after[n] - before[n] for n in begun), Fraction(0))
    others = sum((after[n] - before[n] for n in before if n not in begun), Fraction(0))
    assert theirs + others == 0
