"""A linear or mixed-integer program, built up in columns and rows, and what HiGHS says of it.

Nothing here knows finance. What is asked is always a minimum; a maximum is told with its sign
turned. The answer says whether it is proved, how far it can be from the best (`gap`), and the bound
behind that: a time limit ends a search, it never turns a guess into an optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.units import Float64

INFINITY: Final = float("inf")


class Ending(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    TIME_LIMIT = "time limit"
    """`x` is the best that was found, if anything was."""
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """An answer; `x` is empty where no point was found.

    Attributes:
        objective: at `x`. bound: no feasible point is below it.
        gap: (objective − bound) / |objective| of a mixed-integer program, 0 of a linear one.
    """

    ending: Ending
    x: Float64
    objective: float
    bound: float
    gap: float
    seconds: float

    @property
    def found(self) -> bool:
        """Whether there is a point at all."""
        return len(self.x) > 0


@dataclass
class Program:
    """minimise c·x so that every row lies in its range and every column in its bounds.

    >>> p = Program()
    >>> x = p.columns(2, cost=[-1.0, -1.0], upper=4.0)
    >>> p.row(x, [1.0, 2.0], upper=6.0)
    0
    >>> solved = p.solve()
    >>> solved.ending.value, solved.objective, solved.x.tolist()
    ('optimal', -5.0, [4.0, 1.0])
    """

    cost: list[Float64] = field(default_factory=list)
    lower: list[Float64] = field(default_factory=list)
    upper: list[Float64] = field(default_factory=list)
    whole: list[NDArray[np.bool_]] = field(default_factory=list)
    count: int = 0
    _starts: list[int] = field(default_factory=lambda: [0])
    _index: list[NDArray[np.int64]] = field(default_factory=list)
    _value: list[Float64] = field(default_factory=list)
    _row_lower: list[float] = field(default_factory=list)
    _row_upper: list[float] = field(default_factory=list)

    def columns(
        self,
        count: int,
        *,
        cost: float | Sequence[float] | Float64 = 0.0,
        lower: float | Float64 = 0.0,
        upper: float | Float64 = INFINITY,
        whole: bool = False,
    ) -> NDArray[np.int64]:
        """Add columns; their numbers."""
        for told, into in ((cost, self.cost), (lower, self.lower), (upper, self.upper)):
            into.append(np.array(np.broadcast_to(np.asarray(told, dtype=np.float64), (count,))))
        self.whole.append(np.full(count, whole))
        self.count += count
        return np.arange(self.count - count, self.count)

    def row(
        self, columns: NDArray[np.int64], values: Sequence[float] | Float64, *,
        lower: float = -INFINITY, upper: float = INFINITY,
    ) -> int:  # fmt: skip
        """Add lower <= values·columns <= upper; its number."""
        told = np.asarray(values, dtype=np.float64)
        check(len(told) == len(columns), "a value for each column", len(told), len(columns))
        check(bool(np.isfinite(told).all()), "a row of numbers")
        kept = told != 0.0
        self._index.append(columns[kept])
        self._value.append(told[kept])
        self._starts.append(self._starts[-1] + int(kept.sum()))
        self._row_lower.append(lower)
        self._row_upper.append(upper)
        return len(self._row_lower) - 1

    def price(self, columns: NDArray[np.int64], cost: float | Float64) -> None:
        """Another cost of columns."""
        flat = np.concatenate(self.cost)
        flat[columns] = cost
        self.cost = [flat]

    def solve(
        self, *, whole: bool = False, seconds: float = 60.0, gap: float = 1e-6,
        start: Float64 | None = None,
    ) -> Solved:  # fmt: skip
        """Solve; with `whole` the columns that were told so are whole numbers.

        `start`: a point to better, of which the whole numbers count; one that cannot be is left.
        One thread: the same program gives the same answer.
        """
        import highspy

        highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        told: dict[str, Any] = {
            "output_flag": False, "threads": 1, "random_seed": 0, "time_limit": seconds,
            "mip_rel_gap": gap, "mip_abs_gap": 0.0,
        }  # fmt: skip
        for name, value in told.items():
            highs.setOptionValue(name, value)
        integers = np.concatenate(self.whole) if whole and self.count else np.zeros(0, dtype=bool)
        highs.passModel(self._model(highspy, integers))
        if start is not None:
            point = highspy.HighsSolution()
            point.col_value = start.tolist()
            highs.setSolution(point)
        highs.run()
        return _solved(highspy, highs, mixed=bool(integers.any()))

    def rounded(self, x: Float64, *, up: bool) -> Float64:
        """A point with its whole columns rounded, up or down; what is whole already stays."""
        near = np.rint(x)
        there = np.ceil(x) if up else np.floor(x)
        turned = np.where(np.abs(x - near) <= 1e-6, near, there)
        return np.where(np.concatenate(self.whole), turned, x)

    def _model(self, highspy: Any, integers: NDArray[np.bool_]) -> Any:
        rows = len(self._row_lower)
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = self.count, rows
        for name, parts in (
            ("col_cost_", self.cost), ("col_lower_", self.lower), ("col_upper_", self.upper),
        ):  # fmt: skip
            setattr(model, name, np.concatenate(parts) if parts else np.zeros(0))
        model.row_lower_ = np.array(self._row_lower)
        model.row_upper_ = np.array(self._row_upper)
        matrix = model.a_matrix_
        matrix.format_ = highspy.MatrixFormat.kRowwise
        matrix.num_col_, matrix.num_row_ = self.count, rows
        matrix.start_ = np.array(self._starts, dtype=np.int32)
        index = np.concatenate(self._index) if rows else np.zeros(0, dtype=np.int64)
        matrix.index_ = index.astype(np.int32)
        matrix.value_ = np.concatenate(self._value) if rows else np.zeros(0)
        model.a_matrix_ = matrix
        if integers.any():
            kinds = highspy.HighsVarType
            model.integrality_ = [kinds.kInteger if one else kinds.kContinuous for one in integers]
        return model


def _solved(highspy: Any, highs: Any, *, mixed: bool) -> Solved:
    status, info = highs.getModelStatus(), highs.getInfo()
    kinds = highspy.HighsModelStatus
    endings = {
        kinds.kOptimal: Ending.OPTIMAL,
        kinds.kModelEmpty: Ending.OPTIMAL,
        kinds.kTimeLimit: Ending.TIME_LIMIT,
        kinds.kInfeasible: Ending.INFEASIBLE,
        kinds.kUnbounded: Ending.UNBOUNDED,
        # Presolve does not tell which. Callers bound their columns, so that it is the first.
        kinds.kUnboundedOrInfeasible: Ending.INFEASIBLE,
    }
    ending = endings.get(status, Ending.FAILED)
    there = info.primal_solution_status == 2 and ending in (Ending.OPTIMAL, Ending.TIME_LIMIT)
    solution = highs.getSolution()
    objective = float(info.objective_function_value) if there else float("nan")
    bound, gap = objective, 0.0
    if mixed:
        bound = float(info.mip_dual_bound)
        gap = float(info.mip_gap) if there else INFINITY
    elif ending is not Ending.OPTIMAL:
        bound, gap = -INFINITY, INFINITY
    return Solved(
        ending=ending,
        x=np.array(solution.col_value if there else [], dtype=np.float64),
        objective=objective, bound=bound, gap=gap, seconds=float(highs.getRunTime()),
    )  # fmt: skip
