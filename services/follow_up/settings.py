"""What stands in every message to a patient, and where its links lead."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.runtime.settings import Settings

__all__ = ["MessageSettings"]


class MessageSettings(Settings):
    """Messages to patients."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_MESSAGES_")

    clinic: str = Field(default="The clinic", max_length=60, description="who writes; a name that tells no diagnosis")
    phone: str = Field(default="+1 555 0100", max_length=30, description="where the clinic is reached in its hours")
    out_of_hours: str = Field(default="+1 555 0199", max_length=30, description="where somebody is reached at other times")
    link_url: str = Field(
        default="http://127.0.0.1:7004/link",
        pattern="^https?://[A-Za-z0-9.-]+(:[0-9]+)?/[a-z/-]*$",
        description="page of this service that a one-time link opens",
    )
    screen_file: Path | None = Field(
        default=None,
        description="the clinic's licensed wording of the C-SSRS since the last contact, as JSON: `language`, `licence`, six "
        "`items`; without it a clinician asks instead of the page",
    )
