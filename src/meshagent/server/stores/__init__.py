"""Durable stores of the server: ports (`documents`, `queues`, `files`) and their adapters.

| Port | Kept in memory | Kept on disk |
|---|---|---|
| `documents.DocumentLogStore` | `memory_documents.MemoryDocumentLog` | `sqlite_documents.SqliteDocumentLog` |
| `queues.QueueStore` | `memory_queues.MemoryQueueStore` | `sqlite_queues.SqliteQueueStore` |
| `files.FileStores`, `files.FileStore` | `memory_files.MemoryFileStores` | `local_files.LocalFileStores` |

The two SQLite adapters share one `commit_log.CommitLog`: one database, one writer thread, one fsync for
all waiting writes. Rationale: docs/decisions/0003-durability.md.
"""
