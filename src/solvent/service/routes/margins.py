"""Margin: of an account, of a portfolio that nobody holds yet, before and after, under which rules,
and why."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from msgspec import Struct
from starlette.responses import Response

from solvent.engine.standing import View
from solvent.errors import Reject
from solvent.order_rows import ReliefPlan, relief_of
from solvent.order_units import bad_input
from solvent.served import MarginDocument, WhatIfDocument
from solvent.service.asks import Asks, compared, explained, liquidation
from solvent.service.callers import Action, Caller, Needs, allow
from solvent.service.doing import look
from solvent.service.names import AccountName
from solvent.service.portfolios import Named, PortfolioTold, Shelf, of_account, ruled, seen
from solvent.service.published import Board, Published
from solvent.service.venue import NotServing, Phase, Venue
from solvent.service.whatifs import WhatIfs, WhatIfTold, asked_of
from solvent.service.wire import JSON, answer, encode_dollars, operation, told

router = APIRouter(prefix="/v1", tags=["margin"])
Reads = Annotated[Caller, Depends(Needs(Action.ACCOUNT_READ))]
Questions = Annotated[Caller, Depends(Needs(Action.ASK))]
RulebookName = Annotated[
    str | None, Query(min_length=1, max_length=64, description="Another one than the account's.")
]
_PORTFOLIO: Final = {
    "positions": [{"symbol": "BTC_USDC-PERPETUAL", "size": "-0.5", "entry_price": "61000"}],
    "balances": {"USDC": "25000"},
}
_CHANGES: Final = {"add": [{"symbol": "BTC_USDC-PERPETUAL", "size": "0.25"}]}


class AskTold(Struct, forbid_unknown_fields=True):
    """An `account` or a `portfolio`, under a rulebook: the account's own or the venue's unless it
    is told."""

    account: Named | None = None
    portfolio: PortfolioTold | None = None
    rulebook: Named | None = None


class CompareTold(Struct, forbid_unknown_fields=True):
    """An `account` or a `portfolio`, under several rulebooks: the venue's, or that Solvent has."""

    rulebooks: list[str]
    account: Named | None = None
    portfolio: PortfolioTold | None = None


class LiquidationDocument(Struct):
    """Where an account would be liquidated: a row an underlying, and `all` as a factor of all
    prices together; null where no price does that."""

    rulebook: str
    rows: list[dict[str, Any]]


class ComparisonDocument(Struct):
    """A row a rulebook; amounts are dollars, and `reason` says why there are none."""

    rows: list[dict[str, Any]]


_WHATIF: Final = msgspec.json.Decoder(WhatIfTold)
_ASK: Final = msgspec.json.Decoder(AskTold)
_COMPARE: Final = msgspec.json.Decoder(CompareTold)


async def _held(request: Request, caller: Caller, account: str | None) -> View | None:
    venue: Venue = request.app.state.venue
    if venue.phase is Phase.STARTING:
        # Nothing is published yet: that is no fault of the question.
        raise NotServing(venue.phase)
    if account is None:
        return None
    allow(request, caller, Action.ACCOUNT_READ, account)
    return await look(request, lambda engine: of_account(engine.state, account))


async def _view(
    request: Request, caller: Caller, account: str | None, portfolio: PortfolioTold | None,
    rulebook: str | None,
) -> tuple[Published, View, str]:  # fmt: skip
    """What a question is of: published prices, a view of their contracts, and a rulebook."""
    asked_of(WhatIfTold(account=account, portfolio=portfolio))
    held = await _held(request, caller, account)
    board: Board = request.app.state.board
    now = board.now
    if held is not None:
        return now, held, ruled(now.state, rulebook or held.account.rulebook)
    if portfolio is None:
        raise bad_input(Reject.FIELD_MISSING, "request", "portfolio", "one", "none")
    name = ruled(now.state, rulebook)
    return now, seen(Shelf.of(now.state), portfolio, name), name


