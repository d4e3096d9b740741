"""Which URLs can be called at all."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshagent.server.kernel.http_url import http_url

IMPOSSIBLE = [
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:65536/",
    "https://[::1]:70000/",
    "http://example.com:0/",
    "http://example.com:+80/",
    "http://example.com:-1/",
    "http://example.com:1:2/",
    "http://:80/",
    "http://[::1/",
    "http://?query",
    "ftp://example.com/",
    "/hook",
]


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_what_cannot_be_called_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a"):
        http_url(text)


@pytest.mark.parametrize(
    "text", ["http://example.com:65535/a?b=c", "https://[::1]:8443/", "http://localhost", "http://h:/"]
)
def test_what_can_be_called_is_taken(text: str) -> None:
    assert http_url(text).host


def test_an_error_repeats_no_secret() -> None:
    for text in ("http://user:sesame/x@example.com/", "http://user:sesame@example.com:99999/", "x://sesame"):
        with pytest.raises(ValueError, match=r"^not a") as caught:
            http_url(text)
        assert "sesame" not in str(caught.value)


@given(rest=st.text(max_size=20), scheme=st.sampled_from(["http://", "https://", "http://h:", "http://[", ""]))
@example(scheme="http://h:", rest="٣")
def test_any_text_is_judged(scheme: str, rest: str) -> None:
    try:
        url = http_url(scheme + rest)
    except ValueError:
        return
    assert url.host
    assert 0 < (url.port or 0) <= 65535
