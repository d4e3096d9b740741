"""Tables of rooms on LanceDB.

    table_engine    loads LanceDB at first use; shared by the rooms of a server
    room_tables     the tables of one room, rows as JSON
    arrow_tables, arrow_spool       the same with Arrow data in and out, and uploads kept aside
    table           one table: ordered writes, readers, maintenance of its files
    write_queue     order of writes, group commit of inserts
    durable_files   syncs what the engine wrote
    recovery        takes back versions that a power cut left incomplete
    filters         SQL text of clients made fit for the engine
    columns, rows, literals, temporal    values between JSON, Arrow and SQL
    arrow_data, arrow_messages           Arrow data of strangers, checked
    search, updates, indexes, index_configs    queries, updates over the old row, indexes
    errors          failures of the engine in our own words
    settings        limits and maintenance

Only `table_engine` and `settings` may be imported at server start; the others import LanceDB or Arrow.
"""
