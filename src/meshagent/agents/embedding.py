"""Vectors that stand for texts, so that similar texts are near each other."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final, Protocol

__all__ = ["Embedder", "HashingEmbedder"]


class Embedder(Protocol):
    """Makes vectors of texts."""

    @property
    def name(self) -> str:
        """Tells vectors that can be compared from others: same name, same vectors."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of each vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector of length 1 for each text.

        Raises:
            RoomException: The model behind it cannot be reached.
        """
        ...


class HashingEmbedder(Embedder):
    """Embeds without a model or a network: texts are near each other that share words and parts of words.

    Words and their three-letter parts are hashed to dimensions and signs; repeated ones count less each time. The
    same text has the same vector on every machine and in every process.

    Args:
        dimensions: More of them mean fewer collisions.
    """

    def __init__(self, dimensions: int = 512) -> None:
        self._dimensions = dimensions

    @property
    def name(self) -> str:
        return f"hashing-{self._dimensions}"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._embed(text) for text in texts]

    def _embed(self, text: str) -> list[float]:
        vector = [0.0] * self._dimensions
        for (feature, weight), count in Counter(_features(text)).items():
            digest = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest())
            sign = 1.0 if digest & 1 else -1.0
            vector[(digest >> 1) % self._dimensions] += sign * weight * (1.0 + math.log(count))
        length = math.sqrt(sum(value * value for value in vector))
        return [value / length for value in vector] if length else [1.0, *vector[1:]]


_WORD: Final = re.compile(r"\w+")
_COMMON: Final = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "i", "in", "is", "it", "of", "on"}
    | {"or", "that", "the", "this", "to", "was", "were", "what", "when", "where", "which", "who", "will", "with", "you"}
)


def _features(text: str) -> Iterator[tuple[str, float]]:
    """Words, and parts of words that make inflected forms alike; words that are everywhere hardly count."""
    plain = unicodedata.normalize("NFKD", text).encode("utf-8", "ignore").decode().casefold()
    for match in _WORD.finditer(plain):
        word = match[0]
        yield f"w:{word}", 0.1 if word in _COMMON else 1.0
        if word not in _COMMON and len(word) > 3:
            for start in range(len(word) - 2):
                yield f"t:{word[start : start + 3]}", 0.3
