"""A shared document: one writer and 20 readers, every edit applied, stored and passed on; memory of an open document.

    python -m benchmarks.documents [--quick] [--rounds N] [-- server flags]

The server answers an edit when it is stored (durability as its flags say); the yardstick stores nothing.
"""

from __future__ import annotations

import asyncio
import json
import time

from pycrdt import Doc, XmlElement, XmlFragment, XmlText

from benchmarks.load import Connection, Recorder, Sink
from benchmarks.running import run_benchmark
from benchmarks.subjects import DocumentFeed, Subject, both
from benchmarks.support import Options, Samples, measure, memory_kib, percentile

READERS = 20
LIVE_READERS = 2
WINDOW = 64
PACED_EDITS_PER_SECOND = 50
MEMORY_TEXT_SIZE = 10_000
PHASE_TIMEOUT = 30.0
EXTENSION = "typed"
SETTLE_SECONDS = 1.5


def element(tag: str, properties: dict[str, object]) -> dict[str, object]:
    """A schema's definition of one element."""
    body = {"type": "object", "additionalProperties": False, "required": list(properties), "properties": properties}
    return {"type": "object", "additionalProperties": False, "required": [tag], "properties": {tag: body}}


def schema() -> bytes:
    """The schema of a document that holds texts."""
    children = {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/text"}]}}
    root = element("typed", {"children": children})
    return json.dumps(
        {"$root_tag_ref": "#/$defs/typed", **root, "$defs": {"typed": root, "text": element("text", {})}}
    ).encode()


def typed_updates(edits: int) -> list[bytes]:
    """The updates of somebody typing `edits` characters; the first one makes the element that holds the text."""
    doc: Doc[XmlFragment] = Doc()
    updates: list[bytes] = []
    text = XmlText()
    with doc.transaction():
        root = doc.get("xml", type=XmlFragment)
        root.children.append(XmlElement("text", {"$id": "typed"}, [text]))
    updates.append(doc.get_update())
    subscription = doc.observe(lambda event: updates.append(event.update))
    for number in range(edits):
        text.insert(number, chr(97 + number % 26))
    doc.unobserve(subscription)
    return updates


def text_update(size: int) -> bytes:
    """One update with `size` characters of text."""
    doc: Doc[XmlFragment] = Doc()
    root = doc.get("xml", type=XmlFragment)
    root.children.append(XmlElement("text", {"$id": "text"}, [XmlText(("lorem ipsum dolor sit amet " * size)[:size])]))
    return doc.get_update()


class Replica:
    """A reader's copy of the document."""

    def __init__(self) -> None:
        self._doc: Doc[XmlFragment] = Doc()
        self._root = self._doc.get("xml", type=XmlFragment)
        self._text: XmlText | None = None

    def apply(self, update: bytes) -> None:
        """Take in one update."""
        self._doc.apply_update(update)

    def edits(self) -> int:
        """How many characters it holds."""
        if self._text is None and len(self._root.children):
            element = self._root.children[0]
            assert isinstance(element, XmlElement)
            child = element.children[0]
            assert isinstance(child, XmlText)
            self._text = child
        return 0 if self._text is None else len(self._text)

    def text(self) -> str:
        """What it says."""
        return "" if self._text is None else str(self._text)


class LiveReader:
    """Applies every update as it comes and notes how many seconds each edit took to get here."""

    def __init__(self, feed: DocumentFeed, sent_at: list[float], moved: asyncio.Event) -> None:
        self._feed = feed
        self._sent_at = sent_at
        self._moved = moved
        self.replica = Replica()
        self.seen = 0
        self.latencies: list[float] = []

    def __call__(self, data: bytes) -> None:
        updates, _ = self._feed.feed(data)
        for update in updates:
            self.replica.apply(update)
        now, edits = time.perf_counter(), self.replica.edits()
        self.latencies += [now - sent_at for sent_at in self._sent_at[self.seen + 1 : edits + 1]]
        self.seen = edits
        self._moved.set()


class Writer:
    """Sends edits and notes how many seconds the server took to acknowledge each."""

    def __init__(self, connection: Connection, frames: list[bytes], feed: DocumentFeed) -> None:
        self._connection = connection
        self._frames = frames
        self._feed = feed
        self.sent_at: list[float] = []
        self.acknowledged: list[float] = []
        connection.sink = self

    def __call__(self, data: bytes) -> None:
        now = time.perf_counter()
        _, numbers = self._feed.feed(data)
        self.acknowledged += [now - self.sent_at[number] for number in numbers]

    def send(self) -> None:
        """Send the next edit."""
        self.sent_at.append(time.perf_counter())
        self._connection.send(self._frames[len(self.sent_at) - 1])


class Session:
    """One writer, a few readers that apply everything at once, and others that keep the bytes for later."""

    def __init__(self, subject: Subject, writer: Connection, readers: list[Connection], frames: list[bytes]) -> None:
        self._subject = subject
        self._connections = [writer, *readers]
        self._moved = asyncio.Event()
        self.writer = Writer(writer, frames, subject.document_feed())
        self._live = [
            LiveReader(subject.document_feed(), self.writer.sent_at, self._moved) for _ in readers[:LIVE_READERS]
        ]
        self._recorders = [Recorder() for _ in readers[LIVE_READERS:]]
        sinks: list[Sink] = [*self._live, *self._recorders]
        for reader, sink in zip(readers, sinks, strict=True):
            reader.sink = sink

    async def saturate(self, count: int) -> None:
        """Send `count` edits, at most `WINDOW` on the way, and wait until the live readers have them all."""
        async with asyncio.timeout(PHASE_TIMEOUT):
            for _ in range(count):
                await self._delivered(len(self.writer.sent_at) - WINDOW)
                self.writer.send()
            await self._delivered(len(self.writer.sent_at) - 1)

    async def pace(self, count: int, per_second: float) -> None:
        """Send `count` edits at an even rate and wait until the live readers have them all."""
        started = time.perf_counter()
        async with asyncio.timeout(PHASE_TIMEOUT):
            for number in range(count):
                await asyncio.sleep(max(0.0, started + number / per_second - time.perf_counter()))
                self.writer.send()
            await self._delivered(len(self.writer.sent_at) - 1)

    async def _delivered(self, edits: int) -> None:
        while min(reader.seen for reader in self._live) < edits:
            self._moved.clear()
            await self._moved.wait()

    def forget(self) -> None:
        """Drop the latencies seen so far."""
        self.writer.acknowledged.clear()
        for reader in self._live:
            reader.latencies.clear()

    def latencies(self) -> list[float]:
        """Seconds from sending to being applied, of the live readers."""
        return [value for reader in self._live for value in reader.latencies]

    async def check(self) -> None:
        """See that every reader has every edit.

        Raises:
            RuntimeError: One of them differs.
        """
        expected, edits = self._live[0].replica.text(), len(self.writer.sent_at) - 1
        await asyncio.sleep(0.3)
        for recorder in self._recorders:
            replica, feed = Replica(), self._subject.document_feed()
            for chunk in recorder.chunks:
                for update in feed.feed(chunk)[0]:
                    replica.apply(update)
            if replica.edits() != edits or replica.text() != expected:
                raise RuntimeError(f"a reader has {replica.edits()} of {edits} edits")

    def close(self) -> None:
        """Everybody leaves."""
        for connection in self._connections:
            connection.close()


async def start_session(subject: Subject, room: str, edits: int) -> Session:
    """A document with its readers, the element that holds the text already in place."""
    path = f"{room}.{EXTENSION}"
    await subject.deploy_schema(room, EXTENSION, schema())
    frames = subject.edits(path, typed_updates(edits))
    readers = [
        await subject.join_documents(room, subject.token(room, f"reader{number}"), [path]) for number in range(READERS)
    ]
    writer = await subject.join_documents(room, subject.token(room, "writer"), [path])
    session = Session(subject, writer, readers, frames)
    session.writer.send()
    await asyncio.sleep(0.2)
    return session


async def saturated(subject: Subject, room: str, edits: int) -> dict[str, float]:
    """As fast as the server applies, stores and passes on."""
    warm_up = edits // 10
    session = await start_session(subject, room, edits + warm_up)
    await session.saturate(warm_up)
    session.forget()
    usage = await measure(subject.pid, lambda: session.saturate(edits))
    await session.check()
    session.close()
    return {
        "edits/s": edits / usage.wall,
        "server CPU µs/edit and reader": usage.server_microseconds(edits * READERS),
        "p50 ms": percentile(session.latencies(), 50) * 1e3,
        "p99 ms": percentile(session.latencies(), 99) * 1e3,
        **acknowledgements(session),
        "generator cores": usage.generator_cpu / usage.wall,
        "cores of other jobs": usage.other_cores,
    }


async def paced(subject: Subject, room: str, seconds: float) -> dict[str, float]:
    """A quick typist: the latency that people notice."""
    edits = int(PACED_EDITS_PER_SECOND * seconds)
    session = await start_session(subject, room, edits)
    usage = await measure(subject.pid, lambda: session.pace(edits, PACED_EDITS_PER_SECOND))
    await session.check()
    session.close()
    return {
        "server CPU µs/edit and reader": usage.server_microseconds(edits * READERS),
        "p50 ms": percentile(session.latencies(), 50) * 1e3,
        "p99 ms": percentile(session.latencies(), 99) * 1e3,
        **acknowledgements(session),
    }


def acknowledgements(session: Session) -> dict[str, float]:
    """How long the server takes to answer an edit; nothing for a server that does not answer."""
    taken = session.writer.acknowledged
    if not taken:
        return {}
    return {"acknowledged p50 ms": percentile(taken, 50) * 1e3, "acknowledged p99 ms": percentile(taken, 99) * 1e3}


async def memory(subject: Subject, room: str, documents: int) -> dict[str, float]:
    """What documents of 10,000 characters cost while one connection has them open.

    As many are opened before, so that what the allocator and the database keep for themselves is there already.
    """
    update = text_update(MEMORY_TEXT_SIZE)
    await subject.deploy_schema(room, EXTENSION, schema())
    connections = []
    sizes = []
    for batch in ("warm", "measured"):
        paths = [f"{batch}{number}.{EXTENSION}" for number in range(documents)]
        connection = await subject.join_documents(room, subject.token(room, batch), paths)
        connections.append(connection)
        for path in paths:
            connection.send(subject.edits(path, [update])[0])
            await asyncio.sleep(0.002)
        await asyncio.sleep(SETTLE_SECONDS)
        sizes.append(memory_kib(subject.pids()))
    for connection in connections:
        connection.close()
    return {"KiB/open document": (sizes[1] - sizes[0]) / documents}


async def run(options: Options, samples: Samples) -> None:
    """Measure both subjects in turn."""
    async with both(options) as subjects:
        for turn in range(options.rounds):
            for subject in subjects:
                work = await saturated(subject, f"typing{turn}", options.scaled(4000, 200))
                samples.add(subject.name, "document, 1 writer, 20 readers, saturated", work)
                work = await paced(subject, f"paced{turn}", options.scaled(30, 5) / 10)
                samples.add(subject.name, "document, 1 writer, 20 readers, 50 edits/s", work)
        for subject in subjects:
            samples.add(subject.name, "document, memory", await memory(subject, "memory", options.scaled(200, 10)))


if __name__ == "__main__":
    run_benchmark(run, __doc__)
