"""The one table: who may do what to whose accounts, what it weighs, what is remembered of it.

What is not here is refused. A caller is let in where the cell of their role says `ALL`, or says
`OWN` and the account is theirs. `TWO` is never done by one person: it is proposed and approved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from solvent.messages import commands as c
from solvent.messages.fields import Command
from solvent.service.callers import Action, Caller, Forbidden, Role, Unauthorised


class Cell(StrEnum):
    """What a role may."""

    NO = "no"
    OWN = "own"
    """To accounts that are theirs; to none in particular if all are."""
    ALL = "all"
    TWO = "two"
    """Only together with another person: `/v1/proposals`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. `relief`: makes risk smaller, and has a budget of its own. `kept`: goes into the
    audit record."""

    cells: Mapping[Role, Cell]
    weight: int
    relief: bool = False
    kept: bool = False


_ORDER: Final = (Role.PUBLIC, Role.READER, Role.TRADER, Role.RISK, Role.CLEARING, Role.ADMIN)
_CELLS: Final = {"-": Cell.NO, "o": Cell.OWN, "a": Cell.ALL, "2": Cell.TWO}


def _rule(cells: str, weight: int, *, relief: bool = False, kept: bool = False) -> Rule:
    told = {role: _CELLS[one] for role, one in zip(_ORDER, cells, strict=True)}
    return Rule(told, weight, relief, kept)


# public, reader, trader, risk officer, clearing, admin; - none, o own, a all, 2 two persons
RULES: Final[Mapping[Action, Rule]] = {
    Action.MARKET_READ: _rule("aaaaaa", 1),
    Action.ASK: _rule("-aaaaa", 1),
    Action.ACCOUNT_READ: _rule("-ooaaa", 1),
    Action.ACCOUNT_OPEN: _rule("----aa", 5, kept=True),
    Action.ACCOUNT_CHANGE: _rule("--oa-a", 5, kept=True),
    Action.ORDER_PLACE: _rule("--o--a", 1),
    Action.ORDER_CANCEL: _rule("--oaaa", 1, relief=True),
    Action.WITHDRAW: _rule("--o--a", 5, kept=True),
    Action.TRANSFER: _rule("--o-aa", 5, kept=True),
    Action.MONEY_CONFIRM: _rule("----aa", 1, relief=True, kept=True),
    Action.VENUE_READ: _rule("---aaa", 5),
    Action.JOURNAL_READ: _rule("---aaa", 20),
    Action.RULEBOOK_ADOPT: _rule("---222", 5, kept=True),
    Action.COMMAND: _rule("----aa", 1, kept=True),
    Action.PROPOSE: _rule("---aaa", 5, kept=True),
    Action.APPROVE: _rule("---aaa", 5, kept=True),
    Action.SELF_READ: _rule("-aaaaa", 1),
    Action.SECURITY: _rule("-----a", 5, kept=True),
}  # fmt: skip
WEIGHT_MAX: Final = max(one.weight for one in RULES.values())
TWO_PERSONS: Final[frozenset[type[Command]]] = frozenset({
    c.AdoptRulebook, c.AssignRulebook, c.ImportBooks, c.Trade, c.Confiscate, c.CoverDebt,
    c.SocialiseLoss, c.Deleverage, c.TakeOver, c.ConvertCollateral, c.ContributeFund, c.ReturnFund,
    c.FundMarket, c.SetBackstop, c.PortAccount, c.BeginLiquidation, c.EndLiquidation, c.Liquidate,
    c.LiquidateInBook, c.StartAuction, c.EndAuction, c.SetInputs,
})  # fmt: skip
"""Commands that change the rules, or somebody's money or positions without being asked: an
operator's own hand needs a second. What the engine does by its rulebook does not come this way."""
VENUES_OWN: Final[frozenset[type[Command]]] = frozenset({
    c.ListAsset, c.ListInstrument, c.ListCombo, c.DelistInstrument, c.SetPhase, c.PublishMarket,
    c.PublishArrays, c.PayFunding, c.SettleVariation, c.SettleExpiry, c.AccrueInterest,
    c.Heartbeat, c.FreezeAccount, c.UnfreezeAccount, c.ReviewMargin, c.RelieveMargin,
})  # fmt: skip
"""Commands that `Action.COMMAND` is for: what a venue does with its day."""
FEEDS: Final = frozenset({c.PublishMarket, c.PublishArrays, c.Heartbeat})
"""Commands that come with every price: the journal has them, the audit record has not."""
ACTION_OF: Final[Mapping[type[Command], Action]] = {
    c.PlaceOrder: Action.ORDER_PLACE, c.AmendOrder: Action.ORDER_PLACE,
    c.ReportBlock: Action.ORDER_PLACE, c.WithdrawBlock: Action.ORDER_CANCEL,
    c.CancelOrder: Action.ORDER_CANCEL, c.CancelOrders: Action.ORDER_CANCEL,
    c.Disconnect: Action.ORDER_CANCEL, c.BidInAuction: Action.ORDER_PLACE,
    c.SetProtection: Action.ACCOUNT_CHANGE, c.ResetProtection: Action.ACCOUNT_CHANGE,
    c.OpenAccount: Action.ACCOUNT_OPEN, c.CloseAccount: Action.ACCOUNT_CHANGE,
    c.SetMarginMode: Action.ACCOUNT_CHANGE, c.SetLeverage: Action.ACCOUNT_CHANGE,
    c.AddIsolatedMargin: Action.ACCOUNT_CHANGE, c.RemoveIsolatedMargin: Action.ACCOUNT_CHANGE,
    c.Deposit: Action.MONEY_CONFIRM, c.AnnounceDeposit: Action.MONEY_CONFIRM,
    c.ConfirmDeposit: Action.MONEY_CONFIRM, c.CancelDeposit: Action.MONEY_CONFIRM,
    c.RequestWithdrawal: Action.WITHDRAW, c.ConfirmWithdrawal: Action.MONEY_CONFIRM,
    c.CancelWithdrawal: Action.MONEY_CONFIRM, c.Transfer: Action.TRANSFER,
}  # fmt: skip
"""Commands that have routes of their own: told as they are, they need the same."""


