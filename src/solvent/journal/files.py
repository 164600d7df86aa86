"""What a journal's own files ask of the operating system; tests make each call fail."""

from __future__ import annotations

import errno
import os
from pathlib import Path

PRIVATE = 0o600
"""Only the owner reads or writes: a journal holds everyone's balances."""


class Files:
    """Every call raises OSError, and none is tried twice."""

    def open(self, path: Path, flags: int) -> int:
        """A descriptor of a file that only its owner may read."""
        return os.open(path, flags, PRIVATE)

    def write(self, descriptor: int, content: bytes | memoryview) -> None:
        """All of the content, at the end of what was written before."""
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]

    def write_at(self, descriptor: int, content: bytes, offset: int) -> None:
        """All of the content at an offset, in one call."""
        if os.pwrite(descriptor, content, offset) != len(content):
            raise OSError(errno.EIO, "short write")

    def sync(self, descriptor: int) -> None:
        """What was written is on the disk."""
        os.fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """A name for a finished file."""
        source.rename(target)

    def remove(self, path: Path) -> None:
        """Forget a file."""
        path.unlink()

    def sync_directory(self, directory: Path) -> None:
        """The names in a directory are on the disk."""
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)
