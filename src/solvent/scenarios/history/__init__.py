"""History into scenarios: prices and surfaces over time become joint shocks of one date."""

from solvent.scenarios.history.build import joint_shocks
from solvent.scenarios.history.note import Built, Note
from solvent.scenarios.history.panel import Panel
from solvent.scenarios.history.series import Series, join
from solvent.scenarios.history.spec import HistorySpec, Proxy, Window

__all__ = [
    "Built", "HistorySpec", "Note", "Panel", "Proxy", "Series", "Window", "join", "joint_shocks",
]  # fmt: skip
