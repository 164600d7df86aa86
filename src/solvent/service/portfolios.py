"""A portfolio as a caller tells it, and changes to one, as the engine's margin sees them.

Sizes are in the venue's units or in `lots`; sizes, prices and amounts are decimals in text or whole
numbers, exact, and refused where they are off the grid. What enters without a price enters at the
mark. A trade costs what it would: an option's premium is paid, a future's cost is its basis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, DecimalException
from fractions import Fraction
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from solvent.engine.open_orders import Asked
from solvent.engine.standing import View, closed_out, fill, reordered, view
from solvent.engine.state import Account, Contract, Rules, State
from solvent.errors import BadInput, Reject
from solvent.limits import LOTS_MAX, MONEY_MAX, POINTS_MAX
from solvent.order_units import account_number, bad_input, decimal_of, side_named
from solvent.units import div_half_even

Number: TypeAlias = Annotated[str, Meta(max_length=40)] | int
"""A decimal in text, or a whole number."""
Named: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
POSITIONS_MAX: Final = 2_000
"""Positions of one portfolio in a request."""
Whose: TypeAlias = str | tuple[str, int]
"""Whose something is, for a message: a name, or a name and a place in a list (from 0), which are
put into words where something is wrong alone."""
_EXACT: Final = Context(prec=100, traps=[])
_PLACES_MAX: Final = 40


class PositionTold(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A position: its `size` (or `lots`), negative for short, and what it was entered at."""

    symbol: Named
    size: Number | None = None
    lots: int | None = None
    entry_price: Number | None = None


