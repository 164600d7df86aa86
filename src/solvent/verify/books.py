"""A journal checked by someone who does not trust the engine that wrote it.

Shares no code with the account, the engine or the messages: it reads the stored bytes itself,
links the hash chain itself, and works out from the *commands* alone, in whole numbers and
fractions, what each must have done to every balance and position. That must be what was recorded.

Worked out anew: deposits, withdrawals, transfers and fund contributions; positions with their
average cost, gains and settled basis; premiums, fees and rebates, of trades that are told and of
each fill in a book; the prices of a combination's legs; blocks; what is left of each order;
variation, funding at a rate that
is told, the average prices behind one that is not, expiry at a price that is told or the index's
average, interest; margin of isolated positions; steps of liquidation; the books of another system;
numbers of names; and what is left of roundings. Twice-paid periods, pools below zero, positions
that do not net to zero, debts covered beyond what they are, and accounts closed with something in
them are told as well.

Taken on trust, from the record: whether a command was done at all (so every decision about margin);
which orders meet, are triggered or taken back; the share of an account that a bidder takes, and
its price; the payment of a funding whose rate the rulebook's
column computes from average prices; and, under a rulebook that rules contracts by themselves, what
moves between the general, margin and order accounts of one account's contract. Such moves must stay
between them and overdraw none of them.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from solvent.limits import PROBLEMS_MAX
from solvent.verify import matched, steps, venue, winding_up
from solvent.verify.deals import Held
from solvent.verify.venue import USERS_FROM, Listed, Venue, never_owes, split

Row = tuple[int, int, str, bytes, bytes, bytes]
"""Sequence, time in ms, kind, command, events, chain."""
_VERSION: Final = 1
_UNREADABLE: Final = (LookupError, ValueError, TypeError, ArithmeticError, struct.error)
_WRITTEN_AGAIN: Final = frozenset({
    "position_changed", "fee_paid", "numbered", "interest_accrued", "variation_settled",
    "expiry_settled", "funding_paid", "traded", "block_reported", "collateral_converted",
})  # fmt: skip
"""Kinds of events that are held against our own."""
_STEPS: Final[Mapping[str, Callable[[Venue, Any], None]]] = {
    "list_asset": venue.list_asset, "list_instrument": venue.list_instrument,
    "delist_instrument": venue.delist, "set_phase": venue.set_phase, "adopt_rulebook": venue.adopt,
    "open_account": venue.open_account, "close_account": venue.close_account,
    "set_margin_mode": venue.set_mode, "set_leverage": venue.set_mode,
    "add_isolated_margin": venue.add_margin, "remove_isolated_margin": venue.remove_margin,
    "deposit": venue.deposit, "announce_deposit": venue.announce,
    "confirm_deposit": venue.arrived, "cancel_deposit": venue.left,
    "request_withdrawal": venue.request, "confirm_withdrawal": venue.left,
    "cancel_withdrawal": venue.arrived, "transfer": venue.transfer,
    "contribute_fund": venue.contribute, "return_fund": venue.take_back,
    "place_order": matched.place, "list_combo": matched.list_combo,
    "report_block": matched.report, "withdraw_block": matched.withdraw,
    "trade": steps.trade, "publish_market": venue.publish_market,
    "settle_variation": steps.settle_variation, "settle_expiry": steps.settle_expiry,
    "accrue_interest": steps.accrue_interest, "begin_liquidation": winding_up.begin,
    "liquidate": winding_up.close_out, "liquidate_in_book": winding_up.in_book,
    "take_over": winding_up.close_out, "deleverage": winding_up.close_out,
    "confiscate": winding_up.confiscate, "cover_debt": winding_up.cover_debt,
    "fund_market": winding_up.fund_market, "convert_collateral": winding_up.convert,
    "socialise_loss": winding_up.socialise, "end_liquidation": winding_up.end,
    "import_books": steps.import_books,
}  # fmt: skip
_MOVE_NOTHING: Final = frozenset({
    "assign_rulebook", "freeze_account", "unfreeze_account", "amend_order", "cancel_order",
    "cancel_orders", "disconnect", "set_protection", "reset_protection", "relieve_margin",
    "publish_arrays", "heartbeat", "review_margin", "set_backstop", "start_auction",
    "bid_in_auction", "end_auction", "port_account", "set_inputs",
})  # fmt: skip
_BY_COLUMNS: Final = frozenset({
    "set_margin_mode", "set_leverage", "place_order", "amend_order", "cancel_order",
    "cancel_orders", "disconnect", "heartbeat", "set_phase", "publish_market", "report_block",
    "trade", "pay_funding", "settle_variation", "settle_expiry", "liquidate", "take_over",
    "deleverage", "end_liquidation", "liquidate_in_book",
})  # fmt: skip
"""Commands after which a rulebook's columns may move money within an account."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing in which a record is not what its commands come to. `sequence` 0: the image."""

    sequence: int
    kind: str
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        where = f"command {self.sequence} ({self.kind})" if self.sequence else self.kind
        return f"{where}: {self.what}: expected {self.expected}, found {self.found}"


