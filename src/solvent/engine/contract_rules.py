"""Rulebooks that decide about each contract by itself, from the balances of its own accounts.

Each contract of an account has a margin account, which is filled from the general one and gives
back to it, and one for its orders. What they are to hold is told by columns of the venue's
rulebook (`[engine.contract]`), computed exactly, in rationals, from what the engine knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from solvent.account.ledger import GENERAL, INSURANCE, margin_slot, node, order_slot
from solvent.engine.dealing import Leg
from solvent.engine.state import Account, Contract, State
from solvent.errors import Refused, Reject, check
from solvent.margining.house import ContractText
from solvent.margining.levels.rows import Sheet, Unset, Value
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.messages.fields import Phase
from solvent.orders.order import Order

_KEYS = {"account": "", "pool": "", "instrument": "contract", "underlying": "coin"}
Row = dict[str, Any]


class ContractSheet:
    """The columns of one account's contract, in units of the settlement asset."""

    def __init__(
        self,
        state: State,
        account: Account,
        contract: Contract,
        *,
        lots: int,
        entry_value: int,
        orders: Sequence[Row],
        factor: Fraction | None = None,
    ) -> None:
        rulebook = state.rules[state.venue_rulebook].rulebook
        check(isinstance(rulebook, LevelsRulebook), "contracts are ruled by formulas")
        self.scale = contract.deal.asset_scale
        self.columns = hooks(state)
        named = rulebook.text.parameters
        told = contract.deal.parameters
        position = {
            "size": lots * contract.deal.lot_size,
            "entry_price": _entry(contract, lots, entry_value),
        }
        balances = balances_of(state, account, contract)
        self.sheet = Sheet(
            rulebook.form,  # type: ignore[union-attr]
            {
                "instrument": [{**_KEYS, **facts(state, contract), **told}],
                "position": [{**_KEYS, **position}],
                "order": [{**_KEYS, **row} for row in orders],
                "contract": [
                    {
                        **_KEYS,
                        "margin_factor": _factor(account, contract, factor),
                        "margin_balance": Fraction(balances[0], self.scale),
                        "order_margin_balance": Fraction(balances[1], self.scale),
                    }
                ],
                "account": [
                    {"account": "", "general_balance": Fraction(balances[2], self.scale)}
                ],
            },
            parameters={name: told[name] for name in told.keys() & named.keys()},
            tables=rulebook.tables,  # type: ignore[arg-type]
        )  # fmt: skip

    def holds(self, column: str) -> bool:
        """Whether a column's condition holds."""
        return self._number(column) != 0

    def amount(self, column: str) -> int:
        """A column's money in smallest units; what is finer is dropped."""
        return int(self._number(column) * self.scale)

    def _number(self, column: str) -> Fraction:
        try:
            value: Value = self.sheet.value("contract", column)
        except Unset as fault:
            raise Refused(Reject.RISK_UNKNOWN, f"column contract.{column}: {fault}") from fault
        check(not isinstance(value, tuple), "a contract's column is one number", column)
        return value  # type: ignore[return-value]


def hooks(state: State) -> ContractText:
    """Which columns rule; only to be asked where the venue's rulebook has them."""
    columns = state.house.contract
    if columns is None:
        raise LookupError("the venue's rulebook rules no contract by itself")
    return columns


def balances_of(state: State, account: Account, contract: Contract) -> tuple[int, int, int]:
    """Margin, order and general balance of an account's contract, in smallest units."""
    number, asset = contract.number, contract.deal.asset
    slots = margin_slot(number), order_slot(number), GENERAL
    margin, orders, general = (
        state.ledger.balance(node(account.number, slot, asset)) for slot in slots
    )
    return margin, orders, general


