"""Room database: tables on LanceDB.

    service         the operations of a room in JSON, without wire knowledge
    dataset         the same tables in Arrow
    sql_service, sql/    SQL over them
    engine          loads LanceDB at first use; shared by the rooms of a server
    tables          the tables of one room
    table           one table: writes in line, readers, upkeep of its files
    write_line      order of writes, group commit of inserts
    durable_files   syncs what the engine wrote
    recovery        takes back versions that a power cut left incomplete
    filters         SQL text of clients made fit for the engine
    columns, rows, literals, temporal    values between JSON, Arrow and SQL
    arrow_data, arrow_messages           Arrow data of strangers, checked
    arrow_tables, arrow_streams, arrow_spool    tables with Arrow in and out, uploads, searches in pieces
    typed_values, index_configs          the current generation's forms of values and indexes
    search, updates, indexes             queries, updates over the old row, indexes
    errors          failures of the engine in our own words
    settings        bounds and habits

Everything below `tables` that handles Arrow data is imported with the engine.
"""

from meshagent.server.services.database.engine import DatabaseEngine
from meshagent.server.services.database.service import DatabaseService
from meshagent.server.services.database.settings import DatabaseLimits, Upkeep

__all__ = ["DatabaseEngine", "DatabaseLimits", "DatabaseService", "Upkeep"]
