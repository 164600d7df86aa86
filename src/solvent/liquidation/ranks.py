"""Who is deleveraged first: scores by venue, the order they make, and what each trader may know.

A score is a fraction, the higher the sooner. Of equal scores the lower account number goes first,
so the order is one and the same for everyone who computes it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

from solvent.errors import check

Number = Fraction | int
_FIFTHS: Final = 5


def bitmex(*, mark_value: Number, entry_value: Number, bankruptcy_value: Number) -> Fraction:
    """Return × effective leverage of a gain; return / leverage of a loss. Values carry the side.

    Return = (M − E)/|E|, leverage = |M|/(M − B) with M at the mark, E at entry, B at bankruptcy.

    >>> str(bitmex(mark_value=110, entry_value=100, bankruptcy_value=90))
    '11/20'
    >>> str(bitmex(mark_value=-90, entry_value=-100, bankruptcy_value=-108))
    '1/2'
    """
    check(entry_value != 0 and mark_value > bankruptcy_value, "a position that is not bankrupt")
    gained = (Fraction(mark_value) - entry_value) / abs(Fraction(entry_value))
    leverage = abs(Fraction(mark_value)) / (Fraction(mark_value) - bankruptcy_value)
    return gained * leverage if gained > 0 else gained / leverage


def binance(*, unrealised: Number, wallet: Number, maintenance: Number) -> Fraction:
    """PnL% × margin ratio: max(0, U)/max(1, W) · MM/(W + U), 0 where W + U is not above 0.

    Amounts in whole units of the quote currency, as the venue's `max(1, W)` says.

    >>> str(binance(unrealised=500, wallet=1_000, maintenance=60))
    '1/50'
    """
    equity = Fraction(wallet) + unrealised
    ratio = maintenance / equity if equity > 0 else Fraction(0)
    return Fraction(max(0, unrealised)) / max(1, wallet) * ratio


def leveraged_return(*, unrealised: Number, margin: Number) -> Fraction:
    """Bybit: what a position gains on the margin that it uses; that is PnL% × leverage.

    >>> str(leveraged_return(unrealised=30, margin=120))
    '1/4'
    """
    check(margin > 0, "a position uses margin", margin)
    return Fraction(unrealised) / margin


def okx(*, gained: Number, margin_ratio: Number) -> Fraction:
    """PnL% / margin ratio of a gain, PnL% × margin ratio of a loss: the thinner the margin the
    sooner. The venue's text tells the first; the second keeps the order of losses the same way.

    >>> [str(okx(gained=gained, margin_ratio=4)) for gained in (Fraction(1, 2), Fraction(-1, 2))]
    ['1/8', '-2']
    """
    check(margin_ratio > 0, "a margin ratio is above 0", margin_ratio)
    return Fraction(gained) / margin_ratio if gained > 0 else Fraction(gained) * margin_ratio


def hyperliquid(
    *, side: int, mark: Number, entry: Number, notional: Number, value: Number
) -> Fraction:
    """(mark/entry)·(notional/account value) of a long; of a short entry/mark, so that a gain ranks
    a trader higher on either side (the venue's text tells it for longs).

    >>> str(hyperliquid(side=1, mark=110, entry=100, notional=1_100, value=220))
    '11/2'
    """
    check(side in (1, -1) and mark > 0 and entry > 0, "a position with prices", side, mark, entry)
    check(value > 0, "who has nothing cannot be a counterparty", value)
    moved = Fraction(mark) / entry if side > 0 else Fraction(entry) / mark
    return moved * notional / value


# ── orders ───────────────────────────────────────────────────────────────────────────────────────


def by_score(scores: Mapping[int, Fraction]) -> tuple[int, ...]:
    """Account numbers, the highest score first; of equals the lower number.

    >>> by_score({3: Fraction(1), 1: Fraction(1), 2: Fraction(5)})
    (2, 1, 3)
    """
    return tuple(sorted(scores, key=lambda account: (-scores[account], account)))


def from_seed(accounts: Sequence[int], seed: bytes) -> tuple[int, ...]:
    """dYdX's order: by number, around a ring, from a start that the seed tells.

    The start is drawn by `drawn`: nobody can choose it who cannot choose the seed, and all who
    know the seed agree.

    >>> from_seed([7, 3, 5], b"block 1")
    (5, 7, 3)
    """
    check(len(set(accounts)) == len(accounts), "an account stands once", accounts)
    ring = sorted(accounts)
    if not ring:
        return ()
    first = drawn(len(ring), seed)
    return (*ring[first:], *ring[:first])


def drawn(below: int, seed: bytes) -> int:
    """A number in [0, below), each as likely: SHA-256 of the seed and a counter of eight bytes.

    A digest in the incomplete last stretch of 2^256 is passed over, and the counter goes up.

    >>> drawn(1, b""), drawn(1_000, b"a") == drawn(1_000, b"a")
    (0, True)
    """
    check(below > 0, "there is something to draw", below)
    whole = (1 << 256) // below * below
    for counter in range(1 << 64):
        digest = hashlib.sha256(seed + counter.to_bytes(8, "big")).digest()
        if (found := int.from_bytes(digest, "big")) < whole:
            return found % below
    return 0


# ── what a trader may know ───────────────────────────────────────────────────────────────────────


class Place(NamedTuple):
    """Where an account stands in the queue of its contract and side."""

    account: int
    rank: int
    """From 1: it goes first."""
    quintile: int
    """From 1, by the lots that go up to its own: the fifth that goes first."""

    @property
    def lights(self) -> int:
        """5 for who goes first, 1 for who goes last."""
        return _FIFTHS + 1 - self.quintile


def places(order: Sequence[int], lots: Mapping[int, int]) -> tuple[Place, ...]:
    """Places in a queue; quintiles by cumulative lots (without sign), rounded up to fifths.

    >>> held = {1: 10, 2: 10, 3: 20, 4: 30, 5: 20, 6: 10}
    >>> {place.account: place.quintile for place in places([2, 5, 4, 1, 6, 3], held)}
    {2: 1, 5: 2, 4: 3, 1: 4, 6: 4, 3: 5}
    """
    total = sum(abs(lots[account]) for account in order)
    found, run = [], 0
    for rank, account in enumerate(order, 1):
        run += abs(lots[account])
        quintile = math.ceil(Fraction(_FIFTHS * run, total)) if total else 1
        found.append(Place(account, rank, max(1, quintile)))
    return tuple(found)
