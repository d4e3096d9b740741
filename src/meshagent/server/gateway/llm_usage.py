"""Token usage of language models: parses it from responses, whole or streamed, and sums it up."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, Metric

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError
from meshagent.server.accounts.model_usage import BILLIONTH
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.rooms.handle import RoomFinder

__all__ = ["LlmUsage", "LlmUsageLog", "LlmUsageTotals", "StreamFilter", "Tokens", "UsageSink", "tokens_of"]

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
MAX_MODELS: Final = 1000
MAX_TOKENS: Final = 1_000_000_000
_END_OF_EVENT: Final = re.compile(rb"\r?\n\r?\n")
_LAST_EVENT: Final = re.compile(
    rb"^(?:event: ?response\.(?:completed|incomplete|failed)|data: ?\[DONE\])", re.MULTILINE
)
_TEXT: Final = re.compile(rb'"(?:delta|content|reasoning_content|arguments)" ?: ?"((?:[^"\\]|\\.)*)"')
_LAST_TYPES: Final = frozenset(["response.completed", "response.incomplete", "response.failed"])
_BYTES_PER_TOKEN: Final = 4


class Tokens(NamedTuple):
    """Tokens of one request; `cached` are those of the input that the provider had cached."""

    input: int
    output: int
    cached: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmUsage:
    """One answered request. `rooms` are those that the token opens.

    `cost` is in billionths of the currency, None for a model without a price. `is_estimate` says that the provider did
    not tell the tokens.
    """

    project_id: str
    rooms: tuple[str, ...]
    participant: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cost: int | None = None
    is_estimate: bool = False


UsageSink = Callable[[LlmUsage], None]
"""Told of each answered request; must be quick and must not raise."""


class LlmUsageTotals:
    """Sums of all requests by model, as metrics (a `MetricSource`); models beyond the thousandth count as `other`."""

    def __init__(self) -> None:
        self._sums: dict[str, list[int]] = {}

    def add(self, usage: LlmUsage) -> None:
        """Count one request."""
        name = usage.model if usage.model in self._sums or len(self._sums) < MAX_MODELS else "other"
        sums = self._sums.setdefault(name, [0] * 5)
        sums[0] += 1
        sums[1] += usage.input_tokens
        sums[2] += usage.output_tokens
        sums[3] += usage.cached_input_tokens
        sums[4] += usage.cost or 0

    def of(self, model: str) -> tuple[int, int, int]:
        """Requests, input tokens and output tokens of a model."""
        requests, input_tokens, output_tokens, *_ = self._sums.get(model, (0, 0, 0))
        return requests, input_tokens, output_tokens

    async def families(self) -> list[Metric]:
        requests = CounterMetricFamily("meshagent_llm_requests", "Requests to language models.", labels=["model"])
        tokens = CounterMetricFamily("meshagent_llm_tokens", "Tokens used.", labels=["model", "direction"])
        cost = CounterMetricFamily("meshagent_llm_cost", "Cost by the configured prices.", labels=["model"])
        for model, (count, input_tokens, output_tokens, cached_tokens, billionths) in self._sums.items():
            requests.add_metric([model], count)
            tokens.add_metric([model, "input"], input_tokens)
            tokens.add_metric([model, "cached_input"], cached_tokens)
            tokens.add_metric([model, "output"], output_tokens)
            cost.add_metric([model], billionths / BILLIONTH)
        return [requests, tokens, cost]


class LlmUsageLog:
    """Sums up token usage, and writes it into the logs of the rooms that the models were used from.

    Args:
        totals: The sums.
        rooms: Where the logs are.
    """

    def __init__(self, totals: LlmUsageTotals, rooms: RoomFinder) -> None:
        self._totals = totals
        self._rooms = rooms

    def note(self, usage: LlmUsage) -> None:
        """Take one request; a `UsageSink`."""
        self._totals.add(usage)
        entry: dict[str, str | int | float] = {
            "participant": usage.participant,
            "model": usage.model,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
        }
        if usage.cost is not None:
            entry["cost"] = usage.cost / BILLIONTH
        for room_name in usage.rooms:
            self._rooms.note(RoomKey(usage.project_id, room_name), "llm.usage", entry)


def tokens_of(answer: object) -> Tokens | None:
    """The tokens that a response, or an event of a streamed one, reports.

    Args:
        answer: Any JSON value: it is what the provider sent.

    Returns:
        None if it reports none, or none that can be: then they have to be estimated.
    """
    usage = _member(answer, "usage") or _member(_member(answer, "response"), "usage")
    given = _first(usage, "input_tokens", "prompt_tokens")
    made = _first(usage, "output_tokens", "completion_tokens")
    if given is None and made is None:
        return None
    counts = [0 if value is None else _count(value) for value in (given, made)]
    if None in counts:
        return None
    details = _first(usage, "input_tokens_details", "prompt_tokens_details")
    return Tokens(counts[0] or 0, counts[1] or 0, _count(_member(details, "cached_tokens")) or 0)


class StreamFilter:
    """Reads the usage out of a stream of events while it passes through.

    Args:
        drop_usage_chunk: Leave out the chunk that carries nothing but the usage, since the client did not ask for it.
    """

    def __init__(self, *, drop_usage_chunk: bool) -> None:
        self.tokens: Tokens | None = None
        self.ended = False
        """Whether the last event was in what `feed` returned."""
        self._text_bytes = 0
        self._drop = drop_usage_chunk
        self._waiting = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The part of the stream that can go on, whole events only."""
        searched = max(0, len(self._waiting) - 3)  # an end may be cut in two
        self._waiting += data
        passed = bytearray()
        start = 0
        for end in _END_OF_EVENT.finditer(self._waiting, searched):
            event = bytes(self._waiting[start : end.end()])
            start = end.end()
            if self._passes(event):
                passed += event
        del self._waiting[:start]
        if len(self._waiting) > MAX_EVENT_BYTES:  # no event at all: let it through unread
            passed += self._waiting
            self._waiting.clear()
        return bytes(passed)

    def finish(self) -> bytes:
        """What is left at the end of the stream."""
        rest = bytes(self._waiting)
        self._waiting.clear()
        return rest if self._passes(rest) else b""

    def estimated_output(self) -> int:
        """The tokens of the text that came so far, at four bytes each."""
        return -(-self._text_bytes // _BYTES_PER_TOKEN)

    def _passes(self, event: bytes) -> bool:
        if b'"delta"' in event:
            self._text_bytes += sum(map(len, _TEXT.findall(event)))
        self.ended = self.ended or _LAST_EVENT.search(event) is not None
        if b'"usage"' not in event:
            return True
        lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
        try:
            data: object = jsontext.loads(b"\n".join(lines))
        except InvalidRequestError:
            return True
        tokens = tokens_of(data)
        if tokens is None:
            return True
        self.tokens = tokens
        self.ended = self.ended or str(_member(data, "type")) in _LAST_TYPES
        return not (self._drop and _member(data, "choices") == [])


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _first(value: object, *names: str) -> object:
    return next((found for name in names if (found := _member(value, name)) is not None), None)


def _count(value: object) -> int | None:
    """A number of tokens; None if the value is none."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return min(value, MAX_TOKENS)
