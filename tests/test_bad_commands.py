"""Whatever a stranger says: a command, or a problem with a code; never an exception, never half."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.engine.apply import apply
from solvent.engine.image import books_hash, image, restore
from solvent.engine.reference import read_rules
from solvent.engine.state import State
from solvent.errors import Problem, Reject
from solvent.messages import commands as c
from solvent.messages.codec import (
    Sealed,
    command_json,
    decode_command,
    decode_events,
    read_command,
    read_time,
)
from solvent.messages.events import Rejected, Repeated
from solvent.messages.fields import Command
from tests.histories import History, Row, every_command, halfway

DEEP = 10_000
DIGITS = "7" * 5_000
ABSENT = "(left out)"
VALUES: dict[str, str] = {
    "NaN": "NaN", "infinity": "Infinity", "minus infinity": "-Infinity",
    "quoted NaN": '"NaN"', "quoted infinity": '"-Infinity"', "nan in lower case": '"nan"',
    "minus zero": "-0", "minus zero, a float": "-0.0", "zero": "0", "quoted zero": '"0"',
    "one": "1", "minus one": "-1", "1e999": "1e999", "quoted 1e999": '"1e999"', "1e-400": "1e-400",
    "1e3": "1e3", "1.0": "1.0", "1.5": "1.5", "below 2**53": str(2**53 - 1),
    "above 2**53": str(2**53 + 1), "2**62": str(2**62), "2**63": str(2**63),
    "2**64": str(2**64), "minus 2**63": str(-(2**63)), "5,000 digits": DIGITS,
    "5,000 quoted digits": f'"{DIGITS}"', "a fraction of 5,000 digits": f"0.{DIGITS}",
    "digits of another script": '"１２"', "underscores": '"1_000"', "bare underscores": "1_000",
    "hexadecimal": '"0x10"', "a plus": '"+1"', "a space": '" 1"', "a comma": '"1,5"',
    "a fraction": '"1/3"', "many decimals": '"0.' + "3" * 38 + '"',
    "true": "true", "false": "false", "null": "null", "empty": '""', "blank": '" "',
    "long": '"' + "x" * 300 + '"', "very long": '"' + "x" * 2**17 + '"',
    "half a character": '"\\ud800"', "half a character, bare": '"\ud800"',
    "a NUL": '"a\\u0000b"', "control characters": '"\\u0001\\u001b[31m\\n"',
    "a bare control character": '"a\nb"', "an emoji": '"\\ud83d\\ude00"',
    "right to left": '"\u202eab"',
    "a past time": "1", "a past day": '"1970-01-01"', "no such day": '"2026-02-30"',
    "a time beyond": str(10**15), "unknown": '"nobody-here"', "another case": '"BUY"',
    "the venue's own": '"insurance"', "the clearing": '"clearing"', "an empty list": "[]",
    "an empty object": "{}", "a list": "[1]", "a list of lists": "[[]]",
    "an object": '{"a": 1}', "rows of nothing": "[[null, null, null]]",
    "rows too long": '[["a","b","c","d","e","f","g"]]', "rows of wrong things": '[["x", -1, 1.5]]',
    "lists within lists": "[" * DEEP + "]" * DEEP,
    "objects within objects": '{"a":' * DEEP + "1" + "}" * DEEP, "absent": ABSENT,
}  # fmt: skip
FIELDS = [
    (kind, field.encode_name) for kind in c.COMMANDS for field in msgspec.structs.fields(kind)
]


@cache
def base() -> tuple[bytes, str, int, dict[str, Command]]:
    """A venue in the middle of its life, and one command of each kind that such a one was told."""
    h = halfway("debt")
    later: dict[str, Command] = {}
    told: dict[str, Command] = {}
    for row in every_command("debt").rows:
        if not _refused(row):
            later[row[2]] = decode_command(row[3])
            told.setdefault(row[2], later[row[2]])
    told.update({kind: later[kind] for kind in _LATEST})
    return image(h.state), books_hash(h.state), h.time_ms, told


_LATEST = ("pay_funding", "publish_market", "publish_arrays", "list_instrument", "open_account")
"""Kinds of which the last of their history, or one that the venue has not heard, is taken."""


def _refused(row: Row) -> bool:
    return any(isinstance(one, Rejected) for one in decode_events(row[4]))


_read_once = cache(read_rules)


def fresh() -> State:
    """The venue anew; its rulebooks are read once, which is what takes longest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("solvent.engine.image.read_rules", _read_once)
        return restore(base()[0])


