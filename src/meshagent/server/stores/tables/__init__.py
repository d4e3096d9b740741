"""Tables of rooms on LanceDB.

    table_store     the port that rooms call, in plain data; engines and their processes are in `server.engines`
    table_engine    loads LanceDB at first use; shared by the rooms of a server
    room_tables     the tables of one room, rows as JSON
    arrow_tables, arrow_spool       the same with Arrow data, and temporary storage of uploads
    table           one table: ordered writes, readers, maintenance of its files
    write_queue     order of writes, group commit of inserts
    durable_files   syncs what the engine wrote
    recovery        removes versions that a power failure left incomplete
    filters         rewrites SQL of clients for the engine
    columns, rows, literals, temporal    values between JSON, Arrow and SQL
    arrow_data, arrow_messages           validation of Arrow data from clients
    search, updates, indexes, index_configs    queries, updates, indexes
    errors          errors of the engine as errors of the room API
    work_clock      how long a call has been worked on
    settings        limits and maintenance

The server's process imports `table_store`, `table_engine`, `durable_files`, `errors` and `settings`; the others import
LanceDB or Arrow, and are for engine processes.
"""