class OrderTold(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An order that is open."""

    symbol: Named
    side: str
    price: Number
    size: Number | None = None
    lots: int | None = None


class PortfolioTold(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Positions, balances by asset, and open orders."""

    positions: Annotated[list[PositionTold], Meta(max_length=POSITIONS_MAX)]
    balances: dict[Named, Number] = {}
    orders: Annotated[list[OrderTold], Meta(max_length=POSITIONS_MAX)] = []


class TradeTold(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A trade: `size` (or `lots`), negative for a sale, at a price or at the mark."""

    symbol: Named
    size: Number | None = None
    lots: int | None = None
    price: Number | None = None


class ChangesTold(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What if: positions are closed at the mark, trades are added, money comes (or goes)."""

    close: Annotated[list[Named], Meta(max_length=POSITIONS_MAX)] = []
    add: Annotated[list[TradeTold], Meta(max_length=POSITIONS_MAX)] = []
    deposit: dict[Named, Number] = {}


@dataclass(slots=True)
class Shelf:
    """How the contracts of one publication are told: lot and tick sizes as decimals, kept."""

    state: State
    lots: dict[int, Decimal] = field(default_factory=dict)
    ticks: dict[int, Decimal] = field(default_factory=dict)
    listed: dict[str, Contract] = field(default_factory=dict)
    units: dict[str, tuple[int, Decimal]] = field(default_factory=dict)

    @classmethod
    def of(cls, state: State) -> Shelf:
        """Empty at first."""
        return cls(state)

    def contract(self, symbol: str, *, source: Whose) -> Contract:
        """A contract that has not ended, or BadInput."""
        if (found := self.listed.get(symbol)) is not None:
            return found
        number = self.state.contract_numbers.get(symbol)
        contracts = self.state.contracts
        if number is None or number >= len(contracts) or contracts[number].settled:
            raise _wrong(
                Reject.INSTRUMENT_UNKNOWN, source, "symbol", "a contract that is listed",
                repr(symbol),
            )  # fmt: skip
        found = self.listed[symbol] = contracts[number]
        return found

    def lots_of(
        self, contract: Contract, size: Number | None, lots: int | None, *, source: Whose
    ) -> int:
        """A signed size in lots."""
        if (size is None) == (lots is None):
            raise _wrong(
                Reject.FIELD_MISSING, source, "size", "either a size or lots", "both or neither"
            )
        if lots is None:
            assert size is not None
            lot = self.lots.get(contract.number)
            if lot is None:
                lot = self.lots[contract.number] = decimal_of(contract.deal.lot_size)
            lots = _steps(size, lot, Reject.SIZE_NOT_WHOLE_LOTS, source=source, field="size")
        if abs(lots) > LOTS_MAX:
            raise _wrong(Reject.SIZE_TOO_LARGE, source, "lots", f"at most {LOTS_MAX}", str(lots))
        return lots

    def ticks_of(self, contract: Contract, price: Number, *, source: Whose) -> int:
        """A price in ticks."""
        tick = self.ticks.get(contract.number)
        if tick is None:
            deal = contract.deal
            tick = self.ticks[contract.number] = decimal_of(deal.point * deal.points_per_tick)
        ticks = _steps(price, tick, Reject.PRICE_OFF_STEP, source=source, field="price")
        if not 0 < ticks * contract.deal.points_per_tick <= POINTS_MAX:
            raise _wrong(Reject.PRICE_NOT_POSITIVE, source, "price", "a price above 0", str(price))
        return ticks

    def units_of(self, asset: str, amount: Number, *, source: Whose) -> tuple[int, int]:
        """An asset's number, and an amount of it in smallest units."""
        known = self.units.get(asset)
        if known is None:
            known = self.units[asset] = self._asset(asset, source)
        number, step = known
        units = _steps(amount, step, Reject.FIELD_NOT_A_NUMBER, source=source, field="amount")
        if abs(units) > MONEY_MAX:
            raise _wrong(
                Reject.AMOUNT_TOO_LARGE, source, "amount", f"at most {MONEY_MAX} units", str(units)
            )
        return number, units

    def _asset(self, asset: str, source: Whose) -> tuple[int, Decimal]:
        """An asset's number, and its smallest unit."""
        number = self.state.asset_numbers.get(asset)
        if number is None:
            known = ", ".join(self.state.asset_numbers)
            raise _wrong(Reject.ASSET_UNKNOWN, source, "asset", f"one of {known}", repr(asset))
        return number, Decimal(1).scaleb(-self.state.assets[number][1])


def _wrong(code: Reject, source: Whose, field: str, expected: str, found: str) -> BadInput:
    if isinstance(source, tuple):
        name, place = source
        source = f"{name} {place + 1}"
    return bad_input(code, source, field, expected, found)


def _steps(told: Number, step: Decimal, code: Reject, *, source: Whose, field: str) -> int:
    """A number as so many steps, exactly, or BadInput."""
    number = _decimal(told, source=source, field=field)
    steps = int(_EXACT.divide_int(number, step))
    if _EXACT.multiply(Decimal(steps), step) != number:
        raise _wrong(code, source, field, f"a multiple of {step:f}", str(told))
    return steps


def _decimal(told: Number, *, source: Whose, field: str) -> Decimal:
    try:
        number = Decimal(told)
    except DecimalException:
        number = Decimal("nan")
    plain = isinstance(told, int) or not ("e" in told or "E" in told or "_" in told)
    if not number.is_finite() or not plain or abs(number.adjusted()) > _PLACES_MAX:
        raise _wrong(Reject.FIELD_NOT_A_NUMBER, source, field, "a plain decimal", repr(told))
    return number


# ── as margin sees it ────────────────────────────────────────────────────────────────────────────


def nobody(name: str, rulebook: str, inputs: dict[str, str] | None = None) -> Account:
    """An account that no venue has, for a portfolio; `inputs` are those of the one it is like."""
    return Account(
        number=-1, name=name, kind="user", parent=-1, rulebook=rulebook,
        inputs=None if inputs is None else dict(inputs),
    )  # fmt: skip


def seen(shelf: Shelf, portfolio: PortfolioTold, rulebook: str) -> View:
    """A portfolio under a rulebook. Raises BadInput."""
    held: dict[int, tuple[int, int]] = {}
    for place, one in enumerate(portfolio.positions):
        source = "position", place
        contract = shelf.contract(one.symbol, source=source)
        lots = shelf.lots_of(contract, one.size, one.lots, source=source)
        value = _basis(contract, lots, one.entry_price, source=source)
        before = held.get(contract.number, (0, 0))
        held[contract.number] = before[0] + lots, before[1] + value
    owned: dict[int, int] = {}
    for asset, amount in portfolio.balances.items():
        number, units = shelf.units_of(asset, amount, source="balances")
        if units:
            owned[number] = units
    found = View(nobody("portfolio", rulebook), closed_out(shelf.state, held, owned), owned)
    for place, order in enumerate(portfolio.orders):
        found = reordered(shelf.state, found, None, _asked(shelf, order, ("order", place)))
    return found


def _basis(contract: Contract, lots: int, price: Number | None, *, source: Whose) -> int:
    """What a position cost, in value units, half-even: at the mark without a price. Of an option
    it is nothing: its premium has been paid."""
    deal = contract.deal
    if deal.up_front:
        return 0
    if price is None:
        return deal.value(lots, _mark(contract, source=source))
    told = Fraction(_decimal(price, source=source, field="entry_price"))
    points = told / deal.point
    if not 0 < points <= POINTS_MAX:
        raise _wrong(
            Reject.PRICE_NOT_POSITIVE, source, "entry_price", "a price above 0", str(price)
        )
    if deal.coin_numerator:
        coin = Fraction(lots * deal.coin_numerator, deal.coin_denominator) / points
        return -div_half_even(coin.numerator, coin.denominator)
    cost = lots * points
    return div_half_even(cost.numerator, cost.denominator)


def _mark(contract: Contract, *, source: Whose) -> int:
    if contract.mark_points is None:
        raise _wrong(
            Reject.MARK_MISSING, source, "symbol", "a price, as there is no mark",
            contract.listing.symbol,
        )  # fmt: skip
    return contract.mark_points


def _asked(shelf: Shelf, one: OrderTold, source: Whose) -> Asked:
    contract = shelf.contract(one.symbol, source=source)
    lots = shelf.lots_of(contract, one.size, one.lots, source=source)
    if lots <= 0:
        raise _wrong(Reject.ORDER_TOO_SMALL, source, "size", "a size above 0", str(lots))
    ticks = shelf.ticks_of(contract, one.price, source=source)
    return Asked(contract.number, lots if side_named(one.side) == "buy" else -lots, ticks)


def changed(shelf: Shelf, before: View, changes: ChangesTold, rulebook: str | None = None) -> View:
    """A view after changes, perhaps under another rulebook. Raises BadInput."""
    held, owned = dict(before.positions), dict(before.balances)
    for place, symbol in enumerate(changes.close):
        source = "close", place
        contract = shelf.contract(symbol, source=source)
        lots = held.get(contract.number, (0, 0))[0]
        if not lots:
            raise _wrong(
                Reject.POSITION_NOT_HELD, source, "symbol", "a position that is held", repr(symbol)
            )
        _trade(contract, -lots, _mark(contract, source=source), held, owned)
    for place, one in enumerate(changes.add):
        source = "trade", place
        contract = shelf.contract(one.symbol, source=source)
        lots = shelf.lots_of(contract, one.size, one.lots, source=source)
        if one.price is None:
            points = _mark(contract, source=source)
        else:
            ticks = shelf.ticks_of(contract, one.price, source=source)
            points = ticks * contract.deal.points_per_tick
        _trade(contract, lots, points, held, owned)
    held = closed_out(shelf.state, held, owned)
    for asset, amount in changes.deposit.items():
        number, units = shelf.units_of(asset, amount, source="deposit")
        owned[number] = owned.get(number, 0) + units
    account = before.account
    if rulebook is not None:
        account = nobody(account.name, rulebook, account.inputs)
    return View(account, held, owned, before.margins, before.orders, before.modes, before.sides)


def _trade(
    contract: Contract, lots: int, points: int, held: dict[int, tuple[int, int]],
    owned: dict[int, int],
) -> None:  # fmt: skip
    """A trade; what it closes of a future gains or loses by its share of the basis, as money."""
    deal, value = contract.deal, contract.deal.value(lots, points)
    had, basis = held.get(contract.number, (0, 0))
    if deal.up_front or not had or (had > 0) == (lots > 0):
        fill(contract, lots, value, held, owned)
        return
    closing = min(abs(lots), abs(had))
    out = div_half_even(basis * closing, abs(had))
    cost = div_half_even(value * closing, abs(lots))
    gain = -(out + cost)
    owned[deal.asset] = owned.get(deal.asset, 0) + (gain * deal.numerator) // deal.denominator
    held[contract.number] = had + lots, basis - out + value - cost


def of_account(state: State, name: str) -> View:
    """An account of the books, apart from them: what it holds, owns and has ordered now. Called on
    the engine's thread. BadInput for a name that is not known."""
    account = state.account(account_number(state, name, source="request"))
    found = view(state, account)
    return View(
        nobody(name, account.rulebook, account.inputs), found.positions, found.balances,
        dict(found.margins), list(found.orders), dict(found.modes), dict(found.sides),
    )  # fmt: skip


def ruled(state: State, rulebook: str | None) -> str:
    """The rulebook that is told, or the venue's; BadInput where there is none with arrays."""
    name = rulebook or state.venue_rulebook
    rules: Rules | None = state.rules.get(name)
    if rules is None or rules.plan is None:
        known = [one for one, its in state.rules.items() if its.plan is not None]
        raise _wrong(
            Reject.RULEBOOK_UNKNOWN, "request", "rulebook",
            f"one that has risk arrays ({', '.join(known) or 'none has'})", repr(name),
        )  # fmt: skip
    return name


def labels(views: Sequence[View]) -> None:
    """Give views of one batch names of their own, as margin tells accounts apart by them."""
    for place, one in enumerate(views):
        mine = one.account
        one.account = nobody(f"{mine.name} {place}", mine.rulebook, mine.inputs)


def balances_of(shelf: Shelf, owned: Mapping[int, int]) -> dict[str, Decimal]:
    """Balances by name, in units of the asset."""
    assets = shelf.state.assets
    return {assets[n][0]: Decimal(units).scaleb(-assets[n][1]) for n, units in owned.items()}