@dataclass(slots=True)
class Findings:
    """What was read and held against our own books, and everything that differs.

    The first `limits.PROBLEMS_MAX` problems are kept, all are counted.
    """

    commands: int = 0
    rejected: int = 0
    moves: int = 0
    positions: int = 0
    """Changes of positions that were compared."""
    balances: int = 0
    """Balances of an image that were compared."""
    problems: list[Fault] = field(default_factory=list)
    problems_count: int = 0

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return self.problems_count == 0


def check_books(rows: Iterable[Row], *, image: bytes | None = None) -> Findings:
    """Hold a journal's rows, from the first on, against books of our own.

    `image` is a snapshot of the state after one of the rows. Never raises for what is in the rows:
    what cannot be read or followed is a problem too.

    >>> check_books([]).agrees
    True
    """
    reading = _Reading()
    picture = None if image is None else reading.picture(image)
    for row in rows:
        reading.row(row)
        if picture is not None and row[0] == picture.sequence:
            reading.compare(picture)
            picture = None
    if picture is not None:
        reading.told(0, "image", "place in history", f"up to {reading.sequence}", picture.sequence)
    return reading.findings


@dataclass(frozen=True, slots=True)
class _Picture:
    sequence: int
    chain: bytes
    balances: dict[int, int]
    positions: dict[tuple[int, int], tuple[int, ...]]
    orders: dict[tuple[int, str], tuple[Any, ...]]
    """Owner and name → number, lots, price and lots filled of what rests or waits."""


