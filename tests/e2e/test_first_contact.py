"""From nothing to a first message, as the README promises: the real command, a real first start, its own profile."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meshagent.api.profile import load_profile
from meshagent.cli.serve import FIRST_PROGRAM

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@dataclass
class FirstStart:
    """A server started by its command, and the environment of a user who has never set anything."""

    folder: Path
    environ: dict[str, str]
    lines: list[str] = field(default_factory=list)

    def start(self, *flags: str) -> subprocess.Popen[str]:
        arguments = ["serve", "--port", "0", "--data", str(self.folder / "data"), *flags]
        process = subprocess.Popen(
            [sys.executable, "-m", "meshagent.cli", *arguments],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        self.lines = []
        for line in process.stdout:
            self.lines.append(line)
            if "meshagent env" in line:  # the last line of what it says
                return process
        pytest.fail(f"the server ended with {process.wait()}: {''.join(self.lines)}")

    def python(self, *arguments: str) -> str:
        completed = subprocess.run(
            [sys.executable, *arguments], env=self.environ, capture_output=True, text=True, timeout=30
        )
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    def stop(self, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 0, rest


@pytest.fixture
def user(tmp_path: Path) -> FirstStart:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MESHAGENT_")}
    return FirstStart(tmp_path, environ | {"HOME": str(tmp_path)})


def test_the_first_program_works_after_the_first_start_with_nothing_set(user: FirstStart) -> None:
    process = user.start()
    try:
        profile = load_profile(user.folder / ".meshagent" / "profile.json")
        assert profile.secret is not None
        assert any(profile.secret in line for line in user.lines)
        assert user.python(str(ROOT / "examples" / "first_program.py")) == "bob heard: hello everyone!\n"
        assert "hello.txt" in user.python("-c", FIRST_PROGRAM)
    finally:
        user.stop(process)

    again = user.start()
    try:
        assert not any(profile.secret in line for line in user.lines)
        assert load_profile(user.folder / ".meshagent" / "profile.json").secret == profile.secret
        assert "hello.txt" in user.python("-c", FIRST_PROGRAM)
    finally:
        user.stop(again)


def test_the_key_of_a_container_comes_from_its_environment(user: FirstStart) -> None:
    user.environ |= {"MESHAGENT_PROJECT_ID": "your-project-id", "MESHAGENT_KEY_ID": "k", "MESHAGENT_SECRET": "hunter2"}
    process = user.start()
    try:
        said = "".join(user.lines)
        url = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert url is not None
        assert "hunter2" not in said
        user.environ["MESHAGENT_API_URL"] = url[0]
        assert user.python(str(ROOT / "examples" / "first_program.py")) == "bob heard: hello everyone!\n"
    finally:
        user.stop(process)


def test_two_servers_do_not_share_a_data_folder(user: FirstStart) -> None:
    process = user.start()
    try:
        second = subprocess.run(
            [sys.executable, "-m", "meshagent.cli", "serve", "--port", "0", "--data", str(user.folder / "data")],
            env=user.environ,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert second.returncode == 1
        assert "uses the data folder" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        user.stop(process)
