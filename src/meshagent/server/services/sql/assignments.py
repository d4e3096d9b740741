"""What an `UPDATE` assigns is what `SELECT` shows for the same expression, or the update is refused.

The table engine computes and writes the values. It cuts fractions off where SQL rounds, wraps integers around, and so
on, so both engines compute the values before anything is written, and they are compared.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from lancedb import AsyncTable

from meshagent.api.errors import InternalError, InvalidRequestError
from meshagent.server.services.sql.statements import ROW_ID
from meshagent.server.stores.tables.sql_tokens import Token, tokens_of

__all__ = ["check_assignment", "needs_check"]

_VALUE: Final = "value"
_SHORT_DIGITS: Final = 10
_CHANGING: Final = frozenset(
    {"now", "current_timestamp", "current_date", "current_time", "today", "random", "uuid", "gen_random_uuid"}
)
"""Functions that give another value each time; there is nothing to compare."""


def needs_check(expression: str, column: pa.DataType) -> bool:
    """Whether the engines may give different values for an expression that is assigned to a column of that type."""
    if pa.types.is_nested(column) or pa.types.is_binary(column) or pa.types.is_large_binary(column):
        return False  # assigned from parameters, which the table engine alone can write as literals
    tokens = [token for token in tokens_of(expression) if token.kind != "space"]
    if any(token.kind == "word" and token.text.lower() in _CHANGING for token in tokens):
        return False
    return not (len(tokens) == 1 and _is_exact(tokens[0], column))


def _is_exact(token: Token, column: pa.DataType) -> bool:
    match token.kind:
        case "string":
            return bool(pa.types.is_string(column) or pa.types.is_large_string(column))
        case "number":
            return bool(token.text.isdecimal() and len(token.text) < _SHORT_DIGITS and pa.types.is_int64(column))
        case "word":
            return token.is_word("null") or bool(
                pa.types.is_boolean(column) and token.text.lower() in ("true", "false")
            )
    return False


async def check_assignment(table: AsyncTable, where: str, field: pa.Field, expression: str, expected: pa.Table) -> None:
    """Compare what the table engine computes with what the SQL engine did.

    Args:
        table: The table, with its write queue held.
        where: Which rows, in the table engine's dialect.
        field: The column that is assigned.
        expression: What is assigned to it, in the table engine's dialect.
        expected: Ids of rows and values, as the SQL engine computed them.

    Raises:
        InvalidRequestError: They differ, or the column cannot hold the values.
    """
    query = table.query().where(where).with_row_id().select({_VALUE: expression})
    found = (await query.to_arrow()).sort_by(ROW_ID)
    wanted = pa.Table.from_arrays(expected.columns, names=[ROW_ID, _VALUE]).sort_by(ROW_ID)
    if not found.column(ROW_ID).combine_chunks().equals(wanted.column(ROW_ID).cast(pa.uint64()).combine_chunks()):
        raise InternalError("the engines do not agree on the rows to change")
    ours, theirs = (_cast(data.column(_VALUE), field) for data in (found, wanted))
    same = pc.fill_null(pc.equal(ours, theirs), False)
    same = pc.or_(same, pc.and_(pc.is_null(ours), pc.is_null(theirs)))
    if pa.types.is_floating(field.type):
        nans = pc.and_(pc.is_nan(ours), pc.is_nan(theirs))
        same = pc.or_(same, pc.fill_null(nans, False))
    place = pc.index(same, False).as_py()
    if place >= 0:
        raise InvalidRequestError(
            f"column {field.name!r}: SELECT gives {theirs[place].as_py()!r} for this expression, and UPDATE would store"
            f" {ours[place].as_py()!r}; nothing was changed. Write the conversion that you mean, as with CAST or round"
        )


def _cast(values: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    try:
        return values.cast(field.type)
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise InvalidRequestError(f"column {field.name!r} cannot hold what is assigned to it: {reason}") from None
