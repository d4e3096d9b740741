"""`meshagent document`: read and edit documents as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, find_room_access, room_session
from meshagent.cli.output import CommandError, UsageError, note, print_json, print_json_line
from meshagent.cli.room_events import follow
from meshagent.cli.room_http import http_room
from meshagent.cli.values import parse_json, parse_object

if TYPE_CHECKING:
    from meshagent.api.room.sync import MeshDocument

app = typer.Typer(help="Read and edit documents of a room as JSON.", no_args_is_help=True)

PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="Path of the document, such as notes/a.document.")]


@command(app, "show", "cat")
async def show(
    target: RoomTarget,
    path: PathArgument,
    ids: Annotated[bool, typer.Option("--ids", help="Include element ids ($id).")] = False,
) -> None:
    """Print a document as JSON."""
    async with http_room(await find_room_access(target)) as room:
        print_json(await room.document(path, with_ids=ids))


@command(app, "create")
async def create(
    target: RoomTarget,
    path: PathArgument,
    content: Annotated[str | None, typer.Option("--json", help="Initial content: a JSON object, @FILE, or -.")] = None,
) -> None:
    """Create a document. The extension determines its schema."""
    initial = None if content is None else parse_object(content, "content")
    async with room_session(target) as room:
        await room.sync.create(path, initial)


@command(app, "edit")
async def edit(
    target: RoomTarget,
    path: PathArgument,
    content: Annotated[
        str | None, typer.Option("--json", help="New content of the whole document: a JSON object, @FILE, or -.")
    ] = None,
    patch: Annotated[
        str | None, typer.Option("--patch", help="JSON Patch (RFC 6902): a JSON list, @FILE, or -.")
    ] = None,
) -> None:
    """Edit a document in $EDITOR, or with --json or --patch. Concurrent edits by others are merged."""
    if content is not None and patch is not None:
        raise UsageError("use --json or --patch, not both")
    async with http_room(await find_room_access(target)) as room:
        if patch is not None:
            change: Any = parse_json(patch, "patch")
            if not isinstance(change, list):
                raise UsageError("a JSON Patch must be a list of operations")
        elif content is not None:
            change = parse_object(content, "content")
        else:
            before = await room.document(path, with_ids=True)
            change = await asyncio.to_thread(_edit_in_editor, before)
            if change == before:
                note("no changes")
                return
        await room.change_document(path, change)


def _edit_in_editor(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as edited by the user; CommandError if the editor fails or the result is not JSON."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ("vi" if sys.stdin.isatty() else "")
    if not editor:
        raise UsageError("no editor: use --json or --patch, or set EDITOR")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "document.json")
        file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)  # noqa: S603 - the user's own editor
        except (OSError, subprocess.CalledProcessError) as error:
            raise CommandError(f"editor failed: {error}") from None
        return parse_object(f"@{file}", "edited document")


@command(app, "watch")
async def watch(
    target: RoomTarget,
    path: PathArgument,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="Exit after this many changes.")] = None,
) -> None:
    """Print a document now and after every change, as one JSON object per line."""
    async with room_session(target, stay=True) as room:
        document = await room.sync.open(path, create=False)
        print_json_line(document.to_json())
        changes = _Changes(document)
        async for _ in follow(room, changes, count):
            print_json_line(document.to_json())
        await room.sync.close(path)


class _Changes:
    """Waits for the next change of a document. Changes that arrive together count as one."""

    def __init__(self, document: MeshDocument) -> None:
        self._changed = asyncio.Event()
        for event in ("inserted", "updated", "deleted"):
            document.on(event)(self._note)
        document.root.on("updated")(self._note)

    def _note(self, *_: Any) -> None:
        self._changed.set()

    async def get(self) -> None:
        await self._changed.wait()
        self._changed.clear()
