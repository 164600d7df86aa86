"""What is noted of a request while it is worked on: its id, who calls, what it does."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

_PLACE: Final = "solvent.note"


@dataclass(slots=True)
class Note:
    """Of one request. `kept`: it goes into the audit record; `limited`: the lane in which it was
    told to come again."""

    request: str = ""
    who: str = ""
    what: str = ""
    whose: str = ""
    kept: bool = False
    limited: str = ""


def note_of(scope: MutableMapping[str, Any]) -> Note:
    """The note of a request; an empty one where nobody keeps any."""
    found = scope.get(_PLACE)
    if not isinstance(found, Note):
        found = scope[_PLACE] = Note()
    return found


def noted(scope: Mapping[str, Any], who: str) -> dict[str, Any]:
    """A copy of a request's scope with a note of its own: for what is asked later on a page that
    stays open."""
    return {**scope, _PLACE: Note(request=uuid4().hex, who=who)}
