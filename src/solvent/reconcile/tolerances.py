"""By how much two sides may differ, in whole numbers: smallest units, and millionths."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from solvent.errors import BadInput, Problem, Reject
from solvent.reconcile.lines import Key, Kind
from solvent.units import DAY_MS, div_down

_PPM: Final = 1_000_000
_NAMES: Final = ("units", "ppm")


@dataclass(frozen=True, slots=True)
class Allowance:
    """A difference is allowed up to the larger of the two; `units` are smallest ones of its kind,
    `ppm` millionths of our amount."""

    units: int = 0
    ppm: int = 0

    def of(self, amount: int) -> int:
        """How much may differ from an amount, rounded down.

        >>> Allowance(units=2, ppm=10).of(1_000_000)
        10
        """
        return max(self.units, div_down(abs(amount) * self.ppm, _PPM))


_DEFAULT: Final = {
    Kind.BALANCE: Allowance(), Kind.POSITION: Allowance(), Kind.MARK: Allowance(),
    Kind.REQUIREMENT: Allowance(units=10_000),
}  # fmt: skip
"""Nothing, and a cent of a requirement: each side rounds its own way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """By kind, and by name within a kind. A statement may be so much older or younger than our
    books; a mark of ours that is older than that when the statement was made is stale."""

    by_kind: Mapping[Kind, Allowance] = field(default_factory=lambda: dict(_DEFAULT))
    by_name: Mapping[tuple[Kind, str], Allowance] = field(default_factory=dict)
    statement_ms_max: int = 2 * DAY_MS
    mark_ms_max: int = 300_000

    def of(self, key: Key, amount: int) -> int:
        """What may differ of a line."""
        allowed = self.by_name.get((key.kind, key.name), self.by_kind[key.kind])
        return allowed.of(amount)


def read_tolerances(path: str | Path) -> Tolerances:
    """Tolerances from TOML: `[balance]` and so on with `units` and `ppm`, `[balance.BTC]` within,
    `[age]` with `statement_ms_max` and `mark_ms_max`. Raises BadInput naming file and field."""
    source = str(path)
    try:
        told = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as fault:
        raise _wrong(source, "", "a file of TOML", str(fault).splitlines()[0]) from fault
    ages = _whole(source, "age", told.pop("age", {}), ("statement_ms_max", "mark_ms_max"))
    kinds, names = dict(_DEFAULT), {}
    for kind, inside in told.items():
        if kind not in {one.value for one in Kind}:
            raise _wrong(source, kind, f"one of age, {', '.join(Kind)}", kind)
        if not isinstance(inside, dict):
            raise _wrong(source, kind, "a table", inside)
        own = {name: what for name, what in inside.items() if not isinstance(what, dict)}
        if own:
            kinds[Kind(kind)] = Allowance(**_whole(source, kind, own, _NAMES))
        for name, what in inside.items():
            if isinstance(what, dict):
                allowed = Allowance(**_whole(source, f"{kind}.{name}", what, _NAMES))
                names[Kind(kind), name] = allowed
    return Tolerances(by_kind=kinds, by_name=names, **ages)


def _whole(source: str, table: str, told: Any, names: tuple[str, ...]) -> dict[str, int]:
    """Whole numbers of 0 or more by name."""
    if not isinstance(told, dict):
        raise _wrong(source, table, "a table", told)
    for name, what in told.items():
        if name not in names:
            raise _wrong(source, f"{table}.{name}", f"one of {', '.join(names)}", name)
        if isinstance(what, bool) or not isinstance(what, int) or what < 0:
            raise _wrong(source, f"{table}.{name}", "a whole number of 0 or more", what)
    return dict(told)


def _wrong(source: str, field_name: str, expected: str, found: object) -> BadInput:
    return BadInput(
        Problem(
            code=Reject.INPUT_INVALID, source=source, field=field_name or None, expected=expected,
            found=str(found)[:80],
        )
    )  # fmt: skip
