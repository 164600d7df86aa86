"""Numbers that the venue brings for an account's rulebook: a credit line, a rate.

They are told with `SetInputs`, kept as they were told, and become floats where margin is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from solvent.engine.refusal import account_named, rules_named
from solvent.engine.state import Account, Rules, State
from solvent.errors import Refused, Reject
from solvent.limits import MONEY_MAX
from solvent.margining.levels.text import ColumnInput, LevelsText
from solvent.messages.commands import SetInputs
from solvent.messages.events import Event, InputsSet


def set_inputs(state: State, command: SetInputs, events: list[Event]) -> None:
    """They may leave an account short of margin: a line is cut whatever is drawn on it."""
    account = account_named(state, command.account)
    known = inputs_of(rules_named(state, account.rulebook))
    for name, number in command.inputs.items():
        told = known.get(name)
        if told is None:
            expected = f"an input of each account of {account.rulebook} ({', '.join(known)})"
            found = repr(name)
        else:
            expected, found = told.fault(float(number)), f"{name} = {number}"
            if abs(Fraction(number)) > MONEY_MAX:
                expected = f"at most {MONEY_MAX} either way"
        if expected:
            raise Refused(
                Reject.INPUT_INVALID, f"account {account.name}: expected {expected}, found {found}"
            )
    # From here on they hold.
    account.inputs = dict(sorted(command.inputs.items())) or None
    events.append(InputsSet(account.number, account.inputs or {}, command.reason))


def inputs_of(rules: Rules) -> Mapping[str, ColumnInput]:
    """What a rulebook takes of each account from outside."""
    text = rules.rulebook.text
    return text.inputs.get("account", {}) if isinstance(text, LevelsText) else {}


def brought(
    rules: Rules, accounts: Sequence[Account], names: Sequence[str]
) -> tuple[dict[str, dict[str, float]], list[int]]:
    """Input → account (by the name of its row) → number, as far as the rulebook asks; and places of
    accounts with one that it does not allow, as may be after a rulebook was replaced."""
    known = inputs_of(rules)
    found: dict[str, dict[str, float]] = {}
    strange = []
    for place, account in enumerate(accounts):
        for name, number in (account.inputs or {}).items():
            if name not in known:
                continue
            value = float(number)
            if known[name].fault(value):
                strange.append(place)
            else:
                found.setdefault(f"account.{name}", {})[names[place]] = value
    return found, strange
