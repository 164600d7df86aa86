"""What a backtest found: requirements and what then happened, by rulebook, portfolio and date.

One result is of one market history. Requirement and PnL of a cell are of the same book in the same
contracts, so they compare; two rulebooks may have had the same portfolio in other contracts
(inverse for a venue of coin-margined books, linear for one of dollars), which `contracts` tells.

Money is whole millionths of a dollar. PnL is the account's gain over the margin period of risk,
rounded down; a book that settles in a coin gains coins, told in dollars at the index of the first
day where its rulebook counts in the coin, and of the period's end where it counts in dollars (the
notes say which). A breach is a loss above the requirement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.units import Float64

Int64 = NDArray[np.int64]
Int8 = NDArray[np.int8]
Bool = NDArray[np.bool_]
Which = Literal["initial", "maintenance"]
"""The margin that is judged."""


class Cell(IntEnum):
    """What became of one rulebook, portfolio and date."""

    JUDGED = 0
    NO_BOOK = 1
    """The market of the day did not list what the portfolio wants."""
    REFUSED = 2
    """The rulebook could not margin the book."""
    NO_END = 3
    """No market near the end of the margin period."""
    UNVALUED = 4
    """Something in the book had no value at the end."""


CELL_WORDS: Final = {
    Cell.JUDGED: "judged",
    Cell.NO_BOOK: "not listed on the day",
    Cell.REFUSED: "refused by the rulebook",
    Cell.NO_END: "no market at the end of the period",
    Cell.UNVALUED: "no value at the end of the period",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something repaired, assumed or left out, in words, and how often."""

    code: str
    text: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One rulebook and portfolio through time: its judged cells alone, in order of time.

    Attributes:
        time_ms, until_ms: [cell] begin and end of the margin period.
        margin_micro: [cell] the requirement judged, millionths of a dollar, never negative.
        loss_micro: [cell] loss over the period, positive for a loss.
        gross_micro: [cell] |size| at the index, summed: what costs are told against.
    """

    rulebook: str
    portfolio: str
    kind: str
    underlying: str
    time_ms: Int64
    until_ms: Int64
    margin_micro: Int64
    loss_micro: Int64
    gross_micro: Int64

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def breach(self) -> Bool:
        """[cell] whether the loss was above the margin."""
        return np.asarray(self.loss_micro > self.margin_micro)

    @property
    def excess_micro(self) -> Int64:
        """[cell] how far the loss went beyond the margin, 0 without a breach."""
        return np.asarray(np.maximum(self.loss_micro - self.margin_micro, 0))

    @property
    def broken(self) -> Bool:
        """[cell] whether days are missing just before it: its step is more than one and a half of
        the usual (the median of all). Never before the first."""
        found = np.zeros(len(self), dtype=bool)
        steps = np.diff(self.time_ms)
        if len(steps):
            found[1:] = steps > 1.5 * float(np.median(steps))
        return found

    @property
    def rate(self) -> Float64:
        """[cell] margin over gross: what procyclicality is measured on, as size follows price."""
        return np.asarray(self.margin_micro / np.maximum(self.gross_micro, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class CourtResult:
    """Axes: rulebook, portfolio, date.

    Attributes:
        history: name of the market history.
        rulebooks, digests: [rulebook] names, and what their parameters were.
        portfolios, kinds, underlyings: [portfolio].
        contracts: [rulebook, portfolio] in what contracts: `inverse`, `usdc`, `usdt`; "" for none.
        time_ms: [date] ascending, without duplicates; until_ms: when each period ended, 0 for none.
        mpor_ms: the margin period of risk that was asked for.
        index: [underlying of `index_names`, date] dollars per coin.
        initial_micro, maintenance_micro, pnl_micro, gross_micro: [rulebook, portfolio, date],
            0 where `state` is not `JUDGED`.
        state: [rulebook, portfolio, date] `Cell`.
        reasons: (rulebook, portfolio) → why it was refused, the first time.
        notes: what was repaired, assumed or left out.
    """

    history: str
    rulebooks: tuple[str, ...]
    digests: tuple[str, ...]
    portfolios: tuple[str, ...]
    kinds: tuple[str, ...]
    underlyings: tuple[str, ...]
    contracts: tuple[tuple[str, ...], ...]
    time_ms: Int64
    until_ms: Int64
    mpor_ms: int
    index_names: tuple[str, ...]
    index: Float64
    initial_micro: Int64
    maintenance_micro: Int64
    pnl_micro: Int64
    gross_micro: Int64
    state: Int8
    reasons: dict[tuple[int, int], str]
    notes: tuple[Note, ...]

    def __post_init__(self) -> None:
        shape = (len(self.rulebooks), len(self.portfolios), len(self.time_ms))
        for part in (self.initial_micro, self.maintenance_micro, self.pnl_micro, self.gross_micro):
            check(part.shape == shape, "axes are rulebook, portfolio, date", part.shape, shape)
        check(self.state.shape == shape, "a state a cell", self.state.shape)
        check(bool((np.diff(self.time_ms) > 0).all()), "times ascend")
        check(bool((self.initial_micro >= 0).all()), "a requirement is never negative")
        check(bool((self.maintenance_micro >= 0).all()), "a requirement is never negative")

    @property
    def overlapping(self) -> bool:
        """Whether more than one period in a hundred began before the one before it had ended.

        Losses then depend on each other, and tests that count breaches as independent say less.
        """
        ended = self.until_ms > 0
        begin, end = self.time_ms[ended], self.until_ms[ended]
        return 100 * int((begin[1:] < end[:-1]).sum()) > len(begin)

    def between(self, start_ms: int, end_ms: int) -> CourtResult:
        """The days from `start_ms` to before `end_ms`."""
        first, last = np.searchsorted(self.time_ms, [start_ms, end_ms])
        kept = slice(int(first), int(last))
        columns = ("initial_micro", "maintenance_micro", "pnl_micro", "gross_micro", "state")
        return replace(
            self, time_ms=self.time_ms[kept], until_ms=self.until_ms[kept],
            index=self.index[:, kept],
            **{name: getattr(self, name)[:, :, kept] for name in columns},
        )  # fmt: skip

    def track(self, rulebook: int, portfolio: int, *, which: Which = "initial") -> Track:
        """What was judged of one rulebook and portfolio."""
        at = self.state[rulebook, portfolio] == Cell.JUDGED
        asked = self.initial_micro if which == "initial" else self.maintenance_micro
        return Track(
            rulebook=self.rulebooks[rulebook],
            portfolio=self.portfolios[portfolio],
            kind=self.kinds[portfolio],
            underlying=self.underlyings[portfolio],
            time_ms=self.time_ms[at],
            until_ms=self.until_ms[at],
            margin_micro=asked[rulebook, portfolio, at],
            loss_micro=-self.pnl_micro[rulebook, portfolio, at],
            gross_micro=self.gross_micro[rulebook, portfolio, at],
        )

    def tracks(self, *, which: Which = "initial") -> Iterator[Track]:
        """Every rulebook and portfolio of which anything was judged."""
        for rulebook in range(len(self.rulebooks)):
            for portfolio in range(len(self.portfolios)):
                one = self.track(rulebook, portfolio, which=which)
                if len(one):
                    yield one
