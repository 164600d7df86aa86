"""Money in, out and between accounts. What has arrived or left is said by the venue's cashier."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from msgspec import Struct
from starlette.responses import Response

from solvent.documents import PendingRow
from solvent.engine.state import State
from solvent.messages import commands as c
from solvent.messages.fields import Command
from solvent.service.callers import Action, Caller, Needs, allow
from solvent.service.doing import Done, IdempotencyKey, do, key_of, look
from solvent.service.lanes import Lane
from solvent.service.names import AccountName, Reference
from solvent.service.portfolios import Number, Shelf
from solvent.service.routes.accounts import Cursor, Limit, made
from solvent.service.wire import answer, operation, told

router = APIRouter(prefix="/v1", tags=["money"])
Confirms = Annotated[Caller, Depends(Needs(Action.MONEY_CONFIRM))]
Withdraws = Annotated[Caller, Depends(Needs(Action.WITHDRAW))]
Transfers = Annotated[Caller, Depends(Needs(Action.TRANSFER, elsewhere=True))]
Sees = Annotated[Caller, Depends(Needs(Action.VENUE_READ))]


class DepositTold(Struct, forbid_unknown_fields=True):
    """Money that has arrived, or (with `announced`, the payment's reference) that is on its way.
    `amount` is in units of the asset, a decimal in text."""

    asset: str
    amount: Number
    announced: str | None = None


class WithdrawalTold(Struct, forbid_unknown_fields=True):
    """Money that is to leave; `reference` names the payment and is never used twice."""

    asset: str
    amount: Number
    reference: str


class TransferTold(Struct, forbid_unknown_fields=True):
    """Money from one account to another."""

    source: str
    target: str
    asset: str
    amount: Number


class PendingPage(Struct):
    """A page of payments under way."""

    rows: list[PendingRow]
    next: int | None


_DEPOSIT: Final = msgspec.json.Decoder(DepositTold)
_WITHDRAWAL: Final = msgspec.json.Decoder(WithdrawalTold)
_TRANSFER: Final = msgspec.json.Decoder(TransferTold)


def _units(state: State, asset: str, amount: Number) -> int:
    return Shelf.of(state).units_of(asset, amount, source="request")[1]


@router.post(
    "/accounts/{account:name}/deposits",
    **operation(Done, body=DepositTold, status=201, example={"asset": "USDC", "amount": "1000.5"}),
)
async def deposit(
    request: Request, account: AccountName, caller: Confirms, key: IdempotencyKey = None
) -> Response:
    """Credit money that has arrived, or announce money that is on its way."""
    wanted, name = await told(request, _DEPOSIT), key_of(key)

    def draft(state: State) -> Command:
        return made(
            c.Deposit if wanted.announced is None else c.AnnounceDeposit, key=name,
            actor=caller.name, account=account, asset=wanted.asset,
            amount=_units(state, wanted.asset, wanted.amount), reference=wanted.announced,
        )  # fmt: skip

    return answer(await do(request, draft, lane=Lane.RELIEF), 201)


@router.post("/deposits/{reference:name}/confirm", **operation(Done))
async def confirm_deposit(
    request: Request, reference: Reference, caller: Confirms, key: IdempotencyKey = None
) -> Response:
    """Say that announced money has arrived."""
    return await _of(c.ConfirmDeposit, request, reference, caller, key)


@router.post("/deposits/{reference:name}/cancel", **operation(Done))
async def cancel_deposit(
    request: Request, reference: Reference, caller: Confirms, key: IdempotencyKey = None
) -> Response:
    """Say that announced money will not come."""
    return await _of(c.CancelDeposit, request, reference, caller, key)


@router.post(
    "/accounts/{account:name}/withdrawals",
    **operation(
        Done, body=WithdrawalTold, status=201,
        example={"asset": "USDC", "amount": "250", "reference": "w-17"},
    ),
)  # fmt: skip
async def withdraw(
    request: Request, account: AccountName, caller: Withdraws, key: IdempotencyKey = None
) -> Response:
    """Take money out, if the margin allows: of the account now, of the venue when confirmed."""
    wanted, name = await told(request, _WITHDRAWAL), key_of(key)

    def draft(state: State) -> Command:
        return made(
            c.RequestWithdrawal, key=name, actor=caller.name, account=account, asset=wanted.asset,
            amount=_units(state, wanted.asset, wanted.amount), reference=wanted.reference,
        )  # fmt: skip

    return answer(await do(request, draft), 201)


@router.post("/withdrawals/{reference:name}/confirm", **operation(Done))
async def confirm_withdrawal(
    request: Request, reference: Reference, caller: Confirms, key: IdempotencyKey = None
) -> Response:
    """Say that money has left."""
    return await _of(c.ConfirmWithdrawal, request, reference, caller, key)


@router.post("/withdrawals/{reference:name}/cancel", **operation(Done))
async def cancel_withdrawal(
    request: Request, reference: Reference, caller: Confirms, key: IdempotencyKey = None
) -> Response:
    """Say that money could not be sent: it goes back to the account."""
    return await _of(c.CancelWithdrawal, request, reference, caller, key)


async def _of(
    kind: type[Command], request: Request, reference: str, caller: Caller, key: str | None
) -> Response:
    command = made(kind, key=key_of(key), actor=caller.name, reference=reference)
    return answer(await do(request, command))


@router.post(
    "/transfers",
    **operation(
        Done, body=TransferTold, status=201,
        example={"source": "alice", "target": "alice-2", "asset": "USDC", "amount": "10"},
    ),
)  # fmt: skip
async def transfer(request: Request, caller: Transfers, key: IdempotencyKey = None) -> Response:
    """Move money between two accounts, if the source's margin allows."""
    wanted, name = await told(request, _TRANSFER), key_of(key)
    allow(request, caller, Action.TRANSFER, wanted.source)
    allow(request, caller, Action.TRANSFER, wanted.target)

    def draft(state: State) -> Command:
        return made(
            c.Transfer, key=name, actor=caller.name, source=wanted.source, target=wanted.target,
            asset=wanted.asset, amount=_units(state, wanted.asset, wanted.amount),
        )  # fmt: skip

    return answer(await do(request, draft), 201)


@router.get("/pending", **operation(PendingPage))
async def pending(
    request: Request, caller: Sees, cursor: Cursor = None, limit: Limit = 100,
    account: Annotated[str | None, Query(max_length=64, description="Whose.")] = None,
) -> Response:  # fmt: skip
    """List payments under way, in the order in which they were told."""
    del caller

    def page(state: State) -> PendingPage:
        first, rows = cursor or 0, list[PendingRow]()
        listed = list(state.pending.items())
        for place, (reference, one) in enumerate(listed[first:], first):
            if account is not None and state.account(one.account).name != account:
                continue
            if len(rows) == limit:
                return PendingPage(rows, place)
            name, decimals = state.assets[one.asset]
            rows.append(
                PendingRow(
                    reference=reference, asset=name, units=one.amount,
                    amount=Decimal(one.amount).scaleb(-decimals),
                    direction="in" if one.incoming else "out",
                )
            )  # fmt: skip
        return PendingPage(rows, None)

    return answer(await look(request, lambda engine: page(engine.state)))
