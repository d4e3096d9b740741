"""The scripts of `findings/` have the form that its README promises. Running them needs a network: not done here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.docs import ROOT

FOLDER = ROOT / "findings"
SCRIPTS = sorted(path for path in FOLDER.glob("*.sh") if path.stem not in ("lib", "run"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_states_its_facts_and_compares_what_it_observes(script: Path) -> None:
    text = script.read_text()
    head = text.partition('\n. "$(dirname "$0")/lib.sh"\n')[0]
    for fact in ("Versions", "Expected", "Observed", "In the product"):
        assert re.search(rf"^# {fact}: \S", head, re.MULTILINE), fact
    assert text.count("\nexpect <<'END'\n") == 1
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", script], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_installs_pinned_versions_that_it_names_and_never_the_product(script: Path) -> None:
    text = script.read_text()
    head = text.partition("\n. ")[0]
    for python, packages in re.findall(r"^install(_node)? (.+)$", text, re.MULTILINE):
        for package in packages.split():
            name, separator, version = package.partition("@" if python else "==")
            assert separator, package
            assert f"{name} {version}" in head
    assert not re.search(r"^\s*(import|from) meshagent", text, re.MULTILINE)


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 6
