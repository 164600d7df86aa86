"""One venue of a cascade: its engine, who makes and takes prices on it, and its leveraged holders.

The engine is the venue's own, in memory. Crowds that are not leveraged share one account each under
a rulebook that asks for next to nothing; every holder has an account under the rules on trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np

from solvent import publishing
from solvent.account.ledger import FIRST_ACCOUNT, GENERAL, INSURANCE, node
from solvent.engine.audit import violations
from solvent.engine.standing import standings, view
from solvent.engine.state import OPEN, Account, Contract, Standing, State
from solvent.errors import SolventError, check
from solvent.host import Answer
from solvent.lab.cascades.distances import Distances, initial_of
from solvent.lab.cascades.people import Holder, interest_of
from solvent.lab.cascades.prices import rungs
from solvent.lab.cascades.rules import HOUSE, house_text, is_bounded, text_of
from solvent.lab.cascades.settings import Settings
from solvent.lab.cascades.tally import Tally
from solvent.market import Quotes, Snapshot, assemble
from solvent.messages import commands as c
from solvent.messages.fields import (
    AccountKind,
    Command,
    IndexPrice,
    MarkPrice,
    OpeningBalance,
    OpeningPosition,
    Side,
)
from solvent.sim.cascade_prices import QUOTE, instruments
from solvent.sim.in_memory import InMemory
from solvent.units import MICRO, TimeMs

ACTOR: Final = "cascade"
RULES: Final = "rules"
"""The name under which the rules on trial are adopted."""
MAKERS: Final = ("maker0", "maker1")
DEALERS: Final = ("dealer0", "dealer1", "dealer2", "dealer3")
"""They hold what holders are long or short on balance, hedged elsewhere."""
CROWDS: Final = ("noise", "trend", "hedge", "value", "arbitrage")
_HOUSE_MONEY: Final = 40.0
"""Each crowd's money over all open interest: they are many, and not in question here."""
_DEALERS_MONEY: Final = 0.6
_HOUSE_EVERY: Final = 10
"""Steps between two publications of arrays for crowds, whose margin is not in question."""
_OPENED_AT: Final = 1.02
"""Nobody begins below so many times initial margin."""
BEGIN_MS: Final = 1_760_126_400_000
"""2025-10-10 20:00 UTC."""


