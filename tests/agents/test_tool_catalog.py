"""`ToolCatalog`: names under which a model calls the tools of several toolkits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshagent.agents.llm.tool_catalog import MAX_NAME_LENGTH, ToolCatalog
from meshagent.api.contracts.content import Body
from meshagent.tools.context import ToolContext
from meshagent.tools.tool import RequestTool, Tool, ToolResult
from meshagent.tools.toolkit import Toolkit


class Named(Tool):
    async def execute(self, context: ToolContext, *args: object, **kwargs: object) -> ToolResult:
        return self.name


class WholeContent(RequestTool):
    async def execute(self, context: ToolContext, request: Body) -> ToolResult:
        return None


def toolkit(name: str, *tools: str, rules: tuple[str, ...] = ()) -> Toolkit:
    return Toolkit(name, [Named(name=tool) for tool in tools], rules)


def names(*toolkits: Toolkit) -> list[str]:
    return [definition.name for definition in ToolCatalog(toolkits).definitions()]


def test_a_unique_name_is_kept() -> None:
    assert names(toolkit("files", "read"), toolkit("web", "fetch")) == ["read", "fetch"]


def test_equal_names_get_their_toolkits_as_prefix() -> None:
    assert names(toolkit("files", "read", "write"), toolkit("web", "read")) == ["files_read", "write", "web_read"]


def test_characters_that_providers_reject_are_replaced() -> None:
    assert names(toolkit("files", "read file/ü")) == ["read_file__"]


def test_names_stay_different_after_they_were_made_valid() -> None:
    assert names(toolkit("a", "x.y", "x y"), toolkit("a b", "z"), toolkit("a_b", "z")) == [
        *("a_x_y", "a_x_y_2"),
        *("a_b_z", "a_b_z_2"),
    ]


def test_request_tools_are_left_out() -> None:
    assert names(Toolkit("mixed", [WholeContent(name="convert"), Named(name="read")])) == ["read"]


def test_a_name_leads_to_its_tool_and_an_invented_one_to_nothing() -> None:
    web = toolkit("web", "read")
    catalog = ToolCatalog([toolkit("files", "read"), web])
    entry = catalog.find("web_read")
    assert entry is not None
    assert (entry.toolkit, entry.tool) == (web, web.get_tool("read"))
    assert catalog.find("read") is None


def test_a_tool_without_description_is_described_by_its_title() -> None:
    catalog = ToolCatalog(
        [Toolkit("files", [Named(name="read", title="Read a file"), Named(name="w", description="D")])]
    )
    assert [definition.description for definition in catalog.definitions()] == ["Read a file", "D"]


def test_rules_come_from_all_toolkits_and_their_tools() -> None:
    files = Toolkit("files", [Named(name="read", rules=["of a tool"])], ["of files"])
    assert ToolCatalog([files, toolkit("web", "fetch", rules=("of web",))]).rules == ["of files", "of a tool", "of web"]


@given(st.lists(st.tuples(st.text(max_size=80), st.sets(st.text(max_size=80), max_size=4)), max_size=4))
def test_names_are_always_valid_and_unique(groups: list[tuple[str, set[str]]]) -> None:
    catalog = ToolCatalog([toolkit(name, *tools) for name, tools in groups])
    found = [definition.name for definition in catalog.definitions()]
    assert len(found) == len(set(found)) == sum(len(tools) for _, tools in groups)
    assert all(0 < len(name) <= MAX_NAME_LENGTH and name.replace("-", "_").isascii() for name in found)
