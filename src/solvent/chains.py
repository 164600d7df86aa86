"""The hash chain of a history: each link binds one command, what came of it, and all before it."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Final

CHAIN_BYTES: Final = 32
ORIGIN: Final = bytes(CHAIN_BYTES)
"""What the first link stands on."""
_HEAD: Final = Struct(">QQII")


def link(previous: bytes, sequence: int, time_ms: int, command: bytes, events: bytes) -> bytes:
    """The next link: BLAKE2b-256 over the previous one, the place, the command and its events.

    Lengths are hashed too, so no byte can move from the command into the events.

    >>> link(ORIGIN, 1, 0, b"deposit", b"") == link(ORIGIN, 1, 0, b"depos", b"it")
    False
    """
    head = _HEAD.pack(sequence, time_ms, len(command), len(events))
    return blake2b(previous + head + command + events, digest_size=CHAIN_BYTES).digest()
