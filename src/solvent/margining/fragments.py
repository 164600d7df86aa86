"""Parts of a rulebook as plain tables: put together, checked as any other, written as TOML."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from solvent.errors import RulebookError

Fragment = dict[str, Any]
"""Sections of a rulebook as TOML would be read: tables, vols, scenarios, sums, charges, …"""

_BARE = re.compile(r"[A-Za-z0-9_-]+$")


def merged(*parts: Mapping[str, Any]) -> Fragment:
    """One rulebook of several parts. Tables are joined, lists follow each other; a name that two
    parts set to different values is refused.

    >>> merged({"sums": {"a": {"node": "x"}}}, {"sums": {"b": {"node": "y"}}})
    {'sums': {'a': {'node': 'x'}, 'b': {'node': 'y'}}}
    """
    whole: Fragment = {}
    for part in parts:
        _merge(whole, part, "")
    return whole


def _merge(into: Fragment, part: Mapping[str, Any], path: str) -> None:
    for key, value in part.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            below = into.setdefault(key, {})
            if not isinstance(below, dict):
                raise RulebookError(f"{here}: a table in one part, a value in another")
            _merge(below, value, here)
        elif key not in into:
            into[key] = list(value) if isinstance(value, list | tuple) else value
        elif isinstance(value, list | tuple) and isinstance(into[key], list):
            into[key] += [one for one in value if one not in into[key]]
        elif into[key] != value:
            raise RulebookError(f"{here}: {into[key]!r} in one part, {value!r} in another")


def to_toml(content: Mapping[str, Any]) -> str:
    """The text of a rulebook's tables; reading it back gives the same tables.

    >>> print(to_toml({"name": "a", "sums": {"d": {"node": "x", "per_lot": "delta"}}}), end="")
    name = "a"
    <BLANKLINE>
    [sums.d]
    node = "x"
    per_lot = "delta"
    """
    return "\n".join(_lines(content, [])).strip() + "\n"


def _lines(table: Mapping[str, Any], path: list[str]) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not _is_section(value)}
    if path and (plain or not table):
        yield ""
        yield f"[{'.'.join(path)}]"
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping) and _is_section(value):
            yield from _lines(value, [*path, _key(key)])
        elif _is_section(value):
            for row in value:
                yield ""
                yield f"[[{'.'.join([*path, _key(key)])}]]"
                for name, inner in row.items():
                    yield f"{_key(name)} = {_value(inner)}"


def _is_section(value: Any) -> bool:
    """Whether it is written under a header of its own: tables, and lists of rows with a source."""
    if isinstance(value, Mapping):
        return True
    rows = isinstance(value, list | tuple) and value and isinstance(value[0], Mapping)
    return bool(rows) and bool({"source", "asset"} & set(value[0]))


def _key(name: str) -> str:
    return name if _BARE.match(name) else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RulebookError(f"a rulebook holds finite numbers, found {value!r}")
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    raise RulebookError(f"a rulebook holds numbers, text and tables, found {value!r}")
