"""What stands in every message to a patient, and where its links lead."""

from pathlib import Path
from typing import Final, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.runtime.settings import Environment, ProcessSettings, Settings, load

__all__ = ["MessageSettings"]


_OF_THE_CLINIC: Final = ("clinic", "phone", "out_of_hours", "link_url")


class MessageSettings(Settings):
    """Messages to patients. In production the clinic names itself: a patient must not be sent to a number of an example."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_MESSAGES_")

    clinic: str = Field(
        default="The clinic", max_length=60, description="who writes; a name that tells no diagnosis; required in production"
    )
    phone: str = Field(
        default="+1 555 0100", max_length=30, description="where the clinic is reached in its hours; required in production"
    )
    out_of_hours: str = Field(
        default="+1 555 0199", max_length=30, description="where somebody is reached at other times; required in production"
    )
    link_url: str = Field(
        default="http://127.0.0.1:7004/link",
        pattern="^https?://[A-Za-z0-9.-]+(:[0-9]+)?/[a-z/-]*$",
        description="page of this service that a one-time link opens; required in production",
    )
    screen_file: Path | None = Field(
        default=None,
        description="the clinic's licensed wording of the C-SSRS since the last contact, as JSON: `language`, `licence`, six "
        "`items`; without it a clinician asks instead of the page",
    )

    @model_validator(mode="after")
    def _its_own_in_production(self) -> Self:
        missing = [name for name in _OF_THE_CLINIC if name not in self.model_fields_set]
        if missing and load(ProcessSettings).env is Environment.PRODUCTION:
            raise ValueError(f"production must say its own {', '.join(missing)}")
        return self
