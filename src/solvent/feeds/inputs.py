"""Amounts that a rulebook takes from its caller: rows `account, set, input, amount`."""

from __future__ import annotations

import numpy as np

from solvent.errors import Reject
from solvent.feeds.columns import names, numbers, require
from solvent.feeds.sources import Source, source_frames
from solvent.feeds.table import Faults

ByKey = dict[tuple[str, str] | str, float]
"""(account, set) → amount; the account alone where no set is told."""


def read_inputs(source: Source) -> dict[str, ByKey]:
    """Input name → amounts. Raises BadInput naming file, row and field.

    >>> read_inputs([{"account": "a", "set": "BTC", "input": "mmp_margin", "amount": 0.5}])
    {'mmp_margin': {('a', 'BTC'): 0.5}}
    """
    faults = Faults.of(source, otherwise="inputs", skip=False)
    ((_, frame, faults),) = source_frames(source, faults, slowly=True)
    faults.skip = False
    require(frame, ("account", "set", "input", "amount"), faults)
    amount = numbers(frame, "amount", faults, required=True)
    columns = [names(frame, name, faults).to_list() for name in ("account", "set", "input")]
    found: dict[str, ByKey] = {}
    for row, (account, node, name) in enumerate(zip(*columns, strict=True)):
        for field, text in (("account", account), ("input", name)):
            if not text:
                faults.add(Reject.FIELD_MISSING, row, field, expected="a name", found="nothing")
        key = (account, node) if node else account
        if key in found.setdefault(name, {}):
            words = f"{name} of {account} {node}".strip()
            faults.add(Reject.ROW_DUPLICATED, row, "input", expected="it told once", found=words)
        found[name][key] = float(amount[row]) if np.isfinite(amount[row]) else 0.0
    faults.settle()
    return found
