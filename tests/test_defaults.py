"""What holds of every default, over generated ones: see `defaults` for what is checked."""

from __future__ import annotations

import pytest

from tests.defaults import Checked, run

WORLDS = 240
SOAKED = 20_000


def all_of(seeds: range) -> Checked:
    """All worlds together."""
    total = Checked()
    for seed in seeds:
        try:
            found = run(seed)
        except AssertionError as fault:
            raise AssertionError(f"seed {seed}: {fault}") from fault
        total.defaults += found.defaults
        total.shortfalls += found.shortfalls
        total.partial += found.partial
        total.isolated += found.isolated
        total.stages += found.stages
    return total


def test_generated_defaults() -> None:
    found = all_of(range(WORLDS))
    assert found.defaults > 2 * WORLDS
    assert found.shortfalls > WORLDS // 4
    assert found.partial > WORLDS // 8
    assert found.isolated > WORLDS // 8
    assert set(found.stages) >= {"begin", "book", "fund", "adl", "debt", "end"}


@pytest.mark.soak
def test_a_hundred_thousand_defaults() -> None:
    done, first = 0, WORLDS
    while done < 100_000:
        done += all_of(range(first, first + SOAKED // 100)).defaults
        first += SOAKED // 100
    assert done >= 100_000
