"""The machine's limits, by a C program that is built and run here."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("limits.c")


@contextmanager
def limits_program() -> Iterator[Callable[..., dict[str, float]]]:
    """Built once, asked as often as wanted: limits by name on the core that asks.

    Names ask for these alone (`l2_read_gbs` takes a fortieth of a second), none for all of them.
    What comes is empty where there is no C compiler.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        yield lambda *_names: {}
        return
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "limits")
        subprocess.run(
            [compiler, "-O3", "-march=native", "-ffast-math", str(SOURCE), "-o", program, "-lm"],
            check=True,
        )

        def measure(*names: str) -> dict[str, float]:
            done = subprocess.run([program, *names], capture_output=True, text=True, check=True)
            pairs = (line.split() for line in done.stdout.splitlines())
            return {name: float(value) for name, value in pairs}

        yield measure


def measure_limits() -> dict[str, float]:
    """Limits by name on one core; empty where there is no C compiler."""
    with limits_program() as measure:
        return measure()


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text("utf-8").splitlines() if "model name" in line]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return {"processor": name, "system": platform.system(), "python": platform.python_version()}
