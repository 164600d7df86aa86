"""What an engine journals of a market comes back bit for bit, or is refused with a reason."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent import api
from solvent.errors import BadInput
from solvent.feeds.library import rulebook_names
from solvent.feeds.synthetic_book import Venue, generate_book
from solvent.feeds.synthetic_market import generate_market
from solvent.frames import told_once
from solvent.instruments import Instrument, Universe
from solvent.instruments.identity import identity
from solvent.margining.assess import assess
from solvent.margining.compile import plan_of
from solvent.margining.levels.held import priced
from solvent.market import Snapshot
from solvent.market.moved import restricted
from solvent.market.wire import decode_snapshot, encode_snapshot
from solvent.risk import RiskArrays
from solvent.risk.wire import decode_arrays, encode_arrays
from tests.past import past

ACCOUNTS = 300
HEAD = 21


@cache
def market() -> Snapshot:
    return generate_market(seed=11, expiries=6, strikes=12)


@cache
def listed() -> dict[str, Instrument]:
    return {one.symbol: one for one in market().universe.instruments}


@cache
def venue() -> Venue:
    return generate_book(market(), accounts=ACCOUNTS, seed=5)


@cache
def small() -> Snapshot:
    """Seven instruments of both kinds, so that every byte of what is written can be spoilt."""
    symbols = [one for one in market().universe.symbols if one.startswith(("BTC-", "ETH_"))]
    rows = [market().universe.symbols.index(one) for one in (*symbols[:4], *symbols[-3:])]
    return restricted(market(), rows)


@cache
def small_arrays() -> bytes:
    return encode_arrays(api.prepare(small(), "deribit-pm").arrays)


@cache
def small_snapshot() -> bytes:
    return encode_snapshot(small())


DECODERS: dict[str, tuple[Callable[[], bytes], Callable[..., Any], Callable[[Any], bytes]]] = {
    "arrays": (small_arrays, decode_arrays, encode_arrays),
    "snapshot": (small_snapshot, decode_snapshot, encode_snapshot),
}
EITHER = pytest.mark.parametrize("kind", DECODERS)


def parts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested dataclasses and mappings; arrays with their kind, shape and bits."""
    if isinstance(value, np.ndarray):
        yield path, (value.dtype, value.shape, value.tobytes())
    elif isinstance(value, Universe):
        yield path, value.instruments
    elif is_dataclass(value):
        for one in fields(value):
            yield from parts(getattr(value, one.name), f"{path}.{one.name}")
    elif isinstance(value, dict):
        yield f"{path}#", sorted(value)
        for name in sorted(value):
            yield from parts(value[name], f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            yield from parts(one, f"{path}[{place}]")
    else:
        yield path, value


def assert_same(one: Any, other: Any) -> None:
    found, expected = dict(parts(one)), dict(parts(other))
    assert found.keys() == expected.keys()
    for path, bits in expected.items():
        assert found[path] == bits, path


@pytest.mark.parametrize("name", rulebook_names())
def test_arrays_come_back_bit_for_bit_and_answer_alike(name: str) -> None:
    plan = api.prepare(market(), name, history=past(market()))
    data = encode_arrays(plan.arrays)
    arrays = decode_arrays(data, listed())
    assert_same(arrays, plan.arrays)
    assert encode_arrays(arrays) == data
    again = plan_of(plan.rulebook, arrays)
    told = venue().collateral
    held = priced(arrays, account=told.account, asset=told.asset, amount=told.amount)
    assert_same(
        assess(again, venue().book, balances=held), assess(plan, venue().book, balances=held)
    )
    found, expected = (api.margin(venue().book, one, threads=1) for one in (again, plan))
    for answer in ("answer", "requirements"):
        if hasattr(expected, answer):
            assert_same(getattr(found, answer), getattr(expected, answer))
    for account in np.flatnonzero(~expected.unknown)[:1]:
        owner = venue().book.accounts[account]
        assert_same(found.explain(owner), expected.explain(owner))


def test_snapshot_comes_back_bit_for_bit_and_prices_alike() -> None:
    data = encode_snapshot(market())
    again = decode_snapshot(data, listed())
    assert_same(again, market())
    assert encode_snapshot(again) == data
    for name in ("deribit-pm", "derive-pmrm2"):
        assert_same(api.prepare(again, name).arrays, api.prepare(market(), name).arrays)


def test_unusable_instruments_keep_their_reasons() -> None:
    flags, vol = small().flags.copy(), small().vol.copy()
    option = int(np.flatnonzero(small().universe.is_option)[0])
    flags[option], vol[option] = 4, 0.0
    arrays = api.prepare(replace(small(), flags=flags, vol=vol), "deribit-pm").arrays
    assert arrays.blocked == {option: "VOL_MISSING"}
    assert_same(decode_arrays(encode_arrays(arrays), listed()), arrays)


def test_what_is_read_cannot_be_written_to() -> None:
    arrays = decode_arrays(small_arrays(), listed())
    columns = [arrays.pnl, arrays.pnl_units, arrays.weight, arrays.usable, arrays.shocks.vol,
               arrays.fields["mark"], arrays.columns["delta"]]  # fmt: skip
    assert not any(column.flags.writeable for column in columns)
    snapshot = decode_snapshot(small_snapshot(), listed())
    assert not any(one.flags.writeable for one in (snapshot.mark, snapshot.flags, snapshot.index))


def test_size() -> None:
    """A thousand instruments under Deribit's 35 scenarios: 456 bytes an instrument."""
    whole = generate_market(seed=11, expiries=9, strikes=19)
    data = encode_arrays(api.prepare(whole, "deribit-pm").arrays)
    assert len(data) / len(whole.universe) < 470
    assert len(encode_snapshot(whole)) / len(whole.universe) < 100


def test_a_known_universe_is_taken_as_it_is() -> None:
    like = small().universe
    assert decode_arrays(small_arrays(), listed(), like=like).universe is like
    assert decode_snapshot(small_snapshot(), listed().get, like=like).universe is like
    other = decode_arrays(small_arrays(), listed(), like=market().universe).universe
    assert other.symbols == like.symbols


@EITHER
def test_a_missing_instrument_is_named(kind: str) -> None:
    made, decode, _ = DECODERS[kind]
    gone = small().universe.symbols[2]
    known = {symbol: one for symbol, one in listed().items() if symbol != gone}
    with pytest.raises(BadInput, match=r"INSTRUMENT_NOT_IN_MARKET") as raised:
        decode(made(), known)
    assert gone in str(raised.value)


@EITHER
@pytest.mark.parametrize("what", ["tick", "strike", "quanto"])
def test_an_instrument_of_other_terms_is_named(kind: str, what: str) -> None:
    made, decode, _ = DECODERS[kind]
    row = 3 if what != "quanto" else int(np.flatnonzero(~small().universe.inverse)[0])
    was = small().universe.instruments[row]
    if what == "tick":
        sizes = replace(was.specification, tick_size=Decimal("0.123"))
        now = replace(was, specification=sizes)
    elif what == "strike":
        now = replace(was, terms=(replace(was.terms[0], strike=1.0),))
    else:
        now = replace(was, quanto_rate=0.5)
    with pytest.raises(BadInput) as raised:
        decode(made(), {**listed(), was.symbol: now})
    for told in (f"expected {was.symbol} as it was", identity(was).hex(), identity(now).hex()):
        assert told in str(raised.value)


def test_an_identity_takes_numbers_as_numbers() -> None:
    one = small().universe.instruments[0]
    sizes = one.specification
    same = replace(one, specification=replace(sizes, lot_size=sizes.lot_size * Decimal("1.000")))
    assert identity(same) == identity(one)
    every = {identity(each) for each in market().universe.instruments}
    assert len(every) == len(market().universe)


# What is wrong with bytes.


@EITHER
def test_every_truncation_is_refused(kind: str) -> None:
    made, decode, _ = DECODERS[kind]
    data = made()
    for length in range(len(data)):
        with pytest.raises(BadInput):
            decode(data[:length], listed())
    with pytest.raises(BadInput):
        decode(data + b"\0", listed())


@EITHER
def test_every_flipped_byte_is_refused(kind: str) -> None:
    made, decode, _ = DECODERS[kind]
    data = bytearray(made())
    for place in range(len(data)):
        data[place] ^= 1 << place % 8
        with pytest.raises(BadInput):
            decode(bytes(data), listed())
        data[place] ^= 1 << place % 8


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    for _, decode, _ in DECODERS.values():
        with pytest.raises(BadInput):
            decode(noise, listed())


def resealed(data: bytes, body: bytes) -> bytes:
    """A frame with another body and the digest that fits it."""
    return data[:5] + blake2b(data[:5] + body, digest_size=HEAD - 5).digest() + body


def leaves(value: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    if isinstance(value, list):
        yield path
        for place, one in enumerate(value):
            yield from leaves(one, (*path, place))
    else:
        yield path


def at(value: Any, path: tuple[int, ...]) -> Any:
    for place in path:
        value = value[place]
    return value


def changed(value: Any, path: tuple[int, ...], to: Any) -> Any:
    if not path:
        return to
    return [
        changed(one, path[1:], to) if place == path[0] else one for place, one in enumerate(value)
    ]


NAN, INFINITE = (np.array([one]).tobytes() for one in (np.nan, np.inf))
STRANGE: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 2**64 - 1, 1.5, float("nan"), "", "x", "\N{BULLET}", b"",
    b"\xff" * 7, b"\xff" * 8, NAN * 49, INFINITE, [], [[]], ["x"] * 9, {"a": 1},
]  # fmt: skip


@EITHER
def test_parts_that_do_not_fit_are_refused_though_the_digest_does(kind: str) -> None:
    """Every part in turn is replaced, doubled, shortened, or has its numbers spoilt."""
    made, decode, encode = DECODERS[kind]
    body = msgspec.msgpack.decode(made()[HEAD:])
    refused = 0
    for path in leaves(body):
        part = at(body, path)
        spoilt = list(STRANGE)
        if isinstance(part, bytes):
            spoilt += [part[:-1], part + b"\0", part * 2, NAN + part[8:], INFINITE + part[8:],
                       b"\xff" * len(part), b"\x7f" * len(part)]  # fmt: skip
        elif isinstance(part, list):
            spoilt += [part[:-1], part + part[-1:], part[::-1]]
        for to in spoilt:
            data = resealed(made(), msgspec.msgpack.encode(changed(body, path, to)))
            try:
                found = decode(data, listed())
            except BadInput:
                refused += 1
            else:
                # It says something else that can be: then it says it in exactly these bytes.
                assert encode(found) == data, (path, to)
    assert refused > 500


@settings(max_examples=300)
@given(st.data())
def test_what_is_accepted_is_written_as_it_was(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(DECODERS)))
    made, decode, encode = DECODERS[kind]
    body = bytearray(made()[HEAD:])
    for place in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=3)):
        body[place] = data.draw(st.integers(0, 255))
    spoilt = resealed(made(), bytes(body))
    with suppress(BadInput):
        assert encode(decode(spoilt, listed())) == spoilt


