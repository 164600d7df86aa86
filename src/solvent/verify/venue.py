"""The books of a venue as an outsider keeps them: balances, positions, and what each command posts.

A node is owner · 2**30 + slot · 2**8 + asset. Owners below 16 are the venue's own; slots are
general, incoming, outgoing and fund, then from 16 on a margin and an order slot of each contract.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from solvent.verify.deals import Held, House, Record, Terms, house_of

EXTERNAL: Final = 0
CLEARING: Final = 1
ROUNDING: Final = 2
FEES: Final = 3
VENUE: Final = 4
INSURANCE: Final = 5
LIQUIDITY: Final = 6
USERS_FROM: Final = 16
GENERAL: Final = 0
INCOMING: Final = 1
OUTGOING: Final = 2
FUND: Final = 3
CONTRACTS_FROM: Final = 16
_NEVER_NEGATIVE_SLOTS: Final = (INCOMING, OUTGOING, FUND)
PRICES_KEPT: Final = 100_000


def node(owner: int, slot: int, asset: int) -> int:
    """One balance as a number.

    >>> split(node(17, 3, 2))
    (17, 3, 2)
    """
    return owner * 2**30 + slot * 2**8 + asset


def split(which: int) -> tuple[int, int, int]:
    """Owner, slot, asset of a node."""
    owner, rest = divmod(which, 2**30)
    slot, asset = divmod(rest, 2**8)
    return owner, slot, asset


def never_owes(which: int) -> bool:
    """Whether a node may not be below zero.

    >>> never_owes(node(5, 0, 0)), never_owes(node(17, 3, 0)), never_owes(node(17, 0, 0))
    (True, True, False)
    """
    owner, slot, _ = split(which)
    return FEES <= owner < USERS_FROM or (owner >= USERS_FROM and slot in _NEVER_NEGATIVE_SLOTS)


@dataclass(slots=True)
class Average:
    """A price weighed by the time for which it held since funding was last paid, auctions left
    out."""

    price: int | None = None
    since_ms: int = 0
    weighed: int = 0
    weights: int = 0

    def hold(self, until_ms: int, *, counts: bool) -> None:
        """The price has held until then."""
        held_ms = max(0, until_ms - self.since_ms)
        if self.price is not None and counts:
            self.weighed += self.price * held_ms
            self.weights += held_ms
        self.since_ms += held_ms

    def value(self) -> Fraction:
        """What it comes to."""
        return Fraction(self.weighed, self.weights)


@dataclass(slots=True)
class Listed:
    """A contract and who holds it, in the order in which they came to hold it."""

    terms: Terms
    funded_ms: int
    holders: dict[int, Held] = field(default_factory=dict)
    auction: bool = False
    mark: int | None = None
    over: bool = False
    future: Average = field(default_factory=Average)
    spot: Average = field(default_factory=Average)
    lots_net: int = 0
    basis_total: int = 0

    @property
    def margin(self) -> int:
        """Slot of its margin."""
        return CONTRACTS_FROM + 2 * self.terms.number

    @property
    def clearing(self) -> int:
        """Node of what its positions have at stake."""
        return node(CLEARING, self.margin, self.terms.asset)

    def hold(self, owner: int, after: Held) -> None:
        """A position as it is now; nothing is kept of one that is gone."""
        before = self.holders.get(owner, Held())
        self.lots_net += after.lots - before.lots
        self.basis_total += after.basis - before.basis
        self.holders[owner] = after
        if after.lots == 0 and after.basis == 0:
            del self.holders[owner]

    def at_stake(self) -> Fraction:
        """What clearing owes to all holders: minus what has been settled of their costs."""
        return -self.terms.money(self.basis_total)


@dataclass(slots=True)
class Asked:
    """An order: signed lots that are left, the price that it takes at worst, lots filled so far."""

    number: int
    lots: int
    limit: int | None
    decrements: bool
    """What of it meets its own account's orders goes on both sides."""
    filled: int = 0

    def fill(self, lots: int) -> None:
        """So many lots, without sign, have been filled."""
        self.lots -= lots if self.lots > 0 else -lots
        self.filled += lots


@dataclass(slots=True)
class Combined:
    """A combination: contracts, lots of each that one lot buys, quote currency per tick."""

    number: int
    legs: list[tuple[Listed, int]]
    tick: Fraction


@dataclass(frozen=True, slots=True)
class Mode:
    """How an account holds a contract: by itself or not, and its margin over entry value."""

    isolated: bool
    factor: Fraction | None


