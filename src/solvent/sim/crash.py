"""A venue's history through a crash, from a seed, told to a real engine.

Thirty minutes in sixty steps: the market is calm, falls by 45 % while volatilities rise, and
recovers a little. At each step prices and risk arrays are published, accounts below maintenance are
wound up against the insurance fund, and everyone else trades, orders, pays in and takes out.
Nothing here decides: the engine refuses what its rulebook does not allow, as on any day.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np

from solvent import publishing
from solvent.account.ledger import FIRST_ACCOUNT, GENERAL, node
from solvent.engine.standing import standings, view
from solvent.engine.state import LIQUIDATION, Account, Contract, Standing, State
from solvent.errors import Reject, SolventError, check
from solvent.feeds.synthetic_book import generate_book
from solvent.feeds.synthetic_market import generate_market
from solvent.host import Answer, Engine
from solvent.instruments import Kind
from solvent.instruments.contract import moment_of
from solvent.margining.equity import Collateral
from solvent.market import Snapshot
from solvent.market.moved import restricted
from solvent.messages.commands import (
    BeginLiquidation,
    CancelOrder,
    ConfirmWithdrawal,
    CoverDebt,
    Deposit,
    EndLiquidation,
    ImportBooks,
    OpenAccount,
    PayFunding,
    PlaceOrder,
    RequestWithdrawal,
    TakeOver,
    Trade,
)
from solvent.messages.fields import (
    AccountKind,
    Command,
    CoverFrom,
    OpeningPosition,
    Side,
)
from solvent.sim.weather import STEPS, shaken, weather

ACTOR: Final = "rehearsal"
STEP_MS: Final = 30_000
_DEALERS: Final = 20
_FUND_DOLLARS: Final = 5_000.0
"""In the insurance fund of each asset for an account."""
_FUNDED_AT: Final = 1.15
"""Nobody begins below so many times its initial margin."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What a generated history holds. `wound_up` are accounts, `liquidations` how often one was
    taken over; `low` is the index at its lowest over the first."""

    accounts: int
    publications: int
    commands: int
    accepted: int
    rejected: dict[str, int]
    liquidations: int
    wound_up: int
    low: float
    state_hash: str


def rehearse(
    engine: Engine,
    *,
    accounts: int,
    seed: int = 1,
    rulebook: str = "deribit-pm",
    inverse: bool = False,
    steps: int = STEPS,
    activity: float = 0.04,
    progress: Progress | None = None,
) -> Rehearsed:
    """Tell a new, empty engine the history of a crash, every account under one rulebook.

    Contracts are linear and everything is paid in USDC, so that most venues' rulebooks can replay
    it; with `inverse` there are coin-margined contracts and balances of coins as well. `activity`
    is what is asked between two publications, a share of the accounts. The same arguments give the
    same history to the byte. Raises SolventError for an engine with a history.
    """
    if engine.state.log.sequence:
        raise SolventError(f"{engine.journal.name}: expected an empty journal for a rehearsal")
    stage = Stage(engine, Random(seed), rulebook)
    opening = generate_market(seed=seed, expiries=6, strikes=12)
    if not inverse:
        opening = restricted(opening, np.flatnonzero(~opening.universe.inverse).tolist())
    open_venue(stage, opening, accounts, seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    low = 1.0
    for step, (spot, vol) in enumerate(weather(rng, steps), 1):
        low = min(low, spot)
        market = shaken(opening, spot=spot, vol=vol, time_ms=opening.as_of_ms + step * STEP_MS)
        _publish(stage, market, f"{step}")
        _wind_up(stage)
        _business(stage, step, max(4, round(accounts * activity)))
        if progress is not None:
            progress(step, steps)
    counts = stage.counts
    return Rehearsed(
        accounts=accounts, publications=steps + 1, commands=counts.total(), accepted=counts[0],
        rejected={Reject(code).name: n for code, n in sorted(counts.items()) if code},
        liquidations=stage.liquidations, wound_up=len(stage.wound_up), low=low,
        state_hash=engine.hash(),
    )  # fmt: skip


# ── the stage ────────────────────────────────────────────────────────────────────────────────────


class Stage:
    """The engine, and what is remembered between steps."""

    def __init__(self, engine: Engine, random: Random, rulebook: str) -> None:
        self.engine = engine
        self.random = random
        self.rulebook = rulebook
        self.time_ms = 0
        self.counts: Counter[int] = Counter()
        self.liquidations = 0
        self.wound_up: set[str] = set()
        self.asked = 0
        self.resting: list[tuple[str, str]] = []
        self.outgoing: list[str] = []
        self.weights: list[float] = []

    @property
    def state(self) -> State:
        """The engine's books."""
        return self.engine.state

    def key(self) -> str:
        """A key that no command had."""
        self.asked += 1
        return f"r{self.asked}"

    def tell(self, commands: Iterable[Command]) -> list[Answer]:
        """Submit, at this step's time."""
        told = list(commands)
        answers = self.engine.submit_all(told, times_ms=[self.time_ms] * len(told))
        self.counts.update(answer.code for answer in answers)
        return answers

    def must(self, commands: Iterable[Command]) -> None:
        """Submit what sets the stage and cannot be refused."""
        for answer in self.tell(commands):
            check(answer.accepted, "the stage can be set", answer.events)

    def standing(self) -> list[tuple[Account, Standing]]:
        """Every user's account with positions or orders, and where it stands."""
        held = [
            one for one in self.state.accounts[FIRST_ACCOUNT:]
            if one is not None and (one.positions or self.state.orders_of(one.number))
        ]  # fmt: skip
        found = standings(self.state, [view(self.state, one) for one in held])
        return list(zip(held, found, strict=True))

    def units(self, asset: str, dollars: float) -> int:
        """Dollars in smallest units of an asset, at least one."""
        number = self.state.asset_numbers[asset]
        index = self.state.underlyings.get(asset)
        price = index.price_nano / 1e9 if index is not None else 1.0
        return max(1, int(dollars / price * 10 ** self.state.assets[number][1]))


