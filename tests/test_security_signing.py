"""Signatures and nonces: whatever is changed in a signed request, or sent again, is refused."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from solvent.errors import BadInput
from solvent.service.callers import Role, TooMany, Unauthorised
from solvent.service.security.audit import Audit
from solvent.service.security.callers import KeyedCallers
from solvent.service.security.keys import Keys
from solvent.service.security.masking import Secret
from solvent.service.security.sessions import PageSessions
from solvent.service.security.signing import (
    NONCES_MAX,
    Nonces,
    Signed,
    read_header,
    signature_of,
    text_of,
)
from solvent.service.security.users import Users
from solvent.service.security.vault import Vault
from tests.secured import Clock

LETTERS = string.ascii_letters + string.digits + "_.-=/+"
Parts = tuple[str, str, bytes]
DEFAULT, SOAK = 20_000, 1_000_000


class Desk:
    """A vault with two keys, and callers who are asked without HTTP."""

    def __init__(self, home: Path) -> None:
        self.vault, self.clock = Vault.create(home), Clock()
        self.keys, users, audit = Keys(self.vault), Users(self.vault), Audit(self.vault)
        sessions = PageSessions(self.vault, users, audit, clock=self.clock)
        self.callers = KeyedCallers(
            keys=self.keys, sessions=sessions, audit=audit, clock=self.clock
        )
        self.clock.now_ms += 10_000
        self.secrets: dict[str, Secret] = {}
        for owner in ("alice", "bob"):
            key, _ = self.keys.create(
                owner=owner, role=Role.TRADER, accounts=[owner], now_ms=self.clock()
            )
            found = self.keys.secret(key.id)
            assert found is not None
            self.secrets[key.id] = found

    def signed(self, id: str, parts: Parts, nonce: str, *, deribit: bool = False) -> Signed:  # noqa: A002
        timestamp = str(self.clock())
        text = text_of(timestamp, nonce, *parts, deribit=deribit)
        signature = signature_of(self.secrets[id], text)
        return Signed(
            key=id, timestamp=timestamp, nonce=nonce, signature=signature, deribit=deribit
        )

    def take(self, signed: Signed, parts: Parts) -> str:
        text = text_of(signed.timestamp, signed.nonce, *parts, deribit=signed.deribit)
        return self.callers.by_signature(signed, text).name


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("signing") / "vault")
    yield found
    found.vault.close()


def changed(draw: random.Random, text: str, letters: str) -> str:
    """The same with one letter changed, added or taken away."""
    at = draw.randrange(len(text) + 1)
    how = draw.randrange(3)
    if how == 0 or not text:
        return text[:at] + draw.choice(letters) + text[at:]
    at = min(at, len(text) - 1)
    if how == 1:
        return text[:at] + text[at + 1 :]
    other = draw.choice([one for one in letters if one != text[at]])
    return text[:at] + other + text[at + 1 :]


def mutated(draw: random.Random, desk: Desk, one: Signed, parts: Parts) -> tuple[Signed, Parts]:
    """One thing changed."""
    method, target, body = parts
    others = [other for other in desk.secrets if other != one.key]
    changes: tuple[Callable[[], tuple[Signed, Parts]], ...] = (
        lambda: (replace(one, signature=changed(draw, one.signature, "0123456789abcdef")), parts),
        lambda: (replace(one, signature=one.signature.upper()), parts),
        lambda: (replace(one, timestamp=changed(draw, one.timestamp, "0123456789")), parts),
        lambda: (replace(one, nonce=changed(draw, one.nonce, LETTERS)), parts),
        lambda: (replace(one, key=draw.choice(others)), parts),
        lambda: (replace(one, key=changed(draw, one.key, LETTERS)), parts),
        lambda: (one, (draw.choice(["PUT", "DELETE", "PATCH"]), target, body)),
        lambda: (one, (method, changed(draw, target, LETTERS), body)),
        lambda: (one, (method, target, changed(draw, body.decode(), LETTERS).encode())),
        lambda: (replace(one, deribit=not one.deribit), parts),
    )
    return draw.choice(changes)()


def refused(desk: Desk, count: int, seed: int) -> tuple[int, int]:
    """How many requests of so many were taken that should not have been; and how many right ones
    were, which should. A third of the wrong ones are replays."""
    draw, wrong, right = random.Random(seed), 0, 0
    ids, old = list(desk.secrets), []
    for number in range(count):
        if number % 500 == 0:
            desk.clock.now_ms += 7
            parts: Parts = (
                draw.choice(["GET", "POST"]), f"/v1/accounts/u{number}?limit={number}",
                b'{"size":"%d"}' % number,
            )  # fmt: skip
            one = desk.signed(
                draw.choice(ids), parts, f"{seed}.{number}", deribit=draw.random() < 0.3
            )
            # What is changed of it is refused before and after it has been taken.
            fresh = True
        if number % 500 == 250:
            assert desk.take(one, parts) in ("alice", "bob")
            right, fresh = right + 1, False
            old.append((one, parts))
        if not fresh and number % 3 == 0:
            given, of = draw.choice(old[-20:])
        else:
            given, of = mutated(draw, desk, one, parts)
            if (given, of) == (one, parts):
                continue
        try:
            desk.take(given, of)
        except Unauthorised:
            continue
        wrong += 1
    return wrong, right


def test_changed_and_repeated_requests_are_refused(desk: Desk) -> None:
    assert refused(desk, DEFAULT, seed=1) == (0, DEFAULT // 500)


@pytest.mark.soak
def test_a_million_changed_and_repeated_requests_are_refused(desk: Desk) -> None:
    for seed in range(10, 20):
        assert refused(desk, SOAK // 10, seed=seed) == (0, SOAK // 5_000)


@pytest.mark.parametrize(
    "told",
    [
        "Solvent-HMAC-SHA256 ", "Solvent-HMAC-SHA256 id=a", "Solvent-HMAC-SHA256 id=a,id=b,ts=1",
        "deri-hmac-sha256 id=a,ts=1,sig=0,nonce=n,more=1", "deri-hmac-sha256 id=a;ts=1",
        "Solvent-HMAC-SHA256 id=é,ts=1,sig=0,nonce=n",
    ],
)  # fmt: skip
def test_headers_that_cannot_be_read(told: str) -> None:
    with pytest.raises(Unauthorised):
        read_header(told)


def test_other_schemes_are_others(desk: Desk) -> None:
    assert read_header("Bearer x") is None
    for told in ("", "svk_1", "svk_1.", ".svs_1", "svk_1.svs_é", "svt_", "svt_a.b.c.d"):
        with pytest.raises(Unauthorised):
            desk.callers.by_bearer(told)


def one_of(nonce: str, at_ms: int, key: str = "k") -> Signed:
    return Signed(key=key, timestamp=str(at_ms), nonce=nonce, signature="")


def test_nonces_are_remembered_as_long_as_they_could_come_again() -> None:
    nonces = Nonces(started_ms=0, window_ms=10_000, ahead_ms=1_000, most=3)
    now_ms = 1_000_000
    for at_ms in (now_ms - 10_000, now_ms + 1_000):
        nonces.check_time(one_of("n", at_ms), now_ms)
    for at_ms in (now_ms - 10_001, now_ms + 1_001):
        with pytest.raises(Unauthorised, match="clock"):
            nonces.check_time(one_of("n", at_ms), now_ms)
    first = one_of("a", now_ms + 1_000)
    nonces.take(first, now_ms)
    # The last moment at which its signature is in time.
    last_ms = now_ms + 11_000
    nonces.check_time(first, last_ms)
    with pytest.raises(Unauthorised, match="nonce"):
        nonces.take(first, last_ms)
    nonces.take(one_of("a", now_ms, key="other"), now_ms)
    nonces.take(one_of("b", now_ms), now_ms)
    # There is no room: none is forgotten for it.
    with pytest.raises(TooMany):
        nonces.take(one_of("c", now_ms), now_ms)
    later_ms = now_ms + 13_000
    nonces.take(one_of("c", later_ms), later_ms)
    assert len(nonces) == 1
    assert NONCES_MAX > 500_000


def test_what_was_signed_before_the_start_is_refused() -> None:
    nonces = Nonces(started_ms=1_000_000, window_ms=10_000, ahead_ms=1_000)
    with pytest.raises(Unauthorised, match="before the service began"):
        nonces.check_time(one_of("n", 1_000_999), 1_001_000)
    nonces.check_time(one_of("n", 1_001_000), 1_001_000)
    for timestamp in ("", "0", "01", "+1", "1e3", "-1", "1" * 16, "١"):
        with pytest.raises(Unauthorised, match="whole milliseconds"):
            nonces.check_time(replace(one_of("n", 1), timestamp=timestamp), 1_001_000)
    for nonce in ("", "a" * 65, "a b", "é"):
        with pytest.raises(Unauthorised, match="nonce"):
            nonces.check_time(one_of(nonce, 1_001_000), 1_001_000)


# ── the vault ────────────────────────────────────────────────────────────────────────────────────


def test_a_vault_that_others_can_read_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "vault"
    with pytest.raises(BadInput, match="expected a directory"):
        Vault(home)
    Vault.create(home).close()
    for file in (home, home / "master.key", home / "security.sqlite"):
        mode = file.stat().st_mode & 0o777
        assert mode & 0o077 == 0
        file.chmod(mode | 0o040)
        with pytest.raises(BadInput, match="mode"):
            Vault(home)
        file.chmod(mode)
    (home / "master.key").write_text("short")
    with pytest.raises(BadInput, match="32 bytes"):
        Vault(home)


def test_rows_of_others_are_not_believed(tmp_path: Path) -> None:
    vault = Vault.create(tmp_path / "vault")
    keys, now_ms = Keys(vault), 1_000
    key, _ = keys.create(owner="eve", role=Role.READER, accounts=["eve"], now_ms=now_ms)
    assert keys.good(key.id, now_ms).role is Role.READER
    # Somebody with the database alone makes themselves an admin, or undoes a revocation.
    for change in ("role='admin'", "accounts=NULL", "owner='boss'", "expires_ms=9999999999999"):
        vault.write("UPDATE keys SET " + change)
        with pytest.raises(Unauthorised, match="known key"):
            keys.good(key.id, now_ms)
        vault.write("UPDATE keys SET role='reader', accounts='[\"eve\"]', owner='eve', "
                    "expires_ms=NULL")  # fmt: skip
        assert keys.good(key.id, now_ms).role is Role.READER
    keys.revoke(key.id, now_ms)
    vault.write("UPDATE keys SET revoked_ms=NULL")
    with pytest.raises(Unauthorised):
        keys.good(key.id, now_ms)
    vault.close()


def test_the_record_shows_what_was_changed(tmp_path: Path) -> None:
    vault = Vault.create(tmp_path / "vault")
    audit = Audit(vault)
    for number in range(5):
        audit.add(time_ms=number, who="a", what=f"w{number} svs_{'x' * 43}", outcome="done")
    assert [one.what for one in audit.read(after=3)] == ["w3 ***", "w4 ***"]
    assert audit.broken_at() is None
    for change in ("UPDATE audit SET who='b' WHERE number=3", "DELETE FROM audit WHERE number=3"):
        with pytest.raises(Exception, match="the record is"):
            vault.write(change)
    vault.write("DROP TRIGGER audit_is_not_changed")
    vault.write("UPDATE audit SET who='b' WHERE number=3")
    assert audit.broken_at() == 3
    vault.close()


def test_users_and_passwords(tmp_path: Path) -> None:
    vault = Vault.create(tmp_path / "vault")
    users, good = Users(vault, rounds=1, memory_kib=64), Secret("a long enough password")
    with pytest.raises(BadInput, match="12 to 1024"):
        users.put(name="ann", role=Role.ADMIN, accounts=None, password=Secret("short"), now_ms=1)
    with pytest.raises(BadInput, match="accounts"):
        users.put(name="ann", role=Role.TRADER, accounts=None, password=good, now_ms=1)
    with pytest.raises(BadInput, match="accounts"):
        users.put(name="ann", role=Role.RISK, accounts=["u1"], password=good, now_ms=1)
    with pytest.raises(BadInput, match="name"):
        users.put(name="<b>", role=Role.ADMIN, accounts=None, password=good, now_ms=1)
    users.put(name="ann", role=Role.ADMIN, accounts=None, password=good, now_ms=1)
    assert users.verify("ann", good).role is Role.ADMIN
    for name, password in (("ann", "a long enough passwore"), ("ben", good.reveal()), ("ann", ""),
                           ("ann", "x" * 2_000)):  # fmt: skip
        with pytest.raises(Unauthorised, match="a name and its password"):
            users.verify(name, Secret(password))
    stored = vault.rows("SELECT password FROM users")[0]["password"]
    assert stored.startswith("$argon2id$")
    vault.close()
