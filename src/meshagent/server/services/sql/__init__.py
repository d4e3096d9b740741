"""SQL over the tables of a room (docs/decisions/0008-sql-queries.md).

    engine       DuckDB, sandboxed, in its own threads
    source       a table as a streaming Arrow dataset for DuckDB
    statements   parses an SQL text: a query, or an insert, update or delete
    queries      open queries

These modules are imported at the first query.
"""