# ── the opening ──────────────────────────────────────────────────────────────────────────────────


def open_venue(stage: Stage, market: Snapshot, accounts: int, seed: int) -> None:
    """List, adopt, publish; open accounts with money and positions; fill up who has too little."""
    stage.time_ms = int(market.as_of_ms)
    stage.must(publishing.listings(market, actor=ACTOR))
    day = moment_of(market.as_of_ms).date().isoformat()
    name = stage.rulebook
    stage.must([publishing.adoption(name, day=day, key="rules", actor=ACTOR, venue=True)])
    _publish(stage, market, "opening")
    venue = generate_book(market, accounts=accounts, seed=seed)
    names = list(venue.book.accounts)
    dealers = [f"dealer{number:02d}" for number in range(_DEALERS)]
    stage.must(
        OpenAccount(
            key=f"open {one}", actor=ACTOR, account=one, kind=AccountKind.USER, rulebook=name
        )
        for one in [*names, *dealers]
    )
    stage.must(_first_money(stage, market, venue.collateral, names))
    for asset, _ in stage.state.assets:
        amount = stage.units(asset, _FUND_DOLLARS * accounts)
        key = f"fund {asset}"
        stage.must([Deposit(key=key, actor=ACTOR, account="insurance", asset=asset, amount=amount)])
    symbols = market.universe.symbols
    rows = zip(
        venue.book.account.tolist(), venue.book.instrument.tolist(), venue.book.lots.tolist(),
        strict=True,
    )  # fmt: skip
    held = [(names[owner], symbols[row], int(lots)) for owner, row, lots in rows]
    positions = tuple(_balanced(stage, held, dealers))
    stage.must([ImportBooks(key="books", actor=ACTOR, balances=(), positions=positions)])
    stage.weights = [
        len(contract.holders) ** 0.5 if contract.mark_points else 0.0
        for contract in stage.state.contracts
    ]
    _fill_up(stage)


def _first_money(
    stage: Stage, market: Snapshot, balances: Collateral, names: Sequence[str]
) -> Iterator[Deposit]:
    """What accounts own, in dollars where the venue knows no coins."""
    decimals = dict(stage.state.assets)
    for owner, asset, amount in zip(
        balances.account.tolist(), balances.asset, balances.amount.tolist(), strict=True
    ):
        listed, worth = asset, amount
        if asset not in decimals:
            listed, worth = "USDC", amount * (market.price_of(asset) or 0.0)
        yield Deposit(
            key=f"first {names[owner]}", actor=ACTOR, account=names[owner], asset=listed,
            amount=max(1, round(worth * 10 ** decimals[listed])),
        )  # fmt: skip


