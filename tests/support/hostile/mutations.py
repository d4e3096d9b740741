"""Input that is nearly right: bytes, text and JSON values with something changed."""

from __future__ import annotations

import copy
import random
import re
from typing import Any, Final

_TOKEN: Final = re.compile(r"\w+|'[^']*'|\"[^\"]*\"|\s+|.", re.DOTALL)
_NUMBERS: Final = (0, 1, -1, 2**31, 2**53 + 1, -(2**63), 2**63, 2**64, 10**30, 1e308, -0.0, 0.5)
_TEXTS: Final = (
    "",
    "a",
    "A",
    "room",
    "../..",
    "a/b/c",
    "%",
    "\x00",
    "\x7f",
    "\u2028",
    "ä",
    "\U0001f600",
    "'",
    '"',
    "\\",
    "null",
    "id",
)


def mutated_bytes(data: bytes, chance: random.Random) -> bytes:
    """`data` with one to three places changed: other bytes, a piece lost, doubled, or moved to another place."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        if not changed:
            return chance.randbytes(chance.randrange(20))
        start = chance.randrange(len(changed))
        end = min(len(changed), start + chance.randrange(1, 9))
        match chance.randrange(6):
            case 0:
                changed[start] ^= 1 << chance.randrange(8)
            case 1:
                changed[start] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del changed[start:end]
            case 3:
                changed[start:start] = changed[start:end]
            case 4:
                changed[start:start] = chance.randbytes(chance.randrange(1, 9))
            case _:
                del changed[start:]
    return bytes(changed)


def mutated_text(text: str, chance: random.Random, words: list[str]) -> str:
    """`text` with one to three tokens changed: lost, doubled, exchanged, or replaced by one of `words` or a number."""
    tokens = _TOKEN.findall(text) or [""]
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(tokens))
        match chance.randrange(6):
            case 0:
                tokens[at] = ""
            case 1:
                tokens[at] *= 2
            case 2:
                other = chance.randrange(len(tokens))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 3:
                tokens[at] = str(chance.choice(_NUMBERS))
            case 4:
                tokens[at] = f"'{chance.choice(_TEXTS)}'"
            case _:
                tokens[at] = f" {chance.choice(words)} "
    return "".join(tokens)


def any_value(chance: random.Random, depth: int = 3) -> Any:
    """A JSON value of any kind."""
    match chance.randrange(8 if depth else 5):
        case 0:
            return None
        case 1:
            return chance.random() < 0.5
        case 2:
            return chance.choice(_NUMBERS)
        case 3 | 4:
            return any_text(chance)
        case 5:
            return [any_value(chance, depth - 1) for _ in range(chance.randrange(4))]
        case _:
            return {any_text(chance): any_value(chance, depth - 1) for _ in range(chance.randrange(4))}


def any_text(chance: random.Random) -> str:
    """A text: mostly short, sometimes long, sometimes of strange characters."""
    match chance.randrange(10):
        case 0:
            return "x" * chance.choice((255, 256, 1025, 5000))
        case 1:
            return "".join(
                chr(chance.choice((chance.randrange(0xD800), 0x10000 + chance.randrange(99)))) for _ in range(6)
            )
        case _:
            return chance.choice(_TEXTS)


def mutated_value(value: Any, chance: random.Random) -> Any:
    """A JSON value like `value` with one place changed: another value, a member lost, or one more."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        changed = copy.copy(value)
        key = chance.choice(list(value))
        match chance.randrange(4):
            case 0:
                del changed[key]
            case 1:
                changed[any_text(chance)] = any_value(chance)
            case _:
                changed[key] = mutated_value(value[key], chance)
        return changed
    if isinstance(value, list) and value and chance.random() < 0.8:
        items = list(value)
        at = chance.randrange(len(items))
        items[at : at + chance.randrange(2)] = [mutated_value(items[at], chance)]
        return items
    return any_value(chance)
