"""The clearing house's waterfall: who pays a defaulter's loss, in which order, down to the unit.

Amounts are whole smallest units. A defaulter's margin and contribution pay for its own loss alone;
a client's margin for that client alone. What nobody pays is `uncovered`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

from solvent.errors import check
from solvent.liquidation.moves import Move
from solvent.liquidation.shares import shared


class Layer(StrEnum):
    """Whose money a step of the waterfall takes."""

    DEFAULTER_MARGIN = "defaulter_margin"
    DEFAULTER_FUND = "defaulter_fund"
    """The defaulter's own contribution to the default fund."""
    SKIN = "skin"
    """The clearing house's own money, before the members'."""
    MEMBERS_FUND = "members_fund"
    """Contributions of members that did not default."""
    ASSESSMENTS = "assessments"
    """What they can be asked for beyond it."""
    SECOND_SKIN = "second_skin"
    GAINS = "gains"
    """Variation margin gains, haircut."""
    TEAR_UP = "tear_up"
    """Claims from contracts that are ended."""


ORDER: Final = tuple(Layer)
"""As EMIR has it (article 45), with what rulebooks put after it."""
HOUSE: Final = "clearing house"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A clearing member: margin of its house account and of each client, and its contribution."""

    name: str
    margin: int
    contribution: int
    clients: Mapping[str, int] = field(default_factory=dict)
    """Client → margin, segregated."""

    def __post_init__(self) -> None:
        check(self.margin >= 0 and self.contribution >= 0, "money is not negative", self)
        check(all(margin >= 0 for margin in self.clients.values()), "money is not negative", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearingHouse:
    """Members, own money, and the order in which all of it is used."""

    members: tuple[Member, ...]
    skin: int = 0
    second_skin: int = 0
    assessment_multiple: Fraction = Fraction(0)
    """The most a member can be asked for, in multiples of its contribution."""
    gains_share: Fraction = Fraction(1)
    """The most of a member's variation gains that may be taken."""
    order: tuple[Layer, ...] = ORDER

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        check(len(set(names)) == len(names), "a member stands once", names)
        check(len(set(self.order)) == len(self.order), "a layer stands once", self.order)
        check(self.skin >= 0 and self.second_skin >= 0, "own money is not negative", self.skin)
        check(self.assessment_multiple >= 0 and 0 <= self.gains_share <= 1, "shares", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """What closing a defaulter's books has lost: of its own, and of each client's that was not
    ported."""

    member: str
    loss: int
    clients: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self.loss >= 0, "a loss is not negative", self)
        check(all(loss >= 0 for loss in self.clients.values()), "a loss is not negative", self)

    @property
    def total(self) -> int:
        """Of all its books."""
        return self.loss + sum(self.clients.values())


class Row(NamedTuple):
    """Who pays what; what is left of the payer's money of this layer, and of all loss."""

    layer: Layer
    payer: str
    paid: int
    balance: int
    left: int


class Waterfall(NamedTuple):
    """Every payer of every layer in order, also those that pay nothing."""

    loss: int
    rows: tuple[Row, ...]
    uncovered: int
    order: tuple[Layer, ...]

    def by_layer(self) -> dict[Layer, int]:
        """What each layer of the order pays, also one that has nobody in it."""
        paid = dict.fromkeys(self.order, 0)
        for row in self.rows:
            paid[row.layer] += row.paid
        return paid

    def had(self) -> dict[Layer, int]:
        """What each layer could have paid."""
        had = dict.fromkeys(self.order, 0)
        for row in self.rows:
            had[row.layer] += row.paid + row.balance
        return had

    def moves(self) -> tuple[Move, ...]:
        """The payments as moves: from `layer:payer` to `default`."""
        return tuple(
            Move(f"{row.layer}:{row.payer}", "default", row.paid, row.layer)
            for row in self.rows
            if row.paid
        )


