"""The page that a one-time link opens. It knows the clinic's numbers and wording, and nothing about a patient."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.follow_up.settings import MessageSettings
from services.runtime.edge.assets import Page
from services.runtime.settings import SettingsError, load

__all__ = ["PAGE"]

_Text = Annotated[str, Field(min_length=1, max_length=2000)]


class _Screen(BaseModel):
    """Item text under licence, as the clinic brings it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    language: _Text
    licence: _Text
    items: Annotated[list[_Text], Field(min_length=6, max_length=6)]


def _screen(path: Path | None) -> dict[str, object] | None:
    if path is None:
        return None
    try:
        return _Screen.model_validate_json(path.read_bytes()).model_dump()
    except OSError as error:
        raise SettingsError(f"TELEMED_MESSAGES_SCREEN_FILE cannot be read: {error.strerror}") from None
    except ValidationError as error:
        wrong = sorted({".".join(str(part) for part in one["loc"]) or "the file" for one in error.errors()})
        raise SettingsError(f"TELEMED_MESSAGES_SCREEN_FILE: {', '.join(wrong)} is missing or wrong") from None


def _clinic() -> Mapping[str, bytes]:
    told = load(MessageSettings)
    known = {"name": told.clinic, "phone": told.phone, "out_of_hours": told.out_of_hours, "screen": _screen(told.screen_file)}
    return {"clinic.json": json.dumps(known).encode()}


PAGE = Page("/link", Path(__file__).parents[1] / "page", made=_clinic)
