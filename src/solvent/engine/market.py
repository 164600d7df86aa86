"""Prices as the engine is told them: index, marks, risk arrays."""

from __future__ import annotations

from solvent.engine.floor import Floor
from solvent.engine.fund import note_highs
from solvent.engine.publication import compile_rules
from solvent.engine.refusal import contract_named, rules_named
from solvent.engine.state import Contract, State, Underlying
from solvent.errors import Refused, Reject
from solvent.limits import INSTRUMENTS_MAX
from solvent.messages.commands import (
    PublishArrays,
    PublishMarket,
)
from solvent.messages.events import ArraysPublished, Event, MarketPublished
from solvent.messages.fields import Phase

OBSERVATIONS_MAX = 100_000
"""Index prices of one underlying that are kept for its settlement."""


def publish_market(state: State, command: PublishMarket, events: list[Event]) -> None:
    """New index prices and marks; all or none."""
    contracts = [contract_named(state, mark.symbol) for mark in command.marks]
    names = {one.underlying for one in command.index}
    if len(names) < len(command.index) or len({c.number for c in contracts}) < len(contracts):
        raise Refused(Reject.ROW_DUPLICATED, "prices: expected each name once")
    if len(state.underlyings.keys() | names) > INSTRUMENTS_MAX:
        raise Refused(Reject.CAPACITY_REACHED, f"expected at most {INSTRUMENTS_MAX} underlyings")
    # From here on the prices hold.
    time_ms, window_ms = state.log.time_ms, state.house.settlement_window_ms
    earliest = _earliest_expiries(state)
    for index in command.index:
        seen_ms = max(0, time_ms - index.age_ms)
        underlying = state.underlyings.get(index.underlying)
        if underlying is None:
            underlying = Underlying(price_nano=index.price_nano)
            state.underlyings[index.underlying] = underlying
        underlying.price_nano = index.price_nano
        _observe(
            underlying, seen_ms, min(seen_ms, earliest.get(index.underlying, seen_ms)) - window_ms
        )
    for contract, mark in zip(contracts, command.marks, strict=True):
        contract.mark_points = mark.mark_points
        if contract.deal.kind == "perpetual":
            seen_ms = max(contract.future.since_ms, time_ms - mark.age_ms)
            contract.future.observe(mark.mark_points, seen_ms, counts=_counts(contract))
    for contract in state.contracts:
        if contract.deal.kind == "perpetual" and not contract.settled:
            name = contract.deal.underlying
            if name in names:
                price = state.underlyings[name].price_nano
                last_ms = state.underlyings[name].seen[-1][0]
                seen_ms = max(contract.spot.since_ms, last_ms)
                contract.spot.observe(price, seen_ms, counts=_counts(contract))
    note_highs(state)
    events.append(MarketPublished(len(command.index), len(command.marks)))
    state.desk.expire(time_ms=time_ms, events=events)
    _observe_in_books(state, {one.number for one in contracts}, names)
    floor = Floor(state, events)
    state.desk.settle_stops(time_ms=time_ms, gate=floor, events=events)
    floor.close(events)


def _observe_in_books(state: State, marked: set[int], names: set[str]) -> None:
    """Let the books know the prices that bands and stops look at."""
    for contract in state.contracts:
        name = contract.deal.underlying
        indexed = name in names
        if contract.number in state.desk.books and (contract.number in marked or indexed):
            state.desk.observe(
                contract.number,
                mark_points=contract.mark_points if contract.number in marked else None,
                index_nano=state.underlyings[name].price_nano if indexed else None,
            )


def _counts(contract: Contract) -> bool:
    return contract.phase is not Phase.AUCTION


def _earliest_expiries(state: State) -> dict[str, int]:
    """Underlying → the first expiry of a contract on it that is not settled."""
    earliest: dict[str, int] = {}
    for contract in state.contracts:
        expiry_ms, name = contract.deal.expiry_ms, contract.deal.underlying
        if expiry_ms is not None and not contract.settled:
            earliest[name] = min(expiry_ms, earliest.get(name, expiry_ms))
    return earliest


def _observe(underlying: Underlying, seen_ms: int, horizon_ms: int) -> None:
    """Keep a price for settlements to come, and forget those before the horizon."""
    seen = underlying.seen
    if seen and seen_ms <= seen[-1][0]:
        seen_ms = seen[-1][0]
        seen.pop()
    seen.append((seen_ms, underlying.price_nano))
    while len(seen) > 1 and seen[1][0] <= horizon_ms:
        seen.popleft()
    while len(seen) > OBSERVATIONS_MAX:
        seen.popleft()


def publish_arrays(state: State, command: PublishArrays, events: list[Event]) -> None:
    """Arrays on which a rulebook decides from now on."""
    rules = rules_named(state, command.rulebook)
    compiled = compile_rules(state, rules, command.arrays)
    as_of_ms = compiled.arrays.as_of_ms
    ahead_ms = as_of_ms - state.log.time_ms
    if ahead_ms > rules.house.age_ms_max:
        raise Refused(
            Reject.ARRAYS_INVALID,
            f"arrays for {command.rulebook}: expected a time up to {rules.house.age_ms_max} ms "
            f"from now, found {ahead_ms} ms",
        )
    # From here on the arrays hold.
    rules.arrays_bytes = command.arrays
    rules.arrays, rules.plan = compiled.arrays, compiled.plan
    rules.row_of_contract, rules.quanta_of_value = compiled.rows, compiled.quanta
    rules.spare, rules.alone = compiled.spare, compiled.alone
    events.append(ArraysPublished(command.rulebook, as_of_ms))
