"""Token buckets, exact: whole numbers, so that no time adds or loses a token.

A bucket holds up to `burst` tokens and gains `per_s` a second. Tokens are counted in billionths:
what a nanosecond brings is then whole.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solvent.errors import check

NANO: Final = 10**9
KEPT_MAX: Final = 1 << 16
"""Buckets of one sort that are remembered."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much: tokens a second, and at once."""

    per_s: int
    burst: int


class Buckets:
    """A bucket for each name; those that are full need no remembering.

    >>> two = Buckets(Limit(per_s=1, burst=2))
    >>> [two.wait_ns("a", 1, now_ns=0), two.take("a", 1, now_ns=0), two.take("a", 1, now_ns=0)]
    [0, None, None]
    >>> two.wait_ns("a", 1, now_ns=0), two.wait_ns("a", 1, now_ns=10**9), two.wait_ns("b", 1, 0)
    (1000000000, 0, 0)
    """

    def __init__(self, limit: Limit, *, kept_max: int = KEPT_MAX) -> None:
        check(limit.per_s > 0 and limit.burst > 0, "a limit above 0", limit)
        self.limit = limit
        self._most = limit.burst * NANO
        self._kept_max = kept_max
        self._levels: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def _level(self, name: str, now_ns: int) -> int:
        found = self._levels.get(name)
        if found is None:
            return self._most
        level, at_ns = found
        return min(self._most, level + max(0, now_ns - at_ns) * self.limit.per_s)

    def wait_ns(self, name: str, weight: int, now_ns: int) -> int:
        """Nanoseconds until so many tokens are there: 0 if they are; rounded up."""
        wanted = min(weight * NANO, self._most)
        missing = wanted - self._level(name, now_ns)
        return 0 if missing <= 0 else -(-missing // self.limit.per_s)

    def take(self, name: str, weight: int, now_ns: int) -> None:
        """Take tokens that are there."""
        level = self._level(name, now_ns) - min(weight * NANO, self._most)
        check(level >= 0, "tokens are there before they are taken", name, level)
        at_ns = max(now_ns, self._levels[name][1]) if name in self._levels else now_ns
        self._levels[name] = level, at_ns
        self._levels.move_to_end(name)
        while len(self._levels) > self._kept_max:
            # Who has asked least lately: most likely full by now.
            self._levels.popitem(last=False)


def take_all(parts: Sequence[tuple[Buckets, str]], weight: int, now_ns: int) -> int:
    """Take from all buckets, or from none: then the nanoseconds until all have enough."""
    wait = max((buckets.wait_ns(name, weight, now_ns) for buckets, name in parts), default=0)
    if wait == 0:
        for buckets, name in parts:
            buckets.take(name, weight, now_ns)
    return wait


def network_of(host: str) -> str:
    """Whose an address is: itself, or for IPv6 the /64 that one customer has whole.

    >>> network_of("203.0.113.9"), network_of("2001:db8:1:2:3::4"), network_of("::ffff:10.0.0.1")
    ('203.0.113.9', '2001:db8:1:2::/64', '10.0.0.1')
    """
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
