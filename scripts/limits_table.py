"""The limits of `docs/reference/limits.md`: where their values are in the code, and what happens beyond."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

HOUR = 3600
Format = Callable[[float], str]


def count(value: float) -> str:
    """A number without a unit; 0 of settings is no limit."""
    return f"{value:,.10g}"


def unless_zero(value: float) -> str:
    """A number where 0 is no limit."""
    return f"{value:,.10g}" if value else "0, which is no limit"


def size(value: float) -> str:
    """Bytes, in the largest unit that divides them."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= factor:
            whole, rest = divmod(int(value), factor)
            return f"{whole:,} {unit}" + (f" + {size(rest)}" if rest else "")
    return f"{value:,.0f} bytes"


def duration(value: float) -> str:
    """Seconds, in the unit that people would use."""
    if value == HOUR:
        return "1 hour"
    for unit, factor in (("days", 24 * HOUR), ("hours", HOUR), ("minutes", 60)):
        if value >= 2 * factor and value % factor == 0 and value >= 300:
            return f"{value / factor:.0f} {unit}"
    return f"{value:,.10g} s" if value >= 1 else f"{value * 1000:.10g} ms"


def days(value: float) -> str:
    """A number of days."""
    return f"{value:g} days"


def hours(value: float) -> str:
    """A number of hours."""
    return f"{value:g} hours"


def characters(value: float) -> str:
    """Characters of a text."""
    return f"{value:,.0f} characters"


@dataclass(frozen=True)
class Setting:
    """Settings that are told together.

    Attributes:
        names: The settings.
        shown: How their values are written.
        beyond: What happens beyond.
    """

    names: Sequence[str]
    shown: Format
    beyond: str


@dataclass(frozen=True)
class Fixed:
    """Something that has limits of its own.

    Attributes:
        what: The thing.
        text: Its limit; `{}` for each value.
        values: How each value is written, and where it is in the code below `meshagent`: `module:CONSTANT`, or
            `module:Class?parameter` for a default.
        beyond: What happens beyond.
    """

    what: str
    text: str
    values: Sequence[tuple[Format, str]]
    beyond: str = "`limit_exceeded`"


SETTINGS = [
    Setting(["limits.max_packet_bytes"], size, "the connection is closed with 1009"),
    Setting(["limits.max_message_bytes"], size, "the request is answered with an error"),
    Setting(
        ["limits.max_buffered_bytes"],
        size,
        "senders to the participant wait; see [slow readers](protocol/01-connection.md#1.9)",
    ),
    Setting(
        ["limits.drain_timeout"],
        duration,
        "a participant that does not read while senders wait is dropped, and may come back",
    ),
    Setting(["limits.max_pending_requests"], count, "of one connection: the request is refused"),
    Setting(
        ["limits.max_pending_bytes"],
        size,
        "of requests of one connection that wait, or of answers that it has not read: it is read no further",
    ),
    Setting(
        ["limits.max_waiting_bytes_per_room", "limits.max_waiting_bytes"],
        size,
        "of unfinished messages, waiting requests, document updates that wait for others, and what is not read, of all"
        " participants: no more document updates are held, who has 64 KiB or more"
        " waiting sends and gets no message of that size, senders wait for it, and it is dropped when others have sent"
        ' it over 1 MiB <a id="limits.waiting"></a>',
    ),
    Setting(
        ["limits.max_presence_bytes_per_room", "limits.max_presence_bytes"],
        size,
        "of all participants, as JSON: attributes are not set, agents and toolkits not registered"
        ' <a id="limits.presence"></a>',
    ),
    Setting(
        ["limits.requests_per_second_per_token", "limits.requests_per_second_per_project"],
        unless_zero,
        "the request is refused, over HTTP with 429 and `Retry-After`; requests of two seconds may come at once; who"
        " comes back gets no new allowance; requests of the server's administrator are neither counted nor refused"
        ' <a id="limits.rates"></a>',
    ),
    Setting(["limits.max_connections_per_room"], count, "the join is refused with 429"),
    Setting(["limits.max_file_bytes"], size, "the file is refused; over HTTP 413"),
    Setting(
        ["limits.max_document_bytes"],
        size,
        "the edit is refused; counted is the history in memory, which a snapshot makes shorter",
    ),
    Setting(["limits.max_queue_messages"], count, "the message is refused"),
    Setting(["limits.max_queue_bytes"], size, "leased and delayed messages included: the message is refused"),
    Setting(["limits.http_head_timeout"], duration, "the connection is closed"),
    Setting(["limits.join_timeout"], duration, "the join is given up, with 503"),
    Setting(
        ["limits.tool_call_timeout"],
        duration,
        "an MCP client's call is given up; in a room, calls wait for as long as their host stays",
    ),
    Setting(["limits.ping_interval", "limits.ping_timeout"], duration, "a silent connection is pinged, then dropped"),
    Setting(["engines.memory_bytes"], size, "the [engine process](configuration.md#engines) is killed and replaced"),
    Setting(
        ["engines.read_seconds", "engines.write_seconds"],
        duration,
        "of a search or a step of a query, or of a write: the engine process is killed",
    ),
    Setting(["engines.cpu_seconds"], duration, "of processor time, ten times as much for a write: the same"),
    Setting(["llm.max_request_bytes"], size, "413"),
    Setting(["llm.max_concurrent_requests"], count, "429"),
    Setting(["llm.max_output_tokens"], count, "400 with the name of the field"),
    Setting(["webhooks.max_pending"], count, "events for one webhook: the oldest are dropped; 5 % more is possible"),
    Setting(["webhooks.max_pending_bytes"], size, "the same"),
    Setting(["webhooks.max_age_hours"], hours, "the delivery fails"),
    Setting(["webhooks.disable_after_days"], days, "without a success: the webhook is disabled"),
    Setting(["webhooks.max_finished"], count, "deliveries of one webhook: the oldest leave the delivery log"),
    Setting(["webhooks.keep_days"], days, "the same"),
]

