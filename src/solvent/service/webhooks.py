"""Webhooks: what is told to whom about margin calls and liquidations, and how often it was tried.

From the journal to an outbox, in one transaction with the place that was read up to; from there to
its target, until it says 2xx. So each event arrives at least once, whatever stops in between, and
its id tells a repetition. What cannot be delivered is kept as dead until somebody sends it again.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from solvent.host import clock_ms
from solvent.messages import commands as c
from solvent.messages.codec import event_fields
from solvent.messages.events import CallEnded, Event, LiquidationBegun, MarginCalled
from solvent.messages.fields import Command
from solvent.service.security.keys import bad
from solvent.service.security.masking import Secret
from solvent.service.security.vault import Vault
from solvent.service.webhook_targets import Network, check_url

KINDS: Final = (
    "margin.called", "call.ended", "liquidation.begun", "liquidation.reduced", "liquidation.ended",
)  # fmt: skip
SIGNATURE: Final = "solvent-signature"
EVENT: Final = "solvent-event"
TRIES_MAX: Final = 14
FIRST_S, LONGEST_S = 1.0, 3_600.0
KEPT_MS: Final = 7 * 86_400_000
HOOKS_MAX: Final = 64
PLACE: Final = "webhooks"
_REDUCING: Final = (c.LiquidateInBook, c.Liquidate, c.TakeOver, c.Deleverage, c.BidInAuction)
_COLUMNS: Final = "id, url, kinds, salt, since_ms, seal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Somebody who wants to be told. `url` may hold what is nobody else's business: `shown` has
    its host alone."""

    id: str
    url: str
    kinds: tuple[str, ...]
    salt: str
    since_ms: int

    def shown(self) -> dict[str, Any]:
        """What may be shown of it."""
        parts = urlsplit(self.url)
        where = f"{parts.scheme}://{parts.hostname}"
        return {"id": self.id, "where": where, "kinds": list(self.kinds), "since_ms": self.since_ms}


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One event to be told. `id` is the same however often it is told."""

    id: str
    kind: str
    sequence: int
    time_ms: int
    account: str
    details: Mapping[str, Any]

    def body(self) -> bytes:
        """As it is sent."""
        return msgspec.json.encode(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One delivery to be tried."""

    event: str
    hook: Hook
    body: bytes
    tries: int


def news_of(
    sequence: int, time_ms: int, command: Command, code: int, events: Iterable[Event],
    name_of: Callable[[int], str],
) -> list[News]:  # fmt: skip
    """What one command of the journal means to those who are told."""
    if code:
        return []
    found: list[tuple[str, str, Mapping[str, Any]]] = []
    for one in events:
        if isinstance(one, MarginCalled):
            found.append(("margin.called", name_of(one.account), event_fields(one)))
        elif isinstance(one, CallEnded):
            found.append(("call.ended", name_of(one.account), event_fields(one)))
        elif isinstance(one, LiquidationBegun):
            found.append(("liquidation.begun", name_of(one.account), event_fields(one)))
    name = str(getattr(command, "account", ""))
    stage = {"step": str(command.__struct_config__.tag)}
    if isinstance(command, _REDUCING):
        symbol = getattr(command, "symbol", None)
        found.append(("liquidation.reduced", name, {**stage, "symbol": symbol}))
    elif isinstance(command, c.EndLiquidation):
        found.append(("liquidation.ended", name, stage))
    return [
        News(
            id=f"{sequence}-{place}", kind=kind, sequence=sequence, time_ms=time_ms, account=whose,
            details=details,
        )
        for place, (kind, whose, details) in enumerate(found)
    ]  # fmt: skip


# ── signatures ───────────────────────────────────────────────────────────────────────────────────


def signed(secret: Secret, body: bytes, now_s: int) -> str:
    """The header that goes with a body: HMAC-SHA256 of `seconds . body`.

    >>> signed(Secret("s"), b"{}", 1700000000)[:18]
    't=1700000000,v1=e9'
    """
    text = f"{now_s}.".encode() + body
    return f"t={now_s},v1={hmac.new(secret.reveal().encode(), text, hashlib.sha256).hexdigest()}"


def verify(secret: Secret, header: str, body: bytes, now_s: int, *, tolerance_s: int = 300) -> bool:
    """What who is told does first: whether it is from us, and of late.

    >>> told = signed(Secret("s"), b"{}", 1700000000)
    >>> [verify(Secret(one), told, b"{}", 1700000010) for one in ("s", "other")]
    [True, False]
    """
    head, _, _ = header.partition(",")
    time = head.removeprefix("t=")
    if not (time.isascii() and time.isdigit() and len(time) <= 12):
        return False
    fits = hmac.compare_digest(signed(secret, body, int(time)).encode(), header.encode())
    return fits and abs(now_s - int(time)) <= tolerance_s


def pause_ms(tries: int, draw: Callable[[], float] = random.random) -> int:
    """How long to wait after so many tries: twice as long each time, between half and all of it,
    so that nobody is asked by all at once.

    >>> [pause_ms(tries, lambda: 1.0) for tries in (1, 2, 3, 20)]
    [1000, 2000, 4000, 3600000]
    """
    longest_s = min(LONGEST_S, FIRST_S * 2.0 ** min(tries - 1, 32))
    return round(1_000 * longest_s * (0.5 + draw() / 2))


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


