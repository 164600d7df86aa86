"""Commands and events as bytes, and the gate where a stranger's text becomes a command.

Stored bytes are msgpack behind one byte of version. Text is one JSON object a command; whatever is
wrong with it is a `Problem` that names the field, what was expected and what was found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from solvent.errors import Problem, Reject
from solvent.limits import COMMAND_BYTES_MAX, TIME_MS_MAX
from solvent.messages.commands import (
    AnyCommand,
)
from solvent.messages.events import AnyEvent, Event, Rejected
from solvent.messages.fields import Command

VERSION: Final = 1
_PREFIX: Final = bytes([VERSION])
_COMMAND_DECODER: Final = msgspec.msgpack.Decoder(AnyCommand)
_EVENTS_DECODER: Final = msgspec.msgpack.Decoder(tuple[AnyEvent, ...])
_JSON_DECODER: Final = msgspec.json.Decoder(AnyCommand)
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_WHERE: Final = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")


class Sealed(Struct, frozen=True, gc=False):
    """A command with its place in history and its time: from here on nothing is added to it."""

    sequence: int
    time_ms: int
    command: Command


def encode_command(command: Command) -> bytes:
    """A command as it is stored."""
    return _PREFIX + _ENCODER.encode(command)


def stored_command(command: Command) -> bytes | Problem:
    """A command as it is stored, or why it could not be read back: a constructor checks nothing.

    >>> from solvent.messages.commands import Heartbeat
    >>> print(stored_command(Heartbeat(key="", actor="clock")))
    command, field 'key': expected `str` of length >= 1, found something else [COMMAND_MALFORMED]
    """
    try:
        stored = encode_command(command)
        decode_command(stored)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError) as fault:
        return _malformed("command", fault)
    return stored


def decode_command(stored: bytes) -> Command:
    """A stored command. Raises ValueError for bytes of another version or of no command."""
    _check_version(stored)
    command: Command = _COMMAND_DECODER.decode(memoryview(stored)[1:])
    return command


REFUSED: Final = _PREFIX + _ENCODER.encode((Rejected(0, ""),))[: -len(b"\0\xa0")]
"""How the stored events of a refused command begin."""


def encode_events(events: Iterable[Event]) -> bytes:
    """What came of a command, as it is stored."""
    return _PREFIX + _ENCODER.encode(events)


def decode_events(stored: bytes) -> tuple[Event, ...]:
    """Stored events. Raises ValueError for bytes of another version or of no events."""
    _check_version(stored)
    events: tuple[Event, ...] = _EVENTS_DECODER.decode(memoryview(stored)[1:])
    return events


def _check_version(stored: bytes) -> None:
    if stored[:1] != _PREFIX:
        raise ValueError(f"expected a message of version {VERSION}, found {stored[:1]!r}")


def command_json(command: Command) -> bytes:
    """A command as text, as `read_command` takes it."""
    return msgspec.json.encode(command, order="deterministic")


def event_fields(event: Event) -> dict[str, Any]:
    """An event for people: its kind and its fields by name."""
    config = event.__struct_config__
    return {"event": config.tag, **msgspec.structs.asdict(event)}


def read_command(
    text: bytes | str | dict[str, Any], *, source: str = "command"
) -> Command | Problem:
    """A command from a stranger, or what is wrong with it. Nothing that is not exact comes through.

    >>> read_command('{"do": "heartbeat", "key": "1", "actor": "clock"}')
    Heartbeat(key='1', actor='clock')
    >>> print(read_command('{"do": "deposit", "key": "1", "actor": "a", "account": "a",'
    ...                    ' "asset": "USDC", "amount": 1.5}'))
    command, field 'amount': expected `int`, found `float` [COMMAND_MALFORMED]
    """
    if not isinstance(text, dict) and len(text) > COMMAND_BYTES_MAX:
        return _problem(
            source, None, f"at most {COMMAND_BYTES_MAX} bytes", str(len(text)),
            Reject.COMMAND_TOO_LARGE,
        )  # fmt: skip
    try:
        if isinstance(text, dict):
            command: Command = msgspec.convert(text, AnyCommand)
        else:
            command = _JSON_DECODER.decode(text)
            _check_once(text)
        # What cannot be stored as it is must not come in: lone halves of characters.
        encode_command(command)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError) as fault:
        return _malformed(source, fault)
    return command


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object that says a thing twice: it would be anyone's guess which is meant."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise msgspec.ValidationError(f"Expected each field once, got {twice!r} again")


_PAIRS: Final = json.JSONDecoder(object_pairs_hook=_each_once)


def _check_once(text: bytes | str) -> None:
    _PAIRS.decode(text if isinstance(text, str) else text.decode())


class _Timed(Struct):
    time_ms: int | None = None


def read_time(text: bytes | str) -> tuple[bytes, int | None] | Problem:
    """A line that may say when: its command, and its `time_ms` where it has one."""
    try:
        line: Any = msgspec.json.decode(text)
        if not isinstance(line, dict) or "time_ms" not in line:
            return (text.encode() if isinstance(text, str) else text), None
        _check_once(text)
        time_ms = msgspec.convert(line, _Timed).time_ms
        del line["time_ms"]
        body = msgspec.json.encode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
        return _malformed("command", fault)
    if time_ms is None or not 0 <= time_ms <= TIME_MS_MAX:
        expected = f"milliseconds from 0 to {TIME_MS_MAX}"
        return _problem("command", "time_ms", expected, repr(time_ms), Reject.TIME_INVALID)
    return body, time_ms


def _malformed(source: str, fault: Exception) -> Problem:
    message = str(fault) or type(fault).__name__
    field = None
    if where := _WHERE.search(message):
        field, message = where["field"] or None, message[: where.start()]
    if parts := re.fullmatch(r"Expected (?P<expected>.*), got (?P<found>.*)", message, re.DOTALL):
        return _problem(source, field, parts["expected"], parts["found"])
    if message.startswith("Expected "):
        return _problem(source, field, message.removeprefix("Expected "), "something else")
    return _problem(source, field, "a command", message)


def _problem(
    source: str, field: str | None, expected: str, found: str,
    code: Reject = Reject.COMMAND_MALFORMED,
) -> Problem:  # fmt: skip
    return Problem(code=code, source=source, field=field, expected=expected, found=found)