class Gate:
    """A venue that hears what strangers say."""

    def __init__(self) -> None:
        self.state = fresh()
        self.hash, self.time_ms = base()[1:3]
        self.read = self.refused = self.done = 0

    def hears(self, text: str | bytes) -> int:
        """Its code, 0 for a command that was done, after which the venue is as it was."""
        found = read_command(text)
        if isinstance(found, Problem):
            assert found.code in (Reject.COMMAND_MALFORMED, Reject.COMMAND_TOO_LARGE)
            assert found.expected
            assert found.found
            str(found).encode()
            return int(found.code)
        self.read += 1
        state = self.state
        applied = apply(state, Sealed(state.log.sequence + 1, self.time_ms, found))
        assert decode_command(applied.command) == found
        if applied.code == 0:
            self.done += 1
            self.state = fresh()
            return 0
        self.refused += 1
        first = applied.events[0]
        assert isinstance(first, Rejected | Repeated)
        assert applied.code in set(Reject)
        if isinstance(first, Rejected):
            assert first.detail
            assert len(applied.events) == 1
            decode_events(applied.stored or b"\x01\x90")
        return applied.code

    def is_unchanged(self) -> None:
        """Every book is as it was."""
        assert books_hash(self.state) == self.hash


def _text(command: Command, field: str, value: str) -> str:
    """A command's JSON with one field's value put in its place."""
    told = json.loads(command_json(command))
    told["key"] = f"{told['do']} {field} {len(value)} {hash(value)}"
    parts = {name: json.dumps(one) for name, one in told.items()}
    parts[field] = value
    if value == ABSENT:
        del parts[field]
    return "{" + ",".join(f'"{name}":{one}' for name, one in parts.items()) + "}"


@pytest.mark.parametrize("kind", c.COMMANDS, ids=lambda kind: kind.__name__)
def test_every_field_with_every_value(kind: type[Command]) -> None:
    gate = Gate()
    tag: str = kind.__struct_config__.tag  # type: ignore[assignment]
    command = base()[3][tag]
    fields = [field for one, field in FIELDS if one is kind]
    assert len(VALUES) >= 40
    codes = set()
    for field in fields:
        for value in VALUES.values():
            text = _text(command, field, value)
            # Who asks and how the request is called is alike for all kinds: one kind does it.
            if field in ("key", "actor") and kind is not c.Heartbeat:
                found = read_command(text)
                codes |= {int(found.code)} if isinstance(found, Problem) else set()
            else:
                codes.add(gate.hears(text))
    gate.is_unchanged()
    assert int(Reject.COMMAND_MALFORMED) in codes
    assert gate.read == gate.refused + gate.done


STOP = '{{"trigger":{},"price":{},"rises":{}}}'
LEGS = '[[{},{}],["BTC_USDC-WEEK",-1]]'


@pytest.mark.parametrize(
    ("tag", "field", "form", "good"),
    [
        ("place_order", "stop", STOP, ('"mark"', "7", "false")),
        ("list_combo", "legs", LEGS, ('"BTC_USDC-PERPETUAL"', "1")),
    ],
)
def test_every_part_with_every_value(
    tag: str, field: str, form: str, good: tuple[str, ...]
) -> None:
    """What is told of a stop, or of a leg, in a command that is good otherwise."""
    gate = Gate()
    command = base()[3][tag]
    if tag == "place_order":
        command = msgspec.structs.replace(command, order="waits")
    else:
        command = msgspec.structs.replace(command, symbol="ANEW")
    assert gate.hears(_text(command, field, form.format(*good))) == 0
    codes = set()
    for place in range(len(good)):
        for value in VALUES.values():
            told = [*good[:place], value, *good[place + 1 :]]
            codes.add(gate.hears(_text(command, field, form.format(*told))))
    gate.is_unchanged()
    assert int(Reject.COMMAND_MALFORMED) in codes
    assert len(codes) > 2


@pytest.mark.parametrize("kind", c.COMMANDS, ids=lambda kind: kind.__name__)
def test_shapes(kind: type[Command]) -> None:
    """Fields too many or too few, wrong tags, arrays: refused as they are read."""
    tag: str = kind.__struct_config__.tag  # type: ignore[assignment]
    told = json.loads(command_json(base()[3][tag]))
    other = [
        {**told, "more": 1}, {**told, "do": "steal"}, {**told, "do": tag.upper()},
        {**told, "do": 3}, {**told, "do": None}, {**told, "do": [tag]}, list(told.values()),
        {name: one for name, one in told.items() if name != "do"}, {"do": tag}, [told], [],
        {}, tag, None, {**told, "Key": "2"}, {**told, "time_ms": 5},
    ]  # fmt: skip
    for one in other:
        found = read_command(json.dumps(one))
        assert isinstance(found, Problem), one
        assert found.code is Reject.COMMAND_MALFORMED
    for one in other:
        if isinstance(one, dict):
            assert isinstance(read_command(one), Problem), one
    twice = json.dumps(told)[:-1]
    for name, value in told.items():
        found = read_command(f'{twice}, "{name}": {json.dumps(value)}}}')
        assert isinstance(found, Problem)
        assert name in found.found


