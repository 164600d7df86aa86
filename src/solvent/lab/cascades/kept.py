"""Runs on a disk: one line each, so that what was stopped goes on where it was.

A file begins with its settings; each further line is a run. A last line that was not written to its
end is left out, and cut off when more is written. A file of other settings is never written to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from solvent.errors import BadInput, Problem, Reject
from solvent.lab.cascades.run import Outcome
from solvent.lab.cascades.settings import Settings, settings_of
from solvent.lab.wording import unreadable

FORMAT: Final = 2
"""2: what was refused is told too."""


class Kept:
    """Runs of some settings in a file, or nowhere (`path` None).

    Raises BadInput for a file that holds something else.
    """

    def __init__(self, path: Path | None, settings: Settings) -> None:
        self._path = path
        self.runs: dict[int, Outcome] = {}
        if path is None:
            return
        if path.exists():
            found, self.runs = read_runs(path)
            if found.digest != settings.digest:
                raise _bad(
                    path, f"runs of the settings that are asked for ({settings.digest})",
                    f"runs of others ({found.digest}): {_differs(found, settings)}; take another "
                    "--out, or the settings that are kept",
                )  # fmt: skip
            self._rewrite(settings)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rewrite(settings)

    def add(self, outcome: Outcome) -> None:
        """Keep a run; of a seed that is there already, the new one."""
        self.runs[outcome.seed] = outcome
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(outcome.to_dict()))

    def _rewrite(self, settings: Settings) -> None:
        assert self._path is not None
        head = {"cascade": FORMAT, "digest": settings.digest,
                "settings": settings.model_dump(mode="json")}  # fmt: skip
        beside = self._path.with_name(self._path.name + ".part")
        lines: Iterable[dict[str, Any]] = [head, *(one.to_dict() for one in self.runs.values())]
        beside.write_text("".join(_line(one) for one in lines), "utf-8")
        os.replace(beside, self._path)


def read_runs(path: Path) -> tuple[Settings, dict[int, Outcome]]:
    """A file's settings, and its runs by seed. Raises BadInput for what is no such file."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise _bad(path, "a file of runs", unreadable(fault)) from fault
    lines = text.split("\n")
    whole, rest = lines[:-1], lines[-1]
    try:
        head = json.loads(whole[0]) if whole else None
        if not isinstance(head, dict) or head.get("cascade") != FORMAT:
            raise _bad(path, f"a file of cascades, format {FORMAT}", (text[:60] or "nothing"))
        settings = settings_of(head["settings"], source=str(path))
        runs = [Outcome.of_dict(json.loads(one)) for one in whole[1:]]
    except (ValueError, KeyError, TypeError) as fault:
        raise _bad(path, "lines of runs", str(fault)) from fault
    del rest  # a line that was not written to its end
    return settings, {one.seed: one for one in runs}


def _differs(kept: Settings, asked: Settings) -> str:
    """Settings that two runs do not share, the first few."""
    one, other = _flat(kept.model_dump(mode="json")), _flat(asked.model_dump(mode="json"))
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    told = [f"{name} is {one.get(name)} there, {other.get(name)} here" for name in names[:3]]
    return ", ".join(told) + (" …" if len(names) > 3 else "")


def _flat(told: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in told.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {
            f"{above}{name}": value
        }  # fmt: skip
    return found


def _line(told: dict[str, Any]) -> str:
    return json.dumps(told, allow_nan=False) + "\n"


def _bad(path: Path, expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.SOURCE_UNREADABLE, source=str(path), expected=expected, found=found)
    )
