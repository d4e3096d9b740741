"""Which tests share a worker of pytest-xdist: those of one module, and those that need the same costly thing.

Loading the engines of tables and SQL takes seconds, and so does starting PostgreSQL. A worker that has one of them has
it for all its tests, so these tests go to one worker each.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

__all__ = ["ByNeed"]

_POSTGRESQL = "[postgresql"
_ENGINES = (
    "tests/agents/test_chat_tools.py",
    "tests/agents/test_indexer.py",
    "tests/e2e/test_invoke_dataset.py",
    "tests/e2e/test_sdk_tables.py",
    "tests/e2e/test_wire_database.py",
    "tests/server/engines/",
    "tests/server/services/test_database_service.py",
    "tests/server/services/test_sql",
    "tests/server/stores/tables/",
    "tests/tools/test_room_toolkits.py",
)


class ByNeed(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out whole groups of tests, those with the most tests first."""

    def _split_scope(self, nodeid: str) -> str:
        """The group of a test."""
        if _POSTGRESQL in nodeid:
            return "postgresql"
        if nodeid.startswith(_ENGINES):
            return "engines"
        return nodeid.partition("::")[0]