def cell(role: Role, action: Action) -> Cell:
    """What a role may of an action; what is in no table is refused.

    >>> cell(Role.TRADER, Action.WITHDRAW), cell(Role.READER, Action.WITHDRAW)
    (<Cell.OWN: 'own'>, <Cell.NO: 'no'>)
    """
    rule = RULES.get(action)
    return Cell.NO if rule is None else rule.cells.get(role, Cell.NO)


def check(caller: Caller, action: Action, account: str | None) -> None:
    """Raises Forbidden, or Unauthorised for somebody who has not said who they are.

    Who may only see their own is refused the same way for another's account and for one that is
    not there.
    """
    found = cell(caller.role, action)
    if found is Cell.ALL:
        return
    if found is Cell.OWN:
        if caller.accounts is None or (account is not None and account in caller.accounts):
            return
        whose = "no account in particular" if account is None else f"account {account!r}"
        raise Forbidden(f"{caller.name}: {action} of {whose} is not theirs to do")
    if found is Cell.TWO:
        raise Forbidden(f"{caller.name}: {action} needs two persons: POST /v1/proposals")
    if caller.role is Role.PUBLIC:
        raise Unauthorised(f"{action}: expected a key, a session or a token")
    raise Forbidden(f"{caller.name}: a {caller.role} may not do {action}")


def check_commands(caller: Caller, kinds: Sequence[type[Command]]) -> None:
    """Raises Forbidden where commands as they are need two persons, or what a role may not do by
    their own routes either."""
    for kind in dict.fromkeys(kinds):
        if kind in VENUES_OWN:
            continue
        if kind in ACTION_OF:
            check(caller, ACTION_OF[kind], None)
            continue
        tag = str(kind.__struct_config__.tag)
        raise Forbidden(f"{caller.name}: {tag} needs two persons: POST /v1/proposals")
