"""Faults to inject into a feed on purpose, from a seed: the same seed makes the same faults.

Corruption makes a frame unreadable. A frame that still reads, as another number, is what TLS and a
venue's checksum are for; no numbers of a book could tell it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from solvent.errors import BadInput, Problem, Reject, check

_STRUCTURE = '{}[]:,"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """How often what happens to a frame, as probabilities, and how much of it."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    gap: float = 0.0
    delay: float = 0.0
    corrupt: float = 0.0
    gap_frames: int = 8
    """Frames that a gap swallows."""
    reorder_frames: int = 3
    """Frames that overtake one which is reordered, at most."""
    delay_ms: int = 200
    """How long a delay holds everything back, at most."""
    first_frames: int | None = None
    """Faults happen to so many frames; the rest passes. None: to all."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in CHANCES:
            check(0.0 <= getattr(self, name) <= 1.0, f"{name}: a probability", getattr(self, name))
        check(min(self.gap_frames, self.reorder_frames) > 0, "a frame or more", self)


CHANCES = ("drop", "duplicate", "reorder", "gap", "delay", "corrupt")


def parse_injection(text: str) -> Injection:
    """Faults of `drop=0.01,seed=7`. Raises BadInput.

    >>> parse_injection("drop=0.01,gap=0.001,seed=7").gap
    0.001
    """
    known = {one.name: one.type for one in fields(Injection)}
    said: dict[str, float | int] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, _, value = part.partition("=")
        try:
            whole = name not in CHANCES
            found: float | int = int(value) if whole else float(value)
            if name not in known or not (whole or 0.0 <= found <= 1.0) or found < 0:
                raise ValueError
            said[name] = found
        except ValueError as fault:
            expected = f"name=number of {', '.join(known)}, chances from 0 to 1"
            raise BadInput(
                Problem(code=Reject.INPUT_INVALID, source="--faults", expected=expected, found=part)
            ) from fault
    return Injection(**said)  # type: ignore[arg-type]


class Injector:
    """Frames go in one by one; what would arrive comes out, each after a pause in milliseconds."""

    def __init__(self, plan: Injection) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._held: list[tuple[int, str]] = []
        """Frames that others overtake: how many still may, and the frame."""
        self._swallow = 0
        self._seen = 0
        self.injected: Counter[str] = Counter()

    def through(self, frame: str) -> list[tuple[int, str]]:
        """What arrives once this frame was sent: (pause, frame) pairs."""
        self._seen += 1
        plan = self._plan
        if plan.first_frames is not None and self._seen > plan.first_frames:
            self._swallow = 0
            return [*self.flush(), (0, frame)]
        arrives = self._arriving(frame)
        late: list[tuple[int, str]] = []
        for left, held in self._held:
            if left <= 1:
                arrives.append((0, held))
            else:
                late.append((left - 1, held))
        self._held = late
        here = next((at for at, one in enumerate(arrives) if one[1] is frame), None)
        if here is not None and self._happens("reorder"):
            # Of a frame that is duplicated one stays where it is.
            self._held.append((self._rng.randint(1, plan.reorder_frames), arrives.pop(here)[1]))
        return arrives

    def flush(self) -> list[tuple[int, str]]:
        """What was held back."""
        held, self._held = self._held, []
        return [(0, frame) for _, frame in held]

    def _arriving(self, frame: str) -> list[tuple[int, str]]:
        """Of one frame, others left aside."""
        if self._swallow:
            self._swallow -= 1
            self.injected["swallowed"] += 1
            return []
        if self._happens("gap"):
            self._swallow = self._plan.gap_frames - 1
            return []
        if self._happens("drop"):
            return []
        pause = 0
        if self._happens("delay"):
            pause = self._rng.randint(1, max(1, self._plan.delay_ms))
        if self._happens("corrupt"):
            return [(pause, self._corrupted(frame))]
        if self._happens("duplicate"):
            return [(pause, frame), (0, frame)]
        return [(pause, frame)]

    def _corrupted(self, frame: str) -> str:
        places = [at for at, sign in enumerate(frame) if sign in _STRUCTURE]
        if not places or self._rng.random() < 0.5:
            return frame[: self._rng.randrange(max(1, len(frame)))]
        at = self._rng.choice(places)
        return f"{frame[:at]}#{frame[at + 1 :]}"

    def _happens(self, name: str) -> bool:
        if self._rng.random() >= getattr(self._plan, name):
            return False
        self.injected[name] += 1
        return True


def inject(frames: Iterable[str], plan: Injection) -> Iterator[tuple[int, str]]:
    """A whole feed with faults: (pause in ms, frame) pairs.

    >>> list(inject(["a", "b"], Injection(duplicate=1.0)))
    [(0, 'a'), (0, 'a'), (0, 'b'), (0, 'b')]
    """
    injector = Injector(plan)
    for frame in frames:
        yield from injector.through(frame)
    yield from injector.flush()
