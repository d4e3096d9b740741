"""Change notifications as pydantic models (protocol 8.6).

Inside the SDK notifications travel as the plain dicts these models describe; `ChangeNotification.model_validate`
and `model_dump` convert. In a notification each entry of a delta holds exactly one of retain, insert and delete.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

__all__ = ["ChangeNotification", "DeltaAttr", "DeltaAttrSet", "DeltaEl", "DeltaText"]


class DeltaEl(BaseModel):
    """One step along the children of an element; `insert` holds whole subtrees."""

    retain: int | None = None
    insert: list[dict[str, Any]] | None = None
    delete: int | None = None


class DeltaAttrSet(BaseModel):
    """An attribute got a value."""

    name: str
    value: Any = None


class DeltaAttr(BaseModel):
    """Attributes that were set, and names of those that were removed."""

    set: list[DeltaAttrSet] = Field(default_factory=list)
    delete: list[str] = Field(default_factory=list)


class DeltaText(BaseModel):
    """One step along a text; lengths count characters (code points)."""

    retain: int | None = None
    insert: Any = None
    delete: int | None = None
    attributes: dict[str, Any] | None = None


class ChangeNotification(BaseModel):
    """What changed in one node; `target` is its `$id`, null for the root."""

    root: bool
    target: str | None = None
    elements: list[DeltaEl] = Field(default_factory=list)
    attributes: DeltaAttr = Field(default_factory=DeltaAttr)
    text: list[DeltaText] = Field(default_factory=list)
