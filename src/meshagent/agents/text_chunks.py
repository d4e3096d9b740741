"""Split texts into chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["split_text"]

_PARAGRAPHS: Final = re.compile(r"\n\s*\n")
_SENTENCES: Final = re.compile(r"(?<=[.!?])\s+|\n")


def split_text(text: str, size: int) -> list[str]:
    """Split a text into chunks of at most `size` characters.

    Paragraphs stay whole where they fit; longer ones are split between sentences, longer sentences anywhere. Only
    white space is lost.
    """
    chunks: list[str] = []
    current = ""
    for piece in _pieces(text, size):
        joined = f"{current}\n\n{piece}" if current else piece
        if len(joined) <= size:
            current = joined
        else:
            if current:
                chunks.append(current)
            current = piece
    return [*chunks, current] if current else chunks


def _pieces(text: str, size: int) -> Iterator[str]:
    """Yield paragraphs or parts of them, none longer than `size`."""
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
