"""A venue through a crash under one rulebook: calls, cancellations, liquidations, fund, ADL.

At each moment prices and risk arrays are published, dealers quote anew (thinner while the market
moves), the venue tends its accounts until nothing is left to be done, some of those who are called
pay in, and the insurance fund sells a part of what it has taken over. The books are audited at
every step. Everything is decided by the engine: here nobody is liquidated by hand.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

from solvent import publishing
from solvent.account.ledger import FIRST_ACCOUNT, GENERAL, INSURANCE, node, parts
from solvent.engine.audit import violations
from solvent.engine.standing import standings
from solvent.engine.state import CROSS, LIQUIDATION, OPEN, Contract, State
from solvent.errors import Reject, SolventError, check
from solvent.host import Answer, Engine
from solvent.instruments.contract import moment_of
from solvent.messages import commands as c
from solvent.messages.fields import (
    AccountKind,
    Command,
    MarginMode,
    OpeningBalance,
    OpeningPosition,
    Side,
)
from solvent.sim.cascade_crowd import DEALERS, Person, crowd
from solvent.sim.cascade_paths import Path, path_of
from solvent.sim.cascade_prices import QUOTE, Prices, market_of
from solvent.sim.cascade_result import Crashed, Moment
from solvent.sim.lateness import ON_TIME, Lateness, Record
from solvent.sim.regimes import REGIMES, Regime
from solvent.solvency.venue import VenueWatch
from solvent.tending.deleveraging import judged
from solvent.tending.plans import Plan
from solvent.tending.pools import with_risk
from solvent.tending.told import REDUCING, Step, Teller
from solvent.units import MICRO

__all__ = ["REGIMES", "Crashed", "Moment", "Regime", "crash"]
ACTOR: Final = "crash"
LEVELS: Final = 3
"""Prices on each side of a book that a dealer quotes at."""
_QUOTING: Final = 2
"""Dealers that quote in one book."""
_FIRST, _SPREAD = 0.0003, 0.0024
"""Distance of the first quote from the mark, and of each further one."""
_DEPTH: Final = 0.03
"""What rests on one side of a book in calm, a share of the open interest."""
_CALM: Final = 0.05
"""A move (in logs) after which half of that rests."""
_FUND: Final = 0.0025
"""In the insurance fund at the opening, a share of the open interest."""
_BACKSTOP, _BACKSTOP_TAKES = 0.01, 10
"""Money of a backstop where the rules have one, a share of the open interest; and how many times
that it may take on."""
_DEALERS_MONEY: Final = 0.6
"""Dealers' money over what they hold."""
_SOLD: Final = 0.34
"""Share of what the fund has taken over that it sells at each moment."""
_PAYS_IN: Final = 0.25
_DIPS: Final = 0.1
"""Of those who wait for lower prices, the share that bids anew when bids are made."""
_OPENED_AT: Final = 1.02
"""Nobody begins below so many times the initial margin of a regime that is not isolated."""
Progress = Callable[[int, int], None]


def crash(
    engine: Engine, prices: Prices, regime: Regime, *, accounts: int, seed: int = 1,
    progress: Progress | None = None, verdicts: VenueWatch | None = None,
    lateness: Lateness = ON_TIME,
) -> Crashed:  # fmt: skip
    """Tell a new, empty engine a crash. The same arguments give the same history to the byte,
    whether a watch's `verdicts` are read or all accounts are asked.

    lateness: the venue decides on marks of some time ago; orders and the market are of now.

    Raises SolventError for an engine with a history.
    """
    if engine.state.log.sequence:
        raise SolventError(f"{engine.journal.name}: expected an empty journal for a crash")
    people = crowd(prices.coins, accounts, seed)
    stage = _Stage(engine, prices, regime, Random(seed), people)
    stage.late_by(lateness, seed)
    stage.open()
    result = Crashed(
        regime=regime, prices=prices, lateness=lateness, accounts=accounts,
        open_interest_micro=round(stage.interest() * MICRO), money_micro=stage.money(),
    )  # fmt: skip
    teller, read = Teller(engine.state), 0
    record = Record(engine.state, lateness, stage.points)

    def watch(plans: list[Plan]) -> None:
        for plan in plans:
            found = judged(engine.state, plan) if plan.stage == "adl" else None
            if found is not None:
                result.seized += found.seized
                result.overshoot += found.overshoot
                result.regret += found.regret
            record.plan(plan)

    for step in range(len(prices.times_ms)):
        stage.moment(step)
        engine.tend(time_ms=stage.time_ms, watch=watch, verdicts=verdicts)
        stage.afterwards()
        told = list(teller.take(engine.journal.read(read, verify=False)))
        read = engine.state.log.sequence
        result.moments.append(_noted(stage, told))
        done = [one for one in told if not one.rejected]
        result.steps += done
        result.rejected.update(f"{one.stage}: {one.detail}" for one in told if one.rejected)
        record.moment(done)
        result.violations += list(violations(engine.state))
        result.audits += 1
        if progress is not None:
            progress(step + 1, len(prices.times_ms))
    result.judged = record.judgements()
    return _summed(stage, result)


