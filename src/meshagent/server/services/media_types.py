"""Media types by file extension: a fixed table, the same on every machine.

The table of the standard library depends on the Python version and on system files, so two servers could give different
answers.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["DEFAULT_MEDIA_TYPE", "media_type_of"]

DEFAULT_MEDIA_TYPE = "application/octet-stream"

_EXTENSIONS_BY_TYPE = {
    "application/epub+zip": "epub",
    "application/gzip": "gz tgz",
    "application/json": "json ipynb",
    "application/msword": "doc",
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "application/vnd.apache.arrow.file": "arrow",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.sqlite3": "sqlite sqlite3",
    "application/wasm": "wasm",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-ndjson": "ndjson jsonl",
    "application/x-sh": "sh",
    "application/x-tar": "tar",
    "application/x-xz": "xz",
    "application/xml": "xml xsd xsl",
    "application/yaml": "yaml yml",
    "application/zip": "zip",
    "application/zstd": "zst",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/midi": "mid midi",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga ogg opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/jpeg": "jpeg jpg jpe",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "message/rfc822": "eml",
    "text/calendar": "ics",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html htm",
    "text/javascript": "js mjs cjs",
    "text/markdown": "md markdown",
    "text/plain": "txt text log conf ini toml",
    "text/tab-separated-values": "tsv",
    "text/vcard": "vcf",
    "text/vtt": "vtt",
    "text/x-c": "c h cc cpp hpp",
    "text/x-go": "go",
    "text/x-java": "java",
    "text/x-python": "py pyi",
    "text/x-rust": "rs",
    "text/x-typescript": "ts tsx",
    "video/mp4": "mp4 m4v",
    "video/mpeg": "mpeg mpg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
}


def _by_extension() -> Iterator[tuple[str, str]]:
    for media_type, extensions in _EXTENSIONS_BY_TYPE.items():
        for extension in extensions.split():
            yield extension, media_type


_TYPE_BY_EXTENSION = dict(_by_extension())


def media_type_of(name: str) -> str:
    """The media type for a file name's extension, ignoring case; `DEFAULT_MEDIA_TYPE` if it is unknown."""
    stem, dot, extension = name.rpartition(".")
    if not stem or not dot:
        return DEFAULT_MEDIA_TYPE
    return _TYPE_BY_EXTENSION.get(extension.lower(), DEFAULT_MEDIA_TYPE)
