"""`solvent index`: what an index would have been, from what its sources said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from solvent.market.index import Index, IndexRule

_SHOWN = 20


def index(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Quotes, one JSON object a line.")],
    rule: Annotated[str, typer.Option("--rule", help="Which index rule.")] = "guarded",
    rules: Annotated[
        Path | None, typer.Option("--rules", help="A TOML file of rules instead of our own.")
    ] = None,
    every_ms: Annotated[
        int, typer.Option("--every-ms", min=1, help="An index so often, by the quotes' own time.")
    ] = 1_000,
    json: options.Json = False,
) -> None:
    """Make an index of what sources said: its price or why there is none, and what was held
    against each source.

    Exit code 1 when it was UNKNOWN at the end. Example: solvent index quotes.jsonl --rule tolerant
    """
    from solvent.cli import console
    from solvent.errors import BadInput, Problem, Reject
    from solvent.feeds.market_rules import index_rule, read_market_rules
    from solvent.feeds.oracle_quotes import indices, read_messages

    if rules is None:
        chosen = index_rule(rule)
    else:
        found = read_market_rules(rules).indices
        if rule not in found:
            raise BadInput(Problem(code=Reject.INPUT_INVALID, source=str(rules),
                                   expected=f"one of {', '.join(found)}", found=rule))  # fmt: skip
        chosen = found[rule].rule
    steps = [one for one, _ in indices(chosen, read_messages(path), every_ms=every_ms)]
    if json:
        console.print_json({"rule": rule, "underlying": chosen.underlying,
                            "indices": [as_document(one) for one in steps]})  # fmt: skip
    else:
        _print(chosen, steps)
    raise typer.Exit(0 if steps[-1].known else 1)


def as_document(index: Index) -> dict[str, Any]:
    """An index and its sources, for JSON."""
    return {
        "time_ms": index.time_ms, "price_nano": index.price_nano, "reason": index.reason.value,
        "age_ms": index.age_ms,
        "sources": [
            {
                "source": row.source, "fault": row.fault and row.fault.value,
                "leaping": row.leaping, "agrees": row.agrees, "price_nano": row.price_nano,
                "off_ppm": row.off_ppm, "age_ms": row.age_ms, "trust_ppm": row.trust_ppm,
            }
            for row in index.sources
        ],
    }  # fmt: skip


def _print(rule: IndexRule, steps: list[Index]) -> None:
    """Where it changed what it is, and every source at the end."""
    from solvent.cli.console import out, table
    from solvent.instruments.contract import moment_of
    from solvent.units import TimeMs

    known = sum(one.known for one in steps)
    out.print(f"{rule.underlying}: {len(steps):,} indices, {known:,} known")
    changes = [one for n, one in enumerate(steps) if n == 0 or one.reason != steps[n - 1].reason]
    shown = table("", "from", "index", "why", left=["from", "why"])
    for one in changes[:_SHOWN]:
        shown.add_row(f"{moment_of(TimeMs(one.time_ms)):%Y-%m-%d %H:%M:%S}",
                      price_text(one.price_nano), one.reason.value)  # fmt: skip
    out.print(shown)
    if len(changes) > _SHOWN:
        out.print(f"  ... and {len(changes) - _SHOWN} more changes; --json lists all")
    last = steps[-1]
    out.print(f"at the end: {price_text(last.price_nano)} ({last.reason.value})")
    out.print(sources_table(last))


def sources_table(index: Index) -> Table:
    """What an index is made of: a line a source, with what is held against it."""
    from solvent.cli.console import table

    of_sources = table("", "source", "price", "off, ppm", "age, ms", "trust", "", left=["source"])
    for row in index.sources:
        word = row.fault.value if row.fault else "agrees" if row.agrees else "outside"
        of_sources.add_row(row.source, price_text(row.price_nano), f"{row.off_ppm:+,}",
                           f"{row.age_ms:,}", f"{row.trust_ppm / 10_000:.1f} %", word)  # fmt: skip
    return of_sources


def price_text(nano: int | None) -> str:
    """A price to eight digits after the point at most; a dash for none."""
    return "-" if nano is None else f"{nano / 10**9:,.8f}".rstrip("0").rstrip(".")
