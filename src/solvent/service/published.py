"""What a venue has published, as of its last publication: an immutable view for other threads.

It is made anew on the engine's thread whenever markets, arrays, rulebooks or listings change.
Whoever asks what-ifs works on it without stopping the engine, with the engine's own arithmetic:
`Published.state` has the rules, assets and contracts of the books, and no account.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from solvent.engine.state import Rules, State
from solvent.errors import BadInput
from solvent.host import Engine
from solvent.journal import Row
from solvent.market import Snapshot
from solvent.market.wire import decode_snapshot
from solvent.messages import commands as c
from solvent.messages.codec import REFUSED, decode_command
from solvent.service.streams import Entry

_CHANGING: Final = (
    c.PublishMarket, c.PublishArrays, c.AdoptRulebook, c.ListInstrument, c.ListAsset, c.ListCombo,
    c.DelistInstrument, c.SettleExpiry,
)  # fmt: skip
_MARKET: Final = "publish_market"
_LOOK_BACK: Final = 100_000
"""Commands that are searched at the start for the last market; older ones are waited for anew."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One publication; `sequence` is the last command that is in it.

    Attributes:
        state: rules, assets, contracts and prices; compiled plans are never changed.
        market: the last snapshot that was published, as bytes; empty where there was none.
        market_sequence: the command that published it.
    """

    sequence: int
    state: State
    market: bytes
    market_sequence: int

    @property
    def rules(self) -> Mapping[str, Rules]:
        """Rulebooks by name."""
        return self.state.rules

    @cached_property
    def snapshot(self) -> Snapshot | None:
        """The market for who reprices it; None where none was published, or its contracts have
        changed since."""
        if not self.market:
            return None
        known = {one.listing.symbol: one.instrument for one in self.state.contracts}
        try:
            return decode_snapshot(self.market, known)
        except BadInput:
            return None

    def age_ms(self, name: str, time_ms: int) -> int | None:
        """How old a rulebook's arrays are at a time; None where it has none."""
        arrays = self.rules[name].arrays
        return None if arrays is None else time_ms - int(arrays.as_of_ms)

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Rulebook → SHA-256 of its arrays as they were published; those that have any."""
        return {
            name: hashlib.sha256(rules.arrays_bytes).hexdigest()
            for name, rules in self.rules.items() if rules.arrays_bytes
        }  # fmt: skip


class Board:
    """Keeps `now` up to date; a hook of `Venue`. `time_ms` is the engine's time."""

    def __init__(self) -> None:
        self.now = Published(sequence=0, state=State(), market=b"", market_sequence=0)
        self.time_ms = 0

    def __call__(self, engine: Engine, entries: Sequence[Entry]) -> None:
        """Hear of a commit, or (without entries) that the engine is ready."""
        state = engine.state
        self.time_ms = state.log.time_ms
        changes = [one for one in entries if not one.code and isinstance(one.command, _CHANGING)]
        if entries and not changes:
            return
        market, at = self.now.market, self.now.market_sequence
        if not entries:
            market, at = _last_market(engine)
        for one in changes:
            if isinstance(one.command, c.PublishMarket) and one.command.snapshot:
                market, at = one.command.snapshot, one.sequence
        self.now = Published(
            sequence=state.log.sequence, state=_frozen(state), market=market, market_sequence=at
        )


class _Unkept(dict[Any, Any]):
    """Standings that are forgotten at once: what-ifs seldom come again, and those of a minute would
    fill hundreds of megabytes."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Keeps nothing."""
        del args, kwargs


def _frozen(state: State) -> State:
    """The parts of the books that say how accounts are margined."""
    found = State()
    found.log.sequence, found.log.time_ms = state.log.sequence, state.log.time_ms
    found.assets, found.asset_numbers = list(state.assets), dict(state.asset_numbers)
    found.contracts = [replace(one, holders={}) for one in state.contracts]
    found.contract_numbers = dict(state.contract_numbers)
    found.combos = list(state.combos)
    found.underlyings = {
        name: replace(one, seen=deque()) for name, one in state.underlyings.items()
    }
    found.rules = {
        name: replace(rules, found=_Unkept(), found_by=rules.plan)
        for name, rules in state.rules.items()
    }
    found.venue_rulebook, found.house = state.venue_rulebook, state.house
    return found


def _last_market(engine: Engine) -> tuple[bytes, int]:
    """The last snapshot in the journal that is not too far back."""
    journal, until = engine.journal, engine.journal.head.sequence
    first, step = max(0, until - _LOOK_BACK), 1_000
    while until > first:
        after = max(first, until - step)
        found: Row | None = None
        for row in journal.read(after=after, until=until, verify=False):
            if row.kind == _MARKET and not row.events.startswith(REFUSED):
                found = row
        if found is not None:
            command = decode_command(found.command)
            if isinstance(command, c.PublishMarket) and command.snapshot:
                return command.snapshot, found.sequence
            until = found.sequence - 1
            continue
        until, step = after, step * 4
    return b"", 0