def test_objects_from_python() -> None:
    """A dict may hold what no JSON can."""
    gate = Gate()
    told = json.loads(command_json(base()[3]["deposit"]))
    deep: list[Any] = []
    for _ in range(DEEP):
        deep = [deep]
    for value in (
        float("nan"), float("inf"), -0.0, 10**400, 2**64, b"bytes", bytearray(b"x"), {1, 2},
        object(), (1, 2), deep, 1 + 2j, "\ud800", type, Ellipsis, gate,
    ):  # fmt: skip
        for field in told:
            found = read_command({**told, field: value})
            assert isinstance(found, Problem), (field, value)
            str(found).encode()
    for name in (3, None, b"amount", ("a",), "\ud800"):
        odd: dict[Any, Any] = {**told, name: 1}
        assert isinstance(read_command(odd), Problem), name
    gate.is_unchanged()


# ── lines ────────────────────────────────────────────────────────────────────────────────────────


def lines() -> Iterator[bytes]:
    for kind in ("trade", "deposit", "list_instrument", "import_books", "heartbeat"):
        yield command_json(base()[3][kind])


def test_lines_cut_short() -> None:
    for line in lines():
        for end in range(len(line)):
            assert isinstance(read_command(line[:end]), Problem)
            assert isinstance(read_command(line[end + 1 :]), Problem)


def test_lines_in_other_clothes() -> None:
    for line in lines():
        text = line.decode()
        for garbled in (
            b"\xef\xbb\xbf" + line, text.encode("utf-16"), text.encode("utf-16-le"),
            text.encode("utf-32"), line + b"\0", b"\0" + line, line + line, line + b",",
            line.replace(b'"', b"'"), line.replace(b":", b"="), b"[" + line + b"]",
            line + b"\n" + line, b"// c\n" + line, line.replace(b"{", b"{,"),
            line[:-1] + b",}", line.replace(b'"do"', b'"do\\u0000"'), line.replace(b'"', b'\xff"'),
        ):  # fmt: skip
            assert isinstance(read_command(garbled), Problem), garbled[:60]
        assert not isinstance(read_command(b" \n" + line + b"\r\n"), Problem)


@given(st.binary(max_size=200))
def test_garbage_is_a_problem(garbage: bytes) -> None:
    found = read_command(garbage)
    assert isinstance(found, Problem)
    str(found).encode()
    timed = read_time(garbage)
    assert isinstance(timed, Problem) or isinstance(read_command(timed[0]), Problem)


@given(st.text(max_size=200))
def test_garbled_text_is_a_problem(garbage: str) -> None:
    assert isinstance(read_command(garbage), Problem)
    timed = read_time(garbage)
    assert isinstance(timed, Problem) or isinstance(read_command(timed[0]), Problem)


def test_times_of_lines() -> None:
    line = b'{"do": "heartbeat", "key": "1", "actor": "a", "time_ms": %b}'
    assert read_time(line % b"5") == (b'{"do":"heartbeat","key":"1","actor":"a"}', 5)
    for value in VALUES.values():
        if value == ABSENT:
            continue
        found = read_time(line.replace(b"%b", value.encode("utf-8", "surrogatepass")))
        assert isinstance(found, Problem) or found[1] in (0, 1, 2**53 - 1, 2**53 + 1)
    for twice in (b'"key": "2"', b'"time_ms": 7', b'"do": "heartbeat"'):
        found = read_time((line % b"5")[:-1] + b"," + twice + b"}")
        assert isinstance(found, Problem)
        assert "again" in found.found


# ── stored bytes ─────────────────────────────────────────────────────────────────────────────────


def test_stored_bytes_that_are_damaged() -> None:
    """Any bit flipped, any end: another message, or a ValueError; nothing else."""
    rng = Random(5)
    h: History = every_command("debt")
    rows = [row for row in h.rows if len(row[3]) < 1_000]
    seen = 0
    for row in rng.sample(rows, 60):
        for stored, decode in ((row[3], decode_command), (row[4], decode_events)):
            decode(stored)
            for end in range(len(stored)):
                with pytest.raises(ValueError, match=r"\S"):
                    decode(stored[:end])
            for place in range(len(stored)):
                flipped = bytearray(stored)
                flipped[place] ^= 1 << rng.randrange(8)
                try:
                    decode(bytes(flipped))
                except ValueError:
                    seen += 1
            with pytest.raises(ValueError, match=r"\S"):
                decode(stored + b"\0")
    assert seen > 1_000


@given(st.binary(max_size=100))
def test_stored_garbage(garbage: bytes) -> None:
    for decode in (decode_command, decode_events):
        for stored in (garbage, b"\x01" + garbage):
            try:
                decode(stored)
            except ValueError:
                continue
            assert decode is decode_events
