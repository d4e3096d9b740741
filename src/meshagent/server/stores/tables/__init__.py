"""Tables of rooms on LanceDB.

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
    settings        limits and maintenance

Only `table_engine` and `settings` may be imported at server start; the others import LanceDB or Arrow.
"""
