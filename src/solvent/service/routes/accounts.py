"""Accounts: who there is, what they hold, where they stand, by which rules."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from msgspec import Struct
from starlette.responses import Response

from solvent.account.ledger import FIRST_ACCOUNT
from solvent.documents import AccountDocument, PositionRow, account_document, position_row
from solvent.engine.state import Account, State
from solvent.errors import BadInput
from solvent.messages import commands as c
from solvent.messages.fields import AccountKind, MarginMode
from solvent.order_units import account_number
from solvent.service.callers import Action, Caller, Needs, allow
from solvent.service.doing import Done, IdempotencyKey, do, key_of, look
from solvent.service.names import AccountName, Symbol
from solvent.service.wire import answer, operation, problem_of, told

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])
Limit = Annotated[int, Query(ge=1, le=1_000, description="Rows of a page at most.")]
Cursor = Annotated[
    int | None, Query(ge=0, le=1 << 62, description="`next` of the page before; none: the first.")
]
Reads = Annotated[Caller, Depends(Needs(Action.ACCOUNT_READ))]
Opens = Annotated[Caller, Depends(Needs(Action.ACCOUNT_OPEN))]
Changes = Annotated[Caller, Depends(Needs(Action.ACCOUNT_CHANGE))]


class AccountRow(Struct):
    """An account in short."""

    account: str
    kind: str
    status: str
    parent: str | None
    rulebook: str | None


class AccountsPage(Struct):
    """A page of accounts in the order in which they were opened; `next` is the cursor of the next
    page, null on the last."""

    rows: list[AccountRow]
    next: int | None


class NewAccount(Struct, forbid_unknown_fields=True):
    """An account to be opened."""

    account: str
    rulebook: str
    kind: AccountKind = AccountKind.USER
    parent: str | None = None


class RulebookTold(Struct, forbid_unknown_fields=True):
    """A rulebook that an account is to be margined under."""

    rulebook: str


class ModeTold(Struct, forbid_unknown_fields=True):
    """How a contract is to be held: isolated needs a leverage."""

    mode: MarginMode
    leverage: str | None = None


class PositionsDocument(Struct):
    """An account's positions, after command `sequence`."""

    account: str
    sequence: int
    positions: list[PositionRow]


_NEW: Final = msgspec.json.Decoder(NewAccount)
_RULEBOOK: Final = msgspec.json.Decoder(RulebookTold)
_MODE: Final = msgspec.json.Decoder(ModeTold)


def named(state: State, name: str) -> Account:
    """An account by name, or BadInput."""
    return state.account(account_number(state, name, source="request"))


def made(kind: type[c.Command], /, **fields: Any) -> c.Command:
    """A command of fields as they were told, or BadInput."""
    try:
        command: c.Command = msgspec.convert(
            {
                "do": kind.__struct_config__.tag,
                **{k: v for k, v in fields.items() if v is not None},
            },
            kind,
        )
    except msgspec.ValidationError as fault:
        raise BadInput(problem_of(fault, source="request")) from None
    return command


@router.get("", **operation(AccountsPage))
async def accounts(
    request: Request, caller: Reads, cursor: Cursor = None, limit: Limit = 100,
    status: Annotated[str | None, Query(max_length=16, description="`open` and so on.")] = None,
) -> Response:  # fmt: skip
    """List accounts; those of the caller alone, where it is not everybody's reader."""

    def page(state: State) -> AccountsPage:
        rows: list[AccountRow] = []
        last = None
        for one in state.accounts[max(FIRST_ACCOUNT, (cursor or 0) + 1) :]:
            if one is None or not caller.owns(one.name) or status not in (None, one.status):
                continue
            if len(rows) == limit:
                return AccountsPage(rows, last)
            parent = state.account(one.parent).name if one.parent >= 0 else None
            rows.append(AccountRow(one.name, one.kind, one.status, parent, one.rulebook or None))
            last = one.number
        return AccountsPage(rows, None)

    return answer(await look(request, lambda engine: page(engine.state)))


@router.post(
    "",
    **operation(
        Done, body=NewAccount, status=201, example={"account": "alice", "rulebook": "deribit-pm"}
    ),
)
async def open_account(request: Request, caller: Opens, key: IdempotencyKey = None) -> Response:
    """Open an account, or a subaccount of `parent`."""
    new = await told(request, _NEW)
    allow(request, caller, Action.ACCOUNT_OPEN, new.parent or new.account)
    command = made(
        c.OpenAccount, key=key_of(key), actor=caller.name, account=new.account, kind=new.kind,
        rulebook=new.rulebook, parent=new.parent,
    )  # fmt: skip
    return answer(await do(request, command), 201)


@router.get("/{account:name}", **operation(AccountDocument))
async def one_account(request: Request, account: AccountName, caller: Reads) -> Response:
    """Everything about an account: balances, positions, orders, modes, money under way, and where
    it stands."""
    del caller
    return answer(
        await look(
            request, lambda engine: account_document(engine.state, named(engine.state, account))
        )
    )


@router.delete("/{account:name}", **operation(Done))
async def close_account(
    request: Request, account: AccountName, caller: Changes, key: IdempotencyKey = None
) -> Response:
    """Close an account that holds nothing."""
    command = made(c.CloseAccount, key=key_of(key), actor=caller.name, account=account)
    return answer(await do(request, command))


@router.get("/{account:name}/positions", **operation(PositionsDocument))
async def positions(request: Request, account: AccountName, caller: Reads) -> Response:
    """An account's positions, with marks and gains."""
    del caller

    def rows(state: State) -> PositionsDocument:
        found = named(state, account)
        return PositionsDocument(
            account, state.log.sequence,
            [
                position_row(state.contracts[number], one, isolated=found.isolates(number))
                for number, one in (found.positions or {}).items()
            ],
        )  # fmt: skip

    return answer(await look(request, lambda engine: rows(engine.state)))


@router.put(
    "/{account:name}/rulebook",
    **operation(Done, body=RulebookTold, example={"rulebook": "deribit-pm"}),
)
async def assign(
    request: Request, account: AccountName, caller: Changes, key: IdempotencyKey = None
) -> Response:
    """Margin an account under another rulebook, if it is healthy there."""
    wanted = await told(request, _RULEBOOK)
    command = made(
        c.AssignRulebook, key=key_of(key), actor=caller.name, account=account,
        rulebook=wanted.rulebook,
    )  # fmt: skip
    return answer(await do(request, command))


@router.put(
    "/{account:name}/modes/{symbol:name}",
    **operation(Done, body=ModeTold, example={"mode": "isolated", "leverage": "5"}),
)
async def set_mode(
    request: Request, account: AccountName, symbol: Symbol, caller: Changes,
    key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Hold a contract in another margin mode."""
    wanted = await told(request, _MODE)
    command = made(
        c.SetMarginMode, key=key_of(key), actor=caller.name, account=account, symbol=symbol,
        mode=wanted.mode, leverage=wanted.leverage,
    )  # fmt: skip
    return answer(await do(request, command, symbol=symbol))
