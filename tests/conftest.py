"""For all tests."""

from __future__ import annotations

from tests.support.hypothesis_profiles import load_profile

load_profile()
