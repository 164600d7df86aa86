"""Everything that the engine remembers. A fold over the journal; nothing else may change it.

Whatever has a name has a number too, given in the order of appearance and never used twice. All
collections keep the order in which they were filled, which the commands alone decide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from struct import Struct as Packing
from typing import Any, Final, NamedTuple

from msgspec import Struct

from solvent.account.deal import Deal
from solvent.account.ledger import FIRST_ACCOUNT, SYSTEM_NAMES, Ledger
from solvent.account.position import Position
from solvent.chains import ORIGIN
from solvent.engine.open_orders import OpenOrders
from solvent.instruments import Instrument
from solvent.limits import COMBO_FIRST
from solvent.liquidation.calls import Call
from solvent.margining.alone import Alone
from solvent.margining.closing import LiquidationText
from solvent.margining.compile import AnyPlan, AnyRulebook
from solvent.margining.house import EngineText, FeeText
from solvent.messages.commands import ListCombo, ListInstrument
from solvent.messages.fields import Command, Phase
from solvent.orders.desk import Desk
from solvent.orders.order import Order
from solvent.risk import RiskArrays


class Standing(NamedTuple):
    """Where an account stands. Money in millionths of a dollar; 0 where it is not `known`.

    `credit_micro` is what is lent to it at most. It is no part of equity; margins are after it.
    """

    equity_micro: int
    initial_micro: int
    maintenance_micro: int
    known: bool
    call: bool
    liquidate: bool
    credit_micro: int = 0


OPEN: Final = "open"
FROZEN: Final = "frozen"
LIQUIDATION: Final = "liquidation"
CLOSED: Final = "closed"
CROSS: Final = -1
"""What an account holds together, in `Case.pools`."""


class Mode:
    """How an account holds a contract. `factor` is margin over entry value, None if not chosen."""

    __slots__ = ("factor", "isolated")

    def __init__(self, *, isolated: bool, factor: Fraction | None) -> None:
        self.isolated = isolated
        self.factor = factor


class Account(Struct, eq=False, gc=False):
    """Who holds what. `status` is `open`, `frozen`, `liquidation` or `closed`.

    Attributes:
        frozen: by an operator: a status that liquidation hides comes back after it.
        subaccounts: how many open accounts have this one as parent.
        given: asset → smallest units that it has paid of others' losses since it last held nothing.
        inputs: numbers brought for its rulebook, as they were told.
    """

    number: int
    name: str
    kind: str
    parent: int
    rulebook: str
    status: str = OPEN
    frozen: bool = False
    subaccounts: int = 0
    positions: dict[int, Position] | None = None
    modes: dict[int, Mode] | None = None
    given: dict[int, int] | None = None
    inputs: dict[str, str] | None = None

    def mode(self, instrument: int) -> Mode | None:
        """How it holds a contract, where it has chosen."""
        return None if self.modes is None else self.modes.get(instrument)

    def isolates(self, instrument: int) -> bool:
        """Whether a contract is margined by itself."""
        mode = self.mode(instrument)
        return mode is not None and mode.isolated


@dataclass(slots=True)
class Average:
    """A time-weighted average that grows with each price: integral over time, pauses left out."""

    price: int = 0
    since_ms: int = 0
    area: int = 0
    span_ms: int = 0
    known: bool = False

    def advance(self, time_ms: int, *, counts: bool) -> None:
        """Let the last price hold until now; time in an auction does not count."""
        if self.known and counts and time_ms > self.since_ms:
            self.area += self.price * (time_ms - self.since_ms)
            self.span_ms += time_ms - self.since_ms
        self.since_ms = max(self.since_ms, time_ms)

    def observe(self, price: int, time_ms: int, *, counts: bool) -> None:
        """A new price from now on."""
        self.advance(time_ms, counts=counts)
        self.price, self.known = price, True

    def value(self, time_ms: int, *, counts: bool) -> Fraction | None:
        """The average until now; None before any time has counted."""
        more_ms = max(0, time_ms - self.since_ms) if self.known and counts else 0
        span_ms = self.span_ms + more_ms
        return Fraction(self.area + self.price * more_ms, span_ms) if span_ms else None

    def restart(self, time_ms: int) -> None:
        """Begin a new period with the price that holds."""
        self.area = self.span_ms = 0
        self.since_ms = max(self.since_ms, time_ms)


@dataclass(slots=True, kw_only=True)
class Contract:
    """A listed instrument and all that happens to it.

    Attributes:
        holders: account → position; the same objects as the accounts hold.
        basis_total: sum of all positions' basis, in value units.
        funded_ms: up to when funding was paid. auction_ms: time in auctions since then.
        settled: `""`, or how it ended: `expired`, `delisted`.
    """

    number: int
    listing: ListInstrument
    instrument: Instrument
    deal: Deal
    listed_ms: int
    phase: Phase = Phase.CONTINUOUS
    settled: str = ""
    mark_points: int | None = None
    settled_points: int = 0
    """Mark of the last settlement of gains, 0 where there was none."""
    holders: dict[int, Position] = field(default_factory=dict)
    basis_total: int = 0
    funded_ms: int = 0
    phase_ms: int = 0
    auction_ms: int = 0
    future: Average = field(default_factory=Average)
    """The mark, in points, since funding was last paid."""
    fee_rates: list[tuple[FeeText, Fraction]] | None = None
    """What it is charged by the venue's rulebook, worked out when it is first traded."""
    spot: Average = field(default_factory=Average)
    """The index, in billionths of a dollar, since funding was last paid."""