class Venue:
    """Everything that money depends on. `flow` and `facts` are of the command at hand: what each
    node's balance changed by, and the events that must have been recorded."""

    def __init__(self) -> None:
        self.time_ms = 0
        self.house = House()
        self.rulebooks: dict[str, House] = {}
        self.house_name = ""
        self.owners: dict[str, int] = {"venue": VENUE, "insurance": INSURANCE}
        self.owners_count = USERS_FROM
        self.assets: dict[str, int] = {}
        self.decimals: list[int] = []
        self.interest_ms: dict[int, int] = {}
        self.contracts: dict[str, Listed] = {}
        self.modes: dict[tuple[int, int], Mode] = {}
        self.prices: dict[str, list[tuple[int, int]]] = {}
        """Underlying → (from when, price in billionths), in order of time."""
        self.under_way: dict[str, tuple[int, int, int]] = {}
        self.combined: dict[str, Combined] = {}
        self.orders: dict[tuple[int, str], Asked] = {}
        """Owner and name → what rests; `stops` are those that wait for their trigger, `coming`
        those of the command at hand that have not come to rest."""
        self.stops: dict[tuple[int, str], Asked] = {}
        self.coming: dict[tuple[int, str], Asked] = {}
        self.touched: set[int] = set()
        """Contracts and combinations whose orders the command at hand has changed."""
        self.blocks: dict[str, tuple[int, int, int, int, int]] = {}
        """Reference → owner, other side, number, signed lots and price of the first report."""
        self.closing: set[int] = set()
        """Accounts under liquidation. `unpaying`: the one whose order the command at hand is."""
        self.unpaying = -1
        self.offers: dict[int, list[int]] = {}
        """Account for sale → whether it is worth something, the asset of its cash, what bidders
        have paid of that."""
        self.balances: dict[int, int] = {}
        self.flow: dict[int, int] = {}
        self.facts: list[tuple[Any, ...]] = []
        self.wrong: list[tuple[str, str, str]] = []
        """What a command may not do: what, expected, found."""

    # ── money ────────────────────────────────────────────────────────────────────────────────────

    def balance(self, which: int) -> int:
        """What a node holds."""
        return self.balances.get(which, 0)

    def post(self, which: int, amount: int) -> None:
        """Change one node."""
        self.balances[which] = self.balances.get(which, 0) + amount
        self.flow[which] = self.flow.get(which, 0) + amount

    def give(self, source: int, target: int, amount: int) -> None:
        """Take from one node what the other gets."""
        self.post(source, -amount)
        self.post(target, amount)

    def give_at_most(self, source: int, target: int, amount: int) -> int:
        """The same as far as the source has it; how much that was."""
        part = min(amount, max(self.balance(source), 0))
        self.give(source, target, part)
        return part

    def level(self, which: int, wanted: int, other: int) -> None:
        """Bring a node to an amount, out of another or into it."""
        self.give(other, which, wanted - self.balance(which))

    # ── names ────────────────────────────────────────────────────────────────────────────────────

    def own(self, name: str, asset: int) -> int:
        """An account's own money."""
        return node(self.owners[name], GENERAL, asset)

    def pool(self, owner: int, contract: Listed) -> int:
        """A pool in what a contract settles in."""
        return node(owner, GENERAL, contract.terms.asset)

    def isolated(self, owner: int, contract: Listed) -> bool:
        """Whether an account holds a contract by itself."""
        mode = self.modes.get((owner, contract.terms.number))
        return mode is not None and mode.isolated

    def margin_of(self, owner: int, contract: Listed) -> int:
        """The margin of an account's contract."""
        return node(owner, contract.margin, contract.terms.asset)

    def reserve_of(self, owner: int, contract: Listed) -> int:
        """What an account has set aside for its orders in a contract."""
        return node(owner, contract.margin + 1, contract.terms.asset)

    def put(self, owner: int, contract: Listed, after: Held, gain: int) -> None:
        """A position as it is now, and the event that says so."""
        after.realised += gain
        contract.hold(owner, after)
        self.facts.append(
            ("position_changed", owner, contract.terms.number, after.lots, after.entry,
             after.basis, gain)
        )  # fmt: skip

    def sweep(self, contract: Listed) -> None:
        """Clearing owes what is at stake in whole units, rounded up; roundings bear the rest."""
        self.level(contract.clearing, math.ceil(contract.at_stake()), self.pool(ROUNDING, contract))

    def release_margin(self, owner: int, contract: Listed) -> None:
        """The margin of a position that is gone is the account's own money again; the insurance
        fund pays what it owes, as far as it can. A debt of an isolated one that is being wound up
        stays where it is."""
        if owner >= USERS_FROM:
            margin = self.margin_of(owner, contract)
            owed = max(0, -self.balance(margin))
            paid = self.give_at_most(self.pool(INSURANCE, contract), margin, owed)
            alone = owner in self.closing and self.isolated(owner, contract)
            if paid == owed or not alone:
                self.level(margin, 0, self.pool(owner, contract))

    def number(self, kind: str, name: str, number: int) -> None:
        """A name must have been given this number."""
        self.facts.append(("numbered", kind, name, number))

    def require(self, holds: bool, what: str, expected: object, found: object) -> None:
        """Note what a command may not do."""
        if not holds:
            self.wrong.append((what, str(expected), str(found)))


