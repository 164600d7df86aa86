"""Several settings through the same seeds, kept as they end, so that what was stopped goes on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from solvent.lab.cascades.kept import Kept
from solvent.lab.cascades.many import Done, spread
from solvent.lab.cascades.run import Outcome, simulate
from solvent.lab.cascades.settings import Settings

Key = TypeVar("Key", bound=Hashable)


def sweep(
    wanted: Mapping[Key, Settings], seeds: Sequence[int], *, folder: Path | None = None,
    name: str = "runs", processes: int | None = None, done: Done | None = None,
) -> dict[Key, list[Outcome]]:  # fmt: skip
    """Outcomes of each settings in the order of `seeds`.

    Args:
        folder: where runs are kept, a file `NAME_DIGEST.jsonl` for each settings; those that are
            there are not made again.
        processes: how many at once; as many as there are processors if not told.
        done: called with runs done and runs in all, at first with those that were kept; not at all
            where none is left to make.

    Raises BadInput for a file of the folder that holds something else.
    """
    kept = {
        key: Kept(None if folder is None else folder / f"{name}_{one.digest}.jsonl", one)
        for key, one in wanted.items()
    }
    todo = [
        (key, wanted[key], seed) for key in wanted for seed in dict.fromkeys(seeds)
        if seed not in kept[key].runs
    ]  # fmt: skip
    count = len(wanted) * len(set(seeds))
    ready = count - len(todo)
    if done is not None and todo:
        done(ready, count)
    for key, outcome in spread(_labelled, todo, processes=processes):
        kept[key].add(outcome)
        ready += 1
        if done is not None:
            done(ready, count)
    return {key: [kept[key].runs[seed] for seed in seeds] for key in wanted}


def _labelled(task: tuple[Key, Settings, int]) -> tuple[Key, Outcome]:
    key, settings, seed = task
    return key, simulate(settings, seed)
