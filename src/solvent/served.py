"""What a served venue answers where the embedded engine has no object of that kind: the service
writes these documents, and its clients read them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from solvent.documents import StandingRow


class MarginDocument(Struct):
    """Where an account or a portfolio stands, and why. `standing` is exact and the engine's own;
    what explains it are dollars in floating point. `positions` are shares that add up to the
    margin, under rulebooks of scans."""

    rulebook: str
    as_of_ms: int
    age_ms: int
    stale: bool
    standing: StandingRow
    worst_scenario: str | None
    charges: dict[str, float | None]
    positions: list[dict[str, Any]]
    problems: list[str]
    reason: str | None = None


class WhatIfDocument(Struct):
    """Before and after changes, in dollars. `as_of_ms` is the time of the risk arrays; `stale` says
    that they are older than the rulebook lets the engine decide on. `after` is None without
    changes."""

    rulebook: str
    as_of_ms: int
    age_ms: int
    stale: bool
    sequence: int
    before: StandingRow
    after: StandingRow | None


class AuditDocument(Struct):
    """Whether the books add up, by the engine and by a program that shares no code with it: nothing
    is violated where they do."""

    sequence: int
    accounts: int
    positions: int
    assets: dict[str, int]
    outside: dict[str, int]
    commands_checked: int
    violations_count: int
    violations: list[str]


class JournalRow(Struct):
    """A command and its events; accounts, assets and instruments are told by number in events.
    `code` is 0 where it was done. `chain` binds it to all before it."""

    sequence: int
    time_ms: int
    kind: str
    actor: str
    key: str
    code: int
    command: dict[str, Any]
    events: list[dict[str, Any]]
    chain: str


class JournalPage(Struct):
    """A page of the journal; `next` is `after` of the next page, null at the head."""

    rows: list[JournalRow]
    head: int
    next: int | None
