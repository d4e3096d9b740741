"""`meshagent chat`: chat with an agent in the terminal."""

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

from meshagent.api.visible_text import visible_line
from meshagent.cli.chat_thread import ChatThread, ThreadEvent, thread_path
from meshagent.cli.command import runnable
from meshagent.cli.context import RoomTarget, ready_token, room_session
from meshagent.cli.output import CommandError, ExitCode, echo, note
from meshagent.cli.paths import join

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.participants import RemoteParticipant

SETTLE_TIMEOUT: Final = 0.3
"""Seconds without events after which a finished turn counts as complete.

Text arrives as document updates, the end of the turn as a message; so text may still arrive after the end.
"""

SETTLE_TIMEOUT_WITHOUT_TEXT: Final = 2.0
"""The same for a turn without any text so far."""

UPLOADS: Final = "uploaded-files"
HELP: Final = "/file PATH attaches a local file, /quit exits; Ctrl+C stops the current answer, or exits"


async def _chat(
    target: RoomTarget,
    agent: Annotated[str | None, typer.Option(help="Name of the agent. Default: the only one in the room.")] = None,
    thread: Annotated[str | None, typer.Option(help="Path of the thread. Default: one per agent and user.")] = None,
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="Send one message, print the answer, and exit.")
    ] = None,
    history: Annotated[int, typer.Option(min=0, help="Number of earlier messages to show.")] = 10,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the agent to join.")] = 10,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for an answer.")] = 300,
) -> None:
    """Chat with an agent of a room. Each line of piped input is sent as a message."""
    if target.name is None and ready_token(target) is None:
        target = replace(target, name=getpass.getuser())
    async with room_session(target, stay=True) as room:
        await room.messaging.enable()
        partner = await find_agent(room, agent, wait)
        path = thread or thread_path(str(partner.get_attribute("name")), str(_own_name(room)))
        document = await room.sync.open(path)
        screen = _Screen()
        conversation = ChatThread(room, partner, path, document, screen.show)
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
    """Return the agent of that name, or the only one in the room. Waits for it to join.

    Raises:
        CommandError: There is no such agent, or there are several and no name was given.
    """
    joined = asyncio.Event()
    room.messaging.on("participant_added", lambda participant: joined.set())
    with suppress(TimeoutError):
        async with asyncio.timeout(wait):
            while not _agents(room, name):
                joined.clear()
                await joined.wait()
    found = _agents(room, name)
    if len(found) == 1 or (found and name is not None):
        return found[0]
    if found:
        names = ", ".join(sorted(str(agent.get_attribute("name")) for agent in found))
        raise CommandError("several agents are in the room", hint=f"choose one with --agent: {names}")
    raise CommandError(
        f"agent {name!r} is not in the room" if name else "no agent is in the room",
        code=ExitCode.NOT_FOUND,
        hint="start one with `meshagent chatbot join`, `meshagent service run` or `meshagent call agent`",
    )


def _agents(room: RoomClient, name: str | None) -> list[RemoteParticipant]:
    others = room.messaging.remote_participants
    if name is not None:
        return [other for other in others if name in (other.id, other.get_attribute("name"))]
    return [other for other in others if other.role == "agent"]


def _own_name(room: RoomClient) -> object:
    return room.local_participant.get_attribute("name")


async def _say(
    conversation: ChatThread, screen: _Screen, text: str, timeout: float, files: tuple[str, ...] = ()
) -> None:
    """Send a message and wait until the answer is complete.

    Raises:
        CommandError: No answer in time, or the agent has left the room.
    """
    screen.begin_turn()
    await conversation.say(text, files)
    try:
        async with asyncio.timeout(timeout):
            await screen.wait_for_answer()
    except TimeoutError:
        raise CommandError(f"no answer within {timeout:g} seconds", code=ExitCode.TIMEOUT) from None


