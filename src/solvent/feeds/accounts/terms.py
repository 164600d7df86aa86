"""What every venue's reader needs: names to contracts, and whether what is told fits the name."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from solvent.errors import Problem, Reject
from solvent.feeds.accounts.cells import Cells
from solvent.instruments import Contract, Kind
from solvent.instruments.contract import moment_of


def of_name(cells: Cells, field: str, read: Callable[[str], Contract]) -> Contract:
    """The contract that a cell names. Raises BadInput for what is none."""
    name = cells.text(field)
    try:
        return read(name)
    except ValueError as fault:
        cells.wrong(Reject.SYMBOL_UNKNOWN, field, "a name of a contract", str(fault))


def out_of_day(cells: Cells, field: str, contract: Contract, notes: list[Problem]) -> None:
    """Note an expiry that is told and is not the name's day at 08:00 UTC: the name counts."""
    told = cells.time(field)
    if contract.expiry_ms is None or told is None or told == contract.expiry_ms:
        return
    notes.append(
        Problem(
            code=Reject.TIME_INVALID, source=cells.source, field=field,
            row=None if cells.row is None else cells.row + 1,
            expected=f"{moment_of(contract.expiry_ms):%Y-%m-%d %H:%M} UTC, as the name says",
            found=f"{moment_of(told):%Y-%m-%d %H:%M} UTC; the name counts",
        )
    )  # fmt: skip


def must_be(cells: Cells, field: str, expected: str) -> None:
    """Refuse a cell that contradicts the contract's name; an empty one says nothing."""
    told = cells.maybe_text(field)
    if told and told != expected:
        cells.wrong(Reject.INSTRUMENT_TERMS_INVALID, field, f"{expected}, as the name says", told)


def signed(cells: Cells, size: Decimal, side: int) -> Decimal:
    """An unsigned size with the sign of its side; without a side it must be nothing."""
    if size < 0:
        cells.wrong(Reject.FIELD_NOT_A_NUMBER, "size", "a size of 0 or more", size)
    if size and not side:
        cells.wrong(Reject.SIDE_UNKNOWN, "side", "a side of a size that is not 0", "none")
    return size * side


def counted_in_coin(contract: Contract) -> bool:
    """Whether sizes are counted in the base coin: all but inverse futures, which are in dollars."""
    return not (contract.inverse and contract.kind is not Kind.OPTION)
