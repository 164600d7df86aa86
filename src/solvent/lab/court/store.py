"""Pieces of a backtest on disk, so that a run can be stopped and gone on with.

A folder holds one Parquet file for a run of days, whose numbers are whole, and `run.json`, which
says what run they belong to. A file is complete or not there: it is written beside its place and
moved into it. Days that are there are not judged again; a folder of another run is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from solvent.errors import BadInput, Problem, Reject
from solvent.lab.court.judge import Day

_RUN: Final = "run.json"
_MONEY: Final = ("initial", "maintenance", "pnl", "gross")


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of pieces of one run."""

    folder: Path
    fingerprint: str

    @classmethod
    def open(cls, folder: str | Path, fingerprint: str) -> Store:
        """Take up a run in a folder, or begin one.

        Raises BadInput where the folder holds another run's pieces.
        """
        place = Path(folder)
        head = place / _RUN
        if head.exists():
            found = _head(head)
            if found != fingerprint:
                raise BadInput(
                    Problem(
                        code=Reject.SOURCE_UNREADABLE, source=str(place), field="fingerprint",
                        expected=f"pieces of this run ({fingerprint[:12]}), or an empty folder",
                        found=f"pieces of another one ({found[:12]})",
                    )
                )  # fmt: skip
        else:
            place.mkdir(parents=True, exist_ok=True)
            _write(head, json.dumps({"fingerprint": fingerprint}).encode())
        return cls(place, fingerprint)

    def read(self, piece: int, shape: tuple[int, int]) -> list[Day] | None:
        """The days of a piece; None where it is not there, or is not whole."""
        path = self._path(piece)
        if not path.exists():
            return None
        try:
            frame = pl.read_parquet(path)
            why = json.loads(path.with_suffix(".json").read_text("utf-8"))
        except (OSError, ValueError, pl.exceptions.PolarsError):
            return None
        cells = shape[0] * shape[1]
        if cells == 0 or len(frame) % cells:
            return None
        return [
            _day(frame.slice(at, cells), why.get(str(number), {}), shape)
            for number, at in enumerate(range(0, len(frame), cells))
        ]

    def write(self, piece: int, days: Sequence[Day]) -> None:
        """Keep the days of a piece."""
        frame = pl.DataFrame(
            {
                "state": np.concatenate([day.state.ravel() for day in days]),
                **{
                    name: np.concatenate([getattr(day, name).ravel() for day in days])
                    for name in _MONEY
                },
            }
        )
        why = {
            str(number): {f"{r},{p}": text for (r, p), text in day.reasons.items()}
            for number, day in enumerate(days)
            if day.reasons
        }
        path = self._path(piece)
        _write(path.with_suffix(".json"), json.dumps(why).encode())
        beside = path.with_suffix(".part")
        frame.write_parquet(beside)
        beside.replace(path)

    def _path(self, piece: int) -> Path:
        return self.folder / f"days-{piece:05d}.parquet"


def _day(frame: pl.DataFrame, why: dict[str, str], shape: tuple[int, int]) -> Day:
    money: dict[str, Any] = {name: frame[name].to_numpy().reshape(shape) for name in _MONEY}
    reasons = {}
    for key, text in why.items():
        rulebook, portfolio = key.split(",")
        reasons[int(rulebook), int(portfolio)] = text
    state = frame["state"].to_numpy().reshape(shape)
    return Day(state=state, reasons=reasons, **money)


def _head(path: Path) -> str:
    try:
        return str(json.loads(path.read_text("utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE, source=str(path), expected="the head of a run",
                found=f"{type(fault).__name__}: {fault}",
            )
        ) from fault  # fmt: skip


def _write(path: Path, content: bytes) -> None:
    beside = path.with_suffix(path.suffix + ".part")
    beside.write_bytes(content)
    beside.replace(path)
