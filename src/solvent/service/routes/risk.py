"""What concerns all accounts: the venue in short, liquidations, ranks, funds, the gap ladder."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from msgspec import Struct
from starlette.responses import Response

from solvent.documents import MoneyRow, VenueDocument, money_rows, venue_document
from solvent.engine.audit import audit as audited
from solvent.engine.image import image
from solvent.engine.refusal import contract_named
from solvent.engine.state import State
from solvent.errors import Refused, Reject
from solvent.order_units import bad_input
from solvent.served import AuditDocument
from solvent.service.asks import Asks
from solvent.service.callers import Action, Caller, Needs
from solvent.service.doing import look
from solvent.service.gaps import RungRow, ladder
from solvent.service.history import Steps
from solvent.service.names import Symbol
from solvent.service.published import Board
from solvent.service.routes.accounts import Limit
from solvent.service.venue import Venue
from solvent.service.wire import LINES, answer, encode, operation
from solvent.tending.deleveraging import queue
from solvent.tending.tender import plans
from solvent.tending.told import Step
from solvent.verify.books import check_books

router = APIRouter(prefix="/v1", tags=["venue"])
Sees = Annotated[Caller, Depends(Needs(Action.VENUE_READ))]
Commands = Annotated[Caller, Depends(Needs(Action.COMMAND))]


class RankedRow(Struct):
    """A place in the queue of deleveraging: rank 1 goes first, indicator 5 too."""

    account: str
    rank: int
    indicator: int
    lots: int
    score: float | None


class QueueDocument(Struct):
    """Who would be deleveraged in a contract, by which rule."""

    symbol: str
    rank: str
    allocate: str
    longs: list[RankedRow]
    shorts: list[RankedRow]


class FundDocument(Struct):
    """What the insurance fund and other pools of the venue hold, by asset."""

    sequence: int
    rows: list[MoneyRow]


class StepsPage(Struct):
    """What happened to accounts that could not pay, in order; `next` is the cursor."""

    rows: list[Step]
    next: int | None


class PlansDocument(Struct):
    """What is to be done now about accounts that are short of margin; nothing is done."""

    sequence: int
    plans: list[dict[str, Any]]


class LadderDocument(Struct):
    """Who falls if all prices gap: by the rulebook's own margin, on the market published last."""

    rulebook: str
    as_of_ms: int
    accounts: int
    rungs: list[RungRow]


@router.get("/venue", **operation(VenueDocument))
async def venue(
    request: Request, caller: Sees,
    hashed: Annotated[
        bool, Query(description="With a hash of all that is remembered, which reads all of it.")
    ] = False,
) -> Response:  # fmt: skip
    """The venue in short: accounts by status and standing, money, rulebooks."""
    del caller
    return answer(await look(request, lambda engine: venue_document(engine.state, hashed=hashed)))


@router.get("/fund", **operation(FundDocument))
async def fund(request: Request, caller: Sees) -> Response:
    """The insurance fund and the other pools."""
    del caller

    def found(state: State) -> FundDocument:
        return FundDocument(state.log.sequence, list(money_rows(state)))

    return answer(await look(request, lambda engine: found(engine.state)))


@router.get("/adl/{symbol:name}", **operation(QueueDocument))
async def adl(request: Request, symbol: Symbol, caller: Sees, limit: Limit = 100) -> Response:
    """The queue of deleveraging of a contract, each side; who loses nothing by it is not asked."""
    del caller

    def found(state: State) -> QueueDocument:
        try:
            contract = contract_named(state, symbol)
        except Refused as refused:
            raise bad_input(
                refused.code, "request", "symbol", "a contract that is open", repr(symbol)
            ) from None
        rules = state.rules.get(state.venue_rulebook)
        if rules is None:
            raise bad_input(
                Reject.RULEBOOK_UNKNOWN,
                "venue",
                None,
                "a venue that has adopted a rulebook",
                "none",
            )
        closing = rules.closing
        sides = [
            [
                RankedRow(one.account, one.rank, one.indicator, one.lots,
                          None if one.score is None else float(one.score))
                for one in queue(state, contract, longs=longs, closing=closing)[:limit]
            ]
            for longs in (True, False)
        ]  # fmt: skip
        return QueueDocument(symbol, closing.adl.rank, closing.adl.allocate, *sides)

    return answer(await look(request, lambda engine: found(engine.state)))


