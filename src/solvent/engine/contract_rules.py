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
from solvent.engine.refusal import Refused
from solvent.engine.state import Account, Contract, Order, State
from solvent.errors import Reject, check
from solvent.margining.house import ContractText
from solvent.margining.levels.rows import Sheet, Unset, Value
from solvent.margining.levels.rulebook import LevelsRulebook

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
        "auction": int(contract.phase == "auction"),
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


def order_rows(account: Account, contract: Contract, *, but: Sequence[Order] = ()) -> list[Row]:
    """The account's resting orders in a contract as rows."""
    return [
        order_row(contract, order.lots, order.price_ticks)
        for order in (account.orders or {}).values()
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
    rows = order_rows(account, contract) if orders is None else orders
    return ContractSheet(
        state, account, contract,
        lots=position.lots if position else 0,
        entry_value=position.entry_value if position else 0,
        orders=rows,
    )  # fmt: skip


def admit_fill(
    state: State, one: Leg, *, points: int, aggressive: bool, resting: Sequence[Row]
) -> tuple[int, int]:
    """Whether a fill is taken, and what it moves into the margin and the order account.

    A cross position must be able to bring its initial margin, unless it only becomes smaller.
    """
    account, contract = one.account, one.contract
    number = contract.number
    columns = hooks(state)
    if not account.isolates(number):
        after = ContractSheet(
            state, account, contract, lots=one.change.lots, entry_value=one.change.entry_value,
            orders=resting,
        )  # fmt: skip
        if not one.reduces and not after.holds(columns.order_accepted):
            raise Refused(Reject.MARGIN_INSUFFICIENT, _short(state, account, contract))
        return 0, 0
    deal = contract.deal
    change = one.change.lots - one.before_lots
    fill = {
        "size": 0, "price": 0, "buy": int(change > 0), "trade": 0,
        "filled": abs(change) * deal.lot_size, "fill_price": points * deal.point,
        "aggressive": int(aggressive),
    }  # fmt: skip
    sheet = as_it_is(state, account, contract, orders=[*resting, fill])
    if not sheet.holds(columns.fill_accepted):
        raise Refused(Reject.MARGIN_INSUFFICIENT, _short(state, account, contract))
    margin, orders, _ = balances_of(state, account, contract)
    # Neither account is overdrawn: gains that are not paid yet free no money, and what a sale above
    # its limit needs beyond its reserve is the account's own.
    kept = max(sheet.amount(columns.fill_margin), min(margin, 0))
    reserved = max(sheet.amount(columns.fill_orders), min(orders, 0))
    return kept - margin, reserved - orders


def _short(state: State, account: Account, contract: Contract) -> str:
    margin, orders, general = balances_of(state, account, contract)
    asset = state.assets[contract.deal.asset][0]
    return (
        f"account {account.name}, {contract.listing.symbol}: expected the margin that the contract "
        f"needs, found {margin} in its margin, {orders} for its orders and {general} in general, "
        f"in smallest units of {asset}"
    )


def fill_or_give_back(state: State, account: Account, contract: Contract) -> None:
    """Fill a cross contract's margin account from the general one, or give back what is too much.

    What is not known moves nothing: this comes after a command that has been done.
    """
    if account.isolates(contract.number) or account.number == INSURANCE:
        return
    columns = hooks(state)
    asset = contract.deal.asset
    own = node(account.number, GENERAL, asset)
    margin = node(account.number, margin_slot(contract.number), asset)
    sheet = as_it_is(state, account, contract)
    try:
        wanted = sheet.amount(columns.fill_up) - sheet.amount(columns.give_back)
    except Refused:
        return
    if wanted > 0:
        state.ledger.move(own, margin, min(wanted, state.ledger.balance(own)))
    elif wanted < 0:
        state.ledger.move(margin, own, -wanted)


def reserve_orders(state: State, account: Account, contract: Contract) -> None:
    """Bring the order account of an isolated contract to what its orders need."""
    if not account.isolates(contract.number):
        return
    asset = contract.deal.asset
    own = node(account.number, GENERAL, asset)
    reserve = node(account.number, order_slot(contract.number), asset)
    try:
        needed = as_it_is(state, account, contract).amount(hooks(state).order_margin)
    except Refused:
        return
    state.ledger.pay(reserve, own, needed - state.ledger.balance(reserve))


def distressed(state: State, account: Account, contract: Contract) -> bool:
    """Whether the contract's margin is below maintenance with nothing left to fill it."""
    return as_it_is(state, account, contract).holds(hooks(state).distressed)
