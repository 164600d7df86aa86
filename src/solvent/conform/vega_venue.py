"""A venue of one Vega market that is told by commands alone and seen by its ledger and events.

Amounts are whole units of one asset without decimals, as Vega's cases count them. A lot and a tick
are as fine as the numbers of a case. `party` is whom a case is about; `other` takes the other side
and has as much money as it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from msgspec import structs

from solvent.account.ledger import CLEARING, GENERAL, margin_slot, node, parts
from solvent.conform.case import Row
from solvent.engine import contract_rules
from solvent.engine.apply import apply
from solvent.engine.audit import violations
from solvent.engine.state import Account, Contract, State
from solvent.errors import Refused
from solvent.feeds.library import rulebook_source
from solvent.messages import commands as c
from solvent.messages.codec import Sealed
from solvent.messages.events import Event, FeePaid, Posted, Rejected
from solvent.messages.fields import (
    AccountKind,
    Command,
    IndexPrice,
    MarginMode,
    MarkPrice,
    OpeningBalance,
    OpeningPosition,
    Phase,
    Side,
)
from solvent.tending import disposing

PARTY: Final = "party"
OTHER: Final = "other"
POOL: Final = "insurance"
PLENTY: Final = 10**16
"""More than any case needs, and far from the largest amount."""
START_MS: Final = 1_700_000_000_000
MARKET: Final = "COIN-PERPETUAL"
ASSET: Final = "USD"
_BASE: Final = "COIN"
_ACTOR: Final = "case"
_DAY: Final = "2026-06-01"
_OUTSIDE: Final = 'matching = "outside"'
_DISPOSAL: Final = "[liquidation.fund.disposal]"
_UNTOLD: Final = dict.fromkeys(
    ("risk_factor_long", "risk_factor_short", "linear_slippage", "quadratic_slippage"), "0"
)
"""What a case does not tell of its market does not bind in it."""


class Venue:
    """One market under Vega's rulebook; `faults` are broken invariants, in words.

    `prices` and `sizes` are all that the case will tell: they decide the tick and the lot.
    `parameters` are the market's own numbers. Trades are told by the case, so orders only rest; but
    they meet where it tells how the network disposes of what it holds (`disposal`).
    """

    def __init__(
        self,
        *,
        prices: Iterable[Any] = (),
        sizes: Iterable[Any] = (),
        parameters: Mapping[str, Any] | None = None,
        accounts: Sequence[str] = (PARTY,),
        disposal: Mapping[str, Any] | None = None,
    ) -> None:
        self.state = State()
        self.time_ms = START_MS
        self.faults: list[str] = []
        self._tick, self._lot = finest(prices), finest(sizes)
        self.must(c.ListAsset, asset=ASSET, decimals=0)
        toml = rulebook_source("vega")
        if disposal is None:
            toml = toml.replace("[engine]\n", f"[engine]\n{_OUTSIDE}\n", 1)
        else:
            # It is the last table of the rulebook.
            told_as = "\n".join(f"{name} = {number}" for name, number in disposal.items())
            toml = f"{toml[: toml.index(_DISPOSAL)]}{_DISPOSAL}\n{told_as}\n"
        self.must(c.AdoptRulebook, name="vega", toml=toml, day=_DAY, venue=True)
        told = {**_UNTOLD, **(parameters or {})}
        self.must(
            c.ListInstrument, symbol=MARKET, kind="perpetual", base=_BASE, quote=ASSET,
            settlement=ASSET, lot_size=plain(self._lot), contract_size=plain(self._lot),
            tick_size=plain(self._tick), points_per_tick=1, inverse=False,
            parameters={name: plain(exact(number)) for name, number in told.items()},
        )  # fmt: skip
        for name in dict.fromkeys([*accounts, OTHER]):
            self.must(c.OpenAccount, account=name, kind=AccountKind.USER, rulebook="vega")
        self.deposit(OTHER, PLENTY)

    # ── commands ─────────────────────────────────────────────────────────────────────────────

    def told(self, kind: type[Command], /, **fields: Any) -> tuple[Event, ...]:
        """Apply a command, and check the books after it."""
        sequence = self.state.log.sequence + 1
        command = kind(key=str(sequence), actor=_ACTOR, **fields)
        events = apply(self.state, Sealed(sequence, self.time_ms, command)).events
        self.faults.extend(violations(self.state))
        return events

    def asked(self, kind: type[Command], /, **fields: Any) -> bool:
        """Apply a command; whether it was done."""
        return not isinstance(next(iter(self.told(kind, **fields)), None), Rejected)

    def must(self, kind: type[Command], /, **fields: Any) -> tuple[Event, ...]:
        """Apply a command that must be done: a refusal is a fault."""
        events = self.told(kind, **fields)
        self.faults.extend(f"{kind.__name__}: {e.detail}" for e in events if type(e) is Rejected)
        return events

    def deposit(self, account: str, amount: int) -> None:
        """Money from outside, where there is any."""
        if amount:
            self.must(c.Deposit, account=account, asset=ASSET, amount=amount)

    def mark(self, price: Any, *, index: Any = None) -> None:
        """Publish a mark, and an index if there is one."""
        told = () if index is None else (IndexPrice(_BASE, int(exact(index) * 10**9), 0),)
        self.must(c.PublishMarket, index=told, marks=(MarkPrice(MARKET, self._ticks(price), 0),))

    def hold(self, *positions: tuple[str, Any], at: Any) -> None:
        """Begin with positions (account, signed size) at a price; `other` holds against them."""
        lots = {name: self._lots(size) for name, size in positions}
        lots[OTHER] = lots.get(OTHER, 0) - sum(lots.values())
        rows = tuple(
            OpeningPosition(name, MARKET, held, self._ticks(at)) for name, held in lots.items()
            if held
        )  # fmt: skip
        if rows:
            self.must(c.ImportBooks, balances=(), positions=rows)

    def stand(
        self, name: str, *, margin: int | None = None, orders: int | None = None,
        general: int | None = None,
    ) -> None:  # fmt: skip
        """Bring balances to where a case begins."""
        wanted = (margin, orders, general)
        keys = ((MARKET, False), (MARKET, True), (None, False))
        rows = tuple(
            OpeningBalance(name, ASSET, amount - now, symbol, for_orders)
            for (symbol, for_orders), amount, now in zip(
                keys, wanted, self.balances(name), strict=True
            )
            if amount is not None
        )
        self.must(c.ImportBooks, balances=rows, positions=())

    def order(self, name: str, *, buy: bool, size: Any, price: Any) -> str | None:
        """Rest an order of an account; its name, or None where it was refused."""
        order = f"order {self.state.log.sequence}"
        taken = self.asked(
            c.PlaceOrder, account=name, order=order, symbol=MARKET,
            side=Side.BUY if buy else Side.SELL, lots=abs(self._lots(size)),
            price_ticks=self._ticks(price),
        )  # fmt: skip
        return order if taken else None

    def trade(
        self, name: str, *, size: Any, price: Any, order: str | None = None, auction: bool = False
    ) -> tuple[Event, ...]:
        """An account trades a signed size with `other`: out of a resting order, or into one."""
        buys, aggressive = exact(size) > 0, order is None
        aggressor = None if auction else Side.BUY if buys is aggressive else Side.SELL
        buyer, seller = (name, OTHER) if buys else (OTHER, name)
        return self.told(
            c.Trade, buyer=buyer, seller=seller, symbol=MARKET, lots=abs(self._lots(size)),
            price_ticks=self._ticks(price), aggressor=aggressor,
            buy_order=order if buys else None, sell_order=None if buys else order,
        )  # fmt: skip

    def isolate(self, factor: Any) -> bool:
        """Hold the market in isolated mode; whether that was allowed."""
        return self.asked(
            c.SetMarginMode, account=PARTY, symbol=MARKET, mode=MarginMode.ISOLATED,
            margin_factor=plain(exact(factor)),
        )  # fmt: skip

    def auction(self, *, on: bool) -> None:
        """Call an auction, or end it."""
        phase = Phase.AUCTION if on else Phase.CONTINUOUS
        self.must(c.SetPhase, symbol=MARKET, phase=phase)

    def settle(self) -> tuple[Event, ...]:
        """Pay gains and losses up to the mark."""
        return self.must(c.SettleVariation, symbol=MARKET)

    def fund(self, rate: Any = None) -> tuple[Event, ...]:
        """Pay funding up to now."""
        told = None if rate is None else plain(exact(rate))
        return self.must(c.PayFunding, symbol=MARKET, until_ms=self.time_ms, rate=told)

    def close_out(self, mark: Any) -> bool:
        """Take the party over if it is distressed: its position to the network at the mark, and
        what it has left to the pool (of an isolated one, its margin alone)."""
        if not self.asked(c.BeginLiquidation, account=PARTY):
            return False
        contract, account = self._contract(), self._account(PARTY)
        lots = abs(contract.holders[account.number].lots)
        self.must(
            c.TakeOver, account=PARTY, symbol=MARKET, lots=lots, price_ticks=self._ticks(mark)
        )
        margin, _, general = self.balances(PARTY)
        takes: list[tuple[int, str | None]] = [(margin, MARKET)]
        if not account.isolates(contract.number):
            takes.append((general, None))
        for amount, symbol in takes:
            if amount:
                self.must(c.Confiscate, account=PARTY, asset=ASSET, amount=amount, symbol=symbol)
        self.must(c.EndLiquidation, account=PARTY)
        return True

    def dispose(self) -> Fraction:
        """Let the network dispose of what it may now; how much, without sign."""
        self.must(c.Heartbeat)
        before = self.held(POOL)
        for plan in disposing.planned(self.state):
            for one in plan.rows:
                fields = structs.asdict(one.command)
                del fields["key"], fields["actor"]
                self.must(type(one.command), **fields)
        return abs(before - self.held(POOL))

    # ── what came of them ────────────────────────────────────────────────────────────────────

    def balances(self, name: str) -> tuple[int, int, int]:
        """Margin, order and general balance of an account."""
        return contract_rules.balances_of(self.state, self._account(name), self._contract())

    def wealth(self, name: str) -> int:
        """All of an account's money."""
        return sum(self.balances(name))

    def pool(self) -> int:
        """What the insurance pool holds."""
        asset = self._contract().deal.asset
        return self.state.ledger.balance(node(self._account(POOL).number, GENERAL, asset))

    def held(self, name: str) -> Fraction:
        """Signed size that an account holds."""
        position = self._contract().holders.get(self._account(name).number)
        return Fraction(0) if position is None else position.lots * self._lot

    def amounts(
        self, *columns: str, factor: Any = None, orders: Sequence[Mapping[str, Any]] = ()
    ) -> dict[str, int]:
        """Columns of the party's sheet, as the engine itself decides by, as far as they are known;
        `orders` (buy, size, price) come to those that rest."""
        account, contract = self._account(PARTY), self._contract()
        position = contract.holders.get(account.number)
        rows = contract_rules.order_rows(self.state, account, contract)
        rows += [
            contract_rules.order_row(
                contract, self._lots(one["size"]) * (1 if one["buy"] else -1),
                self._ticks(one["price"]),
            )
            for one in orders
        ]  # fmt: skip
        sheet = contract_rules.ContractSheet(
            self.state, account, contract,
            lots=position.lots if position else 0,
            entry_value=position.entry_value if position else 0,
            orders=rows, factor=None if factor is None else exact(factor),
        )  # fmt: skip
        known = {}
        for column in columns:
            try:
                known[column] = sheet.amount(column)
            except Refused as unknown:
                self.faults.append(unknown.detail)
        return known

    def paid_out(self, events: Iterable[Event]) -> dict[str, int]:
        """Account → what came to it out of the market's clearing."""
        contract = self._contract()
        clearing = node(CLEARING, margin_slot(contract.number), contract.deal.asset)
        found: dict[str, int] = {}
        for event in events:
            for source, target, amount in event.moves if isinstance(event, Posted) else ():
                owner = self.state.account(parts(target)[0]).name
                if source == clearing:
                    found[owner] = found.get(owner, 0) + amount
        return found

    def fees(self, name: str, events: Iterable[Event]) -> dict[str, int]:
        """Component → what an account paid."""
        number = self._account(name).number
        return {
            event.component: event.amount
            for event in events
            if isinstance(event, FeePaid) and event.account == number
        }

    def _account(self, name: str) -> Account:
        return self.state.account(self.state.account_numbers[name])

    def _contract(self) -> Contract:
        return self.state.contracts[0]

    def _lots(self, size: Any) -> int:
        return int(exact(size) / self._lot)

    def _ticks(self, price: Any) -> int:
        return int(exact(price) / self._tick)


