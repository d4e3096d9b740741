"""Updates whose expressions see the old values of each row.

The engine (LanceDB 0.40) computes the columns of an update one by one, in no fixed order, and each expression sees the
new values of earlier ones: `{"previous": "status", "status": "'done'"}` may lose the status. Expressions that read a
column that the same update assigns are therefore computed into temporary columns first.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from lancedb import AsyncTable

from meshagent.server.stores.tables.columns import SCRATCH_PREFIX
from meshagent.server.stores.tables.filters import names_in

__all__ = ["apply_update", "remove_scratch_columns"]


async def apply_update(table: AsyncTable, where: str, assigned: Mapping[str, str]) -> int:
    """Assign expressions over the old values, atomically; returns the number of rows."""
    interdependent = _interdependent(assigned)
    if not interdependent:
        return (await table.update(where=where, updates_sql=dict(assigned))).rows_updated
    scratch = {column: SCRATCH_PREFIX + secrets.token_hex(8) for column in interdependent}
    await table.add_columns({scratch[column]: assigned[column] for column in interdependent})
    try:
        return (await table.update(where=where, updates_sql={**assigned, **scratch})).rows_updated
    finally:
        await table.drop_columns(list(scratch.values()))


async def remove_scratch_columns(table: AsyncTable) -> None:
    """Drop temporary columns of an interrupted update."""
    left = [name for name in (await table.schema()).names if name.startswith(SCRATCH_PREFIX)]
    if left:
        await table.drop_columns(left)


def _interdependent(assigned: Mapping[str, str]) -> list[str]:
    """The columns whose expression may read another column that is assigned too; a bare name is of any case."""

    def others(column: str) -> set[str]:
        return {other.lower() for other in assigned if other != column}

    return [column for column, expression in assigned.items() if names_in(expression) & others(column)]
