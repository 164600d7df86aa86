"""Commands about accounts and their money, made up from how things stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from solvent.account.ledger import FUND, INSURANCE, VENUE, margin_slot, node
from solvent.engine.inputs import inputs_of
from solvent.engine.state import State
from solvent.limits import MONEY_MAX
from solvent.messages import commands as c
from solvent.messages.fields import (
    AccountKind,
    Command,
    MarginMode,
    OpeningBalance,
    OpeningPosition,
)
from solvent.sim.draws import Draws

Draft = Callable[[Draws, State], Command | None]
_LEVERAGES: Final = ("1", "2", "5", "10", "20", "50", "0.5", "3.7", "1000", "0.001", "0", "1001")
_FACTORS: Final = ("1", "0.5", "0.2", "0.1", "0.07", "0.0009", "0.9", "1000", "1001")

_BROUGHT: Final = ("0", "0", "0.03", "0.6", "1", "1", "2500.5", "40000", "-1")


def open_account(draws: Draws, state: State) -> Command | None:
    """A new account; some have a parent, some are members."""
    if len(state.accounts) > 150:
        return None
    return c.OpenAccount(
        account=draws.new("late"),
        kind=draws.rng.choices(tuple(AccountKind), (8, 1, 1))[0],
        rulebook=draws.one(list(state.rules)),
        parent=_parent(draws, state) if draws.often(0.4) else None,
        **draws.told(),
    )


def _parent(draws: Draws, state: State) -> str:
    """Anybody, often a member."""
    return draws.one(draws.world.members) if draws.often(0.6) else draws.account(state).name


def close_account(draws: Draws, state: State) -> Command | None:
    """Mostly one that holds and has nothing, if a few looks find one."""
    for _ in range(4):
        account = draws.account(state)
        if not account.positions and not state.orders_of(account.number):
            break
    return c.CloseAccount(account=account.name, **draws.told())


def freeze_account(draws: Draws, state: State) -> Command | None:
    """Anybody."""
    return c.FreezeAccount(account=draws.account(state).name, reason="a test", **draws.told())


def unfreeze_account(draws: Draws, state: State) -> Command | None:
    """One that is frozen, if there is one."""
    frozen = [one.name for one in state.accounts if one is not None and one.frozen]
    name = draws.one(frozen) if frozen else draws.account(state).name
    return c.UnfreezeAccount(account=name, **draws.told())


def assign_rulebook(draws: Draws, state: State) -> Command | None:
    """Another rulebook, or the same."""
    account = draws.account(state).name
    rulebook = draws.one(list(state.rules))
    return c.AssignRulebook(account=account, rulebook=rulebook, **draws.told())


def set_inputs(draws: Draws, state: State) -> Command | None:
    """What its rulebook takes from outside: a line and what belongs to it, most of it allowed."""
    account = draws.account(state)
    rules = state.rules.get(account.rulebook)
    names = [] if rules is None else list(inputs_of(rules))
    told = {name: draws.one(_BROUGHT) for name in names if draws.often(0.6)}
    return c.SetInputs(account=account.name, inputs=told, reason="a look", **draws.told())


# ── modes ────────────────────────────────────────────────────────────────────────────────────────


def _pair(draws: Draws, state: State) -> dict[str, str]:
    """An account and a contract, mostly one that it holds."""
    account = draws.holder(state)
    if account.positions and draws.often(0.7):
        contract = state.contracts[draws.one(list(account.positions))]
    else:
        contract = draws.contract(state)
    return {"account": account.name, "symbol": contract.listing.symbol}


def _leverage(draws: Draws) -> dict[str, Any]:
    lot = draws.rng.random()
    return {
        "leverage": draws.one(_LEVERAGES) if lot < 0.65 else None,
        "margin_factor": draws.one(_FACTORS) if lot > 0.6 else None,
    }


def set_margin_mode(draws: Draws, state: State) -> Command | None:
    """Apart or together."""
    isolated = draws.often(0.7)
    leverage = _leverage(draws) if isolated or draws.often(0.3) else {}
    return c.SetMarginMode(
        **_pair(draws, state), mode=MarginMode.ISOLATED if isolated else MarginMode.CROSS,
        **leverage, **draws.told(),
    )  # fmt: skip


def set_leverage(draws: Draws, state: State) -> Command | None:
    """Another leverage."""
    return c.SetLeverage(**_pair(draws, state), **_leverage(draws), **draws.told())


def _apart(draws: Draws, state: State) -> tuple[str, str, int, int] | None:
    """Account, contract, its own money and its margin of a position that is held apart."""
    found = [
        (account, number)
        for account in state.accounts if account is not None and account.modes
        for number in account.positions or () if account.isolates(number)
    ]  # fmt: skip
    if not found:
        return None
    account, number = draws.one(found)
    contract = state.contracts[number]
    asset = contract.deal.asset
    margin = node(account.number, margin_slot(number), asset)
    own = draws.owned(state, account, asset)
    return account.name, contract.listing.symbol, own, state.ledger.balance(margin)


def add_isolated_margin(draws: Draws, state: State) -> Command | None:
    """To a position that is held apart, if there is one."""
    found = _apart(draws, state)
    if found is None:
        return None
    account, symbol, own, _ = found
    return c.AddIsolatedMargin(
        account=account, symbol=symbol, amount=draws.amount(own), **draws.told()
    )


def remove_isolated_margin(draws: Draws, state: State) -> Command | None:
    """From a position that is held apart, if there is one."""
    found = _apart(draws, state)
    if found is None:
        return None
    account, symbol, _, margin = found
    return c.RemoveIsolatedMargin(
        account=account, symbol=symbol, amount=draws.amount(margin), **draws.told()
    )


# ── in and out ───────────────────────────────────────────────────────────────────────────────────


def _fresh(draws: Draws, state: State, asset: int) -> int:
    """An amount that somebody might bring."""
    name, decimals = state.assets[asset]
    units = {"USDC": 50_000, "BTC": 1, "ETH": 20}.get(name, 5)
    if draws.often(0.02):
        return draws.one((1, MONEY_MAX, MONEY_MAX // 4))
    return max(1, int(draws.rng.random() ** 2 * units * 10**decimals))


def deposit(draws: Draws, state: State) -> Command | None:
    """Into an account or, now and then, a pool of the venue."""
    asset = draws.asset(state)
    lot = draws.rng.random()
    pool = "insurance" if lot < 0.05 else "venue" if lot < 0.07 else None
    return c.Deposit(
        account=pool or draws.account(state).name, asset=state.assets[asset][0],
        amount=_fresh(draws, state, asset), **draws.told(),
    )  # fmt: skip


def announce_deposit(draws: Draws, state: State) -> Command | None:
    """Under a new reference."""
    asset = draws.asset(state)
    reference = draws.new("in")
    return c.AnnounceDeposit(
        account=draws.account(state).name, asset=state.assets[asset][0],
        amount=_fresh(draws, state, asset), reference=reference, **draws.told(),
    )  # fmt: skip


def _under_way(draws: Draws, state: State, *, incoming: bool) -> str | None:
    """A reference of money under way."""
    found = [name for name, one in state.pending.items() if one.incoming is incoming]
    if found:
        return draws.one(found[-50:])
    ended = list(state.references)[-5:]
    return draws.one(ended) if ended and draws.often(0.2) else None


def confirm_deposit(draws: Draws, state: State) -> Command | None:
    """Of a deposit under way."""
    reference = _under_way(draws, state, incoming=True)
    return reference and c.ConfirmDeposit(reference=reference, **draws.told())  # type: ignore[return-value]


def cancel_deposit(draws: Draws, state: State) -> Command | None:
    """Of a deposit under way."""
    reference = _under_way(draws, state, incoming=True)
    return reference and c.CancelDeposit(reference=reference, **draws.told())  # type: ignore[return-value]


def request_withdrawal(draws: Draws, state: State) -> Command | None:
    """Of what an account has, or a little more."""
    account, asset = draws.account(state), draws.asset(state)
    return c.RequestWithdrawal(
        account=account.name, asset=state.assets[asset][0],
        amount=draws.amount(draws.owned(state, account, asset)), reference=draws.new("out"),
        **draws.told(),
    )  # fmt: skip


def confirm_withdrawal(draws: Draws, state: State) -> Command | None:
    """Of a withdrawal under way."""
    reference = _under_way(draws, state, incoming=False)
    return reference and c.ConfirmWithdrawal(reference=reference, **draws.told())  # type: ignore[return-value]


def cancel_withdrawal(draws: Draws, state: State) -> Command | None:
    """Of a withdrawal under way."""
    reference = _under_way(draws, state, incoming=False)
    return reference and c.CancelWithdrawal(reference=reference, **draws.told())  # type: ignore[return-value]


def transfer(draws: Draws, state: State) -> Command | None:
    """Between two accounts."""
    source, target, asset = draws.account(state), draws.account(state), draws.asset(state)
    return c.Transfer(
        source=source.name, target=target.name, asset=state.assets[asset][0],
        amount=draws.amount(draws.owned(state, source, asset)), **draws.told(),
    )  # fmt: skip


def _member(draws: Draws, state: State) -> int:
    """The number of a member's account, if a few looks find one."""
    members = [state.account_numbers[name] for name in draws.world.members]
    return draws.account(state).number if draws.often(0.1) else draws.one(members)


