"""SQL over the tables of a room (docs/decisions/0008-sql-queries.md).

    engine       DuckDB, locked down, in threads of its own
    source       a table as DuckDB reads it: columns on demand, batch by batch
    statements   what an SQL text is: a query, or an insert, update or delete
    queries      the queries that are open

Everything here is imported at the first query.
"""
