"""Room database: tables on LanceDB.

    service         the operations of a room, without wire knowledge
    engine          loads LanceDB at first use; shared by the rooms of a server
    tables          the tables of one room
    table           one table: writes in line, readers, upkeep of its files
    write_line      order of writes, group commit of inserts
    durable_files   syncs what the engine wrote
    recovery        takes back versions that a power cut left incomplete
    filters         SQL text of clients made fit for the engine
    columns, rows, literals, temporal    values between JSON, Arrow and SQL
    search, updates, indexes             queries, updates over the old row, indexes
    errors          failures of the engine in our own words
    settings        bounds and habits

Everything below `tables` that handles Arrow data is imported with the engine.
"""

from meshagent.server.services.database.engine import DatabaseEngine
from meshagent.server.services.database.service import DatabaseService
from meshagent.server.services.database.settings import DatabaseLimits, Upkeep

__all__ = ["DatabaseEngine", "DatabaseLimits", "DatabaseService", "Upkeep"]