# ── what there is ────────────────────────────────────────────────────────────────────────────────


def list_asset(venue: Venue, command: Record) -> None:
    """The next number."""
    venue.number("asset", command["asset"], len(venue.decimals))
    venue.assets[command["asset"]] = len(venue.decimals)
    venue.decimals.append(command["decimals"])


def list_instrument(venue: Venue, command: Record) -> None:
    """The next number; funding is paid up to now."""
    number, asset = len(venue.contracts), venue.assets[command["settlement"]]
    terms = Terms(command, number=number, asset=asset, decimals=venue.decimals[asset])
    venue.number("instrument", terms.symbol, number)
    venue.contracts[terms.symbol] = Listed(terms, venue.time_ms)


def delist(venue: Venue, command: Record) -> None:
    """Nobody may hold it."""
    if command["symbol"] in venue.combined:
        return
    contract = venue.contracts[command["symbol"]]
    venue.require(not contract.holders, "holders of what is delisted", 0, len(contract.holders))
    contract.over = True


def set_phase(venue: Venue, command: Record) -> None:
    """An auction has other fees, and its time counts for no average."""
    contract = venue.contracts[command["symbol"]]
    for average in (contract.future, contract.spot):
        average.hold(venue.time_ms, counts=not contract.auction)
    contract.auction = command["phase"] == "auction"


def adopt(venue: Venue, command: Record) -> None:
    """The venue's own rulebook tells how money moves."""
    name = command["name"]
    venue.rulebooks[name] = house_of(command["toml"])
    if command["venue"]:
        venue.house_name = name
    if venue.house_name == name:
        venue.house = venue.rulebooks[name]


def open_account(venue: Venue, command: Record) -> None:
    """The next number."""
    venue.number("account", command["account"], venue.owners_count)
    venue.owners[command["account"]] = venue.owners_count
    venue.owners_count += 1


def close_account(venue: Venue, command: Record) -> None:
    """Nothing may be left of it."""
    owner = venue.owners[command["account"]]
    left = sum(abs(amount) for which, amount in venue.balances.items() if which >> 30 == owner)
    held = [one.terms.symbol for one in venue.contracts.values() if owner in one.holders]
    held += [name for mine, name in (*venue.orders, *venue.stops) if mine == owner]
    venue.require(not left and not held, "what a closed account has", (0, []), (left, held))


def set_mode(venue: Venue, command: Record) -> None:
    """Another mode or leverage. What the margin is to hold, where it follows from the entry value
    and not from the rulebook's columns."""
    owner, contract = venue.owners[command["account"]], venue.contracts[command["symbol"]]
    leverage, factor = command["leverage"], command["margin_factor"]
    told = None if factor is None else Fraction(factor)
    if leverage is not None:
        told = 1 / Fraction(leverage)
    isolated = venue.isolated(owner, contract)
    if "mode" in command:
        isolated = command["mode"] == "isolated"
    venue.modes[owner, contract.terms.number] = Mode(isolated, told)
    asset = contract.terms.asset
    margin, own = venue.margin_of(owner, contract), node(owner, GENERAL, asset)
    orders = node(owner, contract.margin + 1, asset)
    if venue.house.by_contract:
        if not isolated:
            venue.give(orders, margin, venue.balance(orders))
        return
    held = contract.holders.get(owner)
    wanted = 0
    if isolated and held is not None and told is not None:
        wanted = math.ceil(abs(contract.terms.money(held.entry)) * told)
    venue.level(margin, wanted, own)
    venue.level(orders, 0, own)


def add_margin(venue: Venue, command: Record) -> None:
    """From the account's own money to a position's."""
    _move_margin(venue, command, command["amount"])


def remove_margin(venue: Venue, command: Record) -> None:
    """And back."""
    _move_margin(venue, command, -command["amount"])


def _move_margin(venue: Venue, command: Record, amount: int) -> None:
    owner, contract = venue.owners[command["account"]], venue.contracts[command["symbol"]]
    venue.give(venue.pool(owner, contract), venue.margin_of(owner, contract), amount)


