"""What the documents say is true: examples run, links lead somewhere, words are listed once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import solvent as sv
from solvent.feeds.market import read_market
from solvent.feeds.synthetic_market import generate_market
from solvent.margining.rulebook import read_rulebook
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)


def test_worked_rulebook_example() -> None:
    """Ten percent of net delta: 100,000 dollars short ask for 10,000, matched ones for nothing."""
    text = blocks(DOCS / "rulebooks.md", "toml")[-1]
    rulebook = read_rulebook(text, source="docs/rulebooks.md")
    market = generate_market(seed=1, coins=("BTC",), expiries=1, strikes=2)
    short = {"account": "a", "instrument": "BTC-PERPETUAL", "size": -100_000}
    answer = sv.margin([short], market, rulebook=rulebook).to_polars()
    mark = float(market.mark[market.universe.row("BTC-PERPETUAL") or 0])
    expected = 0.1 * 100_000 / mark * float(market.index[0])
    assert answer["initial_margin"][0] == pytest.approx(expected, rel=1e-5)
    assert answer["initial_margin"][0] == pytest.approx(10_000, rel=1e-3)
    assert answer["maintenance_margin"][0] == pytest.approx(expected / 2, rel=2e-5)
    both = sv.margin([short, {**short, "size": 100_000}], market, rulebook=rulebook).to_polars()
    assert both["initial_margin"].sum() == 0


def test_example_book_is_known_under_every_rulebook_that_its_page_names() -> None:
    folder = ROOT / "examples"
    text = (folder / "README.md").read_text("utf-8")
    names = re.findall(r"--rulebooks ([\w,-]+)", text)[0].split(",")
    assert len(names) >= 8
    market = generate_market(seed=1)
    for name in names:
        answer = sv.margin(
            folder / "book.csv", market, name, collateral=folder / "balances.csv"
        ).to_polars()
        assert set(answer["status"]) <= {"healthy", "call"}, name


def test_position_example_reads() -> None:
    rows = blocks(DOCS / "formats.md", "csv")[0].strip().splitlines()
    header = rows[0].split(",")
    table = [dict(zip(header, row.split(","), strict=True)) for row in rows[1:]]
    assert len(sv.read_positions(table)) == 3


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in DOCS.rglob("*.md"):
        assert str(page.relative_to(DOCS)) in navigation, page


def test_glossary_lists_each_word_once_in_order() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", (DOCS / "glossary.md").read_text("utf-8"), re.MULTILINE)
    words = [row.strip().lower() for row in rows if row.strip() not in ("word", "---")]
    assert len(words) >= 50
    assert words == sorted(words)
    assert len(set(words)) == len(words)


def test_readme_names_every_command() -> None:
    from solvent.cli import app

    text = (ROOT / "README.md").read_text("utf-8")
    for command in app.registered_commands:
        assert f"solvent {command.name}" in text or command.name == "demo"


def test_decisions_are_numbered() -> None:
    names = sorted(path.name for path in (DOCS / "decisions").glob("*.md"))
    assert [name[:4] for name in names] == [f"{n:04d}" for n in range(1, len(names) + 1)]
    for path in (DOCS / "decisions").glob("*.md"):
        text = path.read_text("utf-8")
        assert text.startswith(f"# {path.name[:4]}: ")
        assert {"**Context.**", "**Decision.**", "**Consequence.**"} <= set(
            re.findall(r"\*\*\w+\.\*\*", text)
        )


def test_reading_a_market_needs_a_file() -> None:
    with pytest.raises(sv.BadInput, match="one usable instrument"):
        read_market([])
