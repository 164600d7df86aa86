"""Whole commands as processes: help, a first margin with nothing compiled, and a second."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import Timing

ROUNDS = 5
_COMMAND = [sys.executable, "-c", "from solvent.cli import main; main()"]


def measure() -> dict[str, Timing]:
    """Seconds of each command."""
    with tempfile.TemporaryDirectory() as folder:
        market, book = Path(folder) / "market.csv", Path(folder) / "book.csv"
        _generate("market", market)
        _generate("book", book, "--market", str(market), "--accounts", "20")
        margin = [*_COMMAND, "margin", "--market", str(market), "--positions", str(book), "--json"]
        cold, warm, help_ = [], [], []
        for _ in range(ROUNDS):
            cache = Path(folder) / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            cold.append(_seconds(margin, cache))
            warm.append(_seconds(margin, cache))
            help_.append(_seconds([*_COMMAND, "--help"], cache))
    named = {"solvent margin, cold": cold, "solvent margin, warm": warm, "solvent --help": help_}
    return {
        name: Timing(median=statistics.median(t), best=min(t), rounds=ROUNDS, share=1.0)
        for name, t in named.items()
    }


def _generate(what: str, path: Path, *more: str) -> None:
    command = [*_COMMAND, "generate", what, "--out", str(path), *more]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _seconds(command: list[str], cache: Path) -> float:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start
