"""Slow questions of a portfolio: why it must post what it must, where it is liquidated, what other
rulebooks ask of it. One thread answers them in turn, on what was published last, and gives one up
that takes longer than somebody waits.

These reprice markets and search roots in floats, as `sv.margin` and `sv.compare` do: amounts are
dollars, and what is not known is null.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from fractions import Fraction
from typing import Any, Final, TypeVar

from solvent import api
from solvent.answer import Margin
from solvent.engine.standing import View
from solvent.errors import Reject
from solvent.market import Snapshot
from solvent.order_units import bad_input, grid_by_number
from solvent.service.lanes import Overloaded
from solvent.service.portfolios import Shelf, balances_of
from solvent.service.published import Published
from solvent.whatif import compare, liquidation_prices

WAITING_MAX: Final = 32
ASK_S: Final = 5.0
"""For so long somebody waits for an answer, with the time in line."""
RULEBOOKS_MAX: Final = 8
"""Rulebooks of one comparison."""
_NAME: Final = "portfolio"
T = TypeVar("T")


class Patience:
    """How long somebody waits from now on: work calls it between two steps, and it raises
    Overloaded once that is over.

    >>> Patience(60.0)()
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until_s = time.monotonic() + seconds

    def __call__(self) -> None:
        """Raises Overloaded where nobody waits any more."""
        if time.monotonic() > self._until_s:
            raise self.over()

    def over(self) -> Overloaded:
        """What somebody is told who has waited for so long."""
        why = f"no answer within {self.seconds:.3g} s: ask of less, or when less is asked"
        return Overloaded("ask", why=why, retry_after_s=max(1.0, self.seconds))


class Asks:
    """A thread for slow questions, how many may wait for it, and for how long."""

    def __init__(self, *, most: int = WAITING_MAX, seconds: float = ASK_S) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="solvent-asks")
        self._most, self._seconds = most, seconds
        self.waiting = 0
        """Questions that are not answered, given up ones too while the thread is at them."""

    async def run(self, work: Callable[[Patience], T], *, seconds: float | None = None) -> T:
        """What some work comes to. Raises Overloaded where too much waits, or it takes too long:
        then whoever asked is told so at once, and the work ends when it next asks."""
        if self.waiting >= self._most:
            raise Overloaded("ask", why=f"{self._most} wait already", retry_after_s=1.0)
        patience = Patience(seconds or self._seconds)

        def done() -> T:
            patience()
            return work(patience)

        self.waiting += 1
        running = asyncio.get_running_loop().run_in_executor(self._thread, done)
        running.add_done_callback(self._ended)
        try:
            return await asyncio.wait_for(asyncio.shield(running), patience.seconds)
        except TimeoutError:
            raise patience.over() from None

    def _ended(self, done: asyncio.Future[Any]) -> None:
        self.waiting -= 1
        if not done.cancelled():
            # Nobody may be there any more to hear of it.
            done.exception()

    def stop(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=True, cancel_futures=True)


# ── the work ─────────────────────────────────────────────────────────────────────────────────────


def explained(
    now: Published, seen: View, rulebook: str, patience: Callable[[], object]
) -> dict[str, Any]:
    """What an account is charged for, and each position's share of it. Orders are not in it: under
    a rulebook of scans they are margined by what filling them would come to."""
    positions, collateral = rows_of(now, seen)
    plan = now.rules[rulebook].plan
    if not positions or plan is None:
        return {"worst_scenario": None, "charges": {}, "positions": [], "problems": []}
    answer = api.margin(positions, plan, collateral=collateral or None, skip_bad=True)
    row = next(answer.to_dicts())
    patience()
    shares: list[dict[str, Any]] = []
    if isinstance(answer, Margin) and not answer.unknown[0]:
        told = answer.explain(str(row["account"]))
        shares = [asdict(one) for group in told.sets for one in group.positions]
    return {
        "worst_scenario": row["worst_scenario"],
        "charges": _known(row["charges"]),
        "positions": [_known(one) for one in shares],
        "problems": [str(one) for one in answer.problems],
        "reason": row.get("reason"),
    }


def liquidation(
    now: Published, seen: View, rulebook: str, patience: Patience | None = None
) -> list[dict[str, Any]]:
    """Prices of underlyings at which an account is liquidated, and of all together as a factor."""
    positions, collateral = rows_of(now, seen)
    if not positions:
        return []
    frame = liquidation_prices(
        positions, market_of(now), now.rules[rulebook].rulebook, collateral=collateral or None,
        pause=patience,
    )  # fmt: skip
    return [_known({k: v for k, v in row.items() if k != "account"}) for row in frame.to_dicts()]


def compared(
    now: Published, seen: View, rulebooks: Sequence[str], patience: Patience | None = None
) -> list[dict[str, Any]]:
    """The same account under several rulebooks: those of the venue by their names here, or others
    that Solvent has."""
    if not 1 <= len(rulebooks) <= RULEBOOKS_MAX:
        raise bad_input(
            Reject.RULEBOOK_UNKNOWN, "request", "rulebooks", f"1 to {RULEBOOKS_MAX} of them",
            str(len(rulebooks)),
        )  # fmt: skip
    positions, collateral = rows_of(now, seen)
    books: list[api.RulebookLike] = [
        now.rules[name].rulebook if name in now.rules else _shipped(name) for name in rulebooks
    ]
    frame = compare(positions, market_of(now), books, collateral=collateral or None, pause=patience)
    return [
        _known({k: v for k, v in row.items() if k != "account"})
        for row in frame.to_polars().to_dicts()
    ]


def _shipped(name: str) -> str:
    """A rulebook's name; nothing that a path could be."""
    if "/" in name or "\\" in name or name.endswith(".toml"):
        raise bad_input(Reject.RULEBOOK_UNKNOWN, "request", "rulebooks", "a name", repr(name))
    return name


def market_of(now: Published) -> Snapshot:
    """The market for repricing, or BadInput."""
    if now.snapshot is None:
        raise bad_input(
            Reject.SNAPSHOT_INVALID, "venue", None, "a market that was published with its snapshot",
            "none",
        )  # fmt: skip
    return now.snapshot


def rows_of(now: Published, seen: View) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Positions and balances as `sv.margin` takes them."""
    positions = []
    for number, (lots, basis) in seen.positions.items():
        contract, grid = now.state.contracts[number], grid_by_number(now.state, number)
        deal, entry = contract.deal, None
        if not deal.up_front and deal.coin_numerator and basis:
            coin = Fraction(deal.coin_numerator, deal.coin_denominator)
            entry = float(-lots * coin / basis * deal.point)
        elif not deal.up_front and lots:
            entry = float(Fraction(basis, lots) * deal.point)
        size = float(grid.size(abs(lots))) * (1 if lots > 0 else -1)
        positions.append(
            {"account": _NAME, "instrument": deal.symbol, "size": size, "entry_price": entry}
        )
    collateral = [
        {"account": _NAME, "asset": asset, "amount": float(amount)}
        for asset, amount in balances_of(Shelf.of(now.state), seen.balances).items()
    ]
    return positions, collateral


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that are none as null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
