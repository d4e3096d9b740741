"""Media types by extension."""

from __future__ import annotations

import pytest

from meshagent.server.services.media_types import DEFAULT_MEDIA_TYPE, media_type_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", "text/plain"),
        ("PICTURE.JPG", "image/jpeg"),
        ("archive.tar.gz", "application/gzip"),
        ("a.b/c.json", "application/json"),
        ("unknown.xyz", DEFAULT_MEDIA_TYPE),
        ("no extension", DEFAULT_MEDIA_TYPE),
        (".json", DEFAULT_MEDIA_TYPE),
        ("dot.", DEFAULT_MEDIA_TYPE),
    ],
)
def test_the_extension_decides(name: str, expected: str) -> None:
    assert media_type_of(name) == expected
