"""Three kinds of failure, never mixed.

A *rejection* is a value: a `Reject` from a closed enum whose codes are never reused. *Bad input*
is an exception that names the file, the row and the field, and what was expected and found; the
shell turns it into one line and exit code 2. A *broken invariant* is a fault of Solvent itself and
stops the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique


@unique
class Reject(IntEnum):
    """Why something was refused. A code keeps its number for ever; retired codes stay listed."""

    # What was said could not be understood.
    SYMBOL_UNKNOWN = 101
    FIELD_MISSING = 102
    FIELD_NOT_A_NUMBER = 103
    FIELD_NOT_FINITE = 104
    SIZE_NOT_WHOLE_LOTS = 105
    SIZE_TOO_LARGE = 106
    ACCOUNT_EMPTY = 107
    PRICE_NOT_POSITIVE = 108
    TIME_INVALID = 109
    SIDE_UNKNOWN = 110
    # It was understood, and the market cannot carry it.
    INSTRUMENT_NOT_IN_MARKET = 201
    INSTRUMENT_EXPIRED = 202
    MARK_MISSING = 203
    VOL_MISSING = 204
    QUOTE_CROSSED = 205
    QUOTE_ZERO = 206
    INDEX_MISSING = 207
    # The rulebook cannot carry it.
    RULEBOOK_UNKNOWN = 301
    PARAMETER_UNSET = 302
    COLLATERAL_NOT_ACCEPTED = 303
    EXACT_RANGE_EXCEEDED = 304
    INPUT_INVALID = 305
    # The source itself is broken.
    SOURCE_UNREADABLE = 401
    SOURCE_EMPTY = 402
    ROW_MALFORMED = 403
    ROW_DUPLICATED = 404
    TARGET_UNWRITABLE = 405
    # A command to the engine: how it is told.
    COMMAND_MALFORMED = 501
    COMMAND_TOO_LARGE = 502
    KEY_REUSED = 503
    # What it names is not there, or is there already.
    ACCOUNT_UNKNOWN = 601
    ASSET_UNKNOWN = 602
    INSTRUMENT_UNKNOWN = 603
    RULEBOOK_NOT_ADOPTED = 604
    ORDER_UNKNOWN = 605
    REFERENCE_UNKNOWN = 606
    NAME_TAKEN = 611
    ORDER_DUPLICATED = 612
    REFERENCE_DUPLICATED = 613
    CAPACITY_REACHED = 614
    # The account is not in the state for it.
    ACCOUNT_CLOSED = 621
    ACCOUNT_FROZEN = 622
    ACCOUNT_IN_LIQUIDATION = 623
    ACCOUNT_NOT_IN_LIQUIDATION = 624
    ACCOUNT_NOT_EMPTY = 625
    ACCOUNT_NOT_LIQUIDATABLE = 626
    ACCOUNT_STILL_LIQUIDATABLE = 627
    ACCOUNT_NOT_A_MEMBER = 628
    ACCOUNT_NOT_FOR_THIS = 629
    ACCOUNTS_THE_SAME = 630
    # The contract is not in the state for it.
    INSTRUMENT_HALTED = 631
    INSTRUMENT_CLOSED = 632
    INSTRUMENT_HELD = 633
    INSTRUMENT_NOT_EXPIRED = 634
    INSTRUMENT_NOT_FOR_THIS = 635
    INSTRUMENT_TERMS_INVALID = 636
    # Money and risk.
    BALANCE_INSUFFICIENT = 641
    MARGIN_INSUFFICIENT = 642
    RISK_UNKNOWN = 643
    FUND_INSUFFICIENT = 644
    AMOUNT_TOO_LARGE = 645
    POSITION_TOO_LARGE = 646
    DEBT_EXCEEDED = 647
    SHARES_EXCEED_BALANCE = 648
    ISOLATED_MARGIN_INSUFFICIENT = 649
    CREDIT_NOT_WITHDRAWABLE = 650
    # Orders, modes, positions.
    ORDER_MISMATCHED = 651
    ORDER_TERMS_INVALID = 652
    ORDER_TOO_SMALL = 653
    ORDER_TOO_LARGE = 654
    ORDER_EXPIRED = 655
    ORDER_UNFILLABLE = 656
    ORDER_WAITING = 657
    ORDER_NOT_FOR_AUCTION = 658
    AMEND_BELOW_FILLED = 659
    MODE_UNSUPPORTED = 661
    MODE_REFUSED = 662
    LEVERAGE_INVALID = 663
    POSITION_NOT_HELD = 664
    POSITIONS_UNBALANCED = 665
    BOOKS_NOT_EMPTY = 666
    # How an order fits its book.
    PRICE_OFF_STEP = 691
    LOTS_OFF_STEP = 692
    PRICE_OUT_OF_BAND = 693
    POST_ONLY_CROSSES = 694
    REDUCE_ONLY_INCREASES = 695
    STOP_TRIGGERS_AT_ONCE = 696
    PROTECTION_TRIPPED = 697
    PROTECTION_UNKNOWN = 698
    BLOCK_MISMATCHED = 699
    ACCOUNT_NOT_SHORT_OF_MARGIN = 700
    # An account that cannot pay.
    ACCOUNT_NOT_A_BACKSTOP = 711
    BACKSTOP_FULL = 712
    TARGET_REACHED = 713
    COOLDOWN = 714
    AUCTION_UNKNOWN = 715
    AUCTION_RUNNING = 716
    AUCTION_NOT_OVER = 717
    PRICE_EXCEEDED = 718
    CONVERSION_TOO_DEAR = 719
    HEDGE_NOT_BETTER = 720
    ASSETS_THE_SAME = 721
    COUNTERPARTY_UNABLE = 722
    # Prices, times, rules.
    PRICES_INCOMPLETE = 671
    TIME_NOT_REACHED = 672
    PERIOD_PAID = 673
    RATE_INVALID = 674
    ARRAYS_INVALID = 675
    SNAPSHOT_INVALID = 676
    RULEBOOK_INVALID = 681


class SolventError(Exception):
    """Everything that Solvent raises on purpose."""


class InvariantBroken(SolventError):
    """A fault of Solvent, not of its input: stop, and do not trust the state."""


class Refused(Exception):
    """Why a command is not done: raised before anything has changed; it becomes a `Rejected` event
    and never leaves the engine."""

    def __init__(self, code: Reject, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.side = 0
        """Of a trade: 0 where its buyer is refused, 1 where its seller is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with one piece of input, as a value."""

    code: Reject
    source: str
    expected: str
    found: str
    row: int | None = None
    """Counted from 1, a table's header not counted."""
    line: int | None = None
    """Line of a text file, where rows are lines."""
    field: str | None = None

    def __str__(self) -> str:
        where = self.source
        if self.row is not None:
            where += f", row {self.row}"
        if self.line is not None:
            where += f" (line {self.line})"
        if self.field is not None:
            where += f", field {self.field!r}"
        return f"{where}: expected {self.expected}, found {self.found} [{self.code.name}]"


class BadInput(SolventError):
    """Input that cannot be used; `problems` lists everything that was seen wrong."""

    def __init__(self, *problems: Problem) -> None:
        check(len(problems) > 0, "bad input names at least one problem")
        self.problems = problems
        super().__init__(*problems)

    def __str__(self) -> str:
        return str(self.problems[0])


class RulebookError(SolventError):
    """A rulebook that does not say something that can be computed; names the file and the key."""


class MissingExtra(SolventError):
    """A feature needs a package that is not installed."""

    def __init__(self, *, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'solvent[{extra}]'")


def check(holds: bool, invariant: str, *seen: object) -> None:
    """Hold an invariant, also under `python -O`.

    >>> check(2 + 2 == 4, "arithmetic holds")
    >>> check(1 > 2, "sorted", 1, 2)
    Traceback (most recent call last):
    ...
    solvent.errors.InvariantBroken: sorted, was 1, 2
    """
    if not holds:
        was = f", was {', '.join(map(repr, seen))}" if seen else ""
        raise InvariantBroken(f"{invariant}{was}")
