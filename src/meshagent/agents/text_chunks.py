"""Cutting texts into passages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["passages"]

_PARAGRAPHS: Final = re.compile(r"\n\s*\n")
_SENTENCES: Final = re.compile(r"(?<=[.!?])\s+|\n")


def passages(text: str, size: int) -> list[str]:
    """The text in passages of at most `size` characters.

    Paragraphs stay together where they fit; one that is too long is cut between sentences, a sentence that is too
    long anywhere. Nothing but white space is lost.
    """
    found: list[str] = []
    current = ""
    for piece in _pieces(text, size):
        joined = f"{current}\n\n{piece}" if current else piece
        if len(joined) <= size:
            current = joined
        else:
            if current:
                found.append(current)
            current = piece
    return [*found, current] if current else found


def _pieces(text: str, size: int) -> Iterator[str]:
    """Parts that are not cut any further, none longer than `size`."""
    for paragraph in _PARAGRAPHS.split(text):
        stripped = paragraph.strip()
        if len(stripped) <= size:
            if stripped:
                yield stripped
            continue
        for sentence in _SENTENCES.split(stripped):
            for start in range(0, len(sentence), size):
                if part := sentence[start : start + size].strip():
                    yield part
