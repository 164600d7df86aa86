"""What there is to trade, and the rules by which it is margined."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from solvent.account.deal import Deal, PayoffTerm
from solvent.engine.combos import close_combos
from solvent.engine.floor import Floor
from solvent.engine.ordering import book_terms, set_terms, wrong_terms
from solvent.engine.refusal import asset_named, contract_named, instrument_named
from solvent.engine.state import Contract, Rules, State
from solvent.errors import Refused, Reject, RulebookError
from solvent.instruments import Contract as Identity
from solvent.instruments import (
    Instrument,
    Kind,
    OptionType,
    Payoff,
    Specification,
    Term,
    term_sheet,
)
from solvent.limits import ASSETS_MAX, COMBO_FIRST, LISTED_MAX, STRIKE_MAX
from solvent.margining import rulebook as scans
from solvent.margining.levels import rulebook as levels
from solvent.margining.levels.text import LevelsText
from solvent.messages.commands import (
    AdoptRulebook,
    DelistInstrument,
    ListAsset,
    ListInstrument,
    SetPhase,
)
from solvent.messages.events import (
    Delisted,
    Event,
    Numbered,
    PhaseChanged,
    RulebookAdopted,
)
from solvent.messages.fields import Phase
from solvent.units import TimeMs

_KINDS = {kind.name.lower(): kind for kind in Kind if kind is not Kind.SPOT}
_PAYOFFS = {payoff.name.lower(): payoff for payoff in Payoff}


def list_asset(state: State, command: ListAsset, events: list[Event]) -> None:
    """A new asset gets the next number."""
    if command.asset in state.asset_numbers:
        raise Refused(Reject.NAME_TAKEN, f"asset {command.asset!r}: expected a new name")
    number = len(state.assets)
    if number >= ASSETS_MAX:
        raise Refused(Reject.CAPACITY_REACHED, f"expected at most {ASSETS_MAX} assets")
    # From here on the asset must be listed.
    state.assets.append((command.asset, command.decimals))
    state.asset_numbers[command.asset] = number
    events.append(Numbered("asset", command.asset, number))


def list_instrument(state: State, command: ListInstrument, events: list[Event]) -> None:
    """A new contract gets the next number; its name is never used again."""
    if command.symbol in state.contract_numbers:
        raise Refused(Reject.NAME_TAKEN, f"instrument {command.symbol!r}: expected a new name")
    asset = asset_named(state, command.settlement)
    number = len(state.contracts)
    if number >= LISTED_MAX:
        raise Refused(Reject.CAPACITY_REACHED, f"expected at most {LISTED_MAX} instruments")
    instrument = instrument_of(command)
    if command.expiry_ms is not None and command.expiry_ms <= state.log.time_ms:
        raise Refused(
            Reject.INSTRUMENT_EXPIRED,
            f"instrument {command.symbol}: expected an expiry after {state.log.time_ms}, found "
            f"{command.expiry_ms}",
        )
    # From here on the instrument must be listed.
    time_ms = state.log.time_ms
    state.contracts.append(
        Contract(
            number=number, listing=command, instrument=instrument,
            deal=deal_of(command, number, asset, state.assets[asset][1]), listed_ms=time_ms,
            funded_ms=time_ms, phase_ms=time_ms,
        )
    )  # fmt: skip
    state.contract_numbers[command.symbol] = number
    state.desk.open_book(number, book_terms(state, state.contracts[number]))
    events.append(Numbered("instrument", command.symbol, number))


def instrument_of(listing: ListInstrument) -> Instrument:
    """What a listing describes, as margining knows it. Refuses terms that make no contract."""
    kind = _KINDS.get(listing.kind)
    option = kind is Kind.OPTION
    types = {one.value: one for one in OptionType}
    wrong = ""
    if kind is None:
        wrong = f"a kind of {', '.join(_KINDS)}, found {listing.kind!r}"
    elif (kind is not Kind.PERPETUAL) != (listing.expiry_ms is not None):
        wrong = "an expiry for what is dated and none for a perpetual"
    elif option != (listing.strike is not None) or option != (listing.option_type in types):
        wrong = "a strike and a type, C or P, for an option and for nothing else"
    elif (kind is Kind.STRUCTURE) != bool(listing.terms):
        wrong = "terms for a structure and for nothing else"
    elif listing.base == listing.quote:
        wrong = "a quote currency that is not the base"
    elif listing.inverse != (listing.settlement == listing.base):
        wrong = "an inverse contract to settle in its base, and no other"
    elif listing.inverse and Fraction(listing.quanto_rate) != 1:
        wrong = "no quanto rate of an inverse contract"
    wrong = (
        wrong
        or _wrong_number(listing)
        or wrong_terms({name: Fraction(text) for name, text in listing.parameters.items()})
    )
    if wrong or kind is None:
        raise Refused(
            Reject.INSTRUMENT_TERMS_INVALID, f"instrument {listing.symbol}: expected {wrong}"
        )
    identity = Identity(
        base=listing.base, quote=listing.quote, settlement=listing.settlement, kind=kind,
        expiry_ms=None if listing.expiry_ms is None else TimeMs(listing.expiry_ms),
        strike=None if listing.strike is None else Decimal(listing.strike),
        option_type=types.get(listing.option_type or ""),
    )  # fmt: skip
    sizes = Specification(
        lot_size=Decimal(listing.lot_size), contract_size=Decimal(listing.contract_size),
        tick_size=Decimal(listing.tick_size),
    )  # fmt: skip
    if listing.terms:
        terms = tuple(
            Term(_PAYOFFS[one.payoff], float(one.strike), float(one.weight))
            for one in listing.terms
        )
        return Instrument(
            symbol=listing.symbol, contract=identity, terms=terms, specification=sizes,
            inverse=listing.inverse, quanto_rate=float(listing.quanto_rate),
        )  # fmt: skip
    vanilla = term_sheet(replace(identity), sizes)
    return replace(vanilla, symbol=listing.symbol, quanto_rate=float(listing.quanto_rate))


def _wrong_number(listing: ListInstrument) -> str:
    """What is expected of a number that cannot be; empty if all can."""
    sizes = {
        "lot_size": listing.lot_size, "contract_size": listing.contract_size,
        "tick_size": listing.tick_size, "quanto_rate": listing.quanto_rate,
    }  # fmt: skip
    if listing.strike is not None:
        sizes["strike"] = listing.strike
    for name, text in sizes.items():
        if not 0 < Fraction(text) <= STRIKE_MAX:
            return f"a {name} above 0 and at most {STRIKE_MAX:g}, found {text}"
    for term in listing.terms:
        if term.payoff not in _PAYOFFS:
            return f"payoffs of {', '.join(_PAYOFFS)}, found {term.payoff!r}"
        if not 0 <= Fraction(term.strike) <= STRIKE_MAX or abs(Fraction(term.weight)) > STRIKE_MAX:
            return f"a strike from 0 to {STRIKE_MAX:g}, found {term.strike}"
    return ""


def deal_of(listing: ListInstrument, number: int, asset: int, decimals: int) -> Deal:
    """A listing's arithmetic."""
    kind = _KINDS[listing.kind]
    tick = Fraction(listing.tick_size)
    terms = tuple(
        PayoffTerm(one.payoff, Fraction(one.strike), Fraction(one.weight)) for one in listing.terms
    )
    if not terms:
        strike = Fraction(listing.strike or 0)
        if kind is Kind.OPTION:
            payoff = "call" if listing.option_type == "C" else "put"
            terms = (PayoffTerm(payoff, strike, Fraction(1)),)
        elif listing.inverse:
            terms = (PayoffTerm("above", Fraction(0), Fraction(-1)),)
        else:
            terms = (PayoffTerm("call", Fraction(0), Fraction(1)),)
    return Deal(
        number=number, symbol=listing.symbol, asset=asset, underlying=listing.base,
        kind=listing.kind, up_front=kind >= Kind.OPTION, inverse=listing.inverse,
        expiry_ms=listing.expiry_ms, points_per_tick=listing.points_per_tick,
        lot_size=Fraction(listing.lot_size), point=tick / listing.points_per_tick,
        quanto_rate=Fraction(listing.quanto_rate), asset_scale=10**decimals, terms=terms,
        parameters={name: Fraction(text) for name, text in listing.parameters.items()},
    )  # fmt: skip


