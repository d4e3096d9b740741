"""The data folder as a whole: who may read it, and what is wrong with it when the server cannot start."""

from __future__ import annotations

import errno
import logging
import shutil
import stat
from pathlib import Path
from typing import Final

from meshagent.server.stores.errors import StoreFailedError

__all__ = ["DataFolderError", "data_folder_error", "make_private"]

log = logging.getLogger(__name__)

_OURS: Final = ("server.json", "*.lock", "*.sqlite", "*.sqlite-wal", "*.sqlite-shm", "files", "tables")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NEARLY_FULL_BYTES: Final = 1024 * 1024


class DataFolderError(OSError):
    """The data folder cannot be used. The text names it and says what to do."""


def make_private(folder: Path) -> None:
    """Create the folder if it is missing, and take what the server keeps in it from all other users.

    Programs that unpack backups, and folders made beforehand, leave other modes than the server's own. The mode of a
    folder that exists is its maker's choice, and other files in it are not touched.

    Raises:
        OSError: The folder cannot be created.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in sorted({path for pattern in _OURS for path in folder.glob(pattern)}):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & _OTHERS:
                path.chmod(mode & ~_OTHERS)
                log.warning("%s was open to other users (mode %04o): it is private now", path, mode)
        except OSError as error:
            log.warning("cannot make %s private: %s", path, error.strerror)


def data_folder_error(folder: Path, error: Exception) -> Exception:
    """What to raise when a start fails: for a disk that is full or broken, an error that says so; else `error`."""
    if isinstance(error, StoreFailedError | OSError) and _is_full(folder, error):
        return DataFolderError(f"the disk of the data folder {folder} is full: free some space and start again")
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return DataFolderError(f"a file in the data folder {folder} would be larger than the system allows")
    if isinstance(error, StoreFailedError):
        return DataFolderError(f"cannot use the data folder {folder}: {error}")
    return error


def _is_full(folder: Path, error: Exception) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        if "disk is full" in str(cause):
            return True
        cause = cause.__cause__
    if isinstance(error, StoreFailedError):  # SQLite has no word of its own for each way in which a disk is full
        try:
            return shutil.disk_usage(folder).free < _NEARLY_FULL_BYTES
        except OSError:
            return False
    return False
