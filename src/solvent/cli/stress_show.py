"""What `solvent stress` prints: scenarios, who falls, the breaking move, ladders, cover."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvent.lab.stress.ladders import Ladders
    from solvent.lab.stress.run import Stressed
    from solvent.lab.stress.scenario import Scenario

_WORST = 12


class Goal(StrEnum):
    """What is to break."""

    LIQUIDATED = "liquidated"
    INSOLVENT = "insolvent"
    MARGIN = "margin"
    FUND = "fund"


class LadderKind(StrEnum):
    """What moves."""

    SPOT = "spot"
    VOL = "vol"
    TIME = "time"
    BASIS = "basis"
    COLLATERAL = "collateral"


def read_members(path: Path) -> dict[str, str]:
    """Account → member from rows `account,member`. Raises BadInput for a row that lacks one, and
    for an account with two members."""
    from solvent.errors import Reject
    from solvent.feeds.columns import names, require
    from solvent.feeds.table import Faults, read_table

    faults = Faults.of(path, skip=False)
    frame = read_table(path, faults)
    require(frame, ("account", "member"), faults)
    accounts = names(frame, "account", faults).to_list()
    members = names(frame, "member", faults).to_list()
    found: dict[str, str] = {}
    for row, (account, member) in enumerate(zip(accounts, members, strict=True)):
        if account is None or member is None or found.setdefault(account, member) == member:
            continue
        faults.add(Reject.ROW_DUPLICATED, row, "account", expected="one member", found=account)
    faults.settle()
    return found


# ── scenarios ────────────────────────────────────────────────────────────────────────────────────


def short_document(one: Scenario) -> dict[str, Any]:
    """A scenario in a line."""
    head = one.text.scenario
    return {
        "name": one.name, "title": one.title, "kind": one.kind,
        "date": None if head.date is None else head.date.isoformat(),
        "hours": one.told.hours, "needs_history": one.needs_history,
        "moves": {name: move.spot for name, move in one.told.moves.items()},
        "worth": dict(one.told.worth),
    }  # fmt: skip


def document(one: Scenario) -> dict[str, Any]:
    """A scenario with all its numbers and their sources."""
    found: dict[str, Any] = one.text.model_dump(mode="json", exclude_none=True)
    return found


def print_list(found: list[Scenario]) -> None:
    """A row a scenario."""
    from solvent.cli import console

    table = console.table(
        "scenarios", "name", "kind", "hours", "BTC", "ETH", "others", "vol of BTC", "what",
        left=["name", "kind", "what"], folds="what",
    )  # fmt: skip
    for one in found:
        told = one.told
        if one.needs_history:
            table.add_row(
                one.name, one.kind, f"{told.hours:g}", "of a", "history", "", "", one.title
            )
            continue
        worth = ", ".join(f"{asset} {change:+.0%}" for asset, change in told.worth.items())
        level = told.of("BTC").level
        moves = [_move(told.of(name).spot) for name in ("BTC", "ETH", "*")]
        words = f"{one.title}; {worth}" if worth else one.title
        table.add_row(one.name, one.kind, f"{told.hours:g}", *moves, _factor(level), words)
    console.out.print(table)
    console.out.print(
        "[dim]solvent stress show NAME tells where each number is from[/dim]", highlight=False
    )


def _move(spot: float) -> str:
    return "-" if spot == 0.0 else f"{spot:+.1%}"


def _factor(level: float) -> str:
    import math

    return "-" if level == 0.0 else f"x {math.exp(level):.2f}"


def print_scenario(one: Scenario) -> None:
    """A scenario with its sources."""
    from solvent.cli import console

    head = one.text.scenario
    when = f", {head.date.isoformat()}" if head.date else ""
    console.out.print(f"[bold]{one.title}[/bold] ({one.name}, {one.kind}{when})", highlight=False)
    for line in (head.about, f"hours that pass: {one.told.hours:g}" if one.told.hours else ""):
        if line:
            console.out.print(line, markup=False, highlight=False)
    rows: list[tuple[str, ...]] = []
    for move in one.text.move:
        parts = [f"price {move.spot:+.2%}"]
        shifts = {name: getattr(move, name) for name in ("level", "skew", "term", "basis")}
        parts += [f"{name} {shift:+.4g}" for name, shift in shifts.items() if shift]
        rows.append((move.underlying, ", ".join(parts), move.evidence, move.source))
    rows += [(row.asset, f"worth {row.worth:+.1%}", row.evidence, row.source)
             for row in one.text.collateral]  # fmt: skip
    for name in ("factor", "jump", "outage", "oracle"):
        part = getattr(one.text, name)
        if part is not None:
            told = part.model_dump(exclude={"source", "evidence", "date"}, exclude_defaults=False)
            shown = ", ".join(
                f"{key} {value}" for key, value in told.items() if value not in ((), {})
            )
            rows.append((name, shown, part.evidence, part.source))
    columns = ("what", "number", "evidence", "source")
    table = console.table("", *columns, left=columns, folds="source")
    for row in rows:
        table.add_row(*row)
    console.out.print(table)


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────


def print_run(found: dict[str, Any]) -> None:
    """A row a scenario, what is special, notes; accounts of one where they are asked for."""
    from solvent.cli import console

    now = found["now"]
    console.out.print(
        f"{found['accounts']:,} accounts on {found['as_of']} UTC: equity {now['equity']:,.2f} USD, "
        f"initial {now['initial_margin']:,.2f}, maintenance {now['maintenance_margin']:,.2f}; "
        f"{now['liquidated']:,} below maintenance now; fund {found['fund']:,.2f}",
        highlight=False,
    )
    table = console.table(
        "", "scenario", "hours", "equity changes", "liquidated", "called", "unknown", "shortfall",
        "largest", "two largest", "fund after", left=["scenario"],
    )  # fmt: skip
    for row in found["scenarios"]:
        colour = "red" if row["fund_after"] < 0.0 else "default"
        table.add_row(
            row["scenario"], f"{row['hours']:.3g}", console.money(row["change"], signed=True),
            f"{row['liquidated']:,}", f"{row['called']:,}", f"{row['unknown']:,}",
            console.money(row["shortfall"]), console.money(row["cover_1"]),
            console.money(row["cover_2"]),
            f"[{colour}]{console.money(row['fund_after'])}[/{colour}]",
        )  # fmt: skip
    console.out.print(table)
    for row in found["scenarios"]:
        _print_special(row)
    _print_notes(found)
    if "accounts_of" in found:
        _print_accounts(found["accounts_of"])


def _print_special(row: dict[str, Any]) -> None:
    from solvent.cli import console

    lines = []
    if "outage" in row:
        one = row["outage"]
        lines.append(
            f"{row['scenario']}: with trading {one['closed_out_with_trading']:,} are closed out on "
            f"the way and {one['shortfall_with_trading']:,.2f} USD are short; without "
            f"{one['shortfall_without']:,.2f}: the outage costs {one['cost']:,.2f}"
        )
    if "oracle" in row:
        one = row["oracle"]
        published = one["published_move"]
        told = f"no index ({one['reason']})" if published is None else f"{published:+.2%}"
        lines.append(
            f"{row['scenario']}: {one['underlying']} moves by {one['true_move']:+.2%}, published: "
            f"{told}; {one['wrongly_liquidated']:,} wrongly liquidated, {one['missed']:,} missed, "
            f"{one['frozen']:,} frozen"
        )
    if row["closing_cost"]:
        lines.append(f"{row['scenario']}: closing out costs {row['closing_cost']:,.2f} USD")
    for line in lines:
        console.out.print(line, markup=False, highlight=False)


def _print_notes(found: dict[str, Any]) -> None:
    from solvent.cli import console

    lines: dict[str, list[str]] = {note: [] for note in found["notes"]}
    for row in found["scenarios"]:
        for note in row["notes"]:
            lines.setdefault(note, []).append(row["scenario"])
    for note, where in lines.items():
        of = f" ({', '.join(where)})" if where else ""
        console.out.print(f"note: {note}{of}", markup=False, highlight=False, style="dim")


def _print_accounts(told: dict[str, Any]) -> None:
    from solvent.cli import console

    table = console.table(
        f"after {told['scenario']}, USD", "account", "before", "equity", "maintenance", "after",
        "equity ", "maintenance ", "shortfall", left=["account", "before", "after"],
    )  # fmt: skip
    rows = sorted(told["rows"], key=lambda row: (row["equity_after"] is None,
                                                 (row["equity_after"] or 0.0)
                                                 - (row["maintenance_after"] or 0.0)))  # fmt: skip
    for row in rows:
        table.add_row(
            row["account"], row["status_before"], console.money(row["equity_before"]),
            console.money(row["maintenance_before"]), row["status_after"],
            console.money(row["equity_after"]), console.money(row["maintenance_after"]),
            console.money(row["shortfall"]),
        )  # fmt: skip
    console.out.print(table)


# ── reverse ──────────────────────────────────────────────────────────────────────────────────────


def print_reverse(found: dict[str, Any]) -> None:
    """The move, how far it is, what is proved."""
    from solvent.cli import console

    say = console.out
    word, goal = found["found"], found["goal"]
    if word == "already":
        say.print(f"[red]{goal}: it is so now[/red]; left out: {', '.join(found['left_out'])}",
                  highlight=False)  # fmt: skip
    elif word == "unknown":
        say.print(f"{goal}: not known now", highlight=False)
    elif word == "none":
        say.print(
            f"{goal}: no move within {found['reach']:g} deviations was found", highlight=False
        )
    else:
        as_far = found["windows_as_far"]
        say.print(
            f"[bold]{goal} at {found['distance']:.3f} deviations[/bold]: {as_far:,} of "
            f"{found['windows']:,} windows of the history went as far",
            highlight=False,
        )
        table = console.table("", "underlying", "price", "volatility", left=["underlying"])
        for name, one in found["moves"].items():
            table.add_row(name, f"{one['spot']:+.2%}", f"{one['vol_factor'] - 1.0:+.1%}")
        say.print(table)
        names = ", ".join(found["broken"][:_WORST])
        more = len(found["broken"]) - _WORST
        say.print(f"fails there: {names}" + (f" and {more:,} more" if more > 0 else ""),
                  markup=False, highlight=False)  # fmt: skip
    if word in ("move", "none"):
        if found["proved"] is None:
            say.print(f"not proved to be the nearest: {found['unproved_because']}",
                      markup=False, highlight=False)  # fmt: skip
        else:
            say.print(f"proved: none is nearer than {found['proved']:.3f} deviations "
                      f"({found['boxes']:,} boxes)", highlight=False)  # fmt: skip
    if found["left_out"] and word != "already":
        say.print(f"left out, as it is so now: {', '.join(found['left_out'][:_WORST])}",
                  markup=False, highlight=False)  # fmt: skip
    for note in found["notes"]:
        say.print(f"note: {note}", markup=False, highlight=False, style="dim")


# ── ladders and cover ────────────────────────────────────────────────────────────────────────────


def ladder_document(found: Ladders) -> dict[str, Any]:
    """Ladders as one document."""
    from solvent.instruments.contract import moment_of
    from solvent.units import MICRO

    subject = found.subject
    return {
        "as_of": f"{moment_of(subject.market.as_of_ms):%Y-%m-%d %H:%M:%S}",
        "accounts": len(subject), "fund": subject.fund_micro / MICRO,
        "notes": list(subject.notes), "ladders": found.to_polars().to_dicts(),
    }  # fmt: skip


def print_ladders(found: dict[str, Any]) -> None:
    """A table a ladder."""
    from solvent.cli import console

    rows = found["ladders"]
    for kind, of in dict.fromkeys((row["ladder"], row["of"]) for row in rows):
        table = console.table(
            f"{kind}, {of}", "step", "equity", "initial", "maintenance", "called", "liquidated",
            "unknown", "shortfall", "note", left=["note"],
        )  # fmt: skip
        for row in rows:
            if (row["ladder"], row["of"]) != (kind, of):
                continue
            step = row["step"]
            shown = f"{step:+.1%}" if kind in ("spot", "vol", "collateral") else f"{step:+g}"
            table.add_row(
                f"{step:g} h" if kind == "time" else shown,
                *(console.money(row[name])
                  for name in ("equity", "initial_margin", "maintenance_margin")),
                *(f"{row[name]:,}" for name in ("called", "liquidated", "unknown")),
                console.money(row["shortfall"]), row["note"],
            )  # fmt: skip
        console.out.print(table)
    for note in found["notes"]:
        console.out.print(f"note: {note}", markup=False, highlight=False, style="dim")


def cover_document(found: Stressed, count: int) -> dict[str, Any]:
    """What the largest members' defaults need in each scenario, beside the fund; dollars."""
    from solvent.units import MICRO

    fund, rows = found.subject.fund_micro, []
    sums = {members: found.cover(members) for members in sorted({1, 2, count})}
    for one in found.outcomes:
        name = one.scenario.name
        losses = sorted(found.over_margin(name).items(), key=lambda row: -row[1])
        rows.append(
            {
                "scenario": name,
                "largest": [{"member": who, "over_margin": loss / MICRO}
                            for who, loss in losses[:count] if loss],
                **{f"cover_{n}": got.by_scenario[name] / MICRO for n, got in sums.items()},
                "notes": list(one.notes),
            }
        )  # fmt: skip
    needed = sums[count]
    return {
        "members": count, "fund": fund / MICRO, "required": needed.required / MICRO,
        "worst": needed.worst, "covered": needed.required <= fund, "scenarios": rows,
        "notes": list(found.subject.notes),
    }  # fmt: skip


def print_cover(found: dict[str, Any]) -> None:
    """A row a scenario, and the verdict."""
    from solvent.cli import console

    count = found["members"]
    table = console.table(
        "losses over margin, USD", "scenario", "cover 1", "cover 2", f"cover {count} by",
        left=["scenario", f"cover {count} by"], folds=f"cover {count} by",
    )  # fmt: skip
    for row in found["scenarios"]:
        who = ", ".join(f"{one['member']} {one['over_margin']:,.0f}" for one in row["largest"])
        table.add_row(
            row["scenario"],
            console.money(row["cover_1"]),
            console.money(row["cover_2"]),
            who or "-",
        )
    console.out.print(table)
    word = "[green]covered[/green]" if found["covered"] else "[red]not covered[/red]"
    console.out.print(
        f"cover {count}: {found['required']:,.2f} USD in {found['worst']}, fund "
        f"{found['fund']:,.2f}: {word}", highlight=False,
    )  # fmt: skip
    _print_notes(found)
