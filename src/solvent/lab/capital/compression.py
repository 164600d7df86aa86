"""Portfolio compression between accounts: less gross, every net position unchanged.

Trades between accounts that face each other (over the counter, on credit lines, as subaccounts of
one owner) form a network: `long` holds `lots` of an instrument against `short`. Compression
replaces it by one with the least gross size in which every account's net position in every
instrument is what it was, so that nobody's exposure to the market changes (D'Errico and Roukny,
*Compressing over-the-counter markets*, Operations Research 2021). Two ways:

| way | new trades may be |
|---|---|
| conservative | no larger than the old one between the same two, in the same direction |
| free | any: the least gross is half of what accounts are net long and short together |

The program is a flow on a network: its optimum is in whole lots by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import Reject, check
from solvent.lab.capital.faults import wrong
from solvent.lab.capital.program import Ending, Program

Way = Literal["conservative", "free"]
WAYS: Final = ("conservative", "free")


@dataclass(frozen=True, slots=True, order=True)
class Facing:
    """`long` holds `lots` of an instrument against `short`; lots are whole and above 0."""

    instrument: str
    long: str
    short: str
    lots: int


@dataclass(frozen=True, kw_only=True)
class Compression:
    """A network before and after; gross and net in lots by instrument."""

    way: Way
    before: tuple[Facing, ...]
    after: tuple[Facing, ...]

    def gross(self, *, after: bool) -> dict[str, int]:
        """Instrument → Σ lots of all trades."""
        total: dict[str, int] = {}
        for one in self.after if after else self.before:
            total[one.instrument] = total.get(one.instrument, 0) + one.lots
        return total

    def table(self) -> pl.DataFrame:
        """A row a pair of accounts and instrument: lots before and after."""
        keys = {(one.instrument, one.long, one.short): [one.lots, 0] for one in self.before}
        for one in self.after:
            keys.setdefault((one.instrument, one.long, one.short), [0, 0])[1] = one.lots
        rows = [
            {"instrument": key[0], "long": key[1], "short": key[2], "before": lots[0],
             "after": lots[1]}
            for key, lots in sorted(keys.items())
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=_TABLE)

    def accounts(self) -> pl.DataFrame:
        """A row an account and instrument: gross before and after, and the net, unchanged."""
        net, gross = net_of(self.before), (_gross_of(self.before), _gross_of(self.after))
        rows = [
            {"account": account, "instrument": instrument, "net": lots,
             "gross_before": gross[0].get((account, instrument), 0),
             "gross_after": gross[1].get((account, instrument), 0)}
            for (account, instrument), lots in sorted(net.items())
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=_ACCOUNTS)

    def to_polars(self) -> pl.DataFrame:
        """The same as `table`."""
        return self.table()

    def to_dict(self) -> dict[str, Any]:
        """What `solvent allocate compress --json` prints."""
        before, after = self.gross(after=False), self.gross(after=True)
        return {
            "way": self.way,
            "gross": {
                name: {"before": lots, "after": after.get(name, 0)}
                for name, lots in sorted(before.items())
            },
            "trades": self.table().to_dicts(), "accounts": self.accounts().to_dicts(),
        }  # fmt: skip

    def __repr__(self) -> str:
        old, new = (sum(self.gross(after=one).values()) for one in (False, True))
        return f"Compression({self.way}: {old:,} to {new:,} lots gross)"


_TABLE: Final[dict[str, Any]] = {
    "instrument": pl.String, "long": pl.String, "short": pl.String, "before": pl.Int64,
    "after": pl.Int64,
}  # fmt: skip
_ACCOUNTS: Final[dict[str, Any]] = {
    "account": pl.String, "instrument": pl.String, "net": pl.Int64, "gross_before": pl.Int64,
    "gross_after": pl.Int64,
}  # fmt: skip


def compress(trades: Any, *, way: Way = "conservative") -> Compression:
    """Compress trades between accounts.

    `trades` are `Facing`s, or rows `long, short, instrument, lots` from a file or a frame; trades
    of the same two in the same direction are added up. Raises BadInput for rows that are none.

    >>> ring = [Facing("BTC", "a", "b", 5), Facing("BTC", "b", "c", 4), Facing("BTC", "c", "a", 3)]
    >>> [(one.long, one.short, one.lots) for one in compress(ring).after]
    [('a', 'b', 2), ('b', 'c', 1)]
    >>> [(one.long, one.short, one.lots) for one in compress(ring, way="free").after]
    [('a', 'b', 1), ('a', 'c', 1)]
    """
    if way not in WAYS:
        raise wrong("compress", "way", f"one of {', '.join(WAYS)}", repr(way))
    before = _added(_facings(trades))
    after: list[Facing] = []
    for instrument in dict.fromkeys(one.instrument for one in before):
        mine = [one for one in before if one.instrument == instrument]
        after += _conservative(mine) if way == "conservative" else _free(mine)
    found = Compression(way=way, before=tuple(before), after=tuple(sorted(after)))
    check(net_of(found.before) == net_of(found.after, like=found.before), "net is unchanged")
    return found


def net_of(trades: Sequence[Facing], *, like: Sequence[Facing] = ()) -> dict[tuple[str, str], int]:
    """(account, instrument) → net lots, long positive; accounts of `like` are there with 0."""
    net: dict[tuple[str, str], int] = {}
    for one in like:
        net[one.long, one.instrument] = net[one.short, one.instrument] = 0
    for one in trades:
        for account, sign in ((one.long, 1), (one.short, -1)):
            key = account, one.instrument
            net[key] = net.get(key, 0) + sign * one.lots
    return net


def _gross_of(trades: Sequence[Facing]) -> dict[tuple[str, str], int]:
    gross: dict[tuple[str, str], int] = {}
    for one in trades:
        for account in (one.long, one.short):
            key = account, one.instrument
            gross[key] = gross.get(key, 0) + one.lots
    return gross


def _conservative(trades: Sequence[Facing]) -> list[Facing]:
    """The least flow of the same divergence, each edge no larger than it was."""
    program = Program()
    old = np.array([one.lots for one in trades], dtype=np.float64)
    lots = program.columns(len(trades), cost=1.0, upper=old, whole=True)
    accounts = dict.fromkeys(name for one in trades for name in (one.long, one.short))
    for name in accounts:
        side = _side(trades, name)
        program.row(lots, side, lower=float(side @ old), upper=float(side @ old))
    solved = program.solve(whole=True)
    check(solved.ending is Ending.OPTIMAL, "what stands is a solution", str(solved.ending))
    return [
        Facing(one.instrument, one.long, one.short, round(float(solved.x[n])))
        for n, one in enumerate(trades)
        if round(float(solved.x[n]))
    ]


def _side(trades: Sequence[Facing], name: str) -> NDArray[np.float64]:
    return np.array([float(one.long == name) - float(one.short == name) for one in trades])


def _free(trades: Sequence[Facing]) -> list[Facing]:
    """Each who is net long against those who are net short, in the order of their names."""
    net = {account: lots for (account, _), lots in sorted(net_of(trades).items())}
    long = [(account, lots) for account, lots in net.items() if lots > 0]
    short = [(account, -lots) for account, lots in net.items() if lots < 0]
    found = []
    while long:
        (buyer, held), (seller, owed) = long.pop(0), short.pop(0)
        taken = min(held, owed)
        found.append(Facing(trades[0].instrument, buyer, seller, taken))
        if held > taken:
            long.insert(0, (buyer, held - taken))
        if owed > taken:
            short.insert(0, (seller, owed - taken))
    return found


def _added(trades: Sequence[Facing]) -> list[Facing]:
    total: dict[tuple[str, str, str], int] = {}
    for one in trades:
        if one.long == one.short:
            raise wrong(
                "compress",
                "long, short",
                "two accounts that face each other",
                f"{one.long!r} twice",
            )
        if one.lots <= 0:
            raise wrong("compress", "lots", "whole lots above 0", f"{one.lots}")
        key = one.instrument, one.long, one.short
        total[key] = total.get(key, 0) + one.lots
    if not total:
        raise wrong("compress", "trades", "a trade or more", "none")
    return [Facing(*key, lots) for key, lots in sorted(total.items())]


def _facings(trades: Any) -> list[Facing]:
    if isinstance(trades, list | tuple) and all(isinstance(one, Facing) for one in trades):
        return list(trades)
    from solvent.feeds.columns import names, numbers, require
    from solvent.feeds.sources import source_frames
    from solvent.feeds.table import Faults

    faults = Faults.of(trades, otherwise="trades", skip=False)
    ((_, frame, faults),) = source_frames(trades, faults, slowly=True)
    faults.skip = False
    require(frame, ("long", "short", "instrument", "lots"), faults)
    lots = numbers(frame, "lots", faults, required=True)
    for row in np.flatnonzero(~((lots > 0) & (lots == np.rint(lots)) & (lots < 2**53))).tolist():
        found = f"{lots[row]:g}"
        faults.add(
            Reject.SIZE_NOT_WHOLE_LOTS, row, "lots", expected="whole lots above 0", found=found
        )
    columns = [names(frame, name, faults).to_list() for name in ("instrument", "long", "short")]
    for name, column in zip(("instrument", "long", "short"), columns, strict=True):
        for row in [n for n, told in enumerate(column) if not told]:
            faults.add(Reject.FIELD_MISSING, row, name, expected="a name", found="nothing")
    faults.settle()
    return [
        Facing(instrument, long, short, int(count))
        for instrument, long, short, count in zip(*columns, lots.tolist(), strict=True)
    ]