def delist_instrument(state: State, command: DelistInstrument, events: list[Event]) -> None:
    """A contract that nobody holds or orders is traded no more."""
    number = state.contract_numbers.get(command.symbol, -1)
    if number >= COMBO_FIRST:
        instrument_named(state, command.symbol)
        holders = 0
    else:
        contract = contract_named(state, command.symbol)
        number, holders = contract.number, len(contract.holders)
    orders = state.desk.order_count(number)
    if holders or orders:
        raise Refused(
            Reject.INSTRUMENT_HELD,
            f"instrument {command.symbol}: expected no position and no order, found {holders} and "
            f"{orders}",
        )
    # From here on it must be delisted.
    state.desk.close_book(number, events=events)
    if number < COMBO_FIRST:
        contract.settled = "delisted"
        close_combos(state, contract, events)
    events.append(Delisted(number))


def set_phase(state: State, command: SetPhase, events: list[Event]) -> None:
    """Another way of trading; what was averaged so far is averaged in the old one."""
    contract = contract_named(state, command.symbol)
    counts = contract.phase is not Phase.AUCTION
    time_ms = state.log.time_ms
    for average in (contract.future, contract.spot):
        average.advance(time_ms, counts=counts)
    if not counts:
        contract.auction_ms += time_ms - contract.phase_ms
    contract.phase_ms = time_ms
    contract.phase = command.phase
    events.append(PhaseChanged(contract.number, command.phase.value))
    floor = Floor(state, events)
    state.desk.set_phase(contract.number, command.phase, time_ms=time_ms, gate=floor, events=events)
    floor.close(events)


