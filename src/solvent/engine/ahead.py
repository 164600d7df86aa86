"""Margin checks of many trades at once, before their turn comes.

A margin check of one account costs a thousand times what it costs in a crowd. So when a trade comes
up, those behind it are looked at too: each whose accounts nothing before it touches has the same
answer now as when its turn comes, and is worked out together with the others. Nothing is decided
here, and the answers are the same to the bit; a trade that was not worked out is checked by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from solvent.account.ledger import INSURANCE
from solvent.engine.dealing import view_after
from solvent.engine.refusal import Refused
from solvent.engine.standing import View, standings, view
from solvent.engine.state import Standing, State
from solvent.engine.trading import Dealt, deal_in, let_through
from solvent.messages.commands import (
    CancelOrder,
    Deposit,
    Heartbeat,
    PlaceOrder,
    RequestWithdrawal,
    Trade,
    Transfer,
)
from solvent.messages.fields import Command

AHEAD_MAX = 16_384
"""Commands that are looked at."""
_CONFLICTS = 32
"""Trades that may be passed over, beyond as many as were worked out."""


def look_ahead(state: State, commands: Sequence[Command], start: int) -> None:
    """Work out trades from `start` on, into `state.ahead`."""
    if state.house.contract is not None:
        return
    found = _worked_out(state, commands[start : start + AHEAD_MAX])
    views: list[View] = []
    asked: list[tuple[int, int]] = []
    for place, (_, dealt) in enumerate(found):
        for side, leg in enumerate(dealt.legs):
            if leg.account.number != INSURANCE and not let_through(state, leg):
                views.append(view_after(state, leg, view(state, leg.account)))
                asked.append((place, side))
    answers: list[list[Standing | None]] = [[None, None] for _ in found]
    for (place, side), one in zip(asked, standings(state, views), strict=True):
        answers[place][side] = one
    for (command, dealt), (buyer, seller) in zip(found, answers, strict=True):
        state.ahead[id(command)] = dealt, (buyer, seller)


def _worked_out(state: State, commands: Sequence[Command]) -> list[tuple[Trade, Dealt]]:
    """Trades that nothing before them can change, up to a command that may change anything."""
    touched: set[str] = set()
    found: list[tuple[Trade, Dealt]] = []
    passed = 0
    for command in commands:
        names = _touched(command)
        if names is None:
            break
        if id(command) in state.ahead:
            pass
        elif isinstance(command, Trade) and touched.isdisjoint(names):
            dealt = _dealt(state, command)
            if dealt is not None:
                found.append((command, dealt))
        elif isinstance(command, Trade):
            passed += 1
            if passed > _CONFLICTS + len(found):
                break
        touched.update(names)
    return found


def _touched(command: Command) -> tuple[str, ...] | None:
    """Accounts that a command can change; None for one that may change anything."""
    match command:
        case Trade():
            return command.buyer, command.seller
        case Deposit() | RequestWithdrawal() | PlaceOrder() | CancelOrder():
            return (command.account,)
        case Transfer():
            return command.source, command.target
        case Heartbeat():
            return ()
        case _:
            return None


def _dealt(state: State, command: Trade) -> Dealt | None:
    try:
        return deal_in(state, command)
    except Refused:
        return None
