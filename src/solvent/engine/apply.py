"""`apply(state, sealed) -> events`: the one way in which anything changes.

Pure: no clock, randomness or I/O; time is in the sealed command. The order is: has this request
been made before; can it be done (each handler refuses in the order that it documents); then the
line after which nothing may fail. A refused command changes nothing but its place in history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, NamedTuple

from solvent.chains import link
from solvent.engine import (
    accounts,
    auctions,
    blocks,
    calls,
    cash,
    closing_out,
    combos,
    distress,
    inputs,
    market,
    moving_in,
    ordering,
    porting,
    reference,
    settlement,
    trading,
)
from solvent.engine import slack as bounds
from solvent.engine.floor import Floor
from solvent.engine.state import ANSWER, DIGEST_BYTES, Log, State
from solvent.errors import Refused, Reject, check
from solvent.limits import KEYS_MAX
from solvent.messages import commands as c
from solvent.messages.codec import REFUSED, Sealed, decode_events, encode_command, encode_events
from solvent.messages.events import Event, OrderReduced, Posted, Rejected, Repeated
from solvent.messages.fields import Command
from solvent.orders.order import Why

Handler = Callable[[State, Any, list[Event]], None]


def _heartbeat(state: State, command: c.Heartbeat, events: list[Event]) -> None:
    """Time has passed: orders that were good until now go."""
    state.desk.expire(time_ms=state.log.time_ms, events=events)
    Floor(state, events).close(events)


HANDLERS: Final[dict[type[Command], Handler]] = {
    c.ListAsset: reference.list_asset,
    c.ListInstrument: reference.list_instrument,
    c.DelistInstrument: reference.delist_instrument,
    c.SetPhase: reference.set_phase,
    c.AdoptRulebook: reference.adopt_rulebook,
    c.AssignRulebook: accounts.assign_rulebook,
    c.SetInputs: inputs.set_inputs,
    c.OpenAccount: accounts.open_account,
    c.CloseAccount: accounts.close_account,
    c.FreezeAccount: accounts.freeze_account,
    c.UnfreezeAccount: accounts.unfreeze_account,
    c.SetMarginMode: accounts.set_margin_mode,
    c.SetLeverage: accounts.set_leverage,
    c.AddIsolatedMargin: accounts.add_isolated_margin,
    c.RemoveIsolatedMargin: accounts.remove_isolated_margin,
    c.Deposit: cash.deposit,
    c.AnnounceDeposit: cash.announce_deposit,
    c.ConfirmDeposit: cash.confirm_deposit,
    c.CancelDeposit: cash.cancel_deposit,
    c.RequestWithdrawal: cash.request_withdrawal,
    c.ConfirmWithdrawal: cash.confirm_withdrawal,
    c.CancelWithdrawal: cash.cancel_withdrawal,
    c.Transfer: cash.transfer,
    c.ContributeFund: cash.contribute_fund,
    c.ReturnFund: cash.return_fund,
    c.PlaceOrder: ordering.place_order,
    c.AmendOrder: ordering.amend_order,
    c.CancelOrder: ordering.cancel_order,
    c.CancelOrders: ordering.cancel_orders,
    c.Disconnect: ordering.disconnect,
    c.SetProtection: ordering.set_protection,
    c.ResetProtection: ordering.reset_protection,
    c.ListCombo: combos.list_combo,
    c.ReportBlock: blocks.report_block,
    c.WithdrawBlock: blocks.withdraw_block,
    c.RelieveMargin: ordering.relieve_margin,
    c.Trade: trading.trade,
    c.PublishMarket: market.publish_market,
    c.PublishArrays: market.publish_arrays,
    c.PayFunding: settlement.pay_funding,
    c.SettleVariation: settlement.settle_variation,
    c.SettleExpiry: settlement.settle_expiry,
    c.AccrueInterest: settlement.accrue_interest,
    c.Heartbeat: _heartbeat,
    c.BeginLiquidation: distress.begin_liquidation,
    c.Liquidate: closing_out.liquidate,
    c.TakeOver: closing_out.take_over,
    c.Deleverage: closing_out.deleverage,
    c.Confiscate: distress.confiscate,
    c.CoverDebt: distress.cover_debt,
    c.SocialiseLoss: distress.socialise_loss,
    c.EndLiquidation: distress.end_liquidation,
    c.ImportBooks: moving_in.import_books,
    c.ReviewMargin: calls.review_margin,
    c.LiquidateInBook: closing_out.liquidate_in_book,
    c.SetBackstop: closing_out.set_backstop,
    c.ConvertCollateral: distress.convert_collateral,
    c.FundMarket: distress.fund_market,
    c.StartAuction: auctions.start_auction,
    c.BidInAuction: auctions.bid_in_auction,
    c.EndAuction: auctions.end_auction,
    c.PortAccount: porting.port_account,
}
check(set(HANDLERS) == set(c.COMMANDS), "every command has its handler")
_SHORT: Final = encode_events([OrderReduced(0, "", 0, 0, str(Why.MARGIN))])[-7:]
"""How an event ends that tells of an order which went for want of margin."""
KINDS: Final[dict[type[Command], str]] = {
    kind: str(kind.__struct_config__.tag) for kind in HANDLERS
}


class Applied(NamedTuple):
    """What came of a command; `code` is 0 if it was done, or why not (`errors.Reject`).

    `kind`, `command`, `stored` and `chain` are what a journal keeps; of a repeat there is nothing
    to keep, and `chain` is empty.
    """

    events: tuple[Event, ...]
    code: int
    kind: str
    command: bytes
    stored: bytes
    chain: bytes


def apply(state: State, sealed: Sealed, body: bytes | None = None) -> Applied:
    """Apply one command; `body` is its stored form, where the caller has it already.

    A key that was used before answers as it did then, or is refused if it came with another body.
    Neither takes a place in history.
    """
    check(sealed.sequence == state.log.sequence + 1, "commands come in sequence", sealed.sequence)
    body = encode_command(sealed.command) if body is None else body
    return _apply(state, sealed.command, sealed.time_ms, body)


def _apply(
    state: State, command: Command, time_ms: int, body: bytes, record: bytes = b""
) -> Applied:
    log, kind = state.log, KINDS[type(command)]
    if time_ms < log.time_ms:
        check(False, "time does not run backwards", time_ms)
    identity = identity_of(command.actor, command.key)
    digest = blake2b(body, digest_size=DIGEST_BYTES).digest()
    seen = log.answers.get(identity)
    if seen is not None:
        answer = _again(command, digest, seen)
        return Applied((answer,), answer.code, kind, body, b"", b"")
    log.time_ms = time_ms
    events: list[Event] = []
    code = 0
    state.open.begin()
    deciding = state.decided
    # Whose margin did not bear a fill is not in the record by itself: it is decided anew.
    state.decided = deciding and _SHORT not in record
    try:
        if record.startswith(REFUSED):
            _refuse_again(record)
        HANDLERS[type(command)](state, command, events)
    except Refused as refused:
        check(not events and not state.ledger.posted, "who refuses has changed nothing", kind)
        code = int(refused.code)
        events.append(Rejected(code, refused.detail))
    else:
        state.open.take(events)
        if state.ledger.posted:
            events.append(Posted(state.ledger.take_posted()))
        bounds.follow(state)
        if state.slack:
            bounds.forget(state, command)
    state.decided = deciding
    stored = encode_events(events)
    log.sequence += 1
    log.chain = link(log.chain, log.sequence, time_ms, body, stored)
    log.answers[identity] = ANSWER.pack(digest, log.sequence, code)
    if len(log.answers) > KEYS_MAX:
        forget_oldest(log)
    return Applied(tuple(events), code, kind, body, stored, log.chain)


def identity_of(actor: str, key: str) -> str:
    """What a request is known by: its actor and key, so told that no two pairs are alike."""
    return f"{len(actor)} {actor}{key}"


def forget_oldest(log: Log) -> None:
    """Keep no more answers than there may be."""
    answers = log.answers
    while len(answers) > KEYS_MAX:
        # Many at a time: taking the first of a dictionary again and again is slow.
        for oldest in list(islice(answers, max(1, KEYS_MAX // 16))):
            del answers[oldest]


def _refuse_again(record: bytes) -> None:
    """Refuse what was refused; nothing of it is worked out anew."""
    (one,) = decode_events(record)
    check(isinstance(one, Rejected), "a refusal is kept as one")
    raise Refused(Reject(one.code), one.detail)  # type: ignore[attr-defined]


def _again(command: Command, digest: bytes, seen: bytes) -> Rejected | Repeated:
    first_digest, sequence, code = ANSWER.unpack(seen)
    if digest == first_digest:
        return Repeated(sequence, code)
    return Rejected(
        int(Reject.KEY_REUSED),
        f"key {command.key!r} of {command.actor}: expected the request of command {sequence}, "
        "found another",
    )


def apply_all(
    state: State, commands: Sequence[Command], times_ms: Sequence[int], bodies: Sequence[bytes],
    *, records: Sequence[bytes] | None = None,
) -> list[Applied]:  # fmt: skip
    """Apply commands in order; the same as one by one, and faster. Times do not run backwards.

    `records`: the stored events of each, where all this has happened before. Then what was refused
    is refused, and margin that was enough is not worked out again: what every command *did* is.
    """
    found: list[Applied] = []
    state.decided = records is not None
    ahead = state.ahead
    ahead.commands = commands
    try:
        for place, (command, time_ms, body) in enumerate(
            zip(commands, times_ms, bodies, strict=True)
        ):
            ahead.place = place
            record = b"" if records is None else records[place]
            one = _apply(state, command, time_ms, body, record)
            # Neither a refused request nor a repeated one has done what was foreseen of it.
            if ahead.entries and (one.code or not one.chain):
                ahead.broken.add(id(command))
            elif ahead.broken:
                # Done, but perhaps not as it was foreseen: then neither is what rests on it.
                ahead.ready(command)
            found.append(one)
    finally:
        ahead.clear()
        state.decided = False
    return found