class Venue:
    """A venue at work; `step` by step, driven from outside."""

    def __init__(self, settings: Settings, holders: Sequence[Holder], *, number: int) -> None:
        self.settings = settings
        self.number = number
        self.holders = holders
        self.tally = Tally()
        self.engine = InMemory(lambda told, found: self.tally.hear(self.state, told, found))
        self.time_ms = BEGIN_MS
        self.instruments = instruments(settings.coins)
        self.distances: Distances | None = None
        self.range = self.smooth = settings.rules.margin
        self.initial_micro = 0
        self.fund_micro = self.fund_least_micro = 0
        self._asked = self._published = 0
        self._rungs = rungs(settings.agents)

    @property
    def state(self) -> State:
        """The engine's books."""
        return self.engine.state

    def contract(self, coin: str) -> Contract:
        """A coin's perpetual."""
        return self.state.contracts[self.settings.coins.index(coin)]

    def make(self, what: type[Command], **fields: Any) -> Command:
        """A command with a key that none had."""
        self._asked += 1
        return what(key=f"c{self._asked}", actor=ACTOR, **fields)

    def tell(self, commands: Iterable[Command]) -> list[Answer]:
        """Submit at this step's time."""
        told = list(commands)
        return self.engine.submit_all(told, times_ms=[self.time_ms] * len(told))

    def must(self, commands: Iterable[Command]) -> None:
        """Submit what sets the stage. Raises SolventError where the rules refuse it."""
        told = list(commands)
        for command, answer in zip(told, self.tell(told), strict=True):
            if not answer.accepted:
                raise SolventError(
                    f"{type(command).__name__}: {getattr(answer.events[0], 'detail', '')}"
                )

    # ── the opening ──────────────────────────────────────────────────────────────────────────────

    def open(self, prices: dict[str, float]) -> None:
        """List, adopt, publish; open accounts with money and positions. Raises SolventError for
        rules under which an account's margin is not known."""
        told, coins = self.settings, self.settings.coins
        self.must(publishing.listings(self._market(prices), actor=ACTOR))
        for coin in coins:
            if coin not in self.state.asset_numbers:
                self.must([self.make(c.ListAsset, asset=coin, decimals=8)])
        self.must([self._adoption(HOUSE, house_text(told.rules), venue=True)])
        text = text_of(told.rules, coins=coins)
        self.must([self._adoption(RULES, text, venue=False)])
        self.publish(prices)
        people = dict.fromkeys((*MAKERS, *CROWDS, *DEALERS), HOUSE)
        people |= {one.name: RULES for one in self.holders}
        self.must(
            self.make(c.OpenAccount, account=name, kind=AccountKind.USER, rulebook=rulebook)
            for name, rulebook in people.items()
        )
        positions, balances = self._books(prices)
        self.must([self.make(c.ImportBooks, balances=tuple(balances),
                             positions=tuple(positions))])  # fmt: skip
        self._fill_up()
        interest = sum(interest_of(told, coin) for coin in coins)
        fund = round(interest * told.rules.fund * MICRO)
        if fund:
            self.must([self.make(c.Deposit, account="insurance", asset=QUOTE, amount=fund)])
        self.fund_micro = self.fund_least_micro = self.fund()
        self.distances = Distances(self.state)
        self.initial_micro = initial_of(self._of_rules(self.distances.learn(self.state)))
        self.tally.begin(self.state)

    def _adoption(self, name: str, text: str, *, venue: bool) -> Command:
        return self.make(
            c.AdoptRulebook, name=name, toml=text, day=self.settings.rules.day, venue=venue
        )

    def _books(
        self, prices: dict[str, float]
    ) -> tuple[list[OpeningPosition], list[OpeningBalance]]:
        positions: list[OpeningPosition] = []
        balances: list[OpeningBalance] = []
        first = self.settings.coins[0]
        net = dict.fromkeys(self.settings.coins, 0)
        for one in self.holders:
            for coin, dollars in one.held.items():
                lots = self.lots(coin, dollars, prices[coin])
                if lots:
                    net[coin] += lots
                    positions.append(self._position(one.name, coin, lots))
            cash = one.money * (0.5 if one.coins else 1.0)
            balances.append(OpeningBalance(one.name, QUOTE, max(1, round(cash * MICRO))))
            if one.coins:
                coins = 0.5 * one.money / (0.9 * prices[first])
                balances.append(OpeningBalance(one.name, first, max(1, round(coins * 10**8))))
        interest = sum(interest_of(self.settings, coin) for coin in self.settings.coins)
        for coin, lots in net.items():
            for place, name in enumerate(DEALERS):
                share = lots // len(DEALERS) + (place < lots % len(DEALERS))
                if share:
                    positions.append(self._position(name, coin, -share))
        money = dict.fromkeys((*MAKERS, *CROWDS), _HOUSE_MONEY * interest)
        money |= dict.fromkeys(DEALERS, _DEALERS_MONEY * interest / len(DEALERS))
        balances += [OpeningBalance(name, QUOTE, round(one * MICRO)) for name, one in money.items()]
        return positions, balances

    def _position(self, name: str, coin: str, lots: int) -> OpeningPosition:
        contract = self.contract(coin)
        return OpeningPosition(name, contract.listing.symbol, lots, contract.mark_points or 1)

    def _fill_up(self) -> None:
        """Who has less than the rules ask could not have opened: it has that."""
        held = [one for one in self._accounts() if one.positions]
        found = standings(self.state, [view(self.state, one) for one in held])
        unknown = [one.name for one, stands in zip(held, found, strict=True) if not stands.known]
        if unknown:
            raise SolventError(
                f"{self.settings.rules.rulebook or self.settings.rules.family}: expected rules for "
                f"{', '.join(self.settings.coins)} and positions of these sizes, found that the "
                f"margin of {len(unknown):,} accounts is not known, such as {unknown[0]}"
            )
        short = [
            (one, round(stands.initial_micro * _OPENED_AT) - stands.equity_micro)
            for one, stands in zip(held, found, strict=True)
        ]
        self.must(
            self.make(c.Deposit, account=one.name, asset=QUOTE, amount=amount)
            for one, amount in short if amount > 0
        )  # fmt: skip

    def _accounts(self) -> list[Account]:
        return [one for one in self.state.accounts[FIRST_ACCOUNT:] if one is not None]

    def _of_rules(
        self, found: Iterable[tuple[Account, Standing]]
    ) -> list[tuple[Account, Standing]]:  # fmt: skip
        return [(one, stands) for one, stands in found if one.rulebook == RULES]

    # ── a step ───────────────────────────────────────────────────────────────────────────────────

    def lots(self, coin: str, dollars: float, price: float) -> int:
        """Dollars in whole lots, signed."""
        return round(dollars / (float(self.contract(coin).deal.lot_size) * price))

    def publish(self, prices: dict[str, float]) -> None:
        """Marks, and risk arrays: under the rules on trial always, under the crowds' now and then.
        Where nobody is leveraged, both now and then."""
        self._published += 1
        seldom = self._published % _HOUSE_EVERY == 1
        if not (self.holders or seldom):
            return
        marks, index = [], []
        for place, (coin, price) in enumerate(prices.items()):
            contract = self.state.contracts[place]
            points = max(1, round(Decimal(price) / Decimal(str(float(contract.deal.point)))))
            marks.append(MarkPrice(contract.listing.symbol, points, 0))
            index.append(IndexPrice(coin, round(price * 10**9), 0))
        self.must([self.make(c.PublishMarket, index=tuple(index), marks=tuple(marks))])
        market = self._market(prices)
        names = (HOUSE, RULES) if seldom else (RULES,)
        self.must(
            publishing.arrays(market, self.state.rules[name].rulebook, name=name,
                              key=f"arrays {name} {self._published}", actor=ACTOR)
            for name in names
        )  # fmt: skip

    def _market(self, prices: dict[str, float]) -> Snapshot:
        price = np.array([prices[coin] for coin in self.settings.coins])
        nothing = np.full(len(price), np.nan)
        return assemble(
            Quotes(
                instruments=self.instruments, index=price, forward=price, mark=price, vol=nothing,
                bid=nothing, ask=nothing, rate=np.zeros(len(price)),
                time_ms=np.full(len(price), self.time_ms),
            ),
            as_of_ms=TimeMs(self.time_ms),
        )  # fmt: skip

    def adopt_range(self, range_: float) -> None:
        """Put the grid of now in force: a dynamic rulebook's range has moved."""
        self.range = range_
        told = self.settings
        text = text_of(told.rules, coins=told.coins, range_=range_)
        self.must([self._adoption(RULES, text, venue=False)])
        if self.distances is not None:
            self.distances.forget()

    def quotes(
        self, coin: str, *, reference: float, bids: float, offers: float
    ) -> list[Command]:  # fmt: skip
        """Makers take back what rests and quote anew: `bids`, `offers` dollars within 1 %."""
        contract = self.contract(coin)
        symbol = contract.listing.symbol
        told: list[Command] = [
            self.make(c.CancelOrders, account=name, symbol=symbol) for name in MAKERS
        ]
        for place, (away, share) in enumerate(self._rungs):
            name = MAKERS[place % len(MAKERS)]
            for side, dollars, factor in (
                (Side.BUY, bids * share, 1.0 - away), (Side.SELL, offers * share, 1.0 + away),
            ):  # fmt: skip
                lots = self.lots(coin, dollars, reference)
                if lots > 0:
                    told.append(self.make(
                        c.PlaceOrder, account=name, order=f"q{self._asked}", symbol=symbol,
                        side=side, lots=lots, price_ticks=self._ticks(contract, reference * factor),
                    ))  # fmt: skip
        return told

    def _ticks(self, contract: Contract, price: float) -> int:
        return max(1, round(price / float(contract.deal.point * contract.deal.points_per_tick)))

    def takes(self, coin: str, dollars: dict[str, float], price: float) -> list[Command]:
        """Crowds buy (below 0: sell) at the market, in order."""
        contract = self.contract(coin)
        told: list[Command] = []
        for name, wanted in dollars.items():
            lots = self.lots(coin, wanted, price)
            if lots:
                told.append(self.make(
                    c.PlaceOrder, account=name, order=f"t{self._asked}",
                    symbol=contract.listing.symbol, side=Side.BUY if lots > 0 else Side.SELL,
                    lots=abs(lots),
                ))  # fmt: skip
        return told

    def tend(self, *, sparing: bool = True) -> None:
        """The venue calls, reduces, takes over, deleverages, as its rules have it."""
        if not self.holders:
            return
        known = self.distances
        check(known is not None, "the venue is open")
        if known is None:
            return
        known.look(self.state, self.tally.touched)
        self.tally.touched.clear()
        spared = sparing and is_bounded(self.settings.rules)
        self.engine.tend(time_ms=self.time_ms, verdicts=known if spared else None)
        # What happened in this look is told at the next one, after which nobody is asked twice.
        touched = set(self.tally.touched)
        known.look(self.state, touched)
        known.learn(self.state)
        self.tally.touched.clear()
        self.fund_least_micro = min(self.fund_least_micro, self.fund())

    def called(self) -> list[tuple[str, int]]:
        """Accounts that are asked for money, and how much, millionths of a dollar."""
        found = []
        for number, call in self.state.calls.items():
            account = self.state.account(number)
            if call.amount_micro and account.status == OPEN and account.rulebook == RULES:
                found.append((account.name, call.amount_micro))
        return found

    def withdraw(self, name: str, amount: int) -> bool:
        """Take money out of an account, if its margin allows."""
        if name not in self.state.account_numbers:
            return False
        reference = f"out {self._asked}"
        (answer,) = self.tell([self.make(c.RequestWithdrawal, account=name, asset=QUOTE,
                                         amount=amount, reference=reference)])  # fmt: skip
        if answer.accepted:
            self.must([self.make(c.ConfirmWithdrawal, reference=reference)])
        return answer.accepted

    def deposit(self, name: str, amount: int) -> None:
        """Money comes into an account."""
        self.must([self.make(c.Deposit, account=name, asset=QUOTE, amount=amount)])

    # ── what it came to ──────────────────────────────────────────────────────────────────────────

    def fund(self) -> int:
        """What the insurance fund is worth, its positions at the marks, millionths of a dollar."""
        state = self.state
        total = state.ledger.balance(node(INSURANCE, GENERAL, state.asset_numbers[QUOTE]))
        for number, position in (state.account(INSURANCE).positions or {}).items():
            contract = state.contracts[number]
            value = contract.deal.value(position.lots, contract.mark_points or 0)
            total += int(contract.deal.money(value - position.basis_value))
        return total

    def margin_now(self) -> int:
        """Initial margin of all holders, asked anew, millionths of a dollar."""
        held = [one for one in self._accounts() if one.positions and one.rulebook == RULES]
        found = standings(self.state, [view(self.state, one) for one in held])
        return sum(one.initial_micro for one in found)

    def owed(self) -> int:
        """Debts of holders that nobody has paid, millionths of a dollar."""
        state, asset = self.state, self.state.asset_numbers[QUOTE]
        return -sum(
            min(0, state.ledger.balance(node(one.number, GENERAL, asset)))
            for one in self._accounts() if not one.positions
        )  # fmt: skip

    def audit(self) -> None:
        """Money adds up, positions net to nothing. Raises InvariantBroken."""
        found = list(violations(self.state))
        check(not found, "the books are sound", *found[:3])