class _Reading:
    """Books of our own, row by row."""

    def __init__(self) -> None:
        self.venue = Venue()
        self.findings = Findings()
        self.sequence = 0
        self.chain = bytes(32)
        self.kind = ""

    def told(self, sequence: int, kind: str, what: str, expected: object, found: object) -> None:
        """Note a problem."""
        self.findings.problems_count += 1
        if self.findings.problems_count <= PROBLEMS_MAX:
            self.findings.problems.append(
                Fault(sequence, kind, what, _short(expected), _short(found))
            )

    def hold(self, what: str, expected: object, found: object) -> None:
        """Note a problem of the row at hand where two things are not the same."""
        if expected != found:
            self.told(self.sequence, self.kind, what, expected, found)

    def row(self, row: Row) -> None:
        """One command and what was recorded of it."""
        sequence, time_ms, kind, command, events, chain = row
        self.kind, expected = kind, self.sequence + 1
        self.sequence = sequence
        self.findings.commands += 1
        self.hold("place in history", expected, sequence)
        if time_ms < self.venue.time_ms:
            self.told(sequence, kind, "time", f"from {self.venue.time_ms} on", time_ms)
        self.venue.time_ms = time_ms
        try:
            self.hold("link of the chain", _link(self.chain, row), chain)
            told, came = _opened(command), [tuple(event) for event in _opened(events)]
            self.hold("kind", told["do"], kind)
            self._command(told, came)
        except _UNREADABLE as fault:
            what = f"{type(fault).__name__}: {fault}"
            self.told(sequence, kind, "the command", "one that these books can follow", what)
        self.chain = chain

    def _command(self, command: Mapping[str, Any], events: list[tuple[Any, ...]]) -> None:
        books = self.venue
        books.flow, books.facts, books.wrong = {}, [], []
        if events and events[0][0] == "rejected":
            self.findings.rejected += 1
            self.hold("events of what was refused", 1, len(events))
            return
        kind = command["do"]
        auction = kind == "set_phase" and books.contracts[command["symbol"]].auction
        if kind == "pay_funding":
            steps.pay_funding(books, command, _payment_told(events))
        elif kind not in _MOVE_NOTHING:
            _STEPS[kind](books, command)
        matched.follow(books, command, events, auction=auction)
        if kind == "liquidate_in_book":
            winding_up.after_book(books, command, events)
        winding_up.follow(books, events)
        for what, expected, found in books.wrong:
            self.told(self.sequence, kind, what, expected, found)
        self._compare_moves(command, events)
        self._compare_facts(events)
        self._check_limits()

    def _compare_moves(self, command: Mapping[str, Any], events: list[tuple[Any, ...]]) -> None:
        """What each node's balance changed by. The record is followed where it differs, so that one
        fault is told once."""
        recorded: dict[int, int] = {}
        for source, target, amount in [move for one in events if one[0] == "posted"
                                       for move in one[1]]:  # fmt: skip
            self.findings.moves += 1
            self.hold("asset of a move", split(source)[2], split(target)[2])
            if amount <= 0:
                self.told(self.sequence, self.kind, "amount of a move", "above 0", amount)
            recorded[source] = recorded.get(source, 0) - amount
            recorded[target] = recorded.get(target, 0) + amount
        flow = self.venue.flow
        rest = {which: recorded.get(which, 0) - flow.get(which, 0)
                for which in recorded.keys() | flow.keys()}  # fmt: skip
        rest = {which: amount for which, amount in sorted(rest.items()) if amount}
        trusted = rest and self.venue.house.by_contract and self._within_accounts(command, rest)
        for which, amount in rest.items():
            self.venue.post(which, amount)
            if not trusted:
                change = recorded.get(which, 0)
                self.told(self.sequence, self.kind, f"money of {_name(which)}", change - amount,
                          change)  # fmt: skip

    def _within_accounts(self, command: Mapping[str, Any], rest: Mapping[int, int]) -> bool:
        """Whether moves that nobody worked out stay between the general, margin and order accounts
        of one account's contract, overdraw none of them, and leave nothing of what is over."""
        if command["do"] not in _BY_COLUMNS:
            return False
        slots, ordered = {venue.GENERAL}, self.venue.touched
        for contract in self.venue.contracts.values():
            named = (
                command["do"] == "end_liquidation" or command.get("symbol") == contract.terms.symbol
            )
            if named or contract.terms.number in ordered:
                slots |= {contract.margin, contract.margin + 1}
        sums: dict[tuple[int, int], int] = {}
        for which, amount in rest.items():
            owner, slot, asset = split(which)
            overdrawn = amount < 0 and self.venue.balance(which) + amount < 0
            over = command["do"] == "settle_expiry" and slot != venue.GENERAL
            left = over and self.venue.balance(which) + amount != 0
            if owner < USERS_FROM or slot not in slots or overdrawn or left:
                return False
            sums[owner, asset] = sums.get((owner, asset), 0) + amount
        return not any(sums.values())

    def _compare_facts(self, events: list[tuple[Any, ...]]) -> None:
        ours = Counter(self.venue.facts)
        theirs = Counter(event for event in events if event[0] in _WRITTEN_AGAIN)
        missing, unexpected = ours - theirs, theirs - ours
        for event in unexpected.elements():
            mine = next((one for one in missing if one[:3] == event[:3]), None)
            mine = mine or next((one for one in missing if one[0] == event[0]), None)
            if mine is not None:
                missing[mine] -= 1
                missing = +missing
            self.told(self.sequence, self.kind, "event", mine or "none of this kind", event)
            if event[0] == "position_changed":
                self._follow(*event[1:])
        for event in missing.elements():
            self.told(self.sequence, self.kind, "event", event, "none")
        self.findings.positions += sum(one[0] == "position_changed" for one in events)

    def _follow(
        self, owner: int, number: int, lots: int, entry: int, basis: int, gain: int
    ) -> None:
        """Hold what was recorded from here on."""
        contract = self._contract(number)
        before = contract.holders.get(owner, Held())
        contract.hold(owner, Held(lots, entry, basis, before.realised + gain))

    def _contract(self, number: int) -> Listed:
        return list(self.venue.contracts.values())[number]

    def _check_limits(self) -> None:
        for which in self.venue.flow:
            amount = self.venue.balance(which)
            if amount < 0 and never_owes(which):
                self.told(self.sequence, self.kind, _name(which), "0 or more", amount)
        touched = {fact[2] for fact in self.venue.facts if fact[0] == "position_changed"}
        for number in touched:
            self.hold(f"net lots of contract {number}", 0, self._contract(number).lots_net)

    # ── an image ─────────────────────────────────────────────────────────────────────────────────

    def picture(self, image: bytes) -> _Picture | None:
        """What an image says of balances and positions."""
        try:
            _, parts = msgspec.msgpack.decode(image)
            sequence, _, chain, *_ = msgspec.msgpack.decode(parts["log"])
            nodes, amounts = map(_numbers, msgspec.msgpack.decode(parts["ledger"]))
            columns = map(_numbers, msgspec.msgpack.decode(parts["positions"]))
            return _Picture(
                sequence, chain, dict(zip(nodes, amounts, strict=True)),
                {row[:2]: row[2:] for row in zip(*columns, strict=True)},
                _orders_in(msgspec.msgpack.decode(parts["desk"])),
            )  # fmt: skip
        except _UNREADABLE as fault:
            self.told(0, "image", "its bytes", "an image of the state", fault)
            return None

    def compare(self, picture: _Picture) -> None:
        """Hold an image against our own books."""
        books = self.venue
        if picture.chain != self.chain:
            self.told(0, "image", "link of the chain", self.chain, picture.chain)
        for which in sorted(books.balances.keys() | picture.balances.keys()):
            self.findings.balances += 1
            expected, found = books.balance(which), picture.balances.get(which, 0)
            if expected != found:
                self.told(0, "image", f"balance of {_name(which)}", expected, found)
        ours = {
            (contract.terms.number, owner): (held.lots, held.entry, held.basis, held.realised)
            for contract in books.contracts.values()
            for owner, held in contract.holders.items()
        }
        for place in sorted(ours.keys() | picture.positions.keys()):
            if ours.get(place) != picture.positions.get(place):
                what = f"position of account {place[1]} in contract {place[0]}"
                self.told(0, "image", what, ours.get(place), picture.positions.get(place))
        orders = {
            key: (one.number, one.lots, one.limit, one.filled)
            for key, one in (*books.orders.items(), *books.stops.items())
        }
        for key in sorted(orders.keys() | picture.orders.keys()):
            if orders.get(key) != picture.orders.get(key):
                what = f"order {key[1]} of account {key[0]}"
                self.told(0, "image", what, orders.get(key), picture.orders.get(key))


