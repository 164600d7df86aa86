"""Keys to a venue: from a file that only its owner can read, or from the environment.

A file is TOML: `key`, `secret`, for OKX a `passphrase`; `url` where it is not the venue's own, such
as a test network's; `account` to call it by. Without a file the environment tells the same as
`SOLVENT_OKX_KEY` and so on. What a key may do is the venue's to say: one that can only read is
enough, and is advised.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote, quote_plus, urlsplit

from solvent.errors import BadInput, Problem, Reject

URLS: Final = {
    "deribit": "https://www.deribit.com",
    "okx": "https://www.okx.com",
    "bybit": "https://api.bybit.com",
    "binance": "https://fapi.binance.com",
}
RESTRICTIONS_URL: Final = "https://api.binance.com"
"""Where Binance says what a key may do; its own address, unless another one is told."""
_TOLD: Final = ("key", "secret", "passphrase", "url", "account")
_BYTES_MAX: Final = 1 << 16
_LETTERS_MIN: Final = 8
"""A shorter secret cannot be masked without masking what is none; no venue gives such."""
_LOCAL: Final = ("127.0.0.1", "::1", "localhost")


class Secret:
    """Text that shows itself nowhere: not in `repr`, `str`, formats, pickles or comparisons."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text, for whoever signs with it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written down")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who asks a venue. All but the venue, its address and the account's name are secrets; `given`
    are those that the venue gave for them, such as a token."""

    venue: str
    key: Secret
    secret: Secret
    passphrase: Secret | None
    url: str
    account: str
    given: list[Secret] = field(default_factory=list, compare=False)

    def without_secrets(self, text: str) -> str:
        """A text in which whatever is secret is masked: venues repeat what they were told. Also as
        JSON and addresses write it. Text is masked before it is cut: half a secret is none."""
        told = (self.key, self.secret, self.passphrase, *self.given)
        written = {form for one in told if one is not None for form in _written(one.reveal())}
        for form in sorted(written, key=len, reverse=True):  # the whole before its parts
            text = text.replace(form, "***")
        return text


def _written(secret: str) -> set[str]:
    """A secret as it is, and as JSON and addresses write it."""
    forms = {
        secret, json.dumps(secret)[1:-1], secret.replace("/", "\\/"), quote(secret, safe=""),
        quote_plus(secret),
    }  # fmt: skip
    return forms - {""}


def credentials(told: str, *, environment: Mapping[str, str] | None = None) -> Credentials:
    """Credentials of `VENUE:KEYFILE`, or of `VENUE` from the environment.

    Raises BadInput for a venue that is not known, a file that others can read, and keys that are
    not whole; its message never holds what the file holds.
    """
    venue, colon, path = told.partition(":")
    venue = venue.lower()
    if venue not in URLS:
        _wrong("--from", f"one of {', '.join(URLS)}, then a key file", venue or "nothing")
    source = path or f"environment of {venue}"
    if colon and not path:
        _wrong("--from", "a key file after the colon", "nothing")
    found = _of_file(Path(path)) if path else _of_environment(
        venue, os.environ if environment is None else environment
    )  # fmt: skip
    needed = ("key", "secret", "passphrase") if venue == "okx" else ("key", "secret")
    for name in needed:
        if not found.get(name):
            _wrong(source, f"a {name} for {venue}", "none", field=name, code=Reject.FIELD_MISSING)
    for name in ("key", "secret", "passphrase"):
        one = found.get(name, "")
        if not one.isascii() or not one.isprintable():
            _wrong(source, f"a {name} of plain letters", "other signs", field=name)
        if 0 < len(one) < _LETTERS_MIN:
            _wrong(source, f"a {name} of {_LETTERS_MIN} letters or more", "fewer", field=name)
    url = found.get("url", URLS[venue]).rstrip("/")
    _check_url(url, source)
    phrase = found.get("passphrase")
    return Credentials(
        venue=venue, key=Secret(found["key"]), secret=Secret(found["secret"]),
        passphrase=None if phrase is None else Secret(phrase), url=url,
        account=found.get("account", venue),
    )  # fmt: skip


def _of_file(path: Path) -> dict[str, str]:
    """A key file's content. What is checked is what is open: nobody can change it in between."""
    path = Path(os.path.expanduser(path))
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                _wrong(str(path), "a file", "something else")
            if stat.S_IMODE(mode) & 0o077:
                _wrong(
                    str(path), "a file that only its owner can read (chmod 600)",
                    f"mode {stat.S_IMODE(mode):04o}",
                )  # fmt: skip
            content = file.read(_BYTES_MAX)
    except OSError as fault:
        _wrong(str(path), "a key file", fault.strerror or "a fault")
    try:
        told = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        told = None
    if told is None:  # outside the handler: a parser's message, even chained, may quote the file
        _wrong(str(path), "TOML: key, secret, passphrase", "what is none")
    for name, what in told.items():
        if name not in _TOLD:
            _wrong(str(path), f"one of {', '.join(_TOLD)}", "another name")
        if not isinstance(what, str):
            _wrong(str(path), "text", type(what).__name__, field=name)
    return told


def _of_environment(venue: str, environment: Mapping[str, str]) -> dict[str, str]:
    names = {name: f"SOLVENT_{venue.upper()}_{name.upper()}" for name in _TOLD}
    return {name: environment[theirs] for name, theirs in names.items() if environment.get(theirs)}


def _check_url(url: str, source: str) -> None:
    """Keys go out over TLS, or to this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in _LOCAL:
        return
    _wrong(source, "an address that begins with https://", "another", field="url")


def _wrong(
    source: str,
    expected: str,
    found: str,
    *,
    field: str | None = None,
    code: Reject = Reject.SOURCE_UNREADABLE,
) -> NoReturn:
    raise BadInput(Problem(code=code, source=source, field=field, expected=expected, found=found))