def test_huge_counts_take_no_memory() -> None:
    """Counts that the bytes do not hold are refused before anything of their size is made."""
    body = msgspec.msgpack.decode(small_arrays()[HEAD:])
    shocks = body[3]
    many = 16_384
    shocks[0], shocks[1] = ["s"] * many, ["same"] * many
    shocks[2] = many
    shocks[8] = [shocks[8][0][: 7 * 8], b"\0\0" * many]
    crafted = [
        resealed(small_arrays(), msgspec.msgpack.encode(body)),
        resealed(small_arrays(), b"\x9c\x00\xdd\xff\xff\xff\xff"),
        resealed(small_arrays(), b"\x9c\x00\x91\xa1a\xc6\xff\xff\xff\xff"),
        resealed(small_arrays(), b"\x91" * 100_000),
    ]
    tracemalloc.start()
    for data in crafted:
        with pytest.raises(BadInput):
            decode_arrays(data, listed())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_another_version_is_named() -> None:
    data = small_arrays()[:4] + b"\x02" + small_arrays()[5:]
    with pytest.raises(BadInput, match="expected RISK version 1"):
        decode_arrays(data, listed())


def test_equal_columns_are_told_once() -> None:
    matrix = np.array([[1.0, 2.0, 1.0, 0.0, -0.0], [3.0, 4.0, 3.0, 0.0, 0.0]])
    distinct, places = told_once(matrix)
    assert np.frombuffer(places, np.uint16).tolist() == [0, 1, 0, 2, 3]
    assert len(distinct) == 4 * 2 * 8


def test_arrays_are_what_was_published() -> None:
    assert isinstance(decode_arrays(small_arrays(), listed()), RiskArrays)
