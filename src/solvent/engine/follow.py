"""Following a record: what commands brought about, taken from their events, not worked out anew.

Where commands only moved money and changed positions, their events say all that there is to know of
them; and what was refused changed nothing but its place in history. Such commands are summed up
(`gist`), which needs no state, and taken over together (`follow`), several times faster than
`apply`. The state comes out the same in everything that is remembered. The record must be right:
each command is held against its link.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from solvent.account.position import Position
from solvent.chains import link
from solvent.engine.apply import forget_oldest, identity_of
from solvent.engine.state import ANSWER, DIGEST_BYTES, State
from solvent.errors import check
from solvent.messages.codec import REFUSED, decode_events, encode_events
from solvent.messages.events import FeePaid, PositionChanged, Posted, Rejected

KINDS: Final = frozenset(("deposit", "trade", "transfer"))
"""Commands that do nothing but what their events say."""
_NOTHING: Final = encode_events(())
"""What comes of a heartbeat at which no order expires."""
_POSITION: Final = 6
"""Numbers that tell of one position: whose, of what, and the four that `Position` holds."""


class Recorded(Protocol):
    """A command as a journal keeps it."""

    @property
    def time_ms(self) -> int:
        """When."""

    @property
    def kind(self) -> str:
        """What was asked."""

    @property
    def command(self) -> bytes:
        """The request as it is stored."""

    @property
    def events(self) -> bytes:
        """What came of it, as it is stored."""

    @property
    def chain(self) -> bytes:
        """Its link."""


class Place(NamedTuple):
    """Where in history something stands: after this command."""

    sequence: int
    time_ms: int
    chain: bytes


class Gist(NamedTuple):
    """What some commands in a row came to, from after `start` to `end`.

    Attributes:
        identities: what each request is known by. answers: `ANSWER` of each, together.
        nodes, amounts: by how much balances changed, in the order in which they first did.
        positions: every change of one, in order: account, instrument, lots, entry, basis, realised.
            All three are 64-bit integers in the machine's own order: no gist outlives its process
            and the one that it was made for.
    """

    start: Place
    end: Place
    identities: list[str]
    answers: bytes
    nodes: bytes
    amounts: bytes
    positions: bytes


class _Told(Struct, frozen=True, gc=False):
    """As much of a command as is needed of it here."""

    do: str
    actor: str
    key: str
    buy_order: str | None = None
    sell_order: str | None = None


_DECODER: Final = msgspec.msgpack.Decoder(_Told)


def summed_up(rows: Sequence[Recorded], first: int, start: Place) -> tuple[Gist | None, int]:
    """The gist of as many rows from `first` on as can be followed, and how many these are.

    The row after them must be applied. A row that is not linked to the one before is among those.
    """
    sequence, time_ms, chain = start
    identities: list[str] = []
    answers: list[bytes] = []
    changes: dict[int, int] = {}
    positions: list[int] = []
    for row in islice(rows, first, None):
        told = _followed(row)
        if told is None or row.time_ms < time_ms:
            break
        if link(chain, sequence + 1, row.time_ms, row.command, row.events) != row.chain:
            break
        sequence, time_ms, chain = sequence + 1, row.time_ms, row.chain
        code = _take(row.events, changes, positions)
        digest = blake2b(row.command, digest_size=DIGEST_BYTES).digest()
        identities.append(identity_of(told.actor, told.key))
        answers.append(ANSWER.pack(digest, sequence, code))
    if not identities:
        return None, 0
    gist = Gist(
        start, Place(sequence, time_ms, chain), identities, b"".join(answers),
        *(array("q", numbers).tobytes() for numbers in (changes, changes.values(), positions)),
    )  # fmt: skip
    return gist, len(identities)


def _followed(row: Recorded) -> _Told | None:
    """What is told of a command that can be followed; None of any other."""
    if (type(row.time_ms), type(row.command), type(row.events)) != (int, bytes, bytes):
        return None
    refused = row.events.startswith(REFUSED)
    idle = row.kind == "heartbeat" and row.events == _NOTHING
    if not (refused or idle or row.kind in KINDS):
        return None
    try:
        told = _DECODER.decode(memoryview(row.command)[1:])
    except (msgspec.MsgspecError, TypeError):
        return None
    if told.do != row.kind:
        return None
    named = told.buy_order is not None or told.sell_order is not None
    return None if named and not refused else told


def _take(record: bytes, changes: dict[int, int], positions: list[int]) -> int:
    """Add what a command did to what those before it did; its code."""
    code = 0
    for event in decode_events(record):
        if type(event) is Posted:
            for source, target, amount in event.moves:
                changes[source] = changes.get(source, 0) - amount
                changes[target] = changes.get(target, 0) + amount
        elif type(event) is PositionChanged:
            positions += (
                event.account, event.instrument, event.lots, event.entry_value, event.basis_value,
                event.realised,
            )  # fmt: skip
        elif type(event) is Rejected:
            code = event.code
        else:
            check(type(event) is FeePaid, "what is followed has events that say all", event)
    return code


def follow(state: State, gist: Gist) -> None:
    """Take commands over that come next."""
    log = state.log
    here = log.sequence, log.chain
    check(here == (gist.start.sequence, gist.start.chain), "commands come in sequence", here)
    check(gist.end.time_ms >= log.time_ms, "time does not run backwards", gist.end.time_ms)
    # From here on the commands are taken over.
    log.sequence, log.time_ms, log.chain = gist.end
    balances = state.ledger.balances
    for which, amount in zip(_numbers(gist.nodes), _numbers(gist.amounts), strict=True):
        balances[which] = balances.get(which, 0) + amount
    _put(state, _numbers(gist.positions))
    packed, size = gist.answers, ANSWER.size
    answers = (packed[at : at + size] for at in range(0, len(packed), size))
    log.answers.update(zip(gist.identities, answers, strict=True))
    forget_oldest(log)


def _numbers(column: bytes) -> Sequence[int]:
    numbers = array("q")
    numbers.frombytes(column)
    return numbers


def _put(state: State, told: Iterable[int]) -> None:
    """Positions as they are told; see `dealing.put_position`."""
    contracts, accounts = state.contracts, state.accounts
    for row in zip(*[iter(told)] * _POSITION, strict=True):
        number, instrument, lots, entry_value, basis_value, realised = row
        contract, account = contracts[instrument], accounts[number]
        check(account is not None, "who holds a position is there", number)
        position = contract.holders.get(number)
        if position is None:
            position = contract.holders[number] = Position(0, 0, 0, 0)
            if account.positions is None:
                account.positions = {}
            account.positions[instrument] = position
        contract.basis_total += basis_value - position.basis_value
        position.lots = lots
        position.entry_value = entry_value
        position.basis_value = entry_value if basis_value == entry_value else basis_value
        position.realised += realised
        if not lots and not basis_value:
            del contract.holders[number]
            positions = account.positions
            del positions[instrument]
            if not positions:
                account.positions = account.given = None


check(array("q").itemsize == 8, "numbers have 64 bits", sys.platform)
