"""Normalisation of room paths, which every path of a request goes through, and folder names of rooms on disk."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import PurePosixPath

from meshagent.api.errors import InvalidRequestError

__all__ = ["MAX_PARTS", "MAX_PART_BYTES", "MAX_PATH_BYTES", "normalize_path", "room_folder"]

MAX_PART_BYTES = 255
"""Longest name between two slashes, in UTF-8 bytes: what common file systems take."""

MAX_PATH_BYTES = 4096

MAX_PARTS = 64
"""Deepest path; deleting a tree takes a descriptor and a stack frame for each level."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_MAX_QUOTED = 200
_KEPT_OF_LONG = 120


def normalize_path(path: str) -> str:
    """The canonical form of a room path: parts joined by single slashes, none at the start or end; "" is the root.

    Empty parts and `.` are removed, so `/a//b/./c/` becomes `a/b/c`. There is no case folding and no Unicode
    normalisation. Idempotent.

    Raises:
        InvalidRequestError: `..` as a part, a backslash, a control character, text that is not Unicode (a lone
            surrogate), a part over `MAX_PART_BYTES`, a path over `MAX_PATH_BYTES` or of more than `MAX_PARTS`.

    Source: protocol 6.2.
    """
    try:
        encoded_length = len(path.encode())
    except UnicodeEncodeError:
        raise InvalidRequestError("the path is not valid Unicode text") from None
    if encoded_length > MAX_PATH_BYTES:
        raise InvalidRequestError(f"the path is longer than {MAX_PATH_BYTES} bytes")
    if "\\" in path:
        raise InvalidRequestError("a path must not contain a backslash")
    if not path.isprintable() and any(unicodedata.category(character) == "Cc" for character in path):
        raise InvalidRequestError("a path must not contain control characters")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if len(parts) > MAX_PARTS:
        raise InvalidRequestError(f"the path has more than {MAX_PARTS} parts")
    for part in parts:
        if part == "..":
            raise InvalidRequestError("a path must not contain '..'")
        if len(part.encode()) > MAX_PART_BYTES:
            raise InvalidRequestError(f"a part of the path is longer than {MAX_PART_BYTES} bytes")
    return "/".join(parts)


def room_folder(project: str, room: str) -> PurePosixPath:
    """Relative folder `project/room` for the files of a room: safe for any two names, different for different ones.

    Bytes other than letters, digits, `-`, `_` and inner dots are written as `%XX`. A name too long for a file
    system keeps its beginning and ends in `~` and a hash. Names that differ only in case give folders that do too,
    so the data folder belongs on a case-sensitive file system.

    Raises:
        InvalidRequestError: A name is empty.
    """
    return PurePosixPath(_quote(project), _quote(room))


def _quote(name: str) -> str:
    if not name:
        raise InvalidRequestError("a project or room name must not be empty")
    raw = name.encode("utf-8", "surrogatepass")
    quoted = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
    if quoted.startswith("."):  # ".", "..", and names that a folder listing would hide
        quoted = "%2E" + quoted[1:]
    if len(quoted) <= _MAX_QUOTED:
        return quoted
    return f"{quoted[:_KEPT_OF_LONG]}~{hashlib.sha256(raw).hexdigest()}"
