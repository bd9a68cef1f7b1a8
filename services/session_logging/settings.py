"""How long the infusion room keeps what it need not keep for ever."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.runtime.settings import Settings

__all__ = ["SampleSettings"]


class SampleSettings(Settings):
    """Samples of monitors, second by second."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_SAMPLES_")

    keep_months: int = Field(
        default=84,
        ge=12,
        le=1200,
        description="whole months after which `telemed samples keep` drops them; what people entered and every alert stay",
    )