@dataclass(slots=True, kw_only=True)
class Underlying:
    """An index and the prices of its last half hour and more, for settlement."""

    price_nano: int
    seen: deque[tuple[int, int]] = field(default_factory=deque)
    """(from when, price) in order of time; the first may be older than the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spare:
    """What bounds of an account's margin need (`engine.slack`), in millionths of a dollar.

    Attributes:
        steep_micro: [contract] what one lot can add to initial margin at most, −1 where that is not
            known. worth_micro: [contract] what a lot adds to equity.
        value_micro: [contract] of a value unit. unit_micro: [asset] of a smallest unit.
    """

    steep_micro: list[int]
    worth_micro: list[float]
    value_micro: list[float]
    unit_micro: list[float]


@dataclass(slots=True, kw_only=True)
class Rules:
    """A rulebook in force, and the arrays on which it decides; compiled when first needed."""

    toml: str
    day: str
    rulebook: AnyRulebook
    arrays_bytes: bytes = b""
    arrays: RiskArrays | None = None
    plan: AnyPlan | None = None
    row_of_contract: list[int] = field(default_factory=list)
    """Contract → its row in the arrays, −1 where they do not have it."""
    quanta_of_value: list[float] = field(default_factory=list)
    """Contract → quanta of risk per value unit."""
    spare: Spare | None = None
    """How its accounts' margin is bounded, where it can be."""
    alone: Alone | None = None
    """The plan as one account at a time asks it, where it can be."""
    found_by: AnyPlan | None = None
    found: dict[tuple[object, ...], Standing] = field(default_factory=dict)
    """Where accounts stand on the plan `found_by`, by all that it depends on; only a memory."""

    @property
    def house(self) -> EngineText:
        """How the venue moves money under it."""
        return self.rulebook.text.engine

    @property
    def closing(self) -> LiquidationText:
        """What happens to its accounts that cannot pay."""
        return self.rulebook.text.liquidation


@dataclass(frozen=True, slots=True, kw_only=True)
class Combo:
    """Contracts that trade as one: (contract, lots of it that one lot buys), and the price."""

    number: int
    listing: ListCombo
    legs: tuple[tuple[Contract, int], ...]
    tick: Fraction
    """Quote currency per tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One side's report of a trade, which the other has not confirmed yet."""

    account: int
    counterparty: int
    instrument: int
    lots: int
    """Positive where the account that reports buys."""
    price_ticks: int


@dataclass(slots=True, kw_only=True)
class Case:
    """A liquidation under way, from its beginning to its end.

    Attributes:
        equity_micro, maintenance_micro: at the beginning, in millionths of a dollar; 0 where
            contracts are ruled by themselves.
        pools: what of the account was found to be below maintenance: `CROSS`, or a contract that
            is held by itself. Nothing else of it is touched.
        stepped_ms: when it was last reduced, −1 before that. steps: how often.
        stepped: contract → when lots of it last went to the market (`Liquidate`,
            `LiquidateInBook`), after which the rulebook's cooldown runs.
        takers: backstop accounts that have taken positions of it.
    """

    begun_ms: int
    equity_micro: int
    maintenance_micro: int
    pools: list[int]
    stepped_ms: int = -1
    steps: int = 0
    stepped: dict[int, int] = field(default_factory=dict)
    takers: list[int] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Offer:
    """An account under liquidation that is for sale.

    Attributes:
        begun_ms: when its price began to fall, or (of one that is not worth anything) to rise.
        solvent: it was worth something then. cash: the asset that is paid in.
        reserved: smallest units of it that bidders have paid. sold_ppb: share that is sold.
    """

    begun_ms: int
    solvent: bool
    cash: int
    reserved: int = 0
    sold_ppb: int = 0


@dataclass(slots=True, kw_only=True)
class Pending:
    """Money under way."""

    account: int
    asset: int
    amount: int
    incoming: bool


DIGEST_BYTES: Final = 16
ANSWER: Final = Packing(f">{DIGEST_BYTES}sQH")


@dataclass(slots=True, kw_only=True)
class Log:
    """Where in history the state stands.

    `answers`: actor and key → digest of the request, sequence and code of the answer, as `ANSWER`
    packs them: there are a million, and one object weighs less than four.
    """

    sequence: int = 0
    time_ms: int = 0
    chain: bytes = ORIGIN
    answers: dict[str, bytes] = field(default_factory=dict)