def _noted(stage: _Stage, told: list[Step]) -> Moment:
    done = [one for one in told if not one.rejected]
    counts = Counter(one.stage for one in done)
    reduced: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for one in done:
        if one.stage in REDUCING:
            reduced[one.stage] += one.value_micro
            lost[one.stage] += one.lost_micro
    state = stage.engine.state
    return Moment(
        time_ms=stage.time_ms, price=stage.now(), mark=stage.mark(),
        reduced=dict(reduced), lost=dict(lost),
        fund=stage.fund(), begun=counts["begin"], ended=counts["end"], calls=counts["call"],
        cancelled=counts["cancel"], adl_accounts=len({one.who for one in done
                                                      if one.stage == "adl"}),
        open=sum(one is not None and one.status == LIQUIDATION for one in state.accounts),
        fees=sum(one.fee_micro for one in done), initial=stage.initial(),
    )  # fmt: skip


def _summed(stage: _Stage, result: Crashed) -> Crashed:
    state = stage.engine.state
    for one in result.steps:
        if one.stage in ("cover", "socialise"):
            result.paid[one.who if one.stage == "cover" else "all winners"] += one.paid_micro
    asset = state.asset_numbers[QUOTE]
    result.uncovered = -sum(
        min(0, state.ledger.balance(node(one.number, GENERAL, asset)))
        for one in state.accounts[FIRST_ACCOUNT:]
        if one is not None and one.status == LIQUIDATION and not one.positions
    )
    result.sent, result.refused = stage.sent, stage.refused
    result.commands = state.log.sequence
    result.state_hash = stage.engine.hash()
    return result


# ── the venue ────────────────────────────────────────────────────────────────────────────────────


