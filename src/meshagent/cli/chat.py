"""`meshagent chat`: talk to an agent of a room in the terminal."""

from __future__ import annotations

import asyncio
import getpass
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meshagent.cli.chat_thread import Thread, ThreadEvent, thread_path
from meshagent.cli.command import runnable
from meshagent.cli.context import RoomTarget, ready_token, room_session
from meshagent.cli.output import CommandError, ExitCode, note
from meshagent.cli.paths import join

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.participants import RemoteParticipant

SETTLE: Final = 0.3
"""Seconds without news after which a turn that has ended is taken to be complete: text comes by another way."""

SETTLE_WITHOUT_TEXT: Final = 2.0
"""The same for a turn in which no text came yet."""

UPLOADS: Final = "uploaded-files"
HELP: Final = "/file PATH attaches a file of this machine, /quit leaves; Ctrl+C stops an answer, or leaves"


async def _chat(
    target: RoomTarget,
    agent: Annotated[str | None, typer.Option(help="Whom to talk to; by default the room's only agent.")] = None,
    thread: Annotated[str | None, typer.Option(help="The thread document; by default one for this person.")] = None,
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="Say this, print the answer, and leave.")
    ] = None,
    history: Annotated[int, typer.Option(min=0, help="How many former messages to show.")] = 10,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the agent to come.")] = 10,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for an answer.")] = 300,
) -> None:
    """Talk to an agent of a room. Lines that are piped in are said one after another."""
    if target.name is None and ready_token(target) is None:
        target = replace(target, name=getpass.getuser())
    async with room_session(target, stay=True) as room:
        await room.messaging.enable()
        partner = await find_agent(room, agent, wait)
        path = thread or thread_path(str(partner.get_attribute("name")), str(_own_name(room)))
        document = await room.sync.open(path)
        screen = _Screen()
        conversation = Thread(room, partner, path, document, screen.show)
        try:
            if message is not None:
                conversation.history(0)
                await _say(conversation, screen, message, timeout)
            else:
                screen.begin(partner, path, conversation.history(history))
                await conversation.opened()
                await _converse(room, conversation, screen, timeout)
        finally:
            conversation.close()
            await room.sync.close(path)


chat = runnable(_chat)


async def find_agent(room: RoomClient, name: str | None, wait: float) -> RemoteParticipant:
    """The agent of that name, or the only one; waits for it to come.

    Raises:
        CommandError: There is none, or there are several to choose from.
    """
    came = asyncio.Event()
    room.messaging.on("participant_added", lambda participant: came.set())
    with suppress(TimeoutError):
        async with asyncio.timeout(wait):
            while not _agents(room, name):
                came.clear()
                await came.wait()
    found = _agents(room, name)
    if len(found) == 1 or (found and name is not None):
        return found[0]
    if found:
        names = ", ".join(sorted(str(agent.get_attribute("name")) for agent in found))
        raise CommandError("there are several agents in the room", hint=f"choose one with --agent: {names}")
    raise CommandError(
        f"there is no agent{f' {name!r}' if name else ''} in the room",
        code=ExitCode.NOT_FOUND,
        hint="`meshagent chatbot join` brings one, as do `meshagent service run` and `meshagent call agent`",
    )


def _agents(room: RoomClient, name: str | None) -> list[RemoteParticipant]:
    others = room.messaging.remote_participants
    if name is not None:
        return [other for other in others if name in (other.id, other.get_attribute("name"))]
    return [other for other in others if other.role == "agent"]


def _own_name(room: RoomClient) -> object:
    return room.local_participant.get_attribute("name")


async def _say(conversation: Thread, screen: _Screen, text: str, timeout: float, files: tuple[str, ...] = ()) -> None:
    """Say something and wait until the answer is complete.

    Raises:
        CommandError: No answer in time, or the agent has left.
    """
    screen.turn()
    await conversation.say(text, files)
    try:
        async with asyncio.timeout(timeout):
            await screen.answered()
    except TimeoutError:
        raise CommandError(f"no answer came within {timeout:g} seconds", code=ExitCode.TIMEOUT) from None