class Spared:
    """What an account could spare when that was last worked out, and all that has moved since.

    Money is in millionths of a dollar.

    Attributes:
        base: equity less initial margin then, in millionths of a dollar. equity: by how much trades
            have changed it. size: of all amounts since, without sign. legs: trades since.
        lots: contract → lots by which the position, the bids and the offers differ from then.
        margin: what these lots can add at most, of the position as it is, with all bids filled,
            with all offers filled.
        bids, asks: by how much equity would differ if all bids (offers) had been filled, but for
            what the position itself has changed.
    """

    __slots__ = ("asks", "base", "bids", "equity", "legs", "lots", "margin", "size")

    def __init__(self, base: int) -> None:
        self.base = base
        self.equity = self.size = self.bids = self.asks = 0.0
        self.legs = 0
        self.lots: dict[int, tuple[int, int, int]] = {}
        self.margin = (0, 0, 0)


class Ahead:
    """What `engine.ahead` has worked out for commands to come; no part of what is remembered.

    `entries`: command (by identity) → what it would do, and the commands that this rests on.
    `broken`: commands that were not done, so that nothing may rest on them. `alone`: how many
    accounts were assessed by themselves since. `commands`, `place`: the batch, and whose turn it
    is in it.
    """

    __slots__ = ("alone", "broken", "commands", "entries", "place")

    def __init__(self) -> None:
        self.commands: Sequence[Command] = ()
        self.place = 0
        self.entries: dict[int, tuple[Any, tuple[int, ...]]] = {}
        self.broken: set[int] = set()
        self.alone = 0

    def ready(self, command: object) -> bool:
        """Whether there is something worked out for a command that still holds."""
        entry = self.entries.get(id(command))
        if entry is None:
            return False
        if self.broken and not self.broken.isdisjoint(entry[1]):
            del self.entries[id(command)]
            self.broken.add(id(command))
            return False
        return True

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()
        self.broken.clear()
        self.commands, self.place = (), 0


_NO_ORDERS: Final[dict[str, Order]] = {}


class State:
    """The venue's books.

    `house` is how money moves: that of the venue's rulebook, or the default before it has one.
    """

    def __init__(self) -> None:
        self.log = Log()
        self.ledger = Ledger()
        self.assets: list[tuple[str, int]] = []
        self.asset_numbers: dict[str, int] = {}
        self.interest_ms: dict[int, int] = {}
        self.accounts: list[Account | None] = [None] * FIRST_ACCOUNT
        self.account_numbers: dict[str, int] = {}
        self.contracts: list[Contract] = []
        self.contract_numbers: dict[str, int] = {}
        self.underlyings: dict[str, Underlying] = {}
        self.rules: dict[str, Rules] = {}
        self.venue_rulebook = ""
        self.house = EngineText()
        self.pending: dict[str, Pending] = {}
        self.references: dict[str, str] = {}
        """Reference → how its money ended; a reference is never used twice."""
        self.combos: list[Combo] = []
        self.blocks: dict[str, Block] = {}
        """Reference → what one side has reported."""
        self.calls: dict[int, Call] = {}
        """Account → what it has been told of its margin."""
        self.cases: dict[int, Case] = {}
        """Account → its liquidation."""
        self.auctions: dict[int, Offer] = {}
        """Account under liquidation → its auction."""
        self.backstops: dict[int, int] = {}
        """Backstop account → notional that it may take on, in millionths of a dollar."""
        self.fund_highs: dict[int, deque[tuple[int, int]]] = {}
        """Asset → (hour, most that the insurance fund had in it), the latest hours alone."""
        self.disposals: dict[int, int] = {}
        """Contract → when the insurance fund last went to the book with what it holds of it, or
        first took it over, in ms; it waits from then on."""
        self.desk = Desk()
        self.open = OpenOrders(self.value_of)
        """Sums over the desk's orders, kept up with them."""
        self.decided = False
        """Whether the command whose turn it is comes from a record by which it was done: what it
        does is worked out anew, whether margin allowed it is not; no part of what is remembered."""
        self.ahead = Ahead()
        self.slack: dict[int, Spared] = {}
        """Account → a lower bound of its available margin; no part of what is remembered."""
        self.asked: set[int] = set()
        """Accounts that `slack` was asked for since it was last dropped."""
        for number, name in SYSTEM_NAMES.items():
            self.accounts[number] = Account(number, name, "system", -1, "")
            self.account_numbers[name] = number

    def value_of(self, instrument: int, lots: int, price_ticks: int) -> int:
        """What lots cost at a price: in a contract's value units, in ticks of a combination."""
        if instrument >= COMBO_FIRST:
            return lots * price_ticks
        deal = self.contracts[instrument].deal
        return deal.value(lots, price_ticks * deal.points_per_tick)

    def orders_of(self, account: int) -> Mapping[str, Order]:
        """An account's resting orders by name."""
        return self.desk.orders.get(account, _NO_ORDERS)

    def account(self, number: int) -> Account:
        """An account by number, which must be one."""
        found = self.accounts[number]
        if found is None:
            raise LookupError(f"no account {number}")
        return found
