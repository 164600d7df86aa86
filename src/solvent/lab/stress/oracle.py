"""Sources of an index fail while the market moves: what would be published, by the filter itself.

The rule is a venue's own (`market.index`). All sources tell the price of before until they are
settled; then the market moves in logs, evenly over a ramp, and every source tells it each second,
but those that fail. What the filter makes of it in the end is what accounts are judged by; beside
it stands the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from solvent.errors import BadInput, Problem, Reject
from solvent.instruments import frozen
from solvent.lab.stress.shock import Shock
from solvent.lab.stress.subject import Stand, Subject
from solvent.market import Flag, Snapshot
from solvent.market.index import Index, IndexRule, begin, listen, publish_index
from solvent.market.oracles import Quote

_SETTLING_S: Final = 30
_SECOND_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleFault:
    """Which sources fail, and how; the others tell the market's price.

    Attributes:
        silent: say nothing more. stuck: go on telling the price of before under new times.
        wrong: source → relative error of what it tells.
        seconds: how long it goes on. ramp_seconds: in how long the market moves.
    """

    silent: Sequence[str] = ()
    stuck: Sequence[str] = ()
    wrong: Mapping[str, float]
    seconds: int
    ramp_seconds: int

    @property
    def failing(self) -> tuple[str, ...]:
        """All that fail."""
        return (*self.silent, *self.stuck, *self.wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the filter made of a fault.

    Attributes:
        underlying: whose index. move: what the market truly did.
        ratio: last published price over the one before the fault; None where the index was not
            known in the end. reason: why not.
        unknown_seconds: for how long it was not known. worst_off: the largest relative distance of
            a published price from the truth.
    """

    underlying: str
    move: float
    ratio: float | None
    reason: str
    unknown_seconds: int
    worst_off: float
    faults: Mapping[str, str]


def through_filter(
    rule: IndexRule, fault: OracleFault, *, underlying: str, price: float, move: float, now_ms: int
) -> Published:
    """Run the filter second by second. Raises BadInput for a source that the rule does not name.

    >>> weights = {"a": 1, "b": 1, "c": 1}
    >>> rule = IndexRule(underlying="X", weights=weights, clamp_ppm=5_000, quorum=2)
    >>> fault = OracleFault(silent=("a",), wrong={}, seconds=20, ramp_seconds=10)
    >>> found = through_filter(rule, fault, underlying="X", price=100.0, move=-0.01, now_ms=10**12)
    >>> round(found.ratio, 9), found.reason
    (0.99, 'fine')
    """
    if strange := sorted(set(fault.failing) - set(rule.weights)):
        raise BadInput(
            Problem(
                code=Reject.INPUT_INVALID, source="oracle", found=strange[0],
                expected=f"sources of the index rule ({', '.join(rule.weights)})",
            )
        )  # fmt: skip
    sources = begin(rule, now_ms=now_ms - 1)
    index: Index | None = None
    unknown, worst = 0, 0.0
    for second in range(_SETTLING_S + fault.seconds):
        moment = now_ms + second * _SECOND_MS
        since = second - _SETTLING_S + 1
        share = min(max(since, 0) / fault.ramp_seconds, 1.0)
        truth = price * math.exp(share * math.log1p(move))
        told = _quotes(rule, fault, since, truth=truth, before=price, time_ms=moment)
        sources = listen(rule, sources, told, now_ms=moment)
        sources, index = publish_index(rule, sources, now_ms=moment)
        if since > 0:
            unknown += not index.known
            if index.price_nano is not None:
                worst = max(worst, abs(index.price_nano / 1e9 / truth - 1.0))
    assert index is not None
    nano = index.price_nano
    return Published(
        underlying=underlying, move=move, reason=str(index.reason), unknown_seconds=unknown,
        ratio=None if nano is None else nano / 1e9 / price, worst_off=worst,
        faults={one.source: str(one.fault) for one in index.sources if one.fault is not None},
    )  # fmt: skip


def _quotes(
    rule: IndexRule, fault: OracleFault, since: int, *, truth: float, before: float, time_ms: int
) -> list[Quote]:
    told = []
    for name in rule.weights:
        price = truth
        if since > 0:
            if name in fault.silent:
                continue
            if name in fault.stuck:
                price = before
            price *= 1.0 + fault.wrong.get(name, 0.0)
        told.append(Quote(source=name, time_ms=time_ms, price=price))
    return told


# ── what it does to accounts ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Misjudged:
    """Accounts as they are judged beside what is true; axis: account.

    `wrongly` would be liquidated and need not; `missed` should be and would not; `frozen` are not
    known, so that they can neither trade nor be liquidated.
    """

    published: Published
    judged: Stand
    wrongly: np.ndarray
    missed: np.ndarray
    frozen: np.ndarray


def misjudged(subject: Subject, shock: Shock, published: Published, truth: Stand) -> Misjudged:
    """Judge everybody by what is published, beside the truth.

    Prices of contracts on the underlying are taken to be marked to the published index: what the
    filter lets through is what margin is computed on.
    """
    name, ratio = published.underlying, published.ratio
    moves = {one: shock.of(one) for one in subject.underlyings}
    moves[name] = replace(moves[name], spot=(ratio or 1.0 + published.move) - 1.0)
    market = subject.shocked(replace(shock, moves=moves))
    if ratio is None:
        market = without_index(market, name)
    judged = subject.on(market, shock.worth)
    known = judged.known & truth.known
    return Misjudged(
        published=published, judged=judged,
        wrongly=known & judged.liquidate & ~truth.liquidate,
        missed=known & truth.liquidate & ~judged.liquidate,
        frozen=truth.known & ~judged.known,
    )  # fmt: skip


def without_index(market: Snapshot, underlying: str) -> Snapshot:
    """The market with an underlying's index not known: nothing on it can be margined."""
    universe = market.universe
    code = universe.underlyings.index(underlying)
    index, flags = market.index.copy(), market.flags.copy()
    index[code] = 0.0
    flags[universe.underlying == code] |= np.uint16(Flag.INDEX_MISSING)
    return replace(market, index=frozen(index), flags=frozen(flags))