async def _converse(room: RoomClient, conversation: ChatThread, screen: _Screen, timeout: float) -> None:
    """Send each line of input as a message, until there are no more."""
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
                files = (*files, *await _upload(room, text.removeprefix("/file ").strip()))
            elif text or files:
                turn = asyncio.create_task(_say(conversation, screen, text, timeout, files))
                files = ()
                await asyncio.wait([turn])
                if turn.cancelled():
                    await conversation.cancel()
                    screen.show_stopped()
                else:
                    turn.result()


async def _upload(room: RoomClient, name: str) -> tuple[str, ...]:
    """Upload a local file to the room; returns its path there, or nothing if the file cannot be read."""
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
    """Prints the events of a conversation, and tells when an answer is complete."""

    def __init__(self) -> None:
        self._current_message: object = None
        self._at_line_start = True
        self._changed = asyncio.Event()
        self._has_answer = self._turn_ended = False
        self._left = ""

    def begin(self, agent: RemoteParticipant, path: str, history: list[tuple[str, str]]) -> None:
        """Print the agent, the thread and its earlier messages."""
        note(f"chatting with {agent.get_attribute('name')} in {path} (type /help for commands)")
        for author, text in history:
            echo(f"{visible_line(author)}: {text}")
        title = agent.get_attribute("empty_state_title")
        if not history and title and sys.stdin.isatty():
            note(str(title))

    def show(self, event: ThreadEvent) -> None:
        """Print an event."""
        match event.kind:
            case "text":
                if event.element is not self._current_message:
                    self._end_line()
                    self._current_message = event.element
                    self._write(f"{visible_line(event.author)}: ")
                self._write(event.text)
                self._has_answer = True
            case "note":
                self._end_line()
                note(event.text)
            case "done":
                self._turn_ended = True
            case "left":
                self._end_line()
                self._left = event.author
        self._changed.set()

    def begin_turn(self) -> None:
        """Expect an answer to a new message."""
        self._has_answer = self._turn_ended = False

    async def wait_for_answer(self) -> None:
        """Return when the agent has ended its turn and its text has arrived.

        Raises:
            CommandError: The agent has left the room.
        """
        while not self._turn_ended:
            if self._left:
                raise CommandError(f"{self._left} has left the room", code=ExitCode.NO_CONNECTION)
            self._changed.clear()
            await self._changed.wait()
        with suppress(TimeoutError):  # the answer may have no text: a file, or nothing at all
            while True:
                self._changed.clear()
                async with asyncio.timeout(SETTLE_TIMEOUT if self._has_answer else SETTLE_TIMEOUT_WITHOUT_TEXT):
                    await self._changed.wait()
        self._end_line()

    def show_stopped(self) -> None:
        """Print that the user stopped the answer."""
        self._end_line()
        note("stopped")

    def prompt(self) -> None:
        """Print the prompt, if the input is a terminal."""
        self._end_line()
        if sys.stdin.isatty():
            sys.stderr.write("> ")
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        echo(text, end="")
        self._at_line_start = text.endswith("\n") if text else self._at_line_start

    def _end_line(self) -> None:
        self._current_message = None
        if not self._at_line_start:
            self._write("\n")


class _Lines:
    """Lines of standard input, read in a daemon thread because a blocking read cannot be cancelled."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)
        threading.Thread(target=self._read, name="standard input", daemon=True).start()

    async def next(self, prompt: Callable[[], None]) -> str | None:
        """Return the next line, or None at the end of the input."""
        prompt()
        self._wanted.release()
        return await self._lines.get()

    def end(self) -> None:
        """Make `next` return None."""
        self._lines.put_nowait(None)

    def _read(self) -> None:
        while True:
            self._wanted.acquire()
            line = sys.stdin.readline()
            with suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(self._lines.put_nowait, line or None)
            if not line:
                return


class _on_interrupt:
    """Calls `action` on Ctrl+C inside the block."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        with suppress(
            NotImplementedError, RuntimeError, ValueError
        ):  # no signal handlers here: Ctrl+C ends the process
            self._loop.add_signal_handler(signal.SIGINT, self._action)

    def __exit__(self, *exception: object) -> None:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            self._loop.remove_signal_handler(signal.SIGINT)