def contribute_fund(draws: Draws, state: State) -> Command | None:
    """By a member."""
    account, asset = state.account(_member(draws, state)), draws.asset(state)
    return c.ContributeFund(
        account=account.name, asset=state.assets[asset][0],
        amount=draws.amount(draws.owned(state, account, asset)), **draws.told(),
    )  # fmt: skip


def return_fund(draws: Draws, state: State) -> Command | None:
    """To a member."""
    account, asset = state.account(_member(draws, state)), draws.asset(state)
    held = state.ledger.balance(node(account.number, FUND, asset))
    return c.ReturnFund(
        account=account.name, asset=state.assets[asset][0], amount=draws.amount(held),
        **draws.told(),
    )  # fmt: skip


def accrue_interest(draws: Draws, state: State) -> Command | None:
    """Up to about now."""
    return c.AccrueInterest(
        asset=state.assets[draws.asset(state)][0],
        until_ms=max(0, state.log.time_ms + draws.rng.choice((0, 0, 0, 1, -1, -1_000, 60_000))),
        rate=draws.rng.choice(("0", "0.0001", "0.01", "0.000003", "1", "1.01", "-0.1")),
        **draws.told(),
    )


# ── moving in ────────────────────────────────────────────────────────────────────────────────────


def import_books(draws: Draws, state: State) -> Command | None:
    """Balances, and positions that mostly net to zero."""
    return c.ImportBooks(
        balances=tuple(_balance(draws, state) for _ in range(draws.rng.randrange(4))),
        positions=_positions(draws, state) if draws.often(0.7) else (),
        **draws.told(),
    )


