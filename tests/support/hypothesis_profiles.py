"""How many examples property tests try: all of them in `make test`, fewer in `make check` (HYPOTHESIS_PROFILE=quick).

There is no deadline for an example: how long one takes depends on what else the machine does.
"""

from __future__ import annotations

import os

from hypothesis import settings

__all__ = ["examples", "load_profile"]

QUICK = "quick"
FULL = "full"
_FULL_EXAMPLES = 100
_QUICK_SHARE = 5


def load_profile() -> None:
    """Use the profile that the environment names; before any module with property tests is imported."""
    settings.register_profile(FULL, max_examples=_FULL_EXAMPLES, deadline=None)
    settings.register_profile(QUICK, max_examples=examples(_FULL_EXAMPLES), deadline=None)
    settings.load_profile(_profile())


def examples(count: int) -> int:
    """`count`, or a fifth of it when tests are to be quick."""
    return count if _profile() == FULL else max(1, count // _QUICK_SHARE)


def _profile() -> str:
    return os.environ.get("HYPOTHESIS_PROFILE", FULL)
