"""The table and SQL engines of a server, in processes of their own (decision 0009).

In the server, without an engine:
    store        the adapter of `stores.tables.table_store` that servers use
    proxy        a room's tables as calls to an engine, wherever it runs
    pool, slot   which process a room's calls go to; starts, watches, stops and replaces the processes
    connection   calls over a socket, many at a time
    launcher     starts processes by forking one that has the engines loaded
    health       failing tables, for `/healthz`
    metrics      figures of the processes

In an engine process, which imports LanceDB, Arrow and DuckDB:
    template     the process that loads the engines once and is forked
    serving      takes calls from the socket
    host         the rooms whose tables this process has open
    room_engine  what the calls do

Shared: `methods` (names, arguments and results of the calls), `packets` (how they travel), `errors` (how failures
do), `settings`. `local` is the adapter without processes, for tests.
"""