# ── money in, out and between ────────────────────────────────────────────────────────────────────


def deposit(venue: Venue, command: Record) -> None:
    """From outside."""
    asset = venue.assets[command["asset"]]
    outside = node(EXTERNAL, GENERAL, asset)
    venue.give(outside, venue.own(command["account"], asset), command["amount"])


def announce(venue: Venue, command: Record) -> None:
    """From outside, and on its way."""
    _begin(venue, command, EXTERNAL, INCOMING)


def request(venue: Venue, command: Record) -> None:
    """Out of the account, and on its way."""
    _begin(venue, command, venue.owners[command["account"]], OUTGOING)


def _begin(venue: Venue, command: Record, source: int, slot: int) -> None:
    owner, asset = venue.owners[command["account"]], venue.assets[command["asset"]]
    venue.require(
        command["reference"] not in venue.under_way, "a reference", "one not used before",
        command["reference"],
    )  # fmt: skip
    venue.give(node(source, GENERAL, asset), node(owner, slot, asset), command["amount"])
    venue.under_way[command["reference"]] = owner, asset, command["amount"]


def arrived(venue: Venue, command: Record) -> None:
    """Incoming money has come, or outgoing money comes back: it is the account's own."""
    owner, asset, amount = _ended(venue, command)
    slot = INCOMING if command["do"] == "confirm_deposit" else OUTGOING
    venue.give(node(owner, slot, asset), node(owner, GENERAL, asset), amount)


def left(venue: Venue, command: Record) -> None:
    """Outgoing money has left, or incoming money will not come: it is outside."""
    owner, asset, amount = _ended(venue, command)
    slot = INCOMING if command["do"] == "cancel_deposit" else OUTGOING
    venue.give(node(owner, slot, asset), node(EXTERNAL, GENERAL, asset), amount)


def _ended(venue: Venue, command: Record) -> tuple[int, int, int]:
    """What was under way; a reference ends once."""
    owner, asset, amount = venue.under_way[command["reference"]]
    venue.under_way[command["reference"]] = owner, asset, 0
    venue.require(amount > 0, f"money under way as {command['reference']}", "some", amount)
    return owner, asset, amount


def transfer(venue: Venue, command: Record) -> None:
    """From one account to another."""
    asset = venue.assets[command["asset"]]
    source, target = command["source"], command["target"]
    venue.give(venue.own(source, asset), venue.own(target, asset), command["amount"])


def contribute(venue: Venue, command: Record) -> None:
    """Into the default fund."""
    owner, asset = venue.owners[command["account"]], venue.assets[command["asset"]]
    venue.give(node(owner, GENERAL, asset), node(owner, FUND, asset), command["amount"])


def take_back(venue: Venue, command: Record) -> None:
    """Out of the default fund."""
    owner, asset = venue.owners[command["account"]], venue.assets[command["asset"]]
    venue.give(node(owner, FUND, asset), node(owner, GENERAL, asset), command["amount"])


# ── prices ───────────────────────────────────────────────────────────────────────────────────────


def publish_market(venue: Venue, command: Record) -> None:
    """Index prices are kept as long as a settlement may ask for them."""
    for underlying, price_nano, age_ms in command["index"]:
        seen = venue.prices.setdefault(underlying, [])
        since_ms = max(0, venue.time_ms - age_ms)
        if seen and since_ms <= seen[-1][0]:
            since_ms = seen.pop()[0]
        seen.append((since_ms, price_nano))
        open_terms = [one.terms for one in venue.contracts.values() if not one.over]
        ends = [one.expiry_ms for one in open_terms
                if one.underlying == underlying and one.expiry_ms]  # fmt: skip
        reach_ms = min([since_ms, *ends]) - venue.house.window_ms
        late = sum(1 for from_ms, _ in seen[1:] if from_ms <= reach_ms)
        del seen[: max(late, len(seen) - PRICES_KEPT)]
    for symbol, points, age_ms in command["marks"]:
        contract = venue.contracts[symbol]
        contract.mark = points
        contract.future.hold(venue.time_ms - age_ms, counts=not contract.auction)
        contract.future.price = points
    indexed = {underlying for underlying, _, _ in command["index"]}
    for contract in venue.contracts.values():
        if contract.terms.underlying in indexed:
            since_ms, price_nano = venue.prices[contract.terms.underlying][-1]
            contract.spot.hold(since_ms, counts=not contract.auction)
            contract.spot.price = price_nano


def index_of(venue: Venue, underlying: str) -> int:
    """The last index price, in billionths; 0 where there was none."""
    seen = venue.prices.get(underlying)
    return seen[-1][1] if seen else 0
