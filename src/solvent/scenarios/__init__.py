"""Named sets of market shocks: data that a rulebook states, expanded on a snapshot."""

from solvent.scenarios.bring import bring
from solvent.scenarios.expand import Shocks, expand
from solvent.scenarios.joint import JointShocks
from solvent.scenarios.scenario import Point, ScenarioSet, VolRule
from solvent.scenarios.tables import Table, Tables

__all__ = [
    "JointShocks", "Point", "ScenarioSet", "Shocks", "Table", "Tables", "VolRule", "bring",
    "expand",
]  # fmt: skip