async def _converse(room: RoomClient, conversation: Thread, screen: _Screen, timeout: float) -> None:
    """Say line after line, until there are no more."""
    lines = _Lines()
    turn: asyncio.Task[None] | None = None

    def interrupted() -> None:
        if turn is not None and not turn.done():
            turn.cancel()
        else:
            lines.end()

    with _on_interrupt(interrupted):
        files: tuple[str, ...] = ()
        while (line := await lines.next(screen.prompt)) is not None:
            text = line.strip()
            if text in ("/quit", "/exit"):
                return
            if text == "/help":
                note(HELP)
            elif text.startswith("/file "):
                files = (*files, *await _attached(room, text.removeprefix("/file ").strip()))
            elif text or files:
                turn = asyncio.create_task(_say(conversation, screen, text, timeout, files))
                files = ()
                await asyncio.wait([turn])
                if turn.cancelled():
                    await conversation.cancel()
                    screen.stopped()
                else:
                    turn.result()


async def _attached(room: RoomClient, name: str) -> tuple[str, ...]:
    """Put a file of this machine into the room; returns its path there, or nothing if it cannot be read."""
    try:
        content = await asyncio.to_thread(_read_file, name)
    except OSError as error:
        note(f"error: {error}")
        return ()
    path = join(UPLOADS, Path(name).name)
    async with room.storage.open(path, overwrite=True) as file:
        await file.write(content)
    note(f"attached as {path}")
    return (path,)


def _read_file(name: str) -> bytes:
    return Path(name).expanduser().read_bytes()


class _Screen:
    """Shows a conversation as it goes, and knows when an answer is complete."""

    def __init__(self) -> None:
        self._growing: object = None
        self._at_line_start = True
        self._news = asyncio.Event()
        self._has_answer = self._is_over = False
        self._left = ""

    def begin(self, agent: RemoteParticipant, path: str, history: list[tuple[str, str]]) -> None:
        """Show where one is, and what was said before."""
        note(f"talking to {agent.get_attribute('name')} in {path} (/help)")
        for author, text in history:
            typer.echo(f"{author}: {text}")
        title = agent.get_attribute("empty_state_title")
        if not history and title and sys.stdin.isatty():
            note(str(title))

    def show(self, event: ThreadEvent) -> None:
        """Print an event."""
        match event.kind:
            case "text":
                if event.element is not self._growing:
                    self._end_line()
                    self._growing = event.element
                    self._write(f"{event.author}: ")
                self._write(event.text)
                self._has_answer = True
            case "note":
                self._end_line()
                note(event.text)
            case "done":
                self._is_over = True
            case "left":
                self._end_line()
                self._left = event.author
        self._news.set()

    def turn(self) -> None:
        """A turn begins."""
        self._has_answer = self._is_over = False

    async def answered(self) -> None:
        """Return when the agent has ended its turn, and its text has arrived.

        Raises:
            CommandError: It has left the room.
        """
        while not self._is_over:
            if self._left:
                raise CommandError(f"{self._left} has left the room", code=ExitCode.NO_CONNECTION)
            self._news.clear()
            await self._news.wait()
        with suppress(TimeoutError):  # an answer may be a file, or nothing
            while True:
                self._news.clear()
                async with asyncio.timeout(SETTLE if self._has_answer else SETTLE_WITHOUT_TEXT):
                    await self._news.wait()
        self._end_line()

    def stopped(self) -> None:
        """The person has stopped the answer."""
        self._end_line()
        note("stopped")

    def prompt(self) -> None:
        """Ask for the next line, if there is a person to ask."""
        self._end_line()
        if sys.stdin.isatty():
            sys.stderr.write("> ")
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
        self._at_line_start = text.endswith("\n") if text else self._at_line_start

    def _end_line(self) -> None:
        self._growing = None
        if not self._at_line_start:
            self._write("\n")


class _Lines:
    """Lines of standard input. They are read in a thread of their own: reading cannot be interrupted."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)
        threading.Thread(target=self._read, name="standard input", daemon=True).start()

    async def next(self, prompt: Callable[[], None]) -> str | None:
        """The next line; None at the end."""
        prompt()
        self._wanted.release()
        return await self._lines.get()

    def end(self) -> None:
        """Let the wait for the next line end."""
        self._lines.put_nowait(None)

    def _read(self) -> None:
        while True:
            self._wanted.acquire()
            line = sys.stdin.readline()
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._lines.put_nowait, line or None)
            if not line:
                return


class _on_interrupt:
    """Calls `action` on Ctrl+C within the block."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        with suppress(NotImplementedError, RuntimeError, ValueError):  # no signals here: Ctrl+C ends the process
            self._loop.add_signal_handler(signal.SIGINT, self._action)

    def __exit__(self, *exception: object) -> None:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            self._loop.remove_signal_handler(signal.SIGINT)
