"""Margin checks of many trades at once, before their turn comes.

A margin check of one account costs a hundred times what it costs in a crowd, and more. So when a
trade comes up, those behind it are looked at too, and worked out together as if all of them were
done. What was worked out for a trade is used when its turn comes if every trade that it rests on
was done indeed; otherwise it is thrown away. Nothing is decided here, and the answers are the same
to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence

from solvent.account.ledger import FEES, GENERAL, INSURANCE, node
from solvent.engine.bargain import Dealt, deal_in, let_through
from solvent.engine.dealing import Leg, view_after
from solvent.engine.standing import View, standings, view
from solvent.engine.state import Standing, State
from solvent.errors import Refused
from solvent.messages.commands import (
    AmendOrder,
    CancelOrder,
    Deposit,
    Heartbeat,
    PlaceOrder,
    RequestWithdrawal,
    Trade,
    Transfer,
)
from solvent.messages.fields import Command

AHEAD_MAX = 16_384
"""Commands that are looked at."""
_ALONE_MAX = 8
"""Accounts that are assessed by themselves before all trades are worked out together again."""
_PASSED_MAX = 64
"""Trades that may be passed over, beyond as many as were worked out."""


class _Run:
    """Trades in a row as if each were done: positions and views that would then be."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.held: dict[tuple[int, int], tuple[int, int, int]] = {}
        self.views: dict[int, View] = {}
        self.last: dict[int, int] = {}
        """Account → the command that it is seen after."""
        self.paid_in: dict[str, list[Deposit]] = {}
        """Deposits since the account was last seen."""
        self.closed: set[str] = set()
        """Accounts that something else changes: nothing more is said of them."""
        self.found: list[tuple[Trade, tuple[int, ...]]] = []
        self.taken: set[int] = set()
        self.asked: list[View] = []
        self.places: list[tuple[int, int]] = []
        self.rebates: dict[int, int] = {}
        """Asset → rebates of all trades so far."""
        self.passed = 0
        """Trades of which nothing is said, and so not of their rebates."""

    def take(self, command: Trade) -> bool:
        """Work a trade out; False where that cannot be done now."""
        if command.buyer in self.closed or command.seller in self.closed:
            return False
        if id(command) in self.taken:
            # Told twice in a batch: the second will be a repeat, and there is one answer for both.
            return False
        try:
            dealt = deal_in(self.state, command, self.held)
        except Refused:
            return False
        accounts = [leg.account for leg in dealt.legs]
        known = [one.number in self.last or one.name in self.paid_in for one in accounts]
        named = command.buy_order is not None or command.sell_order is not None
        apart = dealt.legs[0].apart or dealt.legs[1].apart
        pooled = any(leg.account.number == INSURANCE for leg in dealt.legs)
        if pooled or named or (apart and any(known)):
            return False
        rests_on = [self.last[one.number] for one in accounts if one.number in self.last]
        rests_on += [id(paid) for one in accounts for paid in self.paid_in.get(one.name, ())]
        for side, leg in enumerate(dealt.legs):
            self._see(leg, side, id(command))
        self.taken.add(id(command))
        self.found.append((command, tuple(rests_on)))
        if self._may_be_cut(dealt) or apart:
            self.closed.update((command.buyer, command.seller))
        return True

    def _may_be_cut(self, dealt: Dealt) -> bool:
        """Whether a rebate may be cut to what the fees hold by then: nothing can rest on it."""
        rebates = -sum(min(one.amount, 0) for one in dealt.costs)
        asset = dealt.contract.deal.asset
        told = self.rebates[asset] = self.rebates.get(asset, 0) + rebates
        held = self.state.ledger.balance(node(FEES, GENERAL, asset))
        return rebates > 0 and (self.passed > 0 or told > held)

    def _see(self, leg: Leg, side: int, command: int) -> None:
        number, change = leg.account.number, leg.change
        before = self.views.get(number) or view(self.state, leg.account)
        for paid in self.paid_in.pop(leg.account.name, ()):
            before = _paid_in(self.state, before, paid)
        after = view_after(self.state, leg, before)
        self.views[number] = after
        self.held[number, leg.contract.number] = (
            change.lots, change.entry_value, change.basis_value
        )  # fmt: skip
        self.last[number] = command
        if not let_through(self.state, leg):
            self.asked.append(after)
            self.places.append((len(self.found), side))


def known(state: State, command: Command, side: int) -> Standing | None:
    """Where one side of the trade whose turn it is would stand; None where it must be worked out by
    itself.

    Where slack helps most accounts, few come here; where it does not, all are worked out together.
    """
    batch = state.ahead
    if not batch.ready(command):
        batch.alone += 1
        alone = not batch.commands or batch.commands[batch.place] is not command
        if alone or (batch.alone < _ALONE_MAX and state.slack):
            return None
        look_ahead(state, batch.commands, batch.place)
        batch.alone = 0
    entry = batch.entries.get(id(command))
    return None if entry is None else entry[0][side]


def look_ahead(state: State, commands: Sequence[Command], start: int) -> None:
    """Work out trades from `start` on, into `state.ahead`."""
    entries = state.ahead.entries
    entries.clear()
    state.ahead.broken.clear()
    run = _Run(state)
    for command in commands[start : start + AHEAD_MAX]:
        if isinstance(command, Trade):
            if not run.take(command):
                run.closed.update((command.buyer, command.seller))
                run.passed += 1
                if run.passed > _PASSED_MAX + len(run.found):
                    break
            continue
        if isinstance(command, Deposit):
            run.paid_in.setdefault(command.account, []).append(command)
            continue
        names = _touched(state, command)
        if names is None:
            break
        run.closed.update(names)
    answers: list[list[Standing | None]] = [[None, None] for _ in run.found]
    for (place, side), one in zip(run.places, standings(state, run.asked), strict=True):
        answers[place][side] = one
    for (command, rests_on), (buyer, seller) in zip(run.found, answers, strict=True):
        entries[id(command)] = (buyer, seller), rests_on


def _touched(state: State, command: Command) -> tuple[str, ...] | None:
    """Accounts that a command can change; None for one that may change anything, as an order does
    that meets others, and whatever lets time pass where orders end by themselves."""
    match command:
        case RequestWithdrawal() | CancelOrder():
            return (command.account,)
        case PlaceOrder() | AmendOrder() if (
            state.house.matching == "outside" and not state.desk.may_expire
        ):
            return (command.account,)
        case Transfer():
            return command.source, command.target
        case Heartbeat() if not state.desk.may_expire:
            return ()
        case _:
            return None


def _paid_in(state: State, before: View, paid: Deposit) -> View:
    """A view with a deposit; one in an asset that is not there will be refused."""
    asset = state.asset_numbers.get(paid.asset)
    if asset is None:
        return before
    balances = dict(before.balances)
    balances[asset] = balances.get(asset, 0) + paid.amount
    return View(
        before.account, before.positions, balances, before.margins, before.orders, before.modes,
        before.sides,
    )  # fmt: skip