def _orders_in(desk: Any) -> dict[tuple[int, str], tuple[Any, ...]]:
    """What rests and what waits in an image."""
    _, _, resting, waiting, _ = desk
    return {
        (owner, name): (number, lots, price, filled)
        for owner, orders in (*resting, *waiting)
        for name, number, lots, price, _, _, filled, *_ in orders
    }


def _opened(stored: bytes) -> Any:
    """A stored message without its version. Raises ValueError for one that is none."""
    if not stored or stored[0] != _VERSION:
        raise ValueError(f"expected a message of version {_VERSION}, found {stored[:1]!r}")
    return msgspec.msgpack.decode(stored[1:])


def _link(before: bytes, row: Row) -> bytes:
    """BLAKE2b-256 of the link before, the place, both lengths, and both messages."""
    sequence, time_ms, _, command, events, _ = row
    place = struct.pack(">QQII", sequence, time_ms, len(command), len(events))
    return hashlib.blake2b(before + place + command + events, digest_size=32).digest()


def _payment_told(events: list[tuple[Any, ...]]) -> str:
    """The payment of a funding that was recorded."""
    for event in events:
        if event[0] == "funding_paid":
            return str(event[3])
    raise ValueError("expected an event of funding that was paid, found none")


def _numbers(column: bytes) -> tuple[int, ...]:
    """Little-endian 64-bit integers."""
    return struct.unpack(f"<{len(column) // 8}q", column)


def _name(which: int) -> str:
    owner, slot, asset = split(which)
    return f"owner {owner}, slot {slot}, asset {asset}"


def _short(told: object) -> str:
    text = told.hex() if isinstance(told, bytes) else str(told)
    return text if len(text) <= 300 else f"{text[:300]}…"
