"""Whether an asset still trades where it can be redeemed: a state that does not flap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from solvent.errors import check
from solvent.market.oracles import PPM


class Peg(StrEnum):
    """Where an asset stands to its redemption value."""

    HELD = "held"
    STRAINED = "strained"
    """It is beyond the bound, or was until lately; not for long enough yet."""
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class PegRule:
    """When a peg is lost and when it holds again; shares in millionths, either way.

    Attributes:
        leave_ppm: a deviation above it strains the peg, and loses it after lost_ms.
        return_ppm: at or below it, for held_ms, the peg holds again; between the two nothing
            changes.
    """

    leave_ppm: int
    return_ppm: int
    lost_ms: int
    held_ms: int

    def __post_init__(self) -> None:
        check(0 <= self.return_ppm < self.leave_ppm, "a peg returns nearer than it leaves", self)
        check(min(self.lost_ms, self.held_ms) >= 0, "times", self.lost_ms, self.held_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class PegState:
    """What is remembered of a peg. `since_ms`: since when it would change; None while it would
    not. An asset of which nothing is known yet is strained."""

    peg: Peg = Peg.STRAINED
    since_ms: int | None = None


def watched(
    rule: PegRule, state: PegState, *, market_nano: int | None, redemption_nano: int | None,
    now_ms: int,
) -> PegState:  # fmt: skip
    """The peg after another look. While a price is not known the state stays, and no time counts.

    >>> rule = PegRule(leave_ppm=20_000, return_ppm=5_000, lost_ms=60_000, held_ms=600_000)
    >>> state, looks = PegState(peg=Peg.HELD), [(0, 970), (60_000, 960), (70_000, 1_000)]
    >>> for now, price in looks:
    ...     state = watched(rule, state, market_nano=price, redemption_nano=1_000, now_ms=now)
    ...     print(state.peg)
    strained
    lost
    lost
    """
    if market_nano is None or not redemption_nano:
        return replace(state, since_ms=None)
    off = abs(market_nano - redemption_nano) * PPM
    if state.peg is Peg.LOST:
        returning = off <= redemption_nano * rule.return_ppm
        since_ms = _since(state, now_ms) if returning else None
        if since_ms is not None and now_ms - since_ms >= rule.held_ms:
            return PegState(peg=Peg.HELD)
        return PegState(peg=Peg.LOST, since_ms=since_ms)
    if off > redemption_nano * rule.leave_ppm:
        since_ms = _since(state, now_ms)
        if now_ms - since_ms >= rule.lost_ms:
            return PegState(peg=Peg.LOST)
        return PegState(peg=Peg.STRAINED, since_ms=since_ms)
    if off <= redemption_nano * rule.return_ppm:
        return PegState(peg=Peg.HELD)
    return PegState(peg=state.peg, since_ms=None)


def _since(state: PegState, now_ms: int) -> int:
    return now_ms if state.since_ms is None else state.since_ms
