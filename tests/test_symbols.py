"""Names of contracts in three notations, against each other and against what venues published."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solvent.instruments import Contract, Kind, OptionType, parse_symbol
from solvent.instruments.contract import expiry_at
from solvent.instruments.symbols import ccxt_symbol, deribit_symbol, derive_symbol, listed_symbol
from solvent.units import DAY_MS, TimeMs
from tests.conftest import need_shared

COMBO = re.compile(r"[A-Z]+-(FS|CS|PS|STRD|STRG|COMBO)-.*")
CODES = st.one_of(
    st.sampled_from(["BTC", "ETH", "XRP", "USD", "USDC", "USDT", "PERP", "PERPETUAL"]),
    st.from_regex(r"[A-Z0-9]{1,15}", fullmatch=True),
)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    base, quote, third = draw(st.lists(CODES, min_size=3, max_size=3, unique=True))
    kind = draw(st.sampled_from([Kind.SPOT, Kind.PERPETUAL, Kind.FUTURE, Kind.OPTION]))
    day = draw(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
    dated, option = kind >= Kind.FUTURE, kind is Kind.OPTION
    strike = st.decimals("0.00001", 10**12, places=5)
    return Contract(
        base=base,
        quote=quote,
        settlement=quote if kind is Kind.SPOT else draw(st.sampled_from([base, quote, third])),
        kind=kind,
        expiry_ms=expiry_at(year=day.year, month=day.month, day=day.day) if dated else None,
        strike=draw(strike) if option else None,
        option_type=draw(st.sampled_from(OptionType)) if option else None,
    )


@settings(max_examples=500)
@given(contracts())
@example(parse_symbol("BTC/USDT:BTC"))
@example(parse_symbol("BTC/USD:USDT-250627-0.00010-C"))
@example(parse_symbol("BTC/USD:USDC"))
def test_a_name_means_one_contract_in_every_notation(contract: Contract) -> None:
    assert parse_symbol(ccxt_symbol(contract)) == contract
    assert parse_symbol(listed_symbol(contract)) == contract
    in_dollars = (contract.settlement, contract.quote) == (contract.base, "USD")
    in_usdc = (contract.settlement, contract.quote) == ("USDC", "USDC")
    for write, told in (
        (deribit_symbol, in_dollars or contract.settlement == contract.quote),
        (derive_symbol, in_usdc and contract.kind is not Kind.FUTURE),
    ):
        if told:
            assert parse_symbol(write(contract)) == contract
        else:
            with pytest.raises(ValueError, match=re.escape(ccxt_symbol(contract))):
                write(contract)


@pytest.mark.parametrize(
    ("deribit", "ccxt", "derive"),
    [
        ("BTC-PERPETUAL", "BTC/USD:BTC", None),
        ("BTC-7FEB26", "BTC/USD:BTC-260207", None),
        ("BTC_USDC-27JUN25", "BTC/USDC:USDC-250627", None),
        ("BTC_USDT", "BTC/USDT", None),
        ("ETH_USDC", "ETH/USDC", "ETH-USDC"),
        ("ETH_USDC-PERPETUAL", "ETH/USDC:USDC", "ETH-PERP"),
        ("XRP_USDC-27JUN25-0d625-P", "XRP/USDC:USDC-250627-0.625-P", "XRP-20250627-0_625-P"),
        ("ETH_USDC-29FEB28-2400d5-C", "ETH/USDC:USDC-280229-2400.5-C", "ETH-20280229-2400_5-C"),
    ],
)
def test_names_of_one_contract(deribit: str, ccxt: str, derive: str | None) -> None:
    contract = parse_symbol(deribit)
    assert (deribit_symbol(contract), ccxt_symbol(contract)) == (deribit, ccxt)
    assert contract == parse_symbol(ccxt)
    if derive is not None:
        assert derive_symbol(contract) == derive
        assert contract == parse_symbol(derive)


@pytest.mark.parametrize(
    "text",
    [
        "BTC-31FEB25", "BTC-29FEB25", "BTC-0JAN25", "BTC-32JAN25", "BTC-27JUM25", "BTC-27jun25",
        "BTC/USD:BTC-250229", "BTC/USD:BTC-251301", "ETH-20250230-2000-C", "ETH-19991231-2000-C",
        "ETH-21000101-2000-C", "BTC-27JUN25-0-C", "BTC-27JUN25-0d0-C", "BTC-27JUN25--1-C",
        "BTC-27JUN25-1000000000001-C", "BTC-27JUN25-60000", "BTC-27JUN25-60000-X",
        "BTC-27JUN25-6e4-C", "BTC-27JUN25-60000.5-C", "BTC-PERPETUAL-60000-C", "BTC-PERP-1-C",
        "BTC", "", " BTC-PERPETUAL", "BTC-PERPETUAL\n", "btc-PERPETUAL", "BTC/USD:BTC-25062",
        "BTC-27JUN25-٦٠٠٠٠-C", "BTC-٢٧JUN25", "BTC/USD:BTC-٢٥٠٦٢٧", "ＢＴＣ-PERPETUAL",
        "BTC_BTC", "BTC/BTC:BTC", "USDC-USDC", "ABCDEFGHIJKLMNOP-PERPETUAL",
        "BTC-CS-19MAY26-70000_75000", "BTC-FS-25DEC26_PERP", "BTC-COMBO-1",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(f"symbol {text!r}")):
        parse_symbol(text)


def described(content: Any) -> Iterator[dict[str, Any]]:
    """Every object, however deep, that names an instrument."""
    if isinstance(content, dict):
        if "instrument_name" in content:
            yield content
        content = list(content.values())
    for part in content if isinstance(content, list) else []:
        yield from described(part)


def test_chains_name_what_their_columns_say() -> None:
    paths = sorted(need_shared("data", "deribit_chains").glob("deribit_options_*.csv.gz"))
    columns = ["instrument_name", "strike", "expiry_datetime", "option_type", "currency"]
    chains = pl.concat([pl.read_csv(path, columns=columns).select(columns) for path in paths])
    rows = chains.unique().rows()
    assert len(rows) > 10_000
    for name, strike, expiry, option_type, currency in rows:
        contract = parse_symbol(name)
        assert deribit_symbol(contract) == name
        moment = datetime.fromisoformat(expiry).timestamp()
        assert contract == Contract(
            base=currency,
            quote="USD",
            settlement=currency,
            kind=Kind.OPTION,
            expiry_ms=TimeMs(round(moment * 1_000)),
            strike=Decimal(repr(strike)),
            option_type=OptionType(option_type[0].upper()),
        )


def test_deribit_answers_name_what_they_describe() -> None:
    folder = need_shared("data", "exchange_responses", "nautilus", "deribit")
    texts = [path.read_text("utf-8") for path in sorted(folder.glob("*.json"))]
    with gzip.open(need_shared("data", "ws_recordings", "cryptofeed", "DERIBIT.0.gz"), "rt") as f:
        texts += [found[1] for line in f if (found := re.search(r"-> [\d.]+: (\{.*)", line))]
    seen = 0
    for row in (row for text in texts for row in described(json.loads(text))):
        name = row["instrument_name"]
        if COMBO.fullmatch(name):
            with pytest.raises(ValueError, match="of no known notation"):
                parse_symbol(name)
            continue
        contract, seen = parse_symbol(name), seen + 1
        assert deribit_symbol(contract) == name
        if "base_currency" not in row:
            continue
        assert contract.base == row["base_currency"]
        assert contract.settlement == row.get("settlement_currency", contract.settlement)
        assert (contract.kind is Kind.OPTION) == (row["kind"] == "option")
        if contract.expiry_ms is not None:
            assert contract.expiry_ms // DAY_MS == row["expiration_timestamp"] // DAY_MS
        if contract.strike is not None:
            assert contract.strike == Decimal(repr(row["strike"]))
            assert contract.option_type == OptionType(row["option_type"][0].upper())
    assert seen > 1_000


def test_derive_answers_name_what_they_describe() -> None:
    folder = need_shared("data", "exchange_responses", "nautilus", "derive")
    rows = [
        row
        for path in folder.rglob("*.json")
        for row in described(json.loads(path.read_text("utf-8")))
    ]
    assert len(rows) > 20
    for row in rows:
        contract = parse_symbol(row["instrument_name"])
        assert derive_symbol(contract) == row["instrument_name"]
        option = row.get("option_details")
        if option:
            assert contract.strike == Decimal(option["strike"])
            assert contract.option_type == option["option_type"]
