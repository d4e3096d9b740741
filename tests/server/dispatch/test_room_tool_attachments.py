"""Attachments of the room's own tools, which travel as base64 text."""

from __future__ import annotations

import pytest

from meshagent.api.errors import InvalidRequestError
from meshagent.server.dispatch.invoke.room_tools import attachment_of


@pytest.mark.parametrize(("encoded", "attachment"), [(None, b""), ("", b""), ("AAEC", b"\x00\x01\x02")])
def test_attachments_are_decoded(encoded: str | None, attachment: bytes) -> None:
    assert attachment_of(encoded) == attachment


@pytest.mark.parametrize("encoded", ["AAE", "not base64!", "nö"])
def test_other_texts_are_invalid_requests(encoded: str) -> None:
    with pytest.raises(InvalidRequestError, match="base64"):
        attachment_of(encoded)
