"""Rich text: the composition of runs and changes against a model that works letter by letter."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.documents.richtext import compose
from meshagent.api.documents.tree import TextRun
from tests.support.hypothesis_profiles import examples

attributes = st.dictionaries(st.sampled_from("bi"), st.sampled_from([None, 1, 2]), max_size=2)
changes = st.lists(
    st.one_of(
        st.builds(lambda n, a: {"retain": n, "attributes": a or None}, st.integers(1, 4), attributes),
        st.builds(
            lambda s, a: {"insert": s, "attributes": a or None}, st.text("xyé", min_size=1, max_size=3), attributes
        ),
        st.builds(lambda n: {"delete": n}, st.integers(1, 4)),
    ),
    max_size=5,
)
Cells = list[tuple[str, tuple[tuple[str, Any], ...]]]


def cells(runs: list[TextRun]) -> Cells:
    return [(letter, tuple(sorted(run.attributes.items()))) for run in runs for letter in run.insert]


def compose_cells(old: Cells, delta: list[dict[str, Any]]) -> Cells:
    """The same, letter by letter."""
    rest, result = old[:], []
    for step in delta:
        new = step.get("attributes") or {}
        if "insert" in step:
            style = tuple(sorted((k, v) for k, v in new.items() if v is not None))
            result += [(letter, style) for letter in step["insert"]]
        else:
            count = step.get("retain") or step.get("delete") or 0
            taken, rest = rest[:count], rest[count:]
            if "retain" in step:
                for letter, style in taken:
                    both = {**dict(style), **new}
                    result.append((letter, tuple(sorted((k, v) for k, v in both.items() if v is not None))))
    return result + rest


@settings(max_examples=examples(200), deadline=None)
@given(changes, changes)
def test_composition_equals_the_letter_by_letter_model(first: Any, second: Any) -> None:
    runs = compose((), first)
    assert cells(runs) == compose_cells([], first)
    after = compose(runs, second)
    assert cells(after) == compose_cells(cells(runs), second)
    assert all(run.insert for run in after)
    assert all(a.attributes != b.attributes for a, b in pairwise(after))


def test_embedded_values_count_one() -> None:
    runs = compose((), [{"insert": "a"}, {"insert": {"image": 1}}, {"insert": "b"}])
    assert [run.insert for run in compose(runs, [{"retain": 1}, {"delete": 1}])] == ["ab"]


def test_runs_with_different_types_of_marks_stay_apart() -> None:
    delta = [{"insert": "a", "attributes": {"b": True}}, {"insert": "b", "attributes": {"b": 1}}]
    runs = compose([], delta)
    assert [(run.insert, run.attributes["b"]) for run in runs] == [("a", True), ("b", 1)]
