"""Cases of a clearing house's waterfall, and of a default fund sized for the two worst defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Final

from solvent.conform.case import Case, Row
from solvent.liquidation.defaults import contributions, cover
from solvent.liquidation.waterfall import ClearingHouse, Default, Layer, Member, waterfall

_LAYERS: Final[Mapping[str, Layer]] = {
    "defaulter_margin": Layer.DEFAULTER_MARGIN,
    "defaulter_default_fund": Layer.DEFAULTER_FUND,
    "ccp_skin_in_the_game": Layer.SKIN,
    "mutualised_default_fund": Layer.MEMBERS_FUND,
    "assessment": Layer.ASSESSMENTS,
    "ccp_second_tranche": Layer.SECOND_SKIN,
}
_MICRO: Final = 10**6
"""Contributions are shared to the millionth: the file's are floats of shares."""


def cases(path: Path) -> Iterator[Case]:
    """`default_waterfall_vectors.json`: what each layer pays, cover-1 and cover-2."""
    file = json.loads(path.read_text("utf-8"))
    for row in file["waterfall_vectors"]:
        yield _paid(row)
    yield from _covered(file["cover2"])


def _paid(row: Row) -> Case:
    """Members that did not default stand as one, and as three of unequal size: the same sums."""
    told, expected = row["inp"], row["out"]
    case = Case(f"a loss of {told['loss']}")
    for parts in ((told["mutual"],), _three(told["mutual"])):
        house = ClearingHouse(
            members=(
                Member(name="defaulter", margin=told["def_im"], contribution=told["def_df"]),
                *(
                    Member(name=f"member {number}", margin=0, contribution=part)
                    for number, part in enumerate(parts)
                ),
            ),
            skin=told["sitg"],
            second_skin=told["ccp_second"],
            assessment_multiple=Fraction(str(told["assess_mult"])),
        )
        found = waterfall(house, [Default(member="defaulter", loss=told["loss"])])
        paid = found.by_layer()
        for name, layer in _LAYERS.items():
            case.expect(name, paid[layer], expected[name], 0.0)
        case.expect("uncovered", found.uncovered, expected["uncovered"], 0.0)
    return case


def _three(total: int) -> tuple[int, int, int]:
    return total // 2, total // 3, total - total // 2 - total // 3


def _covered(told: Row) -> Iterator[Case]:
    losses = {
        name: {str(place): loss for place, loss in enumerate(row)}
        for name, row in told["stress_loss_over_margin"].items()
    }
    for members in (1, 2):
        case, found = Case(f"cover-{members}"), cover(losses, members)
        for name, expected in told[f"cover{members}"].items():
            case.expect(name, found.by_scenario[name], expected, 0.0)
        if members == 2:
            case.expect("required", found.required, told["required_default_fund"], 0.0)
        yield case
    case = Case("contributions")
    margin = {str(place): one for place, one in enumerate(told["initial_margin"])}
    parts = contributions(told["required_default_fund"] * _MICRO, margin)
    for place, expected in enumerate(told["contribution_pro_rata_to_im"]):
        case.expect(f"member {place}", parts[str(place)] / _MICRO, expected, 1 / _MICRO)
    yield case
