"""What instruments pay, term by term, and the one order they stand in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from solvent.errors import InvariantBroken
from solvent.feeds.library import specification
from solvent.instruments import (
    Instrument,
    OptionType,
    Payoff,
    Specification,
    Term,
    Universe,
    parse_symbol,
    term_sheet,
)
from solvent.instruments.sheet import call_spread, capped_future, digital, straddle, structure
from solvent.instruments.symbols import ccxt_symbol, listed_symbol
from solvent.market import Quotes, assemble
from solvent.risk import publish
from solvent.scenarios import ScenarioSet, Tables
from solvent.scenarios.scenario import ladder

LOT = Specification(lot_size=Decimal("0.1"), contract_size=Decimal(1), tick_size=Decimal("0.1"))
SPOT = 60_000.0
Pays = Callable[[Any], Any]
PRODUCTS: dict[str, tuple[tuple[Term, ...], Pays]] = {
    "call spread": (call_spread(57_500, 63_500), lambda s: np.clip(s - 57_500, 0.0, 6_000.0)),
    "straddle": (straddle(61_500), lambda s: np.abs(s - 61_500)),
    "digital": (digital(58_500, cash=750.0), lambda s: np.where(s > 58_500, 750.0, 0.0)),
    "capped future": (capped_future(64_500), lambda s: np.minimum(s, 64_500)),
}
PAYS: dict[Payoff, Callable[[Any, float], Any]] = {
    Payoff.CALL: lambda s, k: np.maximum(s - k, 0.0),
    Payoff.PUT: lambda s, k: np.maximum(k - s, 0.0),
    Payoff.ABOVE: lambda s, k: np.where(s > k, 1.0, 0.0),
    Payoff.BELOW: lambda s, k: np.where(s < k, 1.0, 0.0),
}
TERMS = st.builds(
    Term,
    st.sampled_from(Payoff),
    st.one_of(st.just(0.0), st.integers(30, 90).map(lambda n: 1_000.0 * n + 500.0)),
    st.floats(-3.0, 3.0),
)


def settled(instrument: Instrument) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Prices from 36,000 to 84,000, and the PnL of a lot a millisecond before expiry."""
    nothing, price = np.full(1, np.nan), np.full(1, SPOT)
    time_ms = np.full(1, (instrument.expiry_ms or 1) - 1, dtype=np.int64)
    snapshot = assemble(
        Quotes(
            instruments=[instrument], index=price, forward=price, mark=nothing, time_ms=time_ms,
            vol=np.full(1, 0.5), bid=nothing, ask=nothing, rate=nothing,
        )
    )  # fmt: skip
    sets = [ScenarioSet(name="grid", moves=ladder("0.4", 8))]
    arrays = publish(snapshot, sets=sets, rules={}, tables=Tables())
    return SPOT * (1.0 + arrays.shocks.move[0]), arrays.pnl_units[0]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("like", ["BTC_USDC-27JUN25", "BTC-27JUN25"])
def test_structures_pay_at_expiry_what_they_say(product: str, like: str) -> None:
    terms, pays = PRODUCTS[product]
    sheet = structure(symbol="S", like=parse_symbol(like), terms=terms, specification=LOT)
    prices, pnl = settled(sheet)
    coin, coin_now = (prices, SPOT) if sheet.inverse else (1.0, 1.0)
    direct = 0.1 * (pays(prices) / coin - pays(SPOT) / coin_now)
    assert pnl == pytest.approx(direct, abs=1e-9)
    assert np.abs(pnl).max() > 0.0


