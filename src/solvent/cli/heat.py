"""Scenario PnL as heat maps in the terminal, the binding scenario marked."""

from __future__ import annotations

import numpy as np
from rich.table import Table
from rich.text import Text

from solvent.margining.explain import ScanView, SetView
from solvent.risk import RiskArrays

_BINDING = "▶"


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