class _Stage:
    """The engine, and what is remembered between moments."""

    def __init__(
        self, engine: Engine, prices: Prices, regime: Regime, random: Random, people: list[Person]
    ) -> None:
        self.engine = engine
        self.prices = prices
        self.regime = regime
        self.random = random
        self.people = people
        self.time_ms = prices.times_ms[0]
        self.step = 0
        self.asked = 0
        self.dealers = [f"dealer{number:02d}" for number in range(DEALERS)]
        self.lateness = ON_TIME
        self.path: Path | None = None
        self.sent: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    @property
    def state(self) -> State:
        return self.engine.state

    def now(self) -> dict[str, float]:
        return self.prices.now(self.step)

    # ── lateness ─────────────────────────────────────────────────────────────────────────────────

    def late_by(self, lateness: Lateness, seed: int) -> None:
        self.lateness = lateness
        if lateness != ON_TIME:
            one = self.prices
            bars = None if lateness.straight else one.bars
            self.path = path_of(one.times_ms, one.price, bars, seed)

    def at(self, after_ms: int) -> dict[str, float]:
        """Prices so long after this moment, before it where negative."""
        if self.path is None or not after_ms:
            return self.now()
        return self.path.at(self.time_ms + after_ms)

    def mark(self) -> dict[str, float]:
        """What the venue knows of prices."""
        return self.at(-self.lateness.mark_ms)

    def points(self, after_ms: int) -> dict[int, int]:
        """Contract → what its mark would be in points, so long after this moment."""
        market = market_of(self.at(after_ms), self.time_ms)
        told = publishing.market(market, key="", actor=ACTOR).marks
        return {self.state.contract_numbers[one.symbol]: one.mark_points for one in told}

    def contract(self, coin: str) -> Contract:
        return self.state.contracts[self.state.contract_numbers[_symbol(coin)]]

    def lots(self, coin: str, dollars: float) -> int:
        lot = float(self.contract(coin).deal.lot_size)
        return round(dollars / (lot * self.prices.price[coin][self.step]))

    def ticks(self, coin: str, factor: float) -> int:
        tick = self.contract(coin).deal
        step = float(tick.point * tick.points_per_tick)
        return max(1, round(self.prices.price[coin][self.step] * factor / step))

    def make(self, what: type[Command], **fields: Any) -> Command:
        self.asked += 1
        return what(key=f"c{self.asked}", actor=ACTOR, **fields)

    def tell(self, commands: Iterable[Command]) -> list[Answer]:
        told = list(commands)
        return self.engine.submit_all(told, times_ms=[self.time_ms] * len(told))

    def ask(self, commands: Iterable[Command]) -> None:
        """Tell what may be refused, and keep count of it."""
        told = list(commands)
        for command, answer in zip(told, self.tell(told), strict=True):
            kind = str(command.__struct_config__.tag)
            self.sent[kind] += 1
            if not answer.accepted:
                self.refused[f"{kind}: {Reject(answer.code).name}"] += 1

    def must(self, commands: Iterable[Command]) -> None:
        for answer in self.tell(commands):
            check(answer.accepted, "the stage can be set", answer.events)

    # ── the opening ──────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        market = self.prices.market(0)
        self.must(publishing.listings(market, actor=ACTOR))
        day, name = moment_of(self.time_ms).date().isoformat(), self.regime.rulebook
        self.must([publishing.adoption(name, day=day, key="rules", actor=ACTOR, venue=True)])
        self.publish()
        names = [*(person.name for person in self.people), *self.dealers]
        self.must(
            self.make(c.OpenAccount, account=one, kind=AccountKind.USER, rulebook=name)
            for one in names
        )
        held = self.holdings()
        if self.regime.isolated:
            self.must(
                self.make(
                    c.SetMarginMode, account=person.name, symbol=_symbol(coin),
                    mode=MarginMode.ISOLATED, leverage=_plain(person.leverage),
                )
                for person in self.people for coin, _, _ in person.positions
            )  # fmt: skip
        positions = [one for mine in held.values() for one in mine]
        self.must(
            [self.make(c.ImportBooks, balances=tuple(self.balances(held)),
                       positions=tuple(positions))]
        )  # fmt: skip
        if not self.regime.isolated:
            self.must(list(self.filling_up()))
        self.must([self.make(c.Deposit, account="insurance", asset=QUOTE,
                             amount=max(1, round(self.interest() * _FUND * MICRO)))])  # fmt: skip
        if "backstop" in self.state.rules[name].closing.stages:
            self.must(self.backstop(max(1, round(self.interest() * _BACKSTOP * MICRO))))

    def backstop(self, money: int) -> Iterable[Command]:
        """An account that takes what falls far below maintenance, with its margin."""
        kind = AccountKind.BACKSTOP
        yield self.make(c.OpenAccount, account="vault", kind=kind, rulebook=self.regime.rulebook)
        yield self.make(c.Deposit, account="vault", asset=QUOTE, amount=money)
        yield self.make(c.SetBackstop, account="vault", cap_micro=money * _BACKSTOP_TAKES)

    def filling_up(self) -> Iterable[Command]:
        """Who has less than the rulebook asks at the opening could not have opened: it has that."""
        looked = list(with_risk(self.state))
        for (account, _), one in zip(
            looked, standings(self.state, [seen for _, seen in looked]), strict=True
        ):
            short = round(one.initial_micro * _OPENED_AT) - one.equity_micro
            if short > 0:
                yield self.make(c.Deposit, account=account.name, asset=QUOTE, amount=short)

    def money(self) -> int:
        """What all users have, in millionths of a dollar: their money and margins."""
        state = self.state
        return sum(
            amount
            for which, amount in state.ledger.balances.items()
            if parts(which)[0] >= FIRST_ACCOUNT
        )

    def initial(self) -> int:
        """Initial margin of everybody, millionths of a dollar."""
        found = standings(self.state, [seen for _, seen in with_risk(self.state)])
        return sum(one.initial_micro for one in found)

    def holdings(self) -> dict[str, list[OpeningPosition]]:
        """Positions of everyone; dealers hold the other side of each coin."""
        held: dict[str, list[OpeningPosition]] = {}
        net: Counter[str] = Counter()
        for person in self.people:
            mine = held.setdefault(person.name, [])
            for coin, dollars, entry in person.positions:
                lots = self.lots(coin, dollars)
                if lots:
                    points = (self.contract(coin).mark_points or 1) * entry
                    mine.append(OpeningPosition(person.name, _symbol(coin), lots, round(points)))
                    net[coin] += lots
        for coin, lots in net.items():
            points = self.contract(coin).mark_points or 1
            for place, name in enumerate(self.dealers):
                share = lots // DEALERS + (place < lots % DEALERS)
                if share:
                    one = OpeningPosition(name, _symbol(coin), -share, points)
                    held.setdefault(name, []).append(one)
        return held

    def balances(self, held: dict[str, list[OpeningPosition]]) -> Iterable[OpeningBalance]:
        """Money of everyone: of isolated positions mostly in their own margins."""
        for person in self.people:
            mine = held[person.name]
            worth = [self.worth(one) for one in mine]
            rest = person.money
            if self.regime.isolated and mine:
                total = sum(worth)
                for one, size in zip(mine, worth, strict=True):
                    part = 0.95 * person.money * size / total
                    rest -= part
                    yield OpeningBalance(person.name, QUOTE, round(part * MICRO), one.symbol)
            yield OpeningBalance(person.name, QUOTE, max(1, round(rest * MICRO)))
        money = sum(self.worth(one) for name in self.dealers for one in held.get(name, ()))
        money = max(money, 0.1 * self.interest_of(held)) * _DEALERS_MONEY / DEALERS
        for name in self.dealers:
            yield OpeningBalance(name, QUOTE, round(money * MICRO))

    def worth(self, one: OpeningPosition) -> float:
        contract = self.state.contracts[self.state.contract_numbers[one.symbol]]
        return float(abs(contract.deal.money(contract.deal.value(one.lots, contract.mark_points
                                                                 or 0)))) / MICRO  # fmt: skip

    def interest_of(self, held: dict[str, list[OpeningPosition]]) -> float:
        return sum(self.worth(one) for mine in held.values() for one in mine) / 2

    def interest(self, coin: str | None = None) -> float:
        """Open interest in dollars: what is held on one side."""
        total = 0.0
        for contract in self.state.contracts:
            if coin is None or contract.listing.symbol == _symbol(coin):
                lots = sum(abs(one.lots) for one in contract.holders.values()) // 2
                value = contract.deal.value(lots, contract.mark_points or 0)
                total += float(contract.deal.money(value)) / MICRO
        return total

    def fund(self) -> int:
        """What the insurance fund is worth, its positions at the marks."""
        state = self.state
        total = state.ledger.balance(node(INSURANCE, GENERAL, state.asset_numbers[QUOTE]))
        for number, position in (state.account(INSURANCE).positions or {}).items():
            contract = state.contracts[number]
            value = contract.deal.value(position.lots, contract.mark_points or 0)
            total += int(contract.deal.money(value - position.basis_value))
        return total

    # ── a moment ─────────────────────────────────────────────────────────────────────────────────

    def publish(self) -> None:
        market, name = market_of(self.mark(), self.time_ms), self.regime.rulebook
        self.must([publishing.market(market, key=f"market {self.step}.{self.asked}", actor=ACTOR)])
        rules = self.state.rules[name].rulebook
        key = f"arrays {self.step}.{self.asked}"
        self.must([publishing.arrays(market, rules, name=name, key=key, actor=ACTOR)])

    def moment(self, step: int) -> None:
        """New prices, and quotes around them."""
        self.step, self.time_ms = step, self.prices.times_ms[step]
        if step:
            self.publish()
        self.ask(self.make(c.CancelOrders, account=name) for name in self.dealers)
        quotes = [one for coin in self.prices.coins for one in self.quotes(coin)]
        if step % 6 == 0:
            quotes += self.dip_bids()
        self.ask(quotes)

    def thinness(self, coin: str) -> float:
        """How much of the calm depth is quoted: less the further the last move went."""
        path = self.prices.price[coin]
        if not self.step:
            return 1.0
        moved = abs(math.log(path[self.step] / path[self.step - 1]))
        return 1.0 / (1.0 + (moved / _CALM) ** 2)

    def quotes(self, coin: str) -> Iterable[Command]:
        depth = self.interest(coin) * _DEPTH * self.thinness(coin)
        first = self.prices.coins.index(coin) * _QUOTING + self.step
        for place in range(_QUOTING):
            name = self.dealers[(first + place) % DEALERS]
            if self.state.account(self.state.account_numbers[name]).status != OPEN:
                continue
            for level in range(LEVELS):
                away = _FIRST + _SPREAD * (level + place / _QUOTING)
                lots = self.lots(coin, depth / (_QUOTING * LEVELS))
                if lots < 1:
                    continue
                for side, factor in ((Side.BUY, 1.0 - away), (Side.SELL, 1.0 + away)):
                    yield self.make(
                        c.PlaceOrder, account=name, order=f"q{self.asked}", symbol=_symbol(coin),
                        side=side, lots=lots, price_ticks=self.ticks(coin, factor),
                    )  # fmt: skip

    def dip_bids(self) -> Iterable[Command]:
        """Those who wait for lower prices; their bids are the first to go when margin is short."""
        for person in self.people:
            account = self.state.account(self.state.account_numbers[person.name])
            if not person.dips or account.status != OPEN or self.random.random() > _DIPS:
                continue
            coin = person.positions[0][0]
            lots = self.lots(coin, person.money * self.random.uniform(0.05, 0.3))
            if lots >= 1:
                yield self.make(
                    c.PlaceOrder, account=person.name, order=f"d{self.asked}",
                    symbol=_symbol(coin), side=Side.BUY, lots=lots,
                    price_ticks=self.ticks(coin, 1 - self.random.uniform(0.02, 0.08)),
                )  # fmt: skip

    def afterwards(self) -> None:
        """Some of those who are called pay in, and the fund sells a part of what it has."""
        told: list[Command] = []
        for number, call in list(self.state.calls.items()):
            account = self.state.account(number)
            if call.amount_micro and account.status == OPEN and self.random.random() < _PAYS_IN:
                told.append(self.make(c.Deposit, account=account.name, asset=QUOTE,
                                      amount=call.amount_micro))  # fmt: skip
                if call.pool != CROSS:
                    symbol = self.state.contracts[call.pool].listing.symbol
                    told.append(self.make(c.AddIsolatedMargin, account=account.name, symbol=symbol,
                                          amount=call.amount_micro))  # fmt: skip
        for number, position in list((self.state.account(INSURANCE).positions or {}).items()):
            told += self.unloading(self.state.contracts[number], position.lots)
        self.tell(told)

    def unloading(self, contract: Contract, lots: int) -> Iterable[Command]:
        """The fund to a dealer, a little worse than the mark."""
        if not lots:
            return
        part = math.ceil(abs(lots) * _SOLD)
        coin = contract.deal.underlying
        name = self.dealers[(self.prices.coins.index(coin) + self.step) % DEALERS]
        buyer, seller = (name, "insurance") if lots > 0 else ("insurance", name)
        yield self.make(
            c.Trade, buyer=buyer, seller=seller, symbol=contract.listing.symbol, lots=part,
            price_ticks=self.ticks(coin, 1 - math.copysign(_FIRST, lots)),
            aggressor=Side.SELL if lots > 0 else Side.BUY,
        )  # fmt: skip


def _symbol(coin: str) -> str:
    return f"{coin}_{QUOTE}-PERPETUAL"


def _plain(leverage: float) -> str:
    return f"{leverage:.2f}"