class Outbox:
    """Hooks, and what is to be told them, in a vault. `counts` of outcomes since the start."""

    def __init__(
        self, vault: Vault, *, allowed: Sequence[Network] = (), tries_max: int = TRIES_MAX,
        clock: Callable[[], int] = clock_ms,
    ) -> None:  # fmt: skip
        self._vault, self.allowed, self._tries_max = vault, tuple(allowed), tries_max
        self.clock = clock
        self.counts = {"delivered": 0, "failed": 0, "dead": 0}

    def create(self, url: str, kinds: Sequence[str]) -> tuple[Hook, Secret]:
        """Tell somebody from now on; and the secret that signs it, told once. Raises BadInput and
        NotAllowed."""
        told = tuple(dict.fromkeys(kinds)) or KINDS
        if unknown := [one for one in told if one not in KINDS]:
            raise bad("kinds", ", ".join(KINDS), repr(unknown[0][:64]))
        check_url(url, self.allowed)
        if len(self.hooks()) >= HOOKS_MAX:
            raise bad("url", f"at most {HOOKS_MAX} webhooks", str(HOOKS_MAX + 1))
        hook = Hook(
            id=f"hook_{secrets.token_hex(6)}", url=url, kinds=told, salt=secrets.token_hex(16),
            since_ms=self.clock(),
        )  # fmt: skip
        values = (hook.id, url, " ".join(told), hook.salt, hook.since_ms)
        self._vault.write(
            f"INSERT INTO hooks ({_COLUMNS}) VALUES (?,?,?,?,?,?)",
            *values, self._vault.seal("hook", values),
        )  # fmt: skip
        return hook, self.secret(hook)

    def remove(self, id: str) -> bool:  # noqa: A002
        """Tell somebody no more, nor what waits; whether there was such a hook."""
        with self._vault.transaction() as db:
            db.execute("DELETE FROM outbox WHERE hook=?", (id,))
            return db.execute("DELETE FROM hooks WHERE id=?", (id,)).rowcount > 0

    def hooks(self) -> list[Hook]:
        """Everybody who is told."""
        query = f"SELECT {_COLUMNS} FROM hooks ORDER BY since_ms, id"
        rows = [row for row in self._vault.rows(query) if self._vault.sealed("hook", row)]
        return [
            Hook(
                id=row["id"], url=row["url"], kinds=tuple(row["kinds"].split()), salt=row["salt"],
                since_ms=row["since_ms"],
            )
            for row in rows
        ]  # fmt: skip

    def secret(self, hook: Hook) -> Secret:
        """What signs what a hook is told."""
        return Secret("svw_" + self._vault.derived("webhook", hook.id, hook.salt).reveal())

    def place(self) -> int | None:
        """The sequence up to which the journal was read; None before the first."""
        found = self._vault.rows("SELECT sequence FROM places WHERE name=?", PLACE)
        return found[0]["sequence"] if found else None

    def take(self, news: Sequence[News], upto: int) -> int:
        """Keep what is to be told, and that the journal was read so far; how many are new."""
        now_ms, new = self.clock(), 0
        hooks = self.hooks() if news else []
        with self._vault.transaction() as db:
            for one in news:
                for hook in hooks:
                    if one.kind in hook.kinds:
                        new += db.execute(
                            "INSERT OR IGNORE INTO outbox VALUES (?,?,?,0,?,'waiting','',?)",
                            (one.id, hook.id, one.body(), now_ms, now_ms),
                        ).rowcount
            db.execute(
                "INSERT INTO places VALUES (?,?) ON CONFLICT (name) DO UPDATE SET "
                "sequence=excluded.sequence WHERE excluded.sequence>sequence",
                (PLACE, upto),
            )
            db.execute(
                "DELETE FROM outbox WHERE status='delivered' AND made_ms<?", (now_ms - KEPT_MS,)
            )
        return new

    def due(self, most: int) -> list[Due]:
        """What is to be tried now."""
        hooks = {one.id: one for one in self.hooks()}
        rows = self._vault.rows(
            "SELECT * FROM outbox WHERE status='waiting' AND due_ms<=? ORDER BY due_ms LIMIT ?",
            self.clock(), most,
        )  # fmt: skip
        return [
            Due(event=row["event"], hook=hooks[row["hook"]], body=bytes(row["body"]),
                tries=row["tries"])
            for row in rows if row["hook"] in hooks
        ]  # fmt: skip

    def ended(self, one: Due, *, fault: str, final: bool = False) -> None:
        """Note how a try went: `fault` is empty where it was taken, `final` where it never will
        be."""
        tries = one.tries + 1
        if not fault:
            status, due_ms = "delivered", self.clock()
            self.counts["delivered"] += 1
        else:
            dead = final or tries >= self._tries_max
            status, due_ms = ("dead" if dead else "waiting"), self.clock() + pause_ms(tries)
            self.counts["dead" if dead else "failed"] += 1
        self._vault.write(
            "UPDATE outbox SET tries=?, status=?, due_ms=?, detail=? WHERE event=? AND hook=?",
            tries, status, due_ms, fault[:200], one.event, one.hook.id,
        )  # fmt: skip

    def counted(self) -> dict[str, int]:
        """How many deliveries there are, by status."""
        rows = self._vault.rows("SELECT status, COUNT(*) AS n FROM outbox GROUP BY status")
        return {"waiting": 0, "dead": 0, **{row["status"]: row["n"] for row in rows}}

    def dead(self, limit: int = 100) -> list[dict[str, Any]]:
        """What could not be delivered, the oldest first."""
        rows = self._vault.rows(
            "SELECT event, hook, tries, detail, made_ms FROM outbox WHERE status='dead' "
            "ORDER BY made_ms LIMIT ?",
            limit,
        )
        return [dict(row) for row in rows]

    def resend(self, hook: str | None = None) -> int:
        """Try what is dead again, of one hook or of all; how many."""
        return self._vault.write(
            "UPDATE outbox SET status='waiting', tries=0, due_ms=? WHERE status='dead' "
            "AND (? IS NULL OR hook=?)",
            self.clock(), hook, hook,
        )  # fmt: skip