@settings(max_examples=50)
@given(st.lists(TERMS, min_size=1, max_size=5), st.booleans(), st.sampled_from([1.0, 0.001]))
def test_any_sum_of_terms_pays_their_sum(
    terms: list[Term], inverse: bool, quanto_rate: float
) -> None:
    like = parse_symbol("BTC-27JUN25" if inverse else "BTC_USDC-27JUN25")
    sheet = structure(symbol="S", like=like, terms=tuple(terms), specification=LOT)
    sheet = sheet if inverse else replace(sheet, quanto_rate=quanto_rate)
    prices, pnl = settled(sheet)

    def worth(s: Any) -> Any:
        paid = sum(term.weight * PAYS[term.payoff](s, term.strike) for term in terms)
        return paid / s if inverse else paid * quanto_rate

    assert pnl == pytest.approx(0.1 * (worth(prices) - worth(SPOT)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("symbol", ["BTC-27JUN25", "BTC-PERPETUAL", "BTC_USDC-27JUN25", "BTC_USDC"])
def test_futures_pay_per_dollar_or_per_coin(symbol: str) -> None:
    contract = parse_symbol(symbol)
    sheet = term_sheet(contract, specification(contract))
    lot = float(sheet.specification.lot_size)
    prices, pnl = settled(sheet)
    direct = lot * ((1.0 / SPOT - 1.0 / prices) if contract.inverse else (prices - SPOT))
    assert pnl == pytest.approx(direct, rel=1e-12, abs=1e-12)


def listed(symbol: str) -> Instrument:
    contract = parse_symbol(symbol)
    return term_sheet(contract, specification(contract))


SPREAD = structure(
    symbol="SPREAD", like=parse_symbol("BTC-27JUN25"), terms=straddle(1.0), specification=LOT
)
SYMBOLS = (
    "BTC_USDC", "BTC-PERPETUAL", "BTC_USDC-PERPETUAL", "BTC-27JUN25", "BTC-27JUN25-60000-C",
    "BTC-27JUN25-60000-P", "BTC-27JUN25-9000-C", "BTC-7FEB25", "BTC_USDC-27JUN25-60000-C",
    "ETH-PERPETUAL", "ETH_USDC-27JUN25-2400d5-C", "ETH_USDC-27JUN25-2400-P", "BTC/USD:USDT",
)  # fmt: skip
BOOK = Universe([*map(listed, SYMBOLS), SPREAD])


@given(st.permutations([*map(listed, SYMBOLS), SPREAD]))
def test_order_depends_on_the_set_alone(instruments: list[Instrument]) -> None:
    universe = Universe(instruments)
    assert universe.instruments == BOOK.instruments
    for name, column in vars(BOOK).items():
        if isinstance(column, np.ndarray):
            assert column.tolist() == vars(universe)[name].tolist()


def test_rows_ascend_by_what_nets_together() -> None:
    keys = [
        (c.base, c.settlement, c.expiry_ms or 0, c.kind, c.strike or 0, c.option_type or "")
        for c in (one.contract for one in BOOK.instruments)
    ]
    assert keys == sorted(keys)
    for row, contract in enumerate(one.contract for one in BOOK.instruments):
        assert BOOK.underlyings[BOOK.underlying[row]] == contract.base
        assert BOOK.settlements[BOOK.settlement[row]] == contract.settlement
        assert BOOK.kind[row] == contract.kind
        assert BOOK.is_call[row] == (contract.option_type is OptionType.CALL)
        first, last = BOOK.terms.first[row : row + 2]
        assert BOOK.terms.instrument[first:last].tolist() == [row] * len(
            BOOK.instruments[row].terms
        )


def test_rows_are_found_by_any_name() -> None:
    for symbol in SYMBOLS:
        contract = parse_symbol(symbol)
        row = BOOK.row(symbol)
        assert row is not None
        assert BOOK.instruments[row].contract == contract
        assert BOOK.row(ccxt_symbol(contract)) == BOOK.row(listed_symbol(contract)) == row
    assert BOOK.row("BTC-07FEB25") == BOOK.row("BTC-7FEB25")
    assert BOOK.row("ETH-20250627-2400_50-C") == BOOK.row("ETH_USDC-27JUN25-2400d5-C")
    assert BOOK.symbols[BOOK.row("SPREAD") or 0] == "SPREAD"
    assert BOOK.row("BTC_USD-PERPETUAL") is None
    assert BOOK.row("SOL-PERPETUAL") is None


def test_columns_are_read_only() -> None:
    columns = [one for one in vars(BOOK).values() if isinstance(one, np.ndarray)]
    columns += [getattr(BOOK.terms, field.name) for field in fields(BOOK.terms)]
    assert len(columns) > 14
    for column in columns:
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[0]


def test_what_cannot_be_an_instrument_breaks() -> None:
    call = parse_symbol("BTC-27JUN25-60000-C")
    perpetual = parse_symbol("BTC-PERPETUAL")
    broken: dict[str, Callable[[], object]] = {
        "a dated contract, and nothing": lambda: replace(call, expiry_ms=None),
        "nothing else, has an expiry": lambda: replace(perpetual, expiry_ms=call.expiry_ms),
        "an option, and nothing else": lambda: replace(call, strike=None),
        "nothing else, has a strike": lambda: replace(perpetual, strike=call.strike),
        "a strike and a type": lambda: replace(perpetual, option_type=OptionType.CALL),
        "symbols are unique": lambda: Universe([listed("BTC-PERPETUAL"), listed("BTC/USD:BTC")]),
        "has a term": lambda: replace(SPREAD, terms=()),
        "a lot has a size": lambda: term_sheet(call, replace(LOT, lot_size=Decimal(0))),
        "inverse or quanto": lambda: replace(SPREAD, quanto_rate=0.5),
        "strikes ascend": lambda: call_spread(2.0, 2.0),
        "a structure expires": lambda: structure(
            symbol="S", like=perpetual, terms=straddle(1.0), specification=LOT
        ),
    }
    for words, make in broken.items():
        with pytest.raises(InvariantBroken, match=words):
            make()
    assert len(Universe([])) == len(Universe([]).terms.strike) == 0
