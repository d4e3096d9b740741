"""Removes the newest versions of a table if a power failure left them incomplete.

The engine commits a version by its manifest, and only then are the files synced (`durable_files`). A power failure in
between may keep the manifest and lose files that it refers to, and the engine then fails on the whole table. Such a
version was never acknowledged, so it is removed, and the newest complete one becomes current. Files of this engine end
in a magic number; a file without it is torn.

A version that was acknowledged is never removed: if it is incomplete, the disk or somebody damaged it, and the table
fails until it is restored. Tables that earlier releases wrote have no mark of that until their next write.
"""

from __future__ import annotations

import logging
import os
import re
import struct
import uuid
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from meshagent.server.stores.disk import Disk
from meshagent.server.stores.errors import CorruptDataError
from meshagent.server.stores.tables.durable_files import acknowledged_manifest

__all__ = ["recover"]

log = logging.getLogger(__name__)

_ENDINGS = {".lance": b"LANC", ".idx": b"LANC", ".manifest": b"LANC", ".arrow": b"ARROW1", ".bin": b""}
_FOOTER_BYTES = 16
_LIST_POSITION = struct.Struct("<Q")
_DATA_FILE = re.compile(rb"[0-9a-f]{50}\.lance")


def recover(folder: Path, disk: Disk | None) -> int:
    """Remove incomplete versions of the table in `folder`, which must not be open; returns how many versions are left.

    Raises:
        CorruptDataError: A version that was acknowledged is damaged, or every one is; nothing was removed.
        OSError: The disk failed.
    """
    versions = folder / "_versions"
    manifests = _newest_first(versions)
    torn = {path: _reference_bytes(path) for path in _torn_files(folder)}
    broken = list(takewhile(lambda manifest: _is_broken(manifest, torn, folder / "data"), manifests))
    if manifests and len(broken) == len(manifests):
        raise CorruptDataError(f"every version of table {folder.stem!r} is damaged")
    _check_acknowledged(folder, manifests[len(broken) :])
    for manifest in broken:
        log.warning("removing the incomplete version %s of table %r", manifest.name, folder.stem)
        manifest.unlink()
    for path in torn:
        path.unlink(missing_ok=True)
    if broken and disk is not None:
        disk.sync_folder(versions)
    return len(manifests) - len(broken)


def _check_acknowledged(folder: Path, complete: Sequence[Path]) -> None:
    """Raise CorruptDataError unless the newest complete version is as new as the newest acknowledged one."""
    acknowledged = acknowledged_manifest(folder / "_versions")
    if acknowledged is not None and (not complete or complete[0].name > acknowledged):
        log.error(
            "table %r is damaged: %s or a file that it refers to is incomplete or gone, and what it holds was"
            " acknowledged; restore %s from a backup",
            folder.stem, acknowledged, folder,
        )  # fmt: skip
        raise CorruptDataError(
            f"table {folder.stem!r} is damaged: files of its newest version, which was acknowledged, are incomplete"
            " or gone; nothing was removed"
        )


def _newest_first(versions: Path) -> list[Path]:
    """The manifests; the engine names them by descending numbers of twenty digits."""
    try:
        names = [name for name in os.listdir(versions) if name.endswith(".manifest")]
    except FileNotFoundError:
        return []
    return [versions / name for name in sorted(names)]


def _torn_files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            ending = _ENDINGS.get(os.path.splitext(name)[1])
            path = Path(parent, name)
            if ending is not None and not _ends_with(path, ending):
                yield path


def _ends_with(path: Path, ending: bytes) -> bool:
    """Whether the file is not empty and ends with `ending`."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - max(len(ending), 1)))
        return size > 0 and file.read().endswith(ending)


def _reference_bytes(path: Path) -> bytes | None:
    """The bytes by which a manifest refers to a file; None if unknown."""
    match path.parent.name:
        case "data" | "_versions":
            return path.name.encode()
        case "_deletions":  # FRAGMENT-VERSION-ID.arrow
            return _varint(int(path.stem.rpartition("-")[2]))
        case index:
            try:
                return uuid.UUID(index).bytes
            except ValueError:
                return None


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _is_broken(manifest: Path, torn: dict[Path, bytes | None], data: Path) -> bool:
    if manifest in torn:
        return True
    content = manifest.read_bytes()
    if any(reference is not None and reference in content for reference in torn.values()):
        return True
    # The transaction, which may precede the list of files, names replaced files.
    (start,) = _LIST_POSITION.unpack_from(content, len(content) - _FOOTER_BYTES)
    return any(not (data / name.decode()).exists() for name in set(_DATA_FILE.findall(content, start)))
