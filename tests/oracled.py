"""Sources of a price under a test's hands: a truth, those that tell it, and those that do not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from solvent.market.index import Index, IndexRule, Sources, begin, listen, publish_index
from solvent.market.oracles import NANO, Quote, SourceRule

T0: Final = 1_780_000_000_000
STEP_MS: Final = 1_000
NOISE: Final = 2e-5
"""How far a good source is from the truth at most, as a share."""
FROM: Final = 6
"""The step from which bad sources are bad: before, they were as good as any."""

Messages = list[Quote]
Bad = Callable[[str, int, Sequence[float]], Messages]
"""A source, the step, and the truth at every step up to it, to what is said."""


def at(step: int) -> int:
    """The time of a step."""
    return T0 + step * STEP_MS


def told(source: str, step: int, price: float | None, **more: Any) -> Quote:
    """A message of a step, timed then."""
    return Quote(**{"source": source, "time_ms": at(step), "price": price, **more})


def _crossed(source: str, step: int, truth: Sequence[float]) -> Messages:
    return [told(source, step, truth[-1] * 0.9, bid=truth[-1] * 1.01, ask=truth[-1] * 0.99)]


def _flapping(source: str, step: int, truth: Sequence[float]) -> Messages:
    return [told(source, step, truth[-1] * (1.3 if step % 2 else 0.7))]


def _silent(source: str, step: int, truth: Sequence[float]) -> Messages:
    del source, step, truth
    return []


def _returns(source: str, step: int, truth: Sequence[float]) -> Messages:
    """Away for a while, then back with the price of when it went, under the time of now."""
    return [] if step < FROM + 5 else [told(source, step, truth[FROM] * 0.8)]


FAULTS: Final[dict[str, Bad]] = {
    "stale": lambda s, _n, t: [told(s, FROM, t[FROM] * 0.95)],
    "zero": lambda s, n, _t: [told(s, n, 0.0)],
    "negative": lambda s, n, t: [told(s, n, -t[-1])],
    "nan": lambda s, n, _t: [told(s, n, float("nan"))],
    "infinite": lambda s, n, _t: [told(s, n, float("inf"))],
    "frozen": lambda s, n, t: [told(s, n, t[FROM])],
    "ten_times": lambda s, n, t: [told(s, n, t[-1] * 10)],
    "a_tenth": lambda s, n, t: [told(s, n, t[-1] / 10)],
    "a_billionth": lambda s, n, t: [told(s, n, t[-1] * 1e-9)],
    "crossed": _crossed,
    "flapping": _flapping,
    "delayed": lambda s, n, t: [told(s, n - 12, t[max(n - 12, 0)])],
    "same_time": lambda s, _n, t: [told(s, FROM - 1, t[-1] * 0.9)],
    "backward": lambda s, n, t: [told(s, 2 * FROM - n, t[-1] * 0.9)],
    "ahead": lambda s, n, t: [told(s, n + 60, t[-1] * 0.9)],
    "drift": lambda s, n, t: [told(s, n, t[-1] * (1 + 0.001 * (n - FROM)))],
    "fast_drift": lambda s, n, t: [told(s, n, t[-1] * (1 - 0.008 * (n - FROM)))],
    "all_equal_wrong": lambda s, n, _t: [told(s, n, 123.0 + n)],
    "depeg": lambda s, n, t: [told(s, n, t[-1] * 0.65)],
    "unsure": lambda s, n, t: [told(s, n, t[-1] * 0.9, confidence=t[-1] * 0.2)],
    "disappears": _silent,
    "returns": _returns,
}
"""What a source may do wrong."""


@dataclass(slots=True)
class Oracles:
    """An index and what its sources say, step by step; `truth` holds every price that was true."""

    rule: IndexRule
    truth: list[float] = field(default_factory=list)
    sources: Sources = field(init=False)

    def __post_init__(self) -> None:
        self.sources = begin(self.rule, now_ms=at(0))

    def hear(self, messages: Sequence[Quote], *, step: int) -> Index:
        """Messages, and the index that is published after them."""
        self.sources = listen(self.rule, self.sources, messages, now_ms=at(step))
        self.sources, index = publish_index(self.rule, self.sources, now_ms=at(step))
        return index


def rule_of(count: int, **changes: Any) -> IndexRule:
    """An index of so many sources of one weight: half a percent of clamp, nothing tolerated but
    that less than half of them leap."""
    quorum = count // 2 + 1
    source = SourceRule(**changes.pop("source", {}))
    fields = {"underlying": "BTC", "weights": {f"s{n}": 1 for n in range(count)},
              "clamp_ppm": 5_000, "quorum": quorum, "leapers": count - quorum}  # fmt: skip
    return IndexRule(**{**fields, "source": source, **changes})


def wander(rng: random.Random, steps: int, *, start: float = 50_000.0, step: float = 0.004,
           crash: int | None = None) -> list[float]:  # fmt: skip
    """A price that moves by less than a leap from one second to the next, unless it crashes."""
    prices = [start]
    for n in range(1, steps):
        move = rng.uniform(-step, step)
        prices.append(prices[-1] * (1 + move) * (0.7 if n == crash else 1.0))
    return prices


def played(
    rule: IndexRule, truth: Sequence[float], bad: dict[str, Bad], rng: random.Random
) -> list[tuple[Index, dict[str, int]]]:
    """Every step's index, and what the good sources said at it, in billionths."""
    found = []
    oracles = Oracles(rule)
    for step in range(1, len(truth)):
        messages: Messages = []
        said: dict[str, int] = {}
        for name in rule.weights:
            if name in bad and step >= FROM:
                messages += bad[name](name, step, truth[: step + 1])
                continue
            price = truth[step] * (1 + rng.uniform(-NOISE, NOISE))
            messages.append(told(name, step, price))
            if name not in bad:
                said[name] = round(price * NANO)
        found.append((oracles.hear(messages, step=step), said))
    return found


def worst_ppm(found: Sequence[tuple[Index, dict[str, int]]]) -> float:
    """How far an index that was known was from a good source at most, in millionths of that."""
    return max(
        (abs(index.price_nano - price) / price * 1e6
         for index, said in found if index.price_nano is not None
         for price in said.values()),
        default=0.0,
    )  # fmt: skip
