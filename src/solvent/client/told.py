"""What a service answers where the embedded engine has no object of that kind."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from solvent.documents import StandingRow


class MarginTold(Struct):
    """Where an account or a portfolio stands, and why; see the service's documentation."""

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


class WhatIf(Struct):
    """Where an account or a portfolio stands before and after changes, in dollars."""

    rulebook: str
    as_of_ms: int
    age_ms: int
    stale: bool
    sequence: int
    before: StandingRow
    after: StandingRow | None


class AuditTold(Struct):
    """Whether the books add up: nothing is violated where they do."""

    sequence: int
    accounts: int
    positions: int
    assets: dict[str, int]
    outside: dict[str, int]
    commands_checked: int
    violations_count: int
    violations: list[str]


class JournalRow(Struct):
    """A command and its events as the journal has them."""

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
    """A page of the journal; `next` is `after` of the next, None at the head."""

    rows: list[JournalRow]
    head: int
    next: int | None
