"""Cases of auto-deleveraging: allocations of a budget, and prices of a position in liquidation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from solvent.conform.case import Case, Row
from solvent.liquidation import adl, bankruptcy

_FLOAT: Final = 1e-12
"""Of numbers that the file has computed in floats."""
_PRINTED: Final = 0.005
"""Of one that is printed to two decimals."""


def cases(path: Path) -> Iterator[Case]:
    """`adl_vectors.json`: every allocation, the published example, prices and the slice."""
    file = json.loads(path.read_text("utf-8"))
    for row in file["allocation_vectors"]:
        yield _allocated(row)
    yield from _example(file["published_five_account_example"])
    for row in file["liquidation_vectors"]:
        yield _priced(row)
    yield _sliced(file["published_liquidation_slice"])


def _exact(told: float | str) -> Fraction:
    return Fraction(str(told))


def _all(told: list[Any]) -> list[Fraction]:
    return [_exact(one) for one in told]


def _allocated(row: Row) -> Case:
    case = Case(row["case"])
    endowment, budget = _all(row["endowment"]), _exact(row["budget"])
    caps = _all(row["caps"]) if "caps" in row else None
    if "score" in row:
        score = _all(row["score"])
        order = sorted(range(len(score)), key=lambda one: (-score[one], one))
        found = adl.queue(endowment, order, budget, caps)
    elif "risk_weights" in row:
        found = adl.risk_aware(endowment, _all(row["risk_weights"]), budget, caps)
    else:
        found = adl.pro_rata(endowment, budget, caps)
    if row["haircut"] is None:
        # Not enough in all: the file says nothing but that.
        case.expect_text("feasible", str(found.residual == 0), "False")
        return case
    case.expect("residual", float(found.residual), row.get("residual", 0), _FLOAT)
    _each(case, "haircut", found.haircuts(endowment), row["haircut"])
    if "paid" in row:
        _each(case, "paid", found.paid, row["paid"])
    return case


def _each(case: Case, what: str, found: tuple[Fraction, ...], expected: list[float]) -> None:
    case.expect(f"{what}: length", len(found), len(expected), 0.0)
    for place, (mine, theirs) in enumerate(zip(found, expected, strict=False)):
        case.expect(f"{what} {place}", float(mine), theirs, _FLOAT)


def _example(row: Row) -> Iterator[Case]:
    equity, endowment = _all(row["equity"]), _all(row["endowment"])
    budget = _exact(row["budget"])
    deficit = sum(-one for one in equity if one < 0)
    told = Case("five accounts: budget")
    told.expect("deficit", float(deficit), row["deficit"], 0.0)
    told.expect("budget", float(deficit * _exact(row["severity"])), row["budget"], 0.0)
    yield told
    order = [one - 1 for one in row["queue_order"]]
    for name, found in (
        ("queue", adl.queue(endowment, order, budget)),
        ("pro_rata", adl.pro_rata(endowment, budget)),
    ):
        case, expected = Case(f"five accounts: {name}"), row[name]
        _each(case, "haircut", found.haircuts(endowment), _of_gains(expected["haircut"], endowment))
        _each(case, "seized", found.paid, expected["seized"])
        after = tuple(one - paid for one, paid in zip(equity, found.paid, strict=True))
        _each(case, "equity after", after, expected["equity_after"])
        yield case


def _of_gains(told: float | list[float], endowment: list[Fraction]) -> list[float]:
    """One haircut for all is of those who have something."""
    return told if isinstance(told, list) else [told if of else 0.0 for of in endowment]


def _priced(row: Row) -> Case:
    case = Case(f"position {row['name']}")
    found = bankruptcy.position_prices(
        side=row["side"], size=_exact(row["q"]), entry=_exact(row["p0"]),
        collateral=_exact(row["collateral"]), rate=_exact(row["mu"]),
    )  # fmt: skip
    case.expect("bankruptcy", float(found.bankruptcy), row["bankruptcy"], _FLOAT)
    case.expect("liquidation", float(found.liquidation), row["liquidation"], _FLOAT)
    return case


def _sliced(row: Row) -> Case:
    """The published number is the formula's; of a position of 1 nothing but all of it can go."""
    told = {name: _exact(one) for name, one in row["inp"].items()}
    case = Case("slice")
    sale = bankruptcy.Sale(
        side=int(told["b"]), size=told["q"], price=told["p"], executed=told["p_exec"],
        equity=told["e"], rate=told["mu"], fee=told["phi"],
    )  # fmt: skip
    case.expect("capped", float(sale.part()), 1.0, 0.0)
    wanted = sale.wanted()
    case.expect("part", math.inf if wanted is None else float(wanted), row["dq"], _PRINTED)
    return case
