"""Warnings and margin calls: told when somebody asks how an account stands, by its rulebook."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from solvent.engine.refusal import account_named, check_active, check_known
from solvent.engine.standing import View, has_risk, standing, standings, view
from solvent.engine.state import LIQUIDATION, Account, Standing, State
from solvent.engine.wound_up import index_nano
from solvent.errors import Refused
from solvent.liquidation.calls import Asset, Levels, Posting, cheapest_collateral, review
from solvent.margining.closing import CallsText
from solvent.messages.commands import ReviewMargin
from solvent.messages.events import CallEnded, Event, MarginCalled

NOTHING_AT_STAKE = Standing(0, 0, 0, True, False, False)


def levels_of(told: CallsText) -> Levels:
    """A rulebook's levels, exactly as written.

    >>> [str(one) for one in levels_of(CallsText()).distances]
    ['1/5', '1/10']
    """
    return Levels(
        distances=tuple(Fraction(repr(one)) for one in told.levels),
        hysteresis=Fraction(repr(told.hysteresis)), deadline_ms=told.deadline_ms,
    )  # fmt: skip


def review_margin(state: State, command: ReviewMargin, events: list[Event]) -> None:
    """Say what has changed; nothing is said where nothing has. An account that is not known, or is
    under liquidation already, is not reviewed."""
    account = account_named(state, command.account)
    if account.status == LIQUIDATION:
        check_active(account)
    seen = view(state, account)
    found = standing(state, seen) if has_risk(seen) else NOTHING_AT_STAKE
    check_known(account, found)
    was = state.calls.get(account.number)
    reviewed = review(
        was, equity_micro=found.equity_micro, initial_micro=found.initial_micro,
        maintenance_micro=found.maintenance_micro, time_ms=state.log.time_ms,
        levels=levels_of(state.rules[account.rulebook].closing.calls),
    )  # fmt: skip
    now = reviewed.call
    posting = None
    if now is not None and now.asks:
        posting = cheapest(state, account, seen, found, now.amount_micro)
    # From here on it is told.
    if now is None:
        state.calls.pop(account.number, None)
    else:
        state.calls[account.number] = now
    if reviewed.ended:
        events.append(CallEnded(account.number, reviewed.ended))
    grown = was is None or now is None or now.amount_micro > was.amount_micro
    if now is not None and (was is None or now.level != was.level or grown):
        asset, amount = posting or ("", 0)
        events.append(
            MarginCalled(
                account.number, now.level, now.amount_micro, asset, amount, now.deadline_ms or 0
            )
        )


def cheapest(
    state: State, account: Account, seen: View, found: Standing, amount_micro: int
) -> Posting | None:
    """In which asset a call is met with the least: what each brings is tried out on the account's
    own margin, with as much of it as the call is worth at its index."""
    probes = _probes(state, account, seen, amount_micro)
    views = [one for *_, one in probes]
    assets = []
    for (asset, amount, unit_micro, _), after in zip(probes, standings(state, views), strict=True):
        brings = Fraction(after.equity_micro - found.equity_micro if after.known else 0)
        haircut = min(max(1 - brings / (amount * unit_micro), Fraction(0)), Fraction(1))
        assets.append(Asset(state.assets[asset][0], unit_micro, haircut, Fraction(0)))
    return cheapest_collateral(amount_micro, assets)


def _probes(
    state: State, account: Account, seen: View, amount_micro: int
) -> list[tuple[int, int, Fraction, View]]:
    """(asset, as much of it as a call is worth, millionths of a dollar a unit, the account with
    it) of every asset that has a price."""
    found = []
    for asset, (_, decimals) in enumerate(state.assets):
        try:
            price = index_nano(state, asset, fresh=False)
        except Refused:
            continue
        unit_micro = Fraction(price, 1_000 * 10**decimals)
        amount = -(-amount_micro * unit_micro.denominator // unit_micro.numerator)
        owned = {**seen.balances, asset: seen.balances.get(asset, 0) + amount}
        after = View(
            account, seen.positions, owned, seen.margins, seen.orders, seen.modes, seen.sides
        )
        found.append((asset, amount, unit_micro, after))
    return found


def foreseen(state: State, accounts: Sequence[Account]) -> None:
    """Work out together what reviews of many accounts ask one by one, so that it is remembered;
    changes nothing else."""
    views = [view(state, account) for account in accounts]
    asked: list[View] = []
    for seen, found in zip(views, standings(state, views), strict=True):
        if not found.known:
            continue
        account = seen.account
        reviewed = review(
            state.calls.get(account.number), equity_micro=found.equity_micro,
            initial_micro=found.initial_micro, maintenance_micro=found.maintenance_micro,
            time_ms=state.log.time_ms,
            levels=levels_of(state.rules[account.rulebook].closing.calls),
        )  # fmt: skip
        if reviewed.call is not None and reviewed.call.asks:
            probes = _probes(state, account, seen, reviewed.call.amount_micro)
            asked += [one for *_, one in probes]
    standings(state, asked)
