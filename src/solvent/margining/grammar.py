"""What the parts of a rulebook may refer to: formulas, nodes, scenario sets and names.

Every check names the source and the key path of what it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from solvent.errors import RulebookError
from solvent.expressions import Expression, ExpressionError, parse
from solvent.margining.schema import ChargeText, NodeText, RulebookText, ScanText
from solvent.scenarios.scenario import SAME_VOL

AT_NODE = frozenset({"index", "numeraire", "coin"})
"""What every node's formulas may use: dollars per coin, dollars per unit of the node's numeraire,
and whether it settles in its coin."""
AT_INSTRUMENT = frozenset(
    {
        "index", "forward", "mark", "strike", "iv", "years", "days", "is_option", "is_call",
        "is_future", "is_dated", "coin", "lot", "value", "worth", "delta", "gamma", "vega", "theta",
        "notional",
    }
)  # fmt: skip
"""What a sum's formulas may use; amounts are per lot."""


def formulas(text: RulebookText, source: str) -> dict[str, Expression]:
    """Every formula of a rulebook, parsed, by its key path."""
    parsed: dict[str, Expression] = {}
    sections = (_vols_and_scenarios, _scans_and_sums, _charges, _requirement)
    for section in sections:
        for path, formula in section(text):
            try:
                parsed[path] = parse(formula)
            except ExpressionError as fault:
                raise RulebookError(f"{source}: {path}: {fault}") from fault
    return parsed


def _vols_and_scenarios(text: RulebookText) -> Iterator[tuple[str, str]]:
    for name, vol in text.vols.items():
        yield f"vols.{name}.shocked", vol.shocked
    for name, scenario in text.scenarios.items():
        for place, formula in scenario.formulas():
            yield f"scenarios.{name}.{place}", formula


def _scans_and_sums(text: RulebookText) -> Iterator[tuple[str, str]]:
    for name, scan in text.scans.items():
        for part, formula in (scan.map.model_dump() if scan.map else {}).items():
            if formula is not None:
                yield f"scans.{name}.map.{part}", formula
    for name, total in text.sums.items():
        for given, formula in total.let.items():
            yield f"sums.{name}.let.{given}", formula
        yield f"sums.{name}.long", total.per_lot or total.long
        yield f"sums.{name}.short", total.per_lot or total.short


def _charges(text: RulebookText) -> Iterator[tuple[str, str]]:
    for name, charge in text.charges.items():
        for given, formula in charge.let.items():
            yield f"charges.{name}.let.{given}", formula
        yield f"charges.{name}.amount", charge.amount
        yield f"charges.{name}.slope", charge.slope


def _requirement(text: RulebookText) -> Iterator[tuple[str, str]]:
    for given, formula in text.requirement.let.items():
        yield f"requirement.let.{given}", formula
    yield "requirement.initial", text.requirement.initial
    yield "requirement.maintenance", text.requirement.maintenance


def levels(nodes: Mapping[str, NodeText], source: str) -> tuple[str, ...]:
    """Node names from the finest to the coarsest; each must hold the next one's keys."""
    names = tuple(sorted(nodes, key=lambda name: (-len(nodes[name].by), name)))
    for fine, coarse in pairwise(names):
        if not set(nodes[coarse].by) <= set(nodes[fine].by):
            raise RulebookError(f"{source}: nodes.{coarse} is no union of nodes.{fine}")
    return names


def check_references(text: RulebookText, source: str) -> None:
    """Every node, scenario set and volatility rule that is named exists, and trees point up."""
    known = levels(text.nodes, source)

    def depth(path: str, name: str) -> int:
        if name not in known:
            raise RulebookError(f"{source}: {path}: no node {name!r}; there are {list(known)}")
        return known.index(name)

    top = text.requirement.node
    depth("requirement.node", top)
    for name, total in text.sums.items():
        depth(f"sums.{name}.node", total.node)
    parts: list[tuple[str, ScanText | ChargeText]] = [
        (f"scans.{name}", scan) for name, scan in text.scans.items()
    ]
    parts += [(f"charges.{name}", charge) for name, charge in text.charges.items()]
    for path, part in parts:
        if isinstance(part, ScanText) and "settlement" not in text.nodes[part.node].by:
            raise RulebookError(f"{source}: {path}.node: PnL of several currencies cannot be added")
        if depth(f"{path}.node", part.node) > depth(f"{path}.into", part.into):
            raise RulebookError(f"{source}: {path}: {part.into} is finer than {part.node}")
        if part.into != top:
            raise RulebookError(f"{source}: {path}.into: must be the requirement's node, {top}")
    _check_scenarios(text, source)


def _check_scenarios(text: RulebookText, source: str) -> None:
    for name, scenario in text.scenarios.items():
        for vol in scenario.vol_rules():
            if vol not in text.vols and vol != SAME_VOL:
                raise RulebookError(f"{source}: scenarios.{name}.vols: no rule {vol!r}")
    for name, scan in text.scans.items():
        for one in scan.scenarios:
            if one not in text.scenarios:
                raise RulebookError(f"{source}: scans.{name}.scenarios: no set {one!r}")


def check_names(text: RulebookText, parsed: Mapping[str, Expression], source: str) -> None:
    """Every name in a formula means something where it stands."""
    for path, formula in parsed.items():
        here = known_at(path, text) | set(text.parameters) | _entries(path, text)
        unknown = formula.names - here
        if unknown:
            raise RulebookError(
                f"{source}: {path}: {min(unknown)!r} means nothing here; there are {sorted(here)}"
            )


def _entries(path: str, text: RulebookText) -> set[str]:
    """Entries of the tables that have a row for what the formula is evaluated at."""
    section, name, *_ = path.split(".")
    keys: set[str] = {"underlying", "settlement"}
    if section == "charges":
        keys = set(text.nodes[text.charges[name].node].by)
    elif section == "requirement":
        keys = set(text.nodes[text.requirement.node].by)
    elif section == "scenarios" and not path.endswith("weight"):
        keys = {"underlying"}
    return {
        f"{table}.{entry}"
        for table, part in text.tables.items()
        if part.by in keys
        for row in part.rows
        for entry in row.values
    }


def known_at(path: str, text: RulebookText) -> frozenset[str]:
    """Names that a formula at a key path may use, apart from parameters and tables."""
    section, name, *_ = path.split(".")
    if section == "vols":
        return frozenset({"iv", "days", "years"})
    if section == "scenarios" and not path.endswith("weight"):
        return frozenset({"index"})
    if section in ("scenarios", "scans"):
        return AT_NODE | {"move"}
    if section == "sums":
        return AT_INSTRUMENT | set(text.sums[name].let)
    if section == "charges":
        charge = text.charges[name]
        timed = {"years", "days"} if "expiry" in text.nodes[charge.node].by else set()
        return AT_NODE | _sums_at(charge.node, text) | timed | set(charge.let)
    components = {*text.scans, *text.charges, *text.inputs, *text.requirement.let}
    return AT_NODE | _sums_at(text.requirement.node, text) | components


def _sums_at(node: str, text: RulebookText) -> set[str]:
    return {name for name, total in text.sums.items() if total.node == node}
