"""XML from strangers: elements as they end, from files of any size, and no document type.

A document type may define entities that grow without bound or name files; a file that has one is
refused, so nothing is ever expanded or fetched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from solvent.errors import BadInput, Problem, Reject

_CHUNK = 1 << 20


def elements(path: str | Path, tags: Collection[str]) -> Iterator[Element]:
    """Every outermost element with one of the tags, whole. Raises BadInput for what is no XML.

    What lies outside of them is dropped, so memory holds one of them at a time.
    """
    reader = _Reader(frozenset(tags), str(path))
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                reader.parser.Parse(chunk, False)
                yield from reader.taken()
            reader.parser.Parse(b"", True)
            yield from reader.taken()
    except (OSError, expat.ExpatError) as fault:
        raise _unreadable(str(path), "an XML file", str(fault)) from fault


def text(element: Element, tag: str, default: str = "") -> str:
    """Text of the first child of a tag, without blanks around it."""
    return (element.findtext(tag) or default).strip()


class _Reader:
    def __init__(self, tags: frozenset[str], source: str) -> None:
        self.tags, self.source = tags, source
        self.found: list[Element] = []
        self.builder: TreeBuilder | None = None
        self.depth = 0
        self.parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype

    def taken(self) -> list[Element]:
        found, self.found = self.found, []
        return found

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if self.builder is None:
            if tag not in self.tags:
                return
            self.builder = TreeBuilder()
        self.depth += 1
        self.builder.start(tag, attributes)

    def _end(self, tag: str) -> None:
        if self.builder is None:
            return
        self.builder.end(tag)
        self.depth -= 1
        if self.depth == 0:
            self.found.append(self.builder.close())
            self.builder = None

    def _characters(self, characters: str) -> None:
        if self.builder is not None:
            self.builder.data(characters)

    def _doctype(self, *_: object) -> None:
        raise _unreadable(self.source, "XML without a document type", "<!DOCTYPE")


def _unreadable(source: str, expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.SOURCE_UNREADABLE, source=source, expected=expected, found=found[:80])
    )