def _balance(draws: Draws, state: State) -> OpeningBalance:
    asset = draws.asset(state)
    amount = _fresh(draws, state, asset)
    lot = draws.rng.random()
    symbol = None
    if lot < 0.2:
        contract = draws.contract(state)
        asset = contract.deal.asset if lot < 0.18 else asset
        symbol = contract.listing.symbol
    pool = draws.rng.choice(("insurance", "venue")) if lot > 0.9 else None
    sign = -1 if draws.often(0.2) and draws.world.kind == "account" else 1
    if pool == "insurance":
        held = state.ledger.balance(node(INSURANCE, 0, asset))
        amount, sign = (draws.amount(held), -1) if draws.often(0.3) else (amount, 1)
    elif pool == "venue":
        held = state.ledger.balance(node(VENUE, 0, asset))
        amount, sign = (draws.amount(held), -1) if draws.often(0.3) else (amount, 1)
    return OpeningBalance(
        pool or draws.account(state).name, state.assets[asset][0], sign * amount, symbol,
        symbol is not None and draws.often(0.3),
    )  # fmt: skip


def _positions(draws: Draws, state: State) -> tuple[OpeningPosition, ...]:
    """Positions in one contract of accounts that do not hold it."""
    contract = draws.contract(state)
    names = dict.fromkeys(
        one.name
        for one in (draws.account(state) for _ in range(4))
        if one.number not in contract.holders or draws.often(0.1)
    )
    lots = [draws.lots(contract) * draws.rng.choice((-1, 1)) for _ in names]
    if lots and draws.often(0.95):
        lots[-1] -= sum(lots)
    points = contract.mark_points or 1_000
    symbol = contract.listing.symbol
    return tuple(
        OpeningPosition(name, symbol, held, max(0, int(points * (0.9 + 0.2 * draws.rng.random()))))
        for name, held in zip(names, lots, strict=True)
        if held or draws.often(0.2)
    )


DRAFTS: Final[dict[type[Command], Draft]] = {
    c.OpenAccount: open_account, c.CloseAccount: close_account,
    c.FreezeAccount: freeze_account, c.UnfreezeAccount: unfreeze_account,
    c.AssignRulebook: assign_rulebook, c.SetMarginMode: set_margin_mode,
    c.SetLeverage: set_leverage, c.AddIsolatedMargin: add_isolated_margin,
    c.RemoveIsolatedMargin: remove_isolated_margin, c.Deposit: deposit,
    c.AnnounceDeposit: announce_deposit, c.ConfirmDeposit: confirm_deposit,
    c.CancelDeposit: cancel_deposit, c.RequestWithdrawal: request_withdrawal,
    c.ConfirmWithdrawal: confirm_withdrawal, c.CancelWithdrawal: cancel_withdrawal,
    c.Transfer: transfer, c.ContributeFund: contribute_fund, c.ReturnFund: return_fund,
    c.AccrueInterest: accrue_interest, c.ImportBooks: import_books, c.SetInputs: set_inputs,
}  # fmt: skip
