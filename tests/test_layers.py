"""The one direction of imports, and what the core must not touch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SOURCE

ROWS = {
    "errors": 0, "limits": 0, "units": 0, "expressions": 0, "rationals": 0, "chains": 0,
    "elementary": 0, "coefficients": 0, "portable": 0, "frames": 0,
    "instruments": 1, "messages": 1,
    "market": 2,
    "scenarios": 3,
    "pricing": 4,
    "risk": 5,
    "credit": 6, "margining": 6, "rulebooks": 6, "venues": 6,
    "account": 7,
    "orders": 8,
    "liquidation": 9,
    "engine": 10,
    "journal": 11,
    "solvency": 12, "proofs": 13,
    "feeds": 14,
    "answer": 15, "levels_answer": 15, "api": 15, "clearing": 15,
    "publishing": 15, "recovery": 15, "host": 15,
    "order_units": 15, "order_rows": 15, "outcomes": 15, "order_entry": 15, "market_feed": 15,
    "tending": 15, "own_account": 15, "reconcile": 15,
    "credit_run": 16, "whatif": 16, "counterfactual": 16, "documents": 15, "refusal_text": 16,
    "served": 16, "service": 17, "client": 17, "dashboard": 18, "cli": 19, "__init__": 20,
}  # fmt: skip
SIDES = {
    "verify": {"errors", "limits", "units"},
    "lab": {name for name, row in ROWS.items() if row <= 16} | {"sim"},
    "conform": {name for name, row in ROWS.items() if row <= 15} | {"lab"},
    "sim": {name for name, row in ROWS.items() if row <= 15},
}
"""Packages beside the rows, and what each may read. Nothing but the shell and tests reads them."""
SHELL = {"service", "dashboard", "cli", "__init__"}
FORBIDDEN = {
    "margining": {"market", "pricing"},
    "pricing": {"scenarios"},
    "account": {"market", "pricing", "risk", "margining"},
    "engine": {"market", "pricing"},
}
CORE = {name for name, row in ROWS.items() if row <= 10}
IMPURE = {"logging", "os", "io", "pathlib", "random", "secrets", "shutil", "socket", "subprocess",
          "tempfile", "threading", "time", "uuid"}  # fmt: skip
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))


def package_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Every absolute module name that a file imports, wherever in it."""
    for node in ast.walk(ast.parse((SOURCE / module).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield (
                f"{node.module}.{node.names[0].name}"
                if node.module == "solvent"
                else (node.module or "")
            )


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_up(module: Path) -> None:
    mine = package_of(module)
    for name in imports(module):
        parts = name.split(".")
        if parts[0] != "solvent" or len(parts) < 2 or parts[1] in (mine, "__version__"):
            continue
        theirs = parts[1]
        if mine in SIDES:
            assert theirs in SIDES[mine], f"{module} may not import {name}"
        elif theirs in SIDES:
            assert mine in SHELL, f"{module}: only the shell reads {theirs}"
        elif mine != "__init__":
            assert ROWS[theirs] <= ROWS[mine], f"{module} imports {name} from below"
            assert ROWS[theirs] < ROWS[mine] or ROWS[mine] in (0, 15), f"{module}: {name} beside"
        assert theirs not in FORBIDDEN.get(mine, set()), f"{module} must never import {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if package_of(m) in CORE], ids=str)
def test_core_is_pure(module: Path) -> None:
    """No clock, randomness, I/O or logging below the shell."""
    for name in imports(module):
        assert name.split(".")[0] not in IMPURE, f"{module} imports {name}"
    for node in ast.walk(ast.parse((SOURCE / module).read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "eval", "exec"}, module
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"now", "utcnow", "today"}, f"{module} reads a clock"
            text = ast.unparse(node)
            assert not text.startswith(("np.random", "numpy.random")), f"{module} draws lots"


def test_every_package_has_a_row() -> None:
    assert {package_of(m) for m in MODULES} <= set(ROWS) | set(SIDES)


@pytest.mark.parametrize("module", [m for m in MODULES if package_of(m) == "account"], ids=str)
def test_money_is_whole(module: Path) -> None:
    """No floats where money is kept: no numpy, no division but whole, no float literal."""
    assert "numpy" not in {name.split(".")[0] for name in imports(module)}, module
    for node in ast.walk(ast.parse((SOURCE / module).read_text("utf-8"))):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), module
        assert not (isinstance(node, ast.Name) and node.id == "float"), module


def test_heavy_packages_are_imported_when_used() -> None:
    """numba and plotly cost a second; nothing imports them at the top but their own modules."""
    for module in MODULES:
        tree = ast.parse((SOURCE / module).read_text("utf-8"))
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        names = {
            (n.module or "").split(".")[0] if isinstance(n, ast.ImportFrom) else
            n.names[0].name.split(".")[0]
            for n in top
        }  # fmt: skip
        assert not names & {"plotly", "pandas", "ray", "ccxt"}, module
        if module.name != "compiled.py":
            assert not names & {"numba", "llvmlite"}, module