# ── liquidations ─────────────────────────────────────────────────────────────────────────────────


@router.get("/liquidations", **operation(StepsPage, media={LINES: {"schema": {"type": "string"}}}))
async def liquidations(
    request: Request, caller: Sees, limit: Limit = 100,
    cursor: Annotated[int | None, Query(ge=0, le=1 << 62, description="A sequence.")] = None,
    account: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> Response:  # fmt: skip
    """What happened to accounts that could not pay: who was called or reduced, by which stage, at
    which price, and who paid what. All of it at once as JSON lines."""
    del caller
    steps: Steps = request.app.state.steps
    asks: Asks = request.app.state.asks
    found = await asks.run(lambda _: steps.all(account, after=cursor or 0))
    if LINES in request.headers.get("accept", ""):
        return Response(b"".join(encode(one) + b"\n" for one in found), media_type=LINES)
    rows = found[:limit]
    while rows and len(found) > len(rows) and found[len(rows)].sequence == rows[-1].sequence:
        rows.append(found[len(rows)])
    more = len(found) > len(rows)
    return answer(StepsPage(rows, rows[-1].sequence if more else None))


@router.get("/liquidations/plans", **operation(PlansDocument))
async def plans_now(request: Request, caller: Sees) -> Response:
    """What is to be done now about accounts that are short of margin. Nothing is done."""
    del caller

    def found(state: State) -> PlansDocument:
        return PlansDocument(state.log.sequence, [one.to_dict() for one in plans(state)])

    return answer(await look(request, lambda engine: found(engine.state)))


class TendedDocument(Struct):
    """What was done: plans by stage, commands by outcome, and what stays open."""

    plans: dict[str, int]
    accepted: int
    refused: int
    open: list[dict[str, Any]]


@router.post("/liquidations/tend", **operation(TendedDocument))
async def tend(request: Request, caller: Commands) -> Response:
    """Do all that is to be done now about accounts that are short of margin: a second call at the
    same moment does nothing."""
    name = caller.name
    done = await look(request, lambda engine: engine.tend(actor=name))
    return answer(
        TendedDocument(
            dict(done.plans), done.accepted, done.refused, [one.to_dict() for one in done.open]
        )
    )


# ── solvency ─────────────────────────────────────────────────────────────────────────────────────


@router.get("/ladder", **operation(LadderDocument))
async def gap_ladder(
    request: Request, caller: Sees,
    rulebook: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> Response:  # fmt: skip
    """The gap ladder of a rulebook's accounts: who falls if all prices move together by so much,
    and how much money is then missing."""
    del caller
    board: Board = request.app.state.board
    asks: Asks = request.app.state.asks
    found = await ladder(request.app.state.venue, board, asks, request.app.state.ladders, rulebook)
    return answer(LadderDocument(found.rulebook, found.as_of_ms, found.accounts, list(found.rungs)))


@router.get("/audit", **operation(AuditDocument))
async def audit(request: Request, caller: Sees) -> Response:
    """Check the books: money adds up, positions net to zero, no pool is below zero; and the
    journal by a program that shares no code with the engine. It reads everything."""
    del caller
    venue: Venue = request.app.state.venue
    asks: Asks = request.app.state.asks
    sequence, books, picture = await look(
        request,
        lambda engine: (
            engine.state.log.sequence, audited(engine.state),
            image(engine.state) if engine.state.log.sequence else None,
        ),
    )  # fmt: skip

    def checked() -> AuditDocument:
        with venue.reader() as journal:
            found = check_books(journal.read(until=sequence, verify=False), image=picture)
        wrong = [*books.violations, *map(str, found.problems)]
        return AuditDocument(
            sequence, books.accounts, books.positions, books.assets, books.outside,
            found.commands, len(books.violations) + found.problems_count, wrong,
        )  # fmt: skip

    return answer(await asks.run(lambda _: checked()))