def facts(state: State, contract: Contract) -> Row:
    """What the formulas may know of a contract, in units and quote currency."""
    deal = contract.deal
    asset, decimals = state.assets[deal.asset]
    told: Row = {
        "contract_size": 1,
        "settlement_price": 1,
        "inverse": int(deal.inverse),
        "is_option": int(deal.up_front),
        "asset_decimals": decimals,
        "auction": int(contract.phase is Phase.AUCTION),
        "insurance_pool": Fraction(
            state.ledger.balance(node(INSURANCE, GENERAL, deal.asset)), deal.asset_scale
        ),
        "previous_mark": contract.settled_points * deal.point,
        "settlement": asset,
    }
    if contract.mark_points is not None:
        told["mark"] = contract.mark_points * deal.point
    return told


def _entry(contract: Contract, lots: int, entry_value: int) -> Fraction:
    return Fraction(entry_value, lots) * contract.deal.point if lots else Fraction(0)


def _factor(account: Account, contract: Contract, told: Fraction | None) -> Fraction:
    if told is not None:
        return told
    mode = account.mode(contract.number)
    return mode.factor if mode is not None and mode.isolated and mode.factor else Fraction(0)


def order_rows(
    state: State, account: Account, contract: Contract, *, but: Sequence[Order] = ()
) -> list[Row]:
    """The account's resting orders in a contract as rows."""
    return [
        order_row(contract, order.lots, order.price_ticks or 0)
        for order in state.orders_of(account.number).values()
        if order.instrument == contract.number and order not in but
    ]


def order_row(contract: Contract, lots: int, price_ticks: int) -> Row:
    """One resting order; positive lots buy."""
    deal = contract.deal
    return {
        "size": abs(lots) * deal.lot_size,
        "price": price_ticks * deal.points_per_tick * deal.point,
        "buy": int(lots > 0),
    }


def as_it_is(
    state: State, account: Account, contract: Contract, *, orders: Sequence[Row] | None = None
) -> ContractSheet:
    """The sheet of a contract as it is held."""
    position = contract.holders.get(account.number)
    rows = order_rows(state, account, contract) if orders is None else orders
    return ContractSheet(
        state, account, contract,
        lots=position.lots if position else 0,
        entry_value=position.entry_value if position else 0,
        orders=rows,
    )  # fmt: skip


def admit_fill(
    state: State, one: Leg, *, points: int, rested: bool, resting: Sequence[Row]
) -> tuple[int, int]:
    """Whether a fill is taken, and what it moves into the margin and the order account.

    What `rested` was admitted when it was placed, and is margined by what was set aside for it. Any
    other must find its margin: a cross position its initial margin, unless it only becomes smaller;
    an isolated one what the venue's columns ask for. `resting` are the orders left after it.
    """
    account, contract = one.account, one.contract
    columns = hooks(state)
    if not account.isolates(contract.number):
        if rested or one.reduces:
            return 0, 0
        after = ContractSheet(
            state, account, contract, lots=one.change.lots, entry_value=one.change.entry_value,
            orders=resting,
        )  # fmt: skip
        if not after.holds(columns.order_accepted):
            raise Refused(Reject.MARGIN_INSUFFICIENT, short(state, account, contract))
        return 0, 0
    change = one.change.lots - one.before_lots
    fill = {
        "size": 0, "price": 0, "buy": int(change > 0), "trade": 0,
        "filled": abs(change) * contract.deal.lot_size,
        "fill_price": points * contract.deal.point, "aggressive": int(not rested),
    }  # fmt: skip
    sheet = as_it_is(state, account, contract, orders=[*resting, fill])
    if not rested and not sheet.holds(columns.fill_accepted):
        raise Refused(Reject.MARGIN_INSUFFICIENT, short(state, account, contract))
    margin, orders, general = balances_of(state, account, contract)
    # What a gain frees may exceed what is there until the gain itself is paid, at the next mark.
    into_margin = max(sheet.amount(columns.fill_margin), min(margin, 0)) - margin
    into_orders = max(sheet.amount(columns.fill_orders), min(orders, 0)) - orders
    lacks = into_margin + into_orders - max(general, 0)
    if rested and lacks > 0:
        into_orders -= min(lacks, max(orders + into_orders, 0))
    if into_margin + into_orders > max(general, 0):
        raise Refused(Reject.MARGIN_INSUFFICIENT, short(state, account, contract))
    return into_margin, into_orders


