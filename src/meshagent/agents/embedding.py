"""Text embeddings: the `Embedder` protocol, and `HashingEmbedder`, which needs no model."""

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
    """Turns texts into vectors, such that similar texts have similar vectors."""

    @property
    def name(self) -> str:
        """Identifies the embedding: only vectors made under the same name can be compared."""
        ...

    @property
    def dimensions(self) -> int:
        """Number of components of each vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one unit vector per text, in the same order.

        Raises:
            RoomException: The embedding model cannot be reached.
        """
        ...


class HashingEmbedder(Embedder):
    """Feature-hashing embedder without a model or network: texts are similar if they share words or parts of words.

    Words and their trigrams are hashed to dimensions and signs; repetitions count logarithmically. The same text has
    the same vector on every machine and in every process.

    Args:
        dimensions: Number of components; more of them mean fewer hash collisions.
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
_STOP_WORDS: Final = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "i", "in", "is", "it", "of", "on"}
    | {"or", "that", "the", "this", "to", "was", "were", "what", "when", "where", "which", "who", "will", "with", "you"}
)


def _features(text: str) -> Iterator[tuple[str, float]]:
    """Yield weighted features: words, and trigrams so that inflected forms match. Stop words hardly count."""
    plain = unicodedata.normalize("NFKD", text).encode("utf-8", "ignore").decode().casefold()
    for match in _WORD.finditer(plain):
        word = match[0]
        yield f"w:{word}", 0.1 if word in _STOP_WORDS else 1.0
        if word not in _STOP_WORDS and len(word) > 3:
            for start in range(len(word) - 2):
                yield f"t:{word[start : start + 3]}", 0.3
