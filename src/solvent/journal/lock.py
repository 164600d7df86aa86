"""One writer at a time: a file that its engine holds locked for as long as it lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from solvent.journal.errors import JournalBusy
from solvent.journal.files import Files


class FileLock:
    """The system lets go of it when the process ends, however it ends."""

    def __init__(self, path: Path, files: Files) -> None:
        self._descriptor = files.open(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise JournalBusy(
                f"{path.parent}: expected no other engine on this journal, found process "
                f"{holder or 'of unknown number'} at work"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let the next one in."""
        os.close(self._descriptor)