FIXED = [
    Fixed(
        "rooms that run at a time, in one server",
        "{}",
        [(count, "server.rooms.directory:RoomDirectory?max_rooms")],
        "the join is refused with 429",
    ),
    Fixed(
        "name of a room",
        "{}, none of them a control character",
        [(characters, "server.gateway.room_gateway:MAX_ROOM_NAME_LENGTH")],
        "404",
    ),
    Fixed(
        "name of a queue",
        "{}",
        [(characters, "server.services.queues.open_queue:MAX_NAME_LENGTH")],
        "`invalid_request`",
    ),
    Fixed(
        "lease of a queue message",
        "{}; {} leases per connection",
        [
            (duration, "server.services.queues.leasing:MAX_LEASE_SECONDS"),
            (count, "server.services.queues.leasing:MAX_LEASES"),
        ],
        "`invalid_request` for the time, `limit_exceeded` for the number",
    ),
    Fixed(
        "delay of a queue message",
        "{}",
        [(duration, "server.services.queues.leasing:MAX_DELAY_SECONDS")],
        "`invalid_request`",
    ),
    Fixed(
        "deduplication id of a queue message",
        "{}; {} ids per queue, each for {}",
        [
            (characters, "server.services.queues.leasing:MAX_DEDUPLICATION_ID_LENGTH"),
            (count, "server.stores.queues:MAX_DEDUPLICATION_IDS"),
            (duration, "server.stores.queues:DEDUPLICATION_SECONDS"),
        ],
        "`invalid_request` for the length; one more id is `limit_exceeded` until the oldest are forgotten",
    ),
    Fixed(
        "path of a file",
        "{}, {} parts of {} each",
        [
            (size, "server.stores.paths:MAX_PATH_BYTES"),
            (count, "server.stores.paths:MAX_PARTS"),
            (size, "server.stores.paths:MAX_PART_BYTES"),
        ],
        "`invalid_request`",
    ),
    Fixed(
        "attributes of a participant",
        "{}, and {} as JSON",
        [
            (count, "server.rooms.attributes:MAX_ATTRIBUTES"),
            (size, "server.rooms.attributes:MAX_ATTRIBUTE_BYTES"),
        ],
        "they are not set",
    ),
    Fixed(
        "requests of one connection for files, tables and documents that are worked on at a time",
        "{}, or {} inserts into tables, or {} messages into queues",
        [
            (count, "server.rooms.connection:MOST_AT_A_TIME"),
            (count, "server.rooms.connection:MOST_INSERTS"),
            (count, "server.rooms.connection:MAX_WORK"),
        ],
        "the others wait, and the connection is read no further",
    ),
    Fixed(
        "downloads of one connection that wait at a time",
        "{}",
        [(count, "server.rooms.backlog:MAX_STREAMS")],
        "the connection is read no further",
    ),
    Fixed(
        "time that one connection is served before others are",
        "{}, {} while many are busy, or one message",
        [
            (duration, "server.websocket.read_slices:SLICE_SECONDS"),
            (duration, "server.websocket.read_slices:MIN_SLICE_SECONDS"),
        ],
        "its next messages wait",
    ),
    Fixed(
        "what waits for one participant of its streams that others host, and of events and document updates",
        "{} times `limits.max_buffered_bytes` of each",
        [(count, "server.rooms.backlog:PUSHED_FACTOR")],
        "its hosts are read no further until half of it has gone; for events and updates the participant is dropped;"
        " see [slow readers](protocol/01-connection.md#1.9)",
    ),
    Fixed(
        "agents and toolkits that one participant hosts",
        "{}, and {} as JSON",
        [
            (count, "server.services.agents.registry:MAX_REGISTRATIONS_PER_PARTICIPANT"),
            (size, "server.services.agents.registry:MAX_REGISTRATION_BYTES"),
        ],
    ),
    Fixed(
        "streaming calls of one connection",
        "{}",
        [(count, "server.dispatch.invoke.stream:MAX_STREAMS_PER_PARTICIPANT")],
    ),
    Fixed(
        "calls of hosted tools that one participant waits for",
        "{}",
        [(count, "server.services.agents.tool_calls:MAX_CALLS_PER_CALLER")],
    ),
    Fixed(
        "input of such a call that was not asked for",
        "{}",
        [(size, "server.dispatch.invoke.stream_tasks:MAX_WAITING_BYTES")],
    ),
    Fixed("header of a message (its JSON)", "{}", [(size, "api.wire.envelope:MAX_HEADER_SIZE")], "`invalid_request`"),
    Fixed(
        "tables of a room",
        "{}",
        [(count, "server.stores.tables.settings:DatabaseLimits?max_tables")],
    ),
    Fixed(
        "columns of a table, and a column's name",
        "{}, and {}",
        [
            (count, "server.stores.tables.columns:MAX_COLUMNS"),
            (characters, "server.stores.tables.columns:MAX_NAME_LENGTH"),
        ],
    ),
    Fixed(
        "a filter or expression of SQL",
        "{}, {} conditions, {} terms in one expression",
        [
            (characters, "server.stores.tables.filters:MAX_LENGTH"),
            (count, "server.stores.tables.filters:MAX_JUNCTIONS"),
            (count, "server.stores.tables.filters:MAX_DEPTH"),
        ],
    ),
    Fixed(
        "rows of one search",
        "{} as Arrow data",
        [(size, "server.stores.tables.settings:DatabaseLimits?max_result_bytes")],
    ),
    Fixed(
        "rows of a ranked search",
        "{}; {} without `limit`",
        [
            (count, "server.stores.tables.search:MAX_RANKED_LIMIT"),
            (count, "server.stores.tables.search:DEFAULT_RANKED_LIMIT"),
        ],
    ),
    Fixed(
        "rows of one streamed upload to a table",
        "{} as Arrow data",
        [(size, "server.stores.tables.settings:DatabaseLimits?max_upload_bytes")],
    ),
    Fixed(
        "searches and SQL queries of one participant that are open",
        "{}; {} for each step, {} without a reader",
        [
            (count, "server.stores.tables.settings:DatabaseLimits?max_open_reads"),
            (duration, "server.stores.tables.settings:DatabaseLimits?sql_timeout"),
            (duration, "server.stores.tables.settings:DatabaseLimits?sql_idle_timeout"),
        ],
        "one more is refused; a query that takes longer is closed",
    ),
    Fixed(
        "memory of all SQL queries of a room",
        "{}",
        [(size, "server.stores.tables.settings:DatabaseLimits?sql_memory_bytes")],
        "the query fails",
    ),
    Fixed(
        "body of a REST request",
        "{}",
        [(size, "server.gateway.accounts.rest_route:MAX_BODY_BYTES")],
        "413",
    ),
    Fixed("body of a `PATCH` of a document", "{}", [(size, "server.gateway.document_routes:MAX_PATCH_BYTES")], "413"),
    Fixed(
        "a JSON Patch of a document",
        "{} operations; its `copy` operations add {} values at most, and all shift {} items of lists at most",
        [
            (count, "server.services.documents.json_changes:MAX_OPERATIONS"),
            (count, "server.services.documents.json_changes:MAX_COPIED_VALUES"),
            (count, "server.services.documents.json_changes:MAX_SHIFTED_ITEMS"),
        ],
    ),
    Fixed(
        "one change of a document by `PATCH`, and the JSON that a document is made with",
        "makes and deletes {} elements, attributes and runs of text; compares {} elements, of the document and its new"
        " form; passes {} siblings on its way to what it changes",
        [
            (count, "api.documents.change_budget:MAX_CHANGED_PARTS"),
            (count, "api.documents.change_budget:MAX_COMPARED_ELEMENTS"),
            (count, "api.documents.change_budget:MAX_STEPS"),
        ],
        "413; `limit_exceeded` in a room: split the change",
    ),
    Fixed(
        "values in a JSON body for documents and models, and in a room's request that carries any JSON, but for rows"
        " and messages; other bodies have their bound in bytes alone",
        "{}",
        [(count, "server.kernel.json_cost:MAX_JSON_VALUES")],
        "413; `limit_exceeded` in a room",
    ),
    Fixed(
        "values in JSON that is not strict, such as NaN",
        "{}",
        [(count, "server.kernel.json_cost:MAX_LENIENT_VALUES")],
        "`limit_exceeded`",
    ),
    Fixed("body of an MCP request", "{}", [(size, "server.gateway.mcp_routes:MAX_REQUEST_BYTES")], "413"),
    Fixed(
        "values in documents",
        "nested {} deep",
        [(count, "api.documents.update_scan:MAX_VALUE_NESTING")],
        "the edit is refused",
    ),
    Fixed(
        "elements in documents",
        "nested {} deep, and {} within one update",
        [(count, "api.documents.tree:MAX_DEPTH"), (count, "api.documents.update_nesting:MAX_ELEMENT_NESTING")],
        "what is deeper is removed; the update is refused",
    ),
    Fixed(
        "document updates that wait for others they depend on",
        "{} per document, {} together",
        [
            (count, "api.documents.server_document:MAX_HELD"),
            (size, "api.documents.server_document:MAX_HELD_BYTES"),
        ],
        "the update is refused; they also count for the size of the document",
    ),
    Fixed(
        "head of an HTTP request",
        "{} request line, {} a header, {} headers",
        [
            (size, "server.gateway.limits:HttpLimits?max_request_line_bytes"),
            (size, "server.gateway.limits:HttpLimits?max_header_bytes"),
            (count, "server.gateway.limits:HttpLimits?max_headers"),
        ],
        "400",
    ),
    Fixed(
        "connections that have not sent a request yet",
        "{}",
        [(count, "server.gateway.limits:HttpLimits?max_waiting_connections")],
        "the oldest are closed",
    ),
    Fixed(
        "download URLs",
        "good for {}",
        [(duration, "server.kernel.url_signing:UrlSigner?lifetime")],
        "403",
    ),
    Fixed(
        "requests to webhooks of one project at a time",
        "{}, and one to each webhook",
        [(count, "server.webhooks.slots:PROJECT_REQUESTS")],
        "the others wait",
    ),
    Fixed(
        "wait that a webhook's receiver can ask for by `Retry-After`",
        "{}",
        [(duration, "server.webhooks.retry:MAX_RETRY_AFTER")],
        "the delivery is repeated after that",
    ),
    Fixed(
        "age at which an event no longer calls a service into its room",
        "{}",
        [(duration, "server.webhooks.settings:CALL_AGE")],
        "the service is not called",
    ),
    Fixed(
        "session records",
        "{}, {} runs, {} events each",
        [
            (days, "server.accounts.sessions:SessionLimits?keep_days"),
            (count, "server.accounts.sessions:SessionLimits?max_sessions"),
            (count, "server.accounts.sessions:SessionLimits?max_events"),
        ],
        "the oldest runs are removed; later events are not recorded",
    ),
]
