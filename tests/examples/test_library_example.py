"""The example of the guide, against a real server; and the guide shows what the example has."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.server import KEY_ID, PROJECT_ID, SECRET, serve

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "examples" / "library_tools").with_suffix(".py")


@pytest.mark.slow
async def test_the_example_runs(tmp_path: Path) -> None:
    async with serve(tmp_path / "data") as server:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EXAMPLE),
            env={
                **os.environ,
                "MESHAGENT_API_URL": server.url,
                "MESHAGENT_PROJECT_ID": PROJECT_ID,
                "MESHAGENT_KEY_ID": KEY_ID,
                "MESHAGENT_SECRET": SECRET,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, problems = await program.communicate()
    assert program.returncode == 0, problems.decode()
    assert out.decode().splitlines() == [
        "recommended: persuasion for reader, 5.5 hours",
        "refused: the library has no book 'ulysses'",
    ]


def test_the_guide_shows_the_example() -> None:
    guide = (ROOT / "docs" / "how-to" / "write-a-tool.md").read_text(encoding="utf-8")
    example = EXAMPLE.read_text(encoding="utf-8")
    function = guide.split("```python\n")[1].split("```")[0]
    assert function.strip() in example
    for line in ("class Recommend(Tool):", "async def execute(self, context: ToolContext, *, max_words: int) -> str:"):
        assert line in guide
        assert line in example
    assert 'RemoteToolkit("library", [reading_time, Recommend()], description="Knows books.")' in example