# ── cases ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a case, under the names that it asks for; and what should not have happened."""

    values: Mapping[str, Any]
    faults: tuple[str, ...]


def outcome(values: Mapping[str, Any], *venues: Venue, wrong: tuple[str, ...] = ()) -> Found:
    """What came of a case, with everything that went wrong in its venues and beside them."""
    return Found(values, (*wrong, *(fault for one in venues for fault in one.faults)))


_PARAMETERS: Final = {
    "risk_factor_long": "risk_factor_long",
    "risk_factor_short": "risk_factor_short",
    "linear_slippage_factor": "linear_slippage",
    "quadratic_slippage_factor": "quadratic_slippage",
    **{name: name for name in (
        "funding_per_unit", "margin_funding_factor", "max_price", "indicative_price",
        "interest_rate", "clamp_lower", "clamp_upper",
    )},
    "scaling_factor": "funding_scaling",
    "rate_lower": "funding_rate_lower",
    "rate_upper": "funding_rate_upper",
    **{f"{name}_fee_rate": f"{name}_fee" for name in ("maker", "infrastructure", "liquidity")},
}  # fmt: skip
"""A case's name of one of the market's own numbers → the rulebook's."""


def parameters(given: Row, **more: Any) -> dict[str, Any]:
    """The market\'s own numbers, by the rulebook\'s names."""
    told = {mine: given[name] for name, mine in _PARAMETERS.items() if given.get(name) is not None}
    if "risk_factor" in given:
        told |= dict.fromkeys(("risk_factor_long", "risk_factor_short"), given["risk_factor"])
    scaling = {f"{level}_factor": factor for level, factor in given.get("scaling", {}).items()}
    return {**told, **scaling, **more}


def above(given: Row) -> Fraction:
    """A margin factor that isolated mode allows, where a case tells none."""
    names = ("risk_factor", "risk_factor_long", "risk_factor_short", "linear_slippage_factor")
    return 1 + sum((exact(given.get(name, 0)) for name in names), Fraction(0))


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


def exact(number: Any) -> Fraction:
    """A number of a case as it prints.

    >>> exact("0.9"), exact(0.1), exact(3)
    (Fraction(9, 10), Fraction(1, 10), Fraction(3, 1))
    """
    return number if isinstance(number, Fraction) else Fraction(str(number))


def plain(number: Fraction) -> str:
    """A finite decimal in plain digits.

    >>> plain(Fraction(1, 1000)), plain(Fraction(-25))
    ('0.001', '-25')
    """
    return format(Decimal(number.numerator) / Decimal(number.denominator), "f")


def finest(numbers: Iterable[Any]) -> Fraction:
    """The power of ten of which all are whole multiples, at most 1.

    >>> finest(["15.90", 3])
    Fraction(1, 10)
    """
    step = Fraction(1)
    while any((exact(number) / step).denominator != 1 for number in numbers):
        step /= 10
    return step
