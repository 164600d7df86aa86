"""`solvent adl`: who would be deleveraged first in a contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from solvent.cli import options
from solvent.cli.order_text import say
from solvent.cli.venue import Where

if TYPE_CHECKING:
    from solvent.tending.deleveraging import Ranked


def adl(
    where: Where,
    symbol: Annotated[str, typer.Argument(help="The contract.")],
    account: Annotated[str | None, typer.Option("--account", help="Its place alone.")] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="So many of each side; 0: all.")] = 20,
    json: options.Json = False,
) -> None:
    """Show the queue of auto-deleveraging: rank, score and indicator (5 goes first, 1 last).

    By the rule of the venue's rulebook; who loses nothing by it is not asked. Example: solvent adl
    my-venue BTC_USDC-PERPETUAL
    """
    from solvent.cli import console
    from solvent.cli.state import read_only
    from solvent.engine.refusal import contract_named
    from solvent.errors import Refused, SolventError
    from solvent.tending.deleveraging import queue

    with read_only(where, quiet=json) as (_, state):
        try:
            contract = contract_named(state, symbol)
        except Refused as refused:
            raise SolventError(refused.detail) from refused
        closing = state.rules[state.venue_rulebook].closing if state.venue_rulebook else None
        if closing is None:
            raise SolventError("expected a venue that has adopted a rulebook")
        lines = {
            side: [
                one for one in queue(state, contract, longs=side == "long", closing=closing)
                if account in (None, one.account)
            ]
            for side in ("long", "short")
        }  # fmt: skip
    if json:
        console.print_json(
            {
                "symbol": symbol, "rank": closing.adl.rank, "allocate": closing.adl.allocate,
                "queues": {
                    side: [
                        {
                            "account": one.account, "rank": one.rank, "indicator": one.indicator,
                            "lots": one.lots,
                            "score": None if one.score is None else float(one.score),
                        }
                        for one in line
                    ]
                    for side, line in lines.items()
                },
            }
        )  # fmt: skip
        return
    say(f"{symbol}: by {closing.adl.rank}, {closing.adl.allocate}")
    for side, line in lines.items():
        _print(side, line[: top or None], len(line))


def _print(side: str, line: list[Ranked], count: int) -> None:
    from rich.markup import escape

    from solvent.cli.console import out, table

    if not line:
        say(f"{side}: nobody")
        return
    shown = table(f"{side}, {count:,}", "rank", "account", "lots", "score", "indicator",
                  left=["account"])  # fmt: skip
    for one in line:
        score = "drawn" if one.score is None else f"{float(one.score):.6g}"
        shown.add_row(
            str(one.rank), escape(one.account), f"{one.lots:,}", score, "●" * one.indicator
        )
    out.print(shown)
