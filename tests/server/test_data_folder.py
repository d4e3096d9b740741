"""What is in the data folder is its owner's alone, and a disk that is full at the start is called so."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from meshagent.server import app
from meshagent.server.app import running_server
from meshagent.server.config import ServerConfig
from meshagent.server.stores import commit_log
from meshagent.server.stores.data_folder import DataFolderError


def _config(folder: Path) -> ServerConfig:
    return ServerConfig(host="127.0.0.1", port=0, data_dir=folder, durability="process")


def _open_to_others(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.stat().st_mode & 0o077)


async def test_a_folder_made_beforehand_gets_private_files(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    async with running_server(_config(folder)):
        assert {"accounts.sqlite", "rooms.sqlite", "server.json", "files"} <= {path.name for path in folder.iterdir()}
        assert _open_to_others(folder) == []


async def test_files_of_an_earlier_start_become_private_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    async with running_server(_config(folder)):
        pass
    names = [path.name for path in folder.iterdir()]
    for name in names:
        (folder / name).chmod(0o755 if (folder / name).is_dir() else 0o644)
    (folder / "notes.txt").touch(mode=0o644)
    with caplog.at_level(logging.WARNING):
        async with running_server(_config(folder)):
            assert _open_to_others(folder) == ["notes.txt"]
    told = [record.getMessage() for record in caplog.records if "is private now" in record.getMessage()]
    assert len(told) == len(names)
    assert any("accounts.sqlite" in message and "0644" in message for message in told)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_called_so(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: ServerConfig) -> None:
        raise OSError(number, os.strerror(number), str(config.data_dir))

    monkeypatch.setattr(app, "load_identity", fail)
    with pytest.raises(DataFolderError, match="is full") as caught:
        async with running_server(_config(tmp_path)):
            pass
    assert str(tmp_path) in str(caught.value)


async def test_a_database_without_space_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(path: Path, **_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(commit_log, "connect", no_space)
    with pytest.raises(DataFolderError, match="is full"):
        async with running_server(_config(tmp_path)):
            pass


async def test_the_command_says_in_one_line_that_it_cannot_write(tmp_path: Path) -> None:
    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [sys.executable, "-m", "meshagent.cli", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    ended = await asyncio.to_thread(
        subprocess.run,
        command,
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: cannot start the server: cannot use the data folder {tmp_path / 'data'}")
    assert ended.stderr.count("\n") == 1
