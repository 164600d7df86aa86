"""Where compiled kernels are kept from one run to the next.

numba keeps them beside the package, or else in the user's cache; where it can write to neither (a
service that may write to its own data alone, a container whose files cannot be changed) it refuses
to compile. They are then kept for this process alone.
"""

from __future__ import annotations

import os
from pathlib import Path

PLACE = "NUMBA_CACHE_DIR"


def keep_kernels() -> str | None:
    """Name a place that can be written, where there would be none; that place, or None where numba
    finds its own. Nobody else can write to it: what is kept there is run."""
    if os.environ.get(PLACE):
        return None
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if any(map(_writable, (Path(__file__).parents[1], Path(cache)))):
        return None
    import atexit
    import shutil
    import tempfile

    try:
        found = tempfile.mkdtemp(prefix="solvent-kernels-")
    except OSError:
        return None
    atexit.register(shutil.rmtree, found, ignore_errors=True)
    os.environ[PLACE] = found
    return found


def _writable(place: Path) -> bool:
    """Whether a directory can be written, or be made."""
    there = next((one for one in (place, *place.parents) if one.exists()), place)
    return os.access(there, os.W_OK | os.X_OK)