@router.post(
    "/whatif",
    **operation(
        WhatIfDocument, body=WhatIfTold, example={"portfolio": _PORTFOLIO, "changes": _CHANGES}
    ),
)
async def whatif(request: Request, caller: Questions) -> Response:
    """Where an account or a portfolio stands, and where it would after changes: by the engine's own
    margin, on what was published last. Nothing is done."""
    return Response(await whatif_told(request, caller), media_type=JSON)


async def whatif_told(request: Request, caller: Caller) -> bytes:
    """The answer to a what-if, as JSON; also what `quick` answers with."""
    wanted = await told(request, _WHATIF, once=False)
    held = await _held(request, caller, asked_of(wanted))
    whatifs: WhatIfs = request.app.state.whatifs
    return encode_dollars(await whatifs.ask(wanted, held))


@router.post(
    "/margin", **operation(MarginDocument, body=AskTold, example={"portfolio": _PORTFOLIO})
)
async def margin(request: Request, caller: Questions) -> Response:
    """Where a portfolio stands, what it is charged for, and each position's share of that."""
    wanted = await told(request, _ASK, once=False)
    return await _margin(request, caller, wanted)


@router.get("/accounts/{account:name}/margin", **operation(MarginDocument))
async def margin_of(
    request: Request, account: AccountName, caller: Reads, rulebook: RulebookName = None
) -> Response:
    """The same of an account."""
    return await _margin(request, caller, AskTold(account=account, rulebook=rulebook))


async def _margin(request: Request, caller: Caller, wanted: AskTold) -> Response:
    now, view, name = await _view(
        request, caller, wanted.account, wanted.portfolio, wanted.rulebook
    )
    whatifs: WhatIfs = request.app.state.whatifs
    asks: Asks = request.app.state.asks
    stands = await whatifs.ask(WhatIfTold(rulebook=name), view)
    why = await asks.run(lambda patience: explained(now, view, name, patience))
    return answer(
        MarginDocument(
            stands.rulebook, stands.as_of_ms, stands.age_ms, stands.stale, stands.before, **why
        )
    )


@router.post(
    "/liquidation",
    **operation(LiquidationDocument, body=AskTold, example={"portfolio": _PORTFOLIO}),
)
async def liquidation_of_portfolio(request: Request, caller: Questions) -> Response:
    """The prices at which a portfolio would be liquidated."""
    wanted = await told(request, _ASK, once=False)
    return await _liquidation(request, caller, wanted)


@router.get("/accounts/{account:name}/liquidation", **operation(LiquidationDocument))
async def liquidation_of_account(
    request: Request, account: AccountName, caller: Reads, rulebook: RulebookName = None
) -> Response:
    """The prices at which an account would be liquidated."""
    return await _liquidation(request, caller, AskTold(account=account, rulebook=rulebook))


async def _liquidation(request: Request, caller: Caller, wanted: AskTold) -> Response:
    now, view, name = await _view(
        request, caller, wanted.account, wanted.portfolio, wanted.rulebook
    )
    asks: Asks = request.app.state.asks
    rows = await asks.run(lambda patience: liquidation(now, view, name, patience))
    return answer(LiquidationDocument(name, rows))


@router.post(
    "/compare",
    **operation(
        ComparisonDocument, body=CompareTold,
        example={"portfolio": _PORTFOLIO, "rulebooks": ["deribit-pm", "okx-pm"]},
    ),
)  # fmt: skip
async def compare(request: Request, caller: Questions) -> Response:
    """The same account or portfolio under several rulebooks."""
    wanted = await told(request, _COMPARE, once=False)
    now, view, _ = await _view(request, caller, wanted.account, wanted.portfolio, None)
    asks: Asks = request.app.state.asks
    rows = await asks.run(lambda patience: compared(now, view, wanted.rulebooks, patience))
    return answer(ComparisonDocument(rows))


@router.get("/accounts/{account:name}/relief", **operation(ReliefPlan))
async def relief(request: Request, account: AccountName, caller: Reads) -> Response:
    """Which orders would be taken back so that an account has its initial margin again. Nothing is
    done; refused where it has it."""
    del caller
    return answer(await look(request, lambda engine: relief_of(engine.state, account)))