def _balanced(
    stage: Stage, held: Sequence[tuple[str, str, int]], dealers: Sequence[str]
) -> Iterator[OpeningPosition]:
    """Positions entered near the mark, and dealers who hold the other side of what is left."""
    net: dict[str, int] = {}
    for account, symbol, lots in held:
        contract = _contract(stage, symbol)
        if lots and contract.mark_points:
            net[symbol] = net.get(symbol, 0) + lots
            entry = max(1, round(contract.mark_points * math.exp(stage.random.gauss(0.0, 0.01))))
            yield OpeningPosition(account, symbol, lots, entry)
    for place, (symbol, lots) in enumerate(net.items()):
        mark = _contract(stage, symbol).mark_points or 1
        shares = [lots // _DEALERS + (number < lots % _DEALERS) for number in range(_DEALERS)]
        # The odd lots do not all go to the first.
        for number, share in enumerate(shares):
            if share:
                yield OpeningPosition(dealers[(number + place) % _DEALERS], symbol, -share, mark)


def _fill_up(stage: Stage) -> None:
    """Who stands below its margin at the opening pays in; dealers have plenty."""
    paid = []
    for account, one in stage.standing():
        times = 12.0 if account.name.startswith("dealer") else _FUNDED_AT
        short = one.initial_micro * times - one.equity_micro
        if short > 0:
            paid.append(
                Deposit(
                    key=f"fill {account.name}", actor=ACTOR, account=account.name, asset="USDC",
                    amount=int(short) + 1,
                )
            )  # fmt: skip
    stage.must(paid)


# ── one step ─────────────────────────────────────────────────────────────────────────────────────


def _publish(stage: Stage, market: Snapshot, name: str) -> None:
    """New prices, and the arrays that follow from them."""
    stage.time_ms = int(market.as_of_ms)
    stage.must([publishing.market(market, key=f"market {name}", actor=ACTOR)])
    rulebook = stage.state.rules[stage.rulebook].rulebook
    stage.must(
        [
            publishing.arrays(
                market, rulebook, name=stage.rulebook, key=f"arrays {name}", actor=ACTOR
            )
        ]
    )


def _wind_up(stage: Stage) -> None:
    """Take over what accounts below maintenance hold, as far as the insurance fund reaches."""
    begin = [
        BeginLiquidation(key=stage.key(), actor=ACTOR, account=account.name)
        for account, one in stage.standing()
        if one.liquidate and account.status != LIQUIDATION
    ]
    for command, answer in zip(begin, stage.tell(begin), strict=True):
        if answer.accepted:
            stage.liquidations += 1
            stage.wound_up.add(command.account)
    state = stage.state
    bad = [one for one in state.accounts if one is not None and one.status == LIQUIDATION]
    stage.tell(list(take_overs(stage, bad)))
    debts = []
    for account in bad:
        for asset, (name, _) in enumerate(state.assets):
            debt = -state.ledger.balance(node(account.number, GENERAL, asset))
            if debt > 0:
                debts.append(
                    CoverDebt(
                        key=stage.key(), actor=ACTOR, account=account.name, asset=name,
                        amount=debt, source=CoverFrom.INSURANCE,
                    )
                )  # fmt: skip
    stage.tell(debts)
    stage.tell(EndLiquidation(key=stage.key(), actor=ACTOR, account=one.name) for one in bad)


def take_overs(stage: Stage, bad: Sequence[Account]) -> Iterator[TakeOver]:
    """What is sold for money first: it pays for the rest."""
    for account in bad:
        held = [
            (stage.state.contracts[number], position.lots)
            for number, position in (account.positions or {}).items()
        ]
        for contract, lots in sorted(held, key=lambda one: one[1] < 0):
            yield TakeOver(
                key=stage.key(), actor=ACTOR, account=account.name,
                symbol=contract.listing.symbol, lots=abs(lots), price_ticks=_ticks(contract),
            )  # fmt: skip


def _business(stage: Stage, step: int, count: int) -> None:
    """What everyone else does before the next publication."""
    stage.time_ms += STEP_MS // 3
    held = stage.standing()
    if not held:
        return
    called = [account for account, one in held if one.call and account.status != LIQUIDATION]
    commands: list[Command] = [
        Deposit(
            key=stage.key(), actor=ACTOR, account=account.name, asset="USDC",
            amount=stage.units("USDC", math.exp(stage.random.gauss(7.5, 1.0))),
        )
        for account in called if stage.random.random() < 0.1
    ]  # fmt: skip
    commands += [
        ConfirmWithdrawal(key=stage.key(), actor=ACTOR, reference=reference)
        for reference in stage.outgoing
    ]
    stage.outgoing.clear()
    accounts = [account for account, _ in held]
    commands += [act(stage, stage.random.choice(accounts), accounts) for _ in range(count)]
    if step % 20 == 0:
        commands += _funding(stage)
    answers = stage.tell(commands)
    for command, answer in zip(commands, answers, strict=True):
        if answer.accepted and isinstance(command, RequestWithdrawal):
            stage.outgoing.append(command.reference)
        elif answer.accepted and isinstance(command, PlaceOrder):
            stage.resting.append((command.account, command.order))


def act(stage: Stage, account: Account, accounts: Sequence[Account]) -> Command:
    """One thing that one account wants."""
    dice = stage.random.random()
    if dice < 0.08:
        return _withdrawal(stage, account)
    if dice < 0.11 and stage.resting:
        name, order = stage.resting.pop(stage.random.randrange(len(stage.resting)))
        return CancelOrder(key=stage.key(), actor=ACTOR, account=name, order=order)
    if dice < 0.18:
        return _order(stage, account)
    if dice < 0.60 and account.positions:
        return _reduction(stage, account)
    other = stage.random.choice(accounts)
    while other is account and len(accounts) > 1:
        other = stage.random.choice(accounts)
    (contract,) = stage.random.choices(stage.state.contracts, stage.weights)
    return _trade(stage, account, other, contract, _size(stage, contract))


def _reduction(stage: Stage, account: Account) -> Trade:
    """Part of a position, against a dealer."""
    number = stage.random.choice(list(account.positions or {}))
    contract = stage.state.contracts[number]
    lots = contract.holders[account.number].lots
    part = max(1, round(abs(lots) * stage.random.random()))
    dealer = stage.state.account(
        stage.state.account_numbers[f"dealer{stage.random.randrange(_DEALERS):02d}"]
    )
    buyer, seller = (account, dealer) if lots < 0 else (dealer, account)
    return _trade(stage, buyer, seller, contract, part)


def _trade(stage: Stage, buyer: Account, seller: Account, contract: Contract, lots: int) -> Trade:
    return Trade(
        key=stage.key(), actor=ACTOR, buyer=buyer.name, seller=seller.name,
        symbol=contract.listing.symbol, lots=lots, price_ticks=_ticks(contract),
        aggressor=Side.BUY,
    )  # fmt: skip


def _order(stage: Stage, account: Account) -> PlaceOrder:
    (contract,) = stage.random.choices(stage.state.contracts, stage.weights)
    key = stage.key()
    buys = stage.random.random() < 0.5
    away = 0.97 if buys else 1.03
    return PlaceOrder(
        key=key, actor=ACTOR, account=account.name, order=key, symbol=contract.listing.symbol,
        side=Side.BUY if buys else Side.SELL, lots=_size(stage, contract),
        price_ticks=max(1, round(_ticks(contract) * away)),
    )  # fmt: skip


def _withdrawal(stage: Stage, account: Account) -> RequestWithdrawal:
    """A part of the largest balance; a coin's account may ask for what it does not have."""
    balances = [
        stage.state.ledger.balance(node(account.number, GENERAL, asset))
        for asset in range(len(stage.state.assets))
    ]
    asset = max(range(len(balances)), key=balances.__getitem__)
    amount = max(1, int(balances[asset] * stage.random.uniform(0.02, 0.7)))
    key = stage.key()
    return RequestWithdrawal(
        key=key, actor=ACTOR, account=account.name, asset=stage.state.assets[asset][0],
        amount=amount, reference=f"out {key}",
    )  # fmt: skip


def _funding(stage: Stage) -> list[Command]:
    """Shorts pay in a crash."""
    return [
        PayFunding(
            key=stage.key(),
            actor=ACTOR,
            symbol=contract.listing.symbol,
            until_ms=stage.time_ms,
            rate="-0.0004",
        )
        for contract in stage.state.contracts
        if contract.instrument.contract.kind is Kind.PERPETUAL
    ]


def _size(stage: Stage, contract: Contract) -> int:
    """Lots for some thousand dollars, from a heavy tail."""
    deal = contract.deal
    price = stage.state.underlyings[deal.underlying].price_nano / 1e9
    per_lot = float(deal.lot_size) * (1.0 if deal.inverse and not deal.up_front else price)
    return max(1, round(math.exp(stage.random.gauss(9.0, 1.2)) / per_lot))


def _ticks(contract: Contract) -> int:
    """The mark in whole ticks, at least one."""
    return max(1, round((contract.mark_points or 0) / contract.deal.points_per_tick))


def _contract(stage: Stage, symbol: str) -> Contract:
    return stage.state.contracts[stage.state.contract_numbers[symbol]]