def adopt_rulebook(state: State, command: AdoptRulebook, events: list[Event]) -> None:
    """A rulebook's text, checked and with the parameters of a day, is in force under a name.

    Risk arrays that were published for the one before do not hold for it. How contracts are ruled
    by themselves can change only while nobody holds a position.
    """
    rulebook = read_rules(command.name, command.toml, command.day)
    house = rulebook.text.engine
    by_venue = command.venue or command.name == state.venue_rulebook
    if by_venue and house.contract != state.house.contract:
        if any(contract.holders for contract in state.contracts) or state.desk.orders:
            raise Refused(
                Reject.INSTRUMENT_HELD,
                f"rulebook {command.name}: expected no position and no order while contracts come "
                "to be margined in another way",
            )
        if house.contract is not None and not isinstance(rulebook, levels.LevelsRulebook):
            raise Refused(
                Reject.RULEBOOK_INVALID, f"rulebook {command.name}: expected formulas at levels"
            )
    # From here on the rulebook must be in force.
    state.rules[command.name] = Rules(toml=command.toml, day=command.day, rulebook=rulebook)
    if by_venue:
        state.venue_rulebook = command.name
        state.house = house
        for contract in state.contracts:
            contract.fee_rates = None
        set_terms(state)
    events.append(RulebookAdopted(command.name, rulebook.digest, command.venue))


def read_rules(name: str, toml: str, day: str) -> scans.Rulebook | levels.LevelsRulebook:
    """A rulebook's text with the parameters of a day. Refuses what cannot be put in force."""
    try:
        on = date.fromisoformat(day)
        text = scans.read_rulebook(toml, source=name)
        if isinstance(text, LevelsText):
            return levels.in_force(text, on)
        return scans.in_force(text, on)
    except (RulebookError, ValueError, RecursionError) as fault:
        raise Refused(
            Reject.RULEBOOK_INVALID,
            f"rulebook {name}: expected one that can be put in force: {fault}",
        ) from fault
