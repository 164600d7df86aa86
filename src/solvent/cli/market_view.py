"""A market in the terminal."""

from __future__ import annotations

from solvent.cli.console import out, table
from solvent.lab.inspect import MarketReport
from solvent.market import Snapshot

_SHOWN = 8


def print_market(snapshot: Snapshot, report: MarketReport) -> None:
    """Contents, curves, faults and arbitrage."""
    out.print(f"[bold]{snapshot!r}[/bold]")
    index = ", ".join(f"{name} {price:,.2f}" for name, price in report.index.items())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.instruments.items())
    out.print(f"index: {index}")
    out.print(f"instruments: {kinds}")
    _print_curves(report)
    out.print(
        f"marks repriced from their own vols and forwards: median error "
        f"{report.reprice_median:.2e}, 99 % below {report.reprice_p99:.2e}, "
        f"largest {report.reprice_max:.2e} (quoting units)"
    )
    for name, count in report.flags.items():
        shown = ", ".join(report.flagged[name][:_SHOWN])
        more = ", ..." if count > _SHOWN else ""
        out.print(f"[yellow]{name.lower()}[/yellow]: {count} ({shown}{more})")
    _print_violations(report)


def _print_curves(report: MarketReport) -> None:
    shown = table(
        "", "book", "expiry", "days", "forward", "from", "basis/yr", "ATM vol", "options",
        "reprice max", left=["book", "from"],
    )  # fmt: skip
    for row in report.curves:
        shown.add_row(
            f"{row.underlying}/{row.settlement}",
            row.expiry,
            f"{row.days:.1f}",
            f"{row.forward:,.2f}",
            "parity" if row.by_parity else "quote",
            f"{row.basis:+.2%}",
            f"{row.atm_vol:.1%}",
            str(row.options),
            f"{row.reprice_max:.1e}",
        )
    out.print(shown)


def _print_violations(report: MarketReport) -> None:
    executable = sum(one.executable for one in report.violations)
    out.print(
        f"arbitrage: {executable} executable at the quotes, "
        f"{len(report.violations) - executable} between marks"
    )
    shown = sorted(report.violations, key=lambda one: (not one.executable, one.kind))[:_SHOWN]
    for one in shown:
        where = "quotes" if one.executable else "marks"
        names = ", ".join(one.instruments)
        out.print(f"  {one.kind} ({where}): {names}: {one.gain:.3g}", highlight=False)
    if len(report.violations) > _SHOWN:
        out.print(f"  ... and {len(report.violations) - _SHOWN} more; --json lists all")
