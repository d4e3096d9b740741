"""Present attachments to a model: text and images with their content, other files as a note with their path."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Final

from meshagent.agents.llm.context import AgentChatContext
from meshagent.api.errors import RoomException

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["append_attachment", "attachment_note"]

log = logging.getLogger(__name__)

MAX_TEXT_BYTES: Final = 100_000
MAX_IMAGE_BYTES: Final = 4_000_000
_IMAGES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif")
_TEXTS: Final = ("application/json", "application/xml", "application/yaml", "application/toml")


def attachment_note(author: str, path: str) -> str:
    """Return a sentence that tells the model about a file and its path."""
    return f"{author or 'The user'} attached a file. It is in the room's storage at the path {path!r}."


async def append_attachment(chat: AgentChatContext, room: RoomClient, author: str, path: str) -> None:
    """Add a file to the conversation: text up to 100 KB and images up to 4 MB with their content."""
    note = attachment_note(author, path)
    try:
        entry = await room.storage.stat(path=path)
        if entry is None or entry.is_folder or (entry.size or 0) > MAX_IMAGE_BYTES:
            chat.append_user_message(note)
            return
        file = await room.storage.download(path=path)
    except RoomException as error:
        log.info("cannot read attachment %s: %s", path, error)
        chat.append_user_message(f"{note} It cannot be read: {error}")
        return
    mime_type = file.mime_type.split(";")[0].strip()
    if mime_type in _IMAGES:
        encoded = base64.b64encode(file.data).decode()
        chat.append_user_image(f"data:{mime_type};base64,{encoded}", note)
    elif (mime_type.startswith("text/") or mime_type in _TEXTS) and len(file.data) <= MAX_TEXT_BYTES:
        chat.append_user_message(f"{note} Its content:\n\n{file.data.decode('utf-8', 'replace')}")
    else:
        chat.append_user_message(note)
