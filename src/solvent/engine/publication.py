"""Published risk arrays: from bytes to the plan on which a rulebook decides."""

from __future__ import annotations

from typing import NamedTuple

from solvent.engine.margined import quanta_of_value
from solvent.engine.slack import spare_of
from solvent.engine.state import Rules, Spare, State
from solvent.errors import BadInput, Refused, Reject, RulebookError
from solvent.instruments import Instrument
from solvent.margining.alone import Alone
from solvent.margining.compile import AnyPlan, plan_of
from solvent.risk import RiskArrays
from solvent.risk.wire import decode_arrays


class Compiled(NamedTuple):
    """A plan, and where each of the venue's contracts stands in it."""

    arrays: RiskArrays
    plan: AnyPlan
    rows: list[int]
    quanta: list[float]
    spare: Spare | None
    alone: Alone | None


def compile_rules(state: State, rules: Rules, published: bytes) -> Compiled:
    """Read arrays and compile the rulebook against them. Refuses what does not fit the rulebook or
    the venue's contracts."""
    listed: dict[str, Instrument] = {
        contract.listing.symbol: contract.instrument for contract in state.contracts
    }
    try:
        arrays = decode_arrays(published, listed)
        plan = plan_of(rules.rulebook, arrays)
    except (BadInput, RulebookError) as fault:
        raise Refused(Reject.ARRAYS_INVALID, f"risk arrays: {fault}") from fault
    row_of = {symbol: row for row, symbol in enumerate(arrays.universe.symbols)}
    return Compiled(
        arrays,
        plan,
        [row_of.get(contract.listing.symbol, -1) for contract in state.contracts],
        [quanta_of_value(state, number) for number in range(len(state.contracts))],
        spare_of(state, plan),
        Alone.of(plan),
    )
