"""`solvent margin --from VENUE:KEYFILE`: one's own account, beside what its venue reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from solvent.own_account import OwnAccount


def margin_from(told: str, rulebook: str | None, *, as_json: bool) -> None:
    """Fetch, margin, compare, print. Raises BadInput."""
    from solvent.cli import console
    from solvent.errors import BadInput
    from solvent.feeds.accounts.fetch import fetch, masked
    from solvent.feeds.accounts.keys import credentials
    from solvent.host import clock_ms
    from solvent.own_account import margined

    who = credentials(told)
    with console.progress(quiet=as_json) as bar:
        task = bar.add_task(f"asking {who.venue}", total=None)
        fetched = fetch(who, clock=clock_ms)
        bar.update(task, description="margining")
        try:
            found = margined(fetched, rulebook)
        except BadInput as fault:
            raise masked(fault, who) from None
    if as_json:
        whole = document(found, venue=fetched.venue, model=fetched.model)
        console.print_json(_without(whole, who.without_secrets))
    else:
        _print(found, venue=fetched.venue, model=fetched.model)
    for one in found.warnings:
        _warn(who.without_secrets(one))


def _without(told: Any, mask: Callable[[str], str]) -> Any:
    """A document with every text in it masked."""
    if isinstance(told, dict):
        return {mask(name): _without(one, mask) for name, one in told.items()}
    if isinstance(told, list):
        return [_without(one, mask) for one in told]
    return mask(told) if isinstance(told, str) else told


def document(found: OwnAccount, *, venue: str, model: str) -> dict[str, Any]:
    """The document of `solvent margin --from … --json`: of accounts as without it, and `beside`:
    each amount as we and as the venue have it, in dollars."""
    from solvent.cli.books import as_json

    def dollars(micro: int | None) -> float | None:
        return None if micro is None else micro / 1e6

    return {
        "venue": venue,
        "venue_model": model,
        **as_json(found.answer),
        "beside": [
            {
                "account": row.account, "what": row.what, "ours": dollars(row.ours_micro),
                "theirs": dollars(row.theirs_micro),
                "difference": dollars(row.difference_micro),
            }
            for row in found.rows
        ],
        "warnings": list(found.warnings),
    }  # fmt: skip


def _print(found: OwnAccount, *, venue: str, model: str) -> None:
    from rich.markup import escape

    from solvent.cli.books import print_answer
    from solvent.cli.console import money, out, table

    print_answer(found.answer, top=20)
    shown = table(
        f"beside what {venue} reports ({escape(model or 'no model told')}), USD",
        "account", "amount", "ours", "theirs", "difference",
        left=["account", "amount"],
    )  # fmt: skip
    for row in found.rows:
        amounts = (row.ours_micro, row.theirs_micro, row.difference_micro)
        ours, theirs, difference = (None if one is None else one / 1e6 for one in amounts)
        shown.add_row(
            escape(row.account), row.what, money(ours), money(theirs),
            money(difference, signed=True),
        )  # fmt: skip
    out.print(shown)


def _warn(text: str) -> None:
    import sys

    print(f"note: {text}", file=sys.stderr)
