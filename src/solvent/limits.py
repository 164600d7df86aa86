"""Every maximum, with the relations between them checked at import.

Risk sums are integers inside float64: they are exact while every partial sum stays below
`EXACT_MAX`. `risk.product` refuses a book that could leave that range; the limits here make sure
that everything else that Solvent counts fits its type.
"""

from __future__ import annotations

from typing import Final

from solvent.errors import check

EXACT_MAX: Final = 2**53
"""Integers up to here are exact in float64, and so is every sum that stays below it."""

ACCOUNTS_MAX: Final = 1 << 24
POSITIONS_PER_ACCOUNT_MAX: Final = 1 << 16
POSITIONS_MAX: Final = 1 << 28
INSTRUMENTS_MAX: Final = 1 << 20
SCENARIOS_MAX: Final = 1 << 14
LOTS_MAX: Final = 1 << 40
"""Largest position in lots, either side."""

MONEY_MAX: Final = 1 << 62
"""Largest amount of money in an asset's smallest unit: sums of two still fit int64."""

POINTS_MAX: Final = 1 << 53
"""Largest price in ticks or points."""
TIME_MS_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""
ASSETS_MAX: Final = 1 << 8
LISTED_MAX: Final = 1 << 20
"""Contracts that a venue ever listed: a number is never used twice."""
COMBO_FIRST: Final = LISTED_MAX
"""Combinations of contracts are numbered from here on."""
ICEBERG_PARTS_MAX: Final = 1_000
"""Parts in which an order may show itself: each is an event when all of it trades at once."""
KEYS_MAX: Final = 1 << 20
"""Idempotency keys that are remembered; the oldest sixteenth is forgotten when there are more."""
INPUTS_MAX: Final = 64
"""Numbers that are brought for one account's rulebook."""
COMMAND_BYTES_MAX: Final = 1 << 26
"""A command as it is stored. Risk arrays of a large venue are a few megabytes."""

STRIKE_MAX: Final = 1e12
PRICE_MAX: Final = 1e12
VOL_MAX: Final = 50.0
"""An implied volatility above 5,000 % is a fault of its source."""

RATE_MAX: Final = 10.0
"""A continuous rate above 1,000 % a year, either way, is a fault of its source."""

EXPRESSION_DEPTH_MAX: Final = 64
INLINED_DEPTH_MAX: Final = 128
"""An expression whose names were replaced may be deeper, as each layer was read alone."""
INLINED_NODES_MAX: Final = 1 << 14
EXPRESSION_CHARS_MAX: Final = 4_096
PROBLEMS_MAX: Final = 1_000
"""Bad rows that are listed; the rest are counted."""

check(LOTS_MAX < EXACT_MAX, "a position is exact in float64", LOTS_MAX)
check(POSITIONS_MAX < 2**31, "a position's row fits int32", POSITIONS_MAX)
check(INSTRUMENTS_MAX < 2**31, "an instrument's row fits int32", INSTRUMENTS_MAX)
check(ACCOUNTS_MAX < 2**31, "an account's row fits int32", ACCOUNTS_MAX)
check(POSITIONS_PER_ACCOUNT_MAX <= POSITIONS_MAX, "one account's positions fit a book")
check(2 * MONEY_MAX <= 2**63, "two amounts of money sum inside int64", MONEY_MAX)
check(LOTS_MAX * POSITIONS_PER_ACCOUNT_MAX < 2**63, "gross lots of an account fit int64")
