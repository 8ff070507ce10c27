"""One writer at a time per store."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from nabladft.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_NAME: Final = ".lock"


@contextmanager
def store_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a store; the system releases it when the process ends, however it ends.

    Raises:
        StoreError: Another process holds it; the message says which.
        OSError: The folder is not writable.
    """
    import fcntl  # noqa: PLC0415 - absent on Windows, where stores can be read all the same

    with (folder / LOCK_NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            message = (
                f"{folder} is being written by {holder}. Wait for it to finish, or let every "
                "writer fill a store of its own."
            )
            raise StoreError(message) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