def waterfall(
    house: ClearingHouse,
    defaults: Sequence[Default],
    *,
    gains: Mapping[str, int] | None = None,
    claims: Mapping[str, int] | None = None,
    juniors: Sequence[Sequence[str]] = (),
) -> Waterfall:
    """Pay the losses of defaulters, layer by layer.

    `gains` are variation margin gains of members, `claims` what they are owed from contracts that
    would be torn up. `juniors` are groups of members whose contributions go before all others', the
    first group first. Within a group and a layer shares are pro rata, by largest remainder.

    >>> a, b = (Member(name=n, margin=60, contribution=c) for n, c in (("a", 10), ("b", 40)))
    >>> house = ClearingHouse(members=(a, b), skin=5, assessment_multiple=Fraction(1))
    >>> found = waterfall(house, [Default(member="a", loss=130)])
    >>> [(row.layer.value, row.payer, row.paid) for row in found.rows if row.paid]
    [('defaulter_margin', 'a', 60), ('defaulter_fund', 'a', 10), ('skin', 'clearing house', 5),
     ('members_fund', 'b', 40), ('assessments', 'b', 15)]
    """
    names = [default.member for default in defaults]
    known = {member.name: member for member in house.members}
    check(len(set(names)) == len(names), "a member defaults once", names)
    check(set(names) <= set(known), "who defaults is a member", names)
    walk = _Walk(
        house=house,
        defaulters=[known[name] for name in names],
        survivors=[member for member in house.members if member.name not in names],
        defaults=list(defaults),
        gains=gains or {},
        claims=claims or {},
        juniors=juniors,
    )
    return walk.walked()


@dataclass(slots=True)
class _Walk:
    """A waterfall as it goes: what is left of each defaulter's loss, and the rows so far."""

    house: ClearingHouse
    defaulters: list[Member]
    survivors: list[Member]
    defaults: list[Default]
    gains: Mapping[str, int]
    claims: Mapping[str, int]
    juniors: Sequence[Sequence[str]]
    left: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def walked(self) -> Waterfall:
        loss = sum(default.total for default in self.defaults)
        self.left = {default.member: default.total for default in self.defaults}
        for layer in self.house.order:
            self._pay(layer)
        uncovered = sum(self.left.values())
        paid = sum(row.paid for row in self.rows)
        check(paid + uncovered == loss, "paid and uncovered make the loss", paid, uncovered, loss)
        return Waterfall(loss, tuple(self.rows), uncovered, self.house.order)

    def _pay(self, layer: Layer) -> None:
        house, survivors = self.house, self.survivors
        if layer is Layer.DEFAULTER_MARGIN:
            for member, default in zip(self.defaulters, self.defaults, strict=True):
                self._pay_margin(member, default)
        elif layer is Layer.DEFAULTER_FUND:
            for member in self.defaulters:
                self._take(layer, member.name, self.left[member.name], member.contribution,
                           of=member.name)  # fmt: skip
        elif layer in (Layer.SKIN, Layer.SECOND_SKIN):
            own = house.skin if layer is Layer.SKIN else house.second_skin
            self._take(layer, HOUSE, sum(self.left.values()), own)
        elif layer is Layer.MEMBERS_FUND:
            for group in self._groups():
                self._share(layer, {one.name: one.contribution for one in group})
        elif layer is Layer.ASSESSMENTS:
            multiple = house.assessment_multiple
            self._share(
                layer,
                {
                    one.name: one.contribution * multiple.numerator // multiple.denominator
                    for one in survivors
                },
            )
        else:
            most = house.gains_share if layer is Layer.GAINS else Fraction(1)
            source = self.gains if layer is Layer.GAINS else self.claims
            self._share(
                layer,
                {
                    one.name: max(0, source.get(one.name, 0)) * most.numerator // most.denominator
                    for one in survivors
                },
            )

    def _pay_margin(self, member: Member, default: Default) -> None:
        """A client's margin pays for that client; the house account's for all that is left."""
        layer, name = Layer.DEFAULTER_MARGIN, member.name
        for client, loss in default.clients.items():
            margin = member.clients.get(client, 0)
            self._take(layer, f"{name}/{client}", min(loss, self.left[name]), margin, of=name)
        self._take(layer, name, self.left[name], member.margin, of=name)

    def _groups(self) -> list[list[Member]]:
        """Members that did not default, who pays first in the first group."""
        named = {name for group in self.juniors for name in group}
        groups = [[one for one in self.survivors if one.name in set(g)] for g in self.juniors]
        return [*groups, [one for one in self.survivors if one.name not in named]]

    def _share(self, layer: Layer, most: Mapping[str, int]) -> None:
        """A layer that members pay together, by what each has in it."""
        wanted = sum(self.left.values())
        paid = shared(wanted, list(most.values()), list(most.values()))
        for (name, have), amount in zip(most.items(), paid, strict=True):
            self._take(layer, name, amount, have)

    def _take(self, layer: Layer, payer: str, wanted: int, have: int, of: str = "") -> None:
        """A row; what is paid reduces the loss of one defaulter, or of all in order."""
        paid = rest = min(wanted, have)
        for name in (of,) if of else tuple(self.left):
            part = min(rest, self.left[name])
            self.left[name] -= part
            rest -= part
        check(rest == 0, "nobody pays more than is lost", rest)
        self.rows.append(Row(layer, payer, paid, have - paid, sum(self.left.values())))
