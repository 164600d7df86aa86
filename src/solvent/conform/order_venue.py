"""The margin of orders as an engine takes it: a venue of one contract, told by commands alone.

A case's orders are placed by a user with plenty of money under a shipped rulebook of formulas, and
where the account stands is read from the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from fractions import Fraction
from typing import Any, Final

import numpy as np

from solvent.api import rulebook_in_force
from solvent.conform.vega_venue import exact, finest, plain
from solvent.engine.apply import apply
from solvent.engine.audit import violations
from solvent.engine.reference import instrument_of
from solvent.engine.standing import standing, view
from solvent.engine.state import State
from solvent.feeds.library import rulebook_source
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.market import Quotes, assemble
from solvent.messages import commands as c
from solvent.messages.codec import Sealed
from solvent.messages.fields import (
    AccountKind,
    Command,
    IndexPrice,
    MarginMode,
    MarkPrice,
    OpeningPosition,
    Side,
)
from solvent.risk import publish
from solvent.risk.wire import encode_arrays
from solvent.units import TimeMs

_START_MS: Final = 1_790_000_000_000
_DAY: Final = date(2026, 9, 21)
_PLENTY: Final = 10**15
_NANO: Final = 10**9
_MICRO: Final = 10**6
_NEAR_MICRO: Final = 2
"""The engine rounds up to millionths of a dollar."""
Order = tuple[bool, Any, Any]
"""Whether it buys, its size, its price."""


def agreed(formula: Fraction, engine: Fraction) -> Fraction:
    """The formula's number where the engine's is the same to a millionth or two; else the
    engine's, so that the case fails."""
    return formula if abs(formula - engine) <= Fraction(_NEAR_MICRO, _MICRO) else engine


class OrderVenue:
    """One perpetual under a rulebook, and what a user's orders in it need."""

    def __init__(
        self, rulebook: str, symbol: str, *, mark: Any, sizes: Iterable[Any], prices: Iterable[Any],
        inverse: bool = False,
    ) -> None:  # fmt: skip
        self.state = State()
        self._symbol = symbol
        self._lot, self._tick = finest(sizes), finest([mark, *prices])
        base, _, quote = symbol.split("-")[0].partition("_")
        dollar = quote or "USD"
        told = c.ListInstrument(
            key="listing", actor="case", symbol=symbol, kind="perpetual", base=base, quote=dollar,
            settlement=base if inverse else dollar, lot_size=plain(self._lot),
            contract_size=plain(self._lot) if inverse else "1", tick_size=plain(self._tick),
            points_per_tick=1, inverse=inverse,
        )  # fmt: skip
        for asset, decimals in ((base, 9), (dollar, 6)):
            self._must(c.ListAsset, asset=asset, decimals=decimals)
        toml = rulebook_source(rulebook)
        self._must(c.AdoptRulebook, name=rulebook, toml=toml, day=str(_DAY), venue=True)
        self._do(told)
        self._must(
            c.PublishMarket, index=(IndexPrice(base, int(exact(mark) * _NANO), 0),),
            marks=(MarkPrice(symbol, self._ticks(mark), 0),),
        )  # fmt: skip
        arrays = _arrays(rulebook, told, float(mark))
        self._must(c.PublishArrays, rulebook=rulebook, arrays=arrays)
        for name in ("party", "other"):
            self._must(c.OpenAccount, account=name, kind=AccountKind.USER, rulebook=rulebook)
            self._must(c.Deposit, account=name, asset=base if inverse else dollar, amount=_PLENTY)

    def hold(self, size: Any, price: Any) -> None:
        """Begin with a signed position at a price."""
        lots = int(exact(size) / self._lot)
        rows = tuple(
            OpeningPosition(name, self._symbol, held, self._ticks(price))
            for name, held in (("party", lots), ("other", -lots))
        )
        self._must(c.ImportBooks, balances=(), positions=rows)

    def leverage(self, leverage: Any) -> None:
        """The leverage that the user chooses."""
        self._must(
            c.SetMarginMode, account="party", symbol=self._symbol, mode=MarginMode.CROSS,
            leverage=plain(exact(leverage)),
        )  # fmt: skip

    def initial(self, orders: Iterable[Order]) -> Fraction:
        """Initial margin in dollars with these orders resting."""
        for place, (buy, size, price) in enumerate(orders):
            self._must(
                c.PlaceOrder, account="party", order=f"o{place}", symbol=self._symbol,
                side=Side.BUY if buy else Side.SELL, lots=int(exact(size) / self._lot),
                price_ticks=self._ticks(price), post_only=True,
            )  # fmt: skip
        account = self.state.account(self.state.account_numbers["party"])
        found = standing(self.state, view(self.state, account))
        if not found.known:
            raise ValueError("the engine does not know where the account stands")
        return Fraction(found.initial_micro, _MICRO)

    def _must(self, kind: type[Command], /, **fields: Any) -> None:
        self._do(kind(key=str(self.state.log.sequence), actor="case", **fields))

    def _do(self, command: Command) -> None:
        sealed = Sealed(self.state.log.sequence + 1, _START_MS, command)
        found = apply(self.state, sealed)
        wrong = [str(found.events)] * bool(found.code) + list(violations(self.state))
        if wrong:
            raise ValueError(f"{found.kind}: {wrong[0]}")

    def _ticks(self, price: Any) -> int:
        return int(exact(price) / self._tick)


def _arrays(name: str, told: c.ListInstrument, mark: float) -> bytes:
    """Risk arrays of a market with this one contract, its mark at the index."""
    price, none = np.array([mark]), np.array([np.nan])
    quotes = Quotes(
        instruments=[instrument_of(told)], index=price, forward=price, mark=price, vol=none,
        bid=none, ask=none, rate=np.zeros(1), time_ms=np.array([_START_MS], dtype=np.int64),
    )  # fmt: skip
    book = rulebook_in_force(name, _DAY)
    if not isinstance(book, LevelsRulebook):
        raise TypeError(f"rulebook {name}: expected one of formulas")
    shocks = shocking(book)
    snapshot = assemble(quotes, as_of_ms=TimeMs(_START_MS))
    return encode_arrays(
        publish(snapshot, sets=shocks.sets, rules=shocks.rules, tables=shocks.tables)
    )
