"""`WebToolkit`: lets a model read web pages as text."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from typing import Final

from meshagent.api.errors import InvalidRequestError
from meshagent.tools.fetching import Fetched, Fetcher
from meshagent.tools.function_tool import function_tools
from meshagent.tools.toolkit import Toolkit

__all__ = ["WebToolkit", "html_to_text"]

_TEXT_TYPES: Final = ("application/json", "application/xml", "application/javascript", "application/x-yaml")
_INVISIBLE: Final = frozenset({"script", "style", "noscript", "template", "svg", "head"})
_BLOCKS: Final = frozenset(
    [
        *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figure", "footer", "form"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section"),
        *("table", "td", "th", "title", "tr", "ul"),
    ]
)


class WebToolkit(Toolkit):
    """One tool, `fetch_url`, which returns the text of a web page.

    Args:
        fetcher: Downloads the pages. Default: public addresses only, at most 2 MB and 20 seconds.
        max_characters: Longer texts are truncated and marked as such.
    """

    def __init__(self, *, fetcher: Fetcher | None = None, max_characters: int = 100_000) -> None:
        self._fetcher = fetcher if fetcher is not None else Fetcher(max_bytes=2 * 1024 * 1024, timeout=20.0)
        self._max_characters = max_characters
        super().__init__(name="web", title="Web", description="Reads web pages.", tools=function_tools(self._fetch_url))

    async def _fetch_url(self, url: str) -> str:
        """Get the text of a web page.

        Args:
            url: URL of the page, starting with http:// or https://.
        """
        # Large pages take too long to parse for the event loop.
        text = await asyncio.to_thread(_page_text, await self._fetcher.fetch(url))
        if len(text) <= self._max_characters:
            return text
        return f"{text[: self._max_characters]}\n[truncated: {len(text)} characters in total]"


def html_to_text(html: str) -> str:
    """Return the visible text of a page, one line per block element, with the URLs of links."""
    reader = _PageReader()
    reader.feed(html)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _page_text(page: Fetched) -> str:
    if page.mime_type in ("text/html", "application/xhtml+xml"):
        return html_to_text(page.text)
    if page.mime_type.startswith("text/") or page.mime_type in _TEXT_TYPES or page.mime_type.endswith("+json"):
        return page.text
    raise InvalidRequestError(f"{page.url} is not text: {page.mime_type}, {len(page.data)} bytes")


class _PageReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._invisible_depth = 0
        self._in_title = False
        self._links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = self._in_title or tag == "title"
        if tag in _INVISIBLE:
            self._invisible_depth += 1
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "a":
            self._links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
            self.parts.append("\n")
        if tag in _INVISIBLE:
            self._invisible_depth = max(0, self._invisible_depth - 1)
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "a" and self._links:
            link = self._links.pop()
            if link.startswith(("http://", "https://")) and not self._invisible_depth:
                self.parts.append(f" ({link})")

    def handle_data(self, data: str) -> None:
        if self._in_title or not self._invisible_depth:
            self.parts.append(data.replace("\n", " "))
