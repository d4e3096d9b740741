"""Rich text as runs of equal formatting, and the composition of changes (protocol 8.6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshagent.api.documents.tree import TextRun
from meshagent.api.documents.values import same_value

__all__ = ["compose"]


def compose(runs: Iterable[TextRun], delta: Iterable[Mapping[str, Any]]) -> list[TextRun]:
    """The runs of a text after a change.

    `delta` entries hold one of `retain`, `insert` and `delete`; lengths count characters, an embedded value counts
    one. `attributes` of a retain are merged in, null removes; those of an insert are the text's own. Adjacent
    runs with equal formatting are merged; empty runs are removed.
    """
    source = _Reader(runs)
    result: list[TextRun] = []
    for entry in delta:
        attributes = entry.get("attributes") or {}
        if entry.get("insert") is not None:
            _append(result, TextRun(entry["insert"], _without_nulls(attributes)))
        elif entry.get("delete"):
            for _ in source.take(entry["delete"]):
                pass
        else:
            for run in source.take(entry.get("retain") or 0):
                _append(result, TextRun(run.insert, _without_nulls({**run.attributes, **attributes})))
    for run in source.rest():
        _append(result, run)
    return result


class _Reader:
    """Reads the runs of a text in pieces of given lengths."""

    def __init__(self, runs: Iterable[TextRun]) -> None:
        self._runs = list(runs)[::-1]

    def take(self, length: int) -> Iterable[TextRun]:
        while length > 0 and self._runs:
            run = self._runs.pop()
            size = len(run.insert) if isinstance(run.insert, str) else 1
            if size > length:
                self._runs.append(TextRun(run.insert[length:], run.attributes))
                run = TextRun(run.insert[:length], run.attributes)
                size = length
            length -= size
            yield run

    def rest(self) -> Iterable[TextRun]:
        return self._runs[::-1]


def _append(runs: list[TextRun], run: TextRun) -> None:
    if run.insert == "":
        return
    last = runs[-1] if runs else None
    if (
        last is not None
        and same_value(last.attributes, run.attributes)
        and isinstance(last.insert, str)
        and isinstance(run.insert, str)
    ):
        last.insert += run.insert
    else:
        runs.append(TextRun(run.insert, dict(run.attributes)))


def _without_nulls(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
