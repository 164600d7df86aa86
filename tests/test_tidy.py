"""Tidiness that is checked: sizes, dead names, orphans, and words that do not belong here."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT, SOURCE

LINES_MAX = 500
FUNCTION_MAX = 60
MODULES = sorted(SOURCE.rglob("*.py"))
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|pragma: no cover")


def tracked() -> list[Path]:
    """Files that the repository holds, or all text files where there is no repository."""
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listing.stdout.split() if listing.returncode == 0 else []
    return [ROOT / name for name in names if (ROOT / name).is_file()]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_sizes(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LINES_MAX, f"{path} has more than {LINES_MAX} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_MAX, f"{path.name}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_dead_private_names(path: Path) -> None:
    text = path.read_text("utf-8")
    words = Counter(re.findall(r"\w+", text))
    for node in ast.parse(text).body:
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [] if node.decorator_list else [node.name]
        elif isinstance(node, ast.Assign):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        for name in names:
            if name.startswith("_") and not name.startswith("__"):
                assert words[name] > 1, f"{path.name}: {name} is never used"


def test_no_orphans() -> None:
    """Every module is imported by another one."""
    everything = "\n".join(path.read_text("utf-8") for path in MODULES)
    for path in MODULES:
        module = path.relative_to(SOURCE).with_suffix("")
        if path.name == "__init__.py" or module.parts[0] == "verify":
            continue
        dotted = ".".join(module.parts)
        parent = ".".join(("solvent", *module.parts[:-1]))
        used = f"solvent.{dotted}" in everything or re.search(
            rf"from {re.escape(parent)} import (\([^)]*|[^\n]*)\b{module.name}\b", everything
        )
        assert used or f'"{dotted}"' in everything, f"nothing imports {dotted}"


def test_public_names_are_used() -> None:
    """A public function or class is used by another module, a test, a doc or the package's face."""
    places = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    words = Counter(w for path in places for w in re.findall(r"\w+", path.read_text("utf-8")))
    for path in MODULES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert words[node.name] > 1, f"{path.name}: nobody uses {node.name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_unfinished(path: Path) -> None:
    found = UNFINISHED.search(path.read_text("utf-8"))
    assert found is None, f"{path.name}: {found.group() if found else ''}"


def test_no_path_of_a_machine() -> None:
    """Nothing that is committed names a folder of the machine that it was made on."""
    machine = re.compile(r"(?<![\w.])/(work|home|root|Users)/\w")
    for path in tracked():
        if (
            path.suffix in {".py", ".md", ".toml", ".yml", ".json", ".sh"}
            or path.name == "Makefile"
        ):
            found = machine.search(path.read_text("utf-8"))
            assert found is None or path.name == "test_tidy.py", f"{path}: {found}"