def short(state: State, account: Account, contract: Contract) -> str:
    """What an account has for a contract that needs more, in words."""
    margin, orders, general = balances_of(state, account, contract)
    asset = state.assets[contract.deal.asset][0]
    return (
        f"account {account.name}, {contract.listing.symbol}: expected the margin that the contract "
        f"needs, found {margin} in its margin, {orders} for its orders and {general} in general, "
        f"in smallest units of {asset}"
    )


def move_margin(
    state: State, account: Account, contract: Contract, into_margin: int, into_orders: int
) -> None:
    """Move between general and the margin and order accounts; what comes back comes first."""
    number, asset = contract.number, contract.deal.asset
    own = node(account.number, GENERAL, asset)
    moves = [
        (node(account.number, order_slot(number), asset), into_orders),
        (node(account.number, margin_slot(number), asset), into_margin),
    ]
    for which, amount in sorted(moves, key=lambda move: move[1]):
        state.ledger.pay(which, own, amount)


def fill_up(state: State, account: Account, contract: Contract) -> None:
    """Bring a cross contract's margin account to what a new order or fill asks for.

    Nothing is given back here: a loss may not have been paid yet. What is not known moves nothing,
    as this comes after a command that has been done.
    """
    if account.isolates(contract.number) or account.number == INSURANCE:
        return
    try:
        wanted = as_it_is(state, account, contract).amount(hooks(state).top_up)
    except Refused:
        return
    _from_general(state, account, contract, wanted)


def fill_or_give_back(state: State, account: Account, contract: Contract) -> None:
    """After gains and losses were paid: fill a cross contract's margin account from the general one
    where it is low, or give back what is too much. In an auction nothing is given back.

    What is not known moves nothing: this comes after a command that has been done.
    """
    if account.isolates(contract.number) or account.number == INSURANCE:
        return
    columns = hooks(state)
    sheet = as_it_is(state, account, contract)
    try:
        wanted = sheet.amount(columns.fill_up)
        if contract.phase is not Phase.AUCTION:
            wanted -= sheet.amount(columns.give_back)
    except Refused:
        return
    _from_general(state, account, contract, wanted)


def _from_general(state: State, account: Account, contract: Contract, wanted: int) -> None:
    """Fill the margin account as far as the general one reaches, or (negative) give back."""
    general = balances_of(state, account, contract)[2]
    move_margin(state, account, contract, min(wanted, max(general, 0)), 0)


def give_idle_back(state: State, account: Account, contract: Contract) -> None:
    """Where nothing is held and nothing ordered any more, all margin is the account's own again."""
    if account.number in contract.holders or account.number == INSURANCE:
        return
    if contract.number in state.open.sides.get(account.number, ()):
        return
    margin, reserved, _ = balances_of(state, account, contract)
    move_margin(state, account, contract, -margin, -reserved)


def reserve_orders(state: State, account: Account, contract: Contract) -> None:
    """Bring the order account of an isolated contract to what its orders need."""
    if not account.isolates(contract.number):
        return
    try:
        needed = as_it_is(state, account, contract).amount(hooks(state).order_margin)
    except Refused:
        return
    _, reserved, general = balances_of(state, account, contract)
    move_margin(state, account, contract, 0, min(needed - reserved, max(general, 0)))


def must_stop_orders(state: State, account: Account, contract: Contract) -> bool:
    """Whether an isolated contract's orders need more than was set aside for them."""
    if not account.isolates(contract.number):
        return False
    try:
        return as_it_is(state, account, contract).holds(hooks(state).orders_stopped)
    except Refused:
        return False


def distressed(state: State, account: Account, contract: Contract) -> bool:
    """Whether the contract's margin is below maintenance with nothing left to fill it; nobody is
    closed out in an auction."""
    if contract.phase is Phase.AUCTION:
        return False
    return as_it_is(state, account, contract).holds(hooks(state).distressed)
