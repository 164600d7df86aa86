"""Commands with one thing put wrong: unknown names, the wrong asset, the largest number there is.

Whatever comes out can still be stored and read back: what cannot never reaches an engine.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from msgspec import ValidationError, structs

from solvent.account.ledger import FIRST_ACCOUNT
from solvent.engine.state import State
from solvent.limits import LOTS_MAX, MONEY_MAX, POINTS_MAX, TIME_MS_MAX
from solvent.messages.codec import decode_command, encode_command
from solvent.messages.commands import AmendOrder, PlaceOrder
from solvent.messages.fields import Command
from solvent.sim.draws import Draws
from solvent.sim.ordering import GROUPS, PARTS_MAX, SESSIONS

_WHO: Final = frozenset(
    {
        "account",
        "source",
        "target",
        "buyer",
        "seller",
        "counterparty",
        "member",
        "parent",
        "by",
        "to",
        "bidder",
    }
)
_NUMBERS: Final[dict[str, tuple[int, ...]]] = {
    "amount": (1, 2, MONEY_MAX // 4, MONEY_MAX // 4 + 1, MONEY_MAX),
    "lots": (1, 2, LOTS_MAX // 2, LOTS_MAX),
    "price_ticks": (0, -1, 1, 2, 10**9, POINTS_MAX, -POINTS_MAX),
    "expire_ms": (0, 1, TIME_MS_MAX),
    "display_lots": (1, 2, LOTS_MAX),
    "window_ms": (1, 86_400_000),
    "frozen_ms": (0, 86_400_000),
    "delta_nano": (1, MONEY_MAX),
    "until_ms": (0, 1, TIME_MS_MAX),
    "price_nano": (0, 1, 10**18, MONEY_MAX),
    "fee_ppm": (0, 1, 1_000_000),
    "into_amount": (1, 2, MONEY_MAX),
    "share_ppb": (1, 10**9),
    "pay_max": (0, 1, MONEY_MAX),
    "cap_micro": (0, 1, MONEY_MAX),
    "expiry_ms": (0, 1, TIME_MS_MAX),
}
_TEXTS: Final[dict[str, tuple[str, ...]]] = {
    "rate": ("0", "-1", "1", "2", "-0.000000000000000001", "99999999999999999999"),
    "leverage": ("0", "-1", "1", "0.0000001", "1000", "99999999"),
    "margin_factor": ("0", "-1", "1", "0.001", "1000", "0.000001"),
}


def spoiled(draws: Draws, state: State, command: Command) -> Command:
    """The command with one of its fields changed, if there is one to change."""
    fields = [
        name for name in command.__struct_fields__
        if (name in _WHO or name in _NUMBERS or name in _TEXTS or name in _LOOKED_UP)
        and not isinstance(getattr(command, name), StrEnum)
    ]  # fmt: skip
    if not fields:
        return command
    name = draws.one(fields)
    found = structs.replace(command, **{name: _other(draws, state, name)})
    try:
        decode_command(encode_command(found))
    except ValidationError:
        return command
    return command if _in_too_many_parts(found) else found


def _in_too_many_parts(command: Command) -> bool:
    """Whether an order would show so little of its lots that it may take for ever to be filled; of
    one that is amended it is not known what it shows."""
    if isinstance(command, AmendOrder):
        return (command.lots or 0) > PARTS_MAX
    if not isinstance(command, PlaceOrder) or command.display_lots is None:
        return False
    return command.lots > PARTS_MAX * command.display_lots


def _other(draws: Draws, state: State, name: str) -> Any:
    if name in _NUMBERS:
        return draws.one(_NUMBERS[name])
    if name in _TEXTS:
        return draws.one(_TEXTS[name])
    if name in _WHO:
        if draws.often(0.5):
            return draws.one(("nobody", "insurance", "venue", "clearing", "external", " "))
        account = state.accounts[draws.rng.randrange(FIRST_ACCOUNT, len(state.accounts))]
        return account.name if account is not None else "nobody"
    return draws.one(_names(draws, state, _LOOKED_UP[name]))


_LOOKED_UP: Final = {
    "asset": "asset", "settlement": "asset", "into": "asset", "symbol": "symbol",
    "market": "symbol", "order": "order",
    "buy_order": "order", "sell_order": "order", "reference": "reference",
    "rulebook": "rulebook", "group": "group", "session": "session", "underlying": "underlying",
}  # fmt: skip


def _names(draws: Draws, state: State, what: str) -> list[str]:
    """Names that there are, and one that there is not."""
    if what == "asset":
        return [*state.asset_numbers, "NOTHING"]
    if what == "symbol":
        return [*state.contract_numbers, "NOTHING-PERPETUAL"]
    if what == "rulebook":
        return [*state.rules, "anarchy"]
    if what in ("group", "session"):
        return [*(GROUPS if what == "group" else SESSIONS), "none-of-these"]
    if what == "underlying":
        return [*state.underlyings, "NOTHING"]
    if what == "order":
        return ["no-order", *state.orders_of(draws.account(state).number)]
    blocks = list(state.blocks)[-5:]
    return ["no-reference", *blocks, *list(state.pending)[-5:], *list(state.references)[-5:]]


def told_again(draws: Draws, state: State) -> Command | None:
    """An old command once more, or its key with another body."""
    if not draws.past:
        return None
    command = draws.past[int(draws.rng.random() * len(draws.past))]
    return command if draws.often(0.7) else spoiled(draws, state, command)
