"""Scenario PnL in the terminal: a grid as a heat map, joint scenarios as a list of the worst."""

from __future__ import annotations

import numpy as np
from rich.table import Table
from rich.text import Text

from solvent.margining.explain import ScanView, SetView, standing_for
from solvent.risk import RiskArrays

_BINDING = "▶"


_LISTED = 30
"""Joint scenarios that are listed at most."""


def scenario_tables(arrays: RiskArrays, view: SetView, scan: ScanView) -> list[Table]:
    """A heat map a scenario set; of joint shocks a list of those that count, or of the worst."""
    if scan.reduce == "worst" and not any(arrays.shocks.is_joint(int(s)) for s in scan.scenarios):
        return heat_maps(arrays, view, scan)
    return [_listed(arrays, view, scan)]


def _listed(arrays: RiskArrays, view: SetView, scan: ScanView) -> Table:
    """The scenarios that a tail is made of: when, every price's move, PnL, and what each is."""
    shocks, names = arrays.shocks, arrays.universe.underlyings
    counted = scan.tail[:_LISTED]
    told = f", of {len(scan.tail):,} that count" if len(scan.tail) > _LISTED else ""
    title = f"{view.node} · {scan.name} · {standing_for(scan)}: PnL in USD{told}"
    made = Table(title=title, title_justify="left", box=None, header_style="bold")
    for name in ("scenario", *names, "vol"):
        made.add_column(name, justify="left" if name == "scenario" else "right")
    made.add_column("PnL", justify="right", min_width=14)
    made.add_column("share", justify="right")
    reach = float(np.max(np.abs(scan.total))) or 1.0
    for place in counted.tolist():
        scenario = int(scan.scenarios[place])
        moves = (f"{shocks.move[code, scenario]:+.2%}" for code in range(len(names)))
        joint = shocks.is_joint(scenario)
        made.add_row(
            shocks.moment(scenario) if joint else shocks.set_names[scenario],
            *moves,
            "" if joint else shocks.vol_names[scenario],
            _cell(scan, place, reach),
            f"{scan.share[place]:.2%}",
        )
    return made


def heat_maps(arrays: RiskArrays, view: SetView, scan: ScanView) -> list[Table]:
    """One table a scenario set: spot moves down, volatilities across."""
    shocks = arrays.shocks
    reach = float(np.max(np.abs(scan.total))) or 1.0
    names = [shocks.set_names[s] for s in scan.scenarios]
    tables = []
    for one in dict.fromkeys(names):
        mine = [place for place, name in enumerate(names) if name == one]
        tables.append(_heat_map(arrays, view, scan, one, mine, reach))
    return tables


def _heat_map(
    arrays: RiskArrays, view: SetView, scan: ScanView, name: str, places: list[int], reach: float
) -> Table:
    shocks = arrays.shocks
    moves = [float(shocks.move[view.underlying, scan.scenarios[p]]) for p in places]
    vols = [shocks.vol_names[scan.scenarios[p]] for p in places]
    columns = list(dict.fromkeys(vols))
    title = f"{view.node} · {scan.name} · {name}: PnL in USD, offsets applied"
    made = Table(
        title=title,
        title_justify="left",
        box=None,
        header_style="bold",
        min_width=len(title),
    )
    made.add_column("spot", justify="right")
    for vol in columns:
        made.add_column(f"vol {vol}", justify="right", min_width=14)
    at = {(move, vol): place for move, vol, place in zip(moves, vols, places, strict=True)}
    for move in dict.fromkeys(moves):
        cells = [
            _cell(scan, at[move, vol], reach) if (move, vol) in at else Text("") for vol in columns
        ]
        made.add_row(f"{move:+.1%}", *cells)
    return made


def _cell(scan: ScanView, place: int, reach: float) -> Text:
    pnl = float(scan.total[place])
    binding = int(scan.scenarios[place]) == scan.binding and pnl < 0
    shade = round(40 + 150 * min(1.0, abs(pnl) / reach) ** 0.5)
    colour = f"rgb({shade},0,30)" if pnl < 0 else f"rgb(0,{round(shade * 0.7)},40)"
    text = f"{_BINDING if binding else ' '}{pnl:>13,.0f}"
    style = f"white on {colour}" if pnl else "dim"
    return Text(text, style=f"bold {style}" if binding else style)
