"""The video platform. Without it visits are held in person, and say so."""

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from services.runtime.settings import Settings

__all__ = ["LiveKitSettings"]


class LiveKitSettings(Settings):
    """A LiveKit server: ours, or a hosted one."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_LIVEKIT_")

    url: str = Field(
        default="", pattern="^(wss?://[A-Za-z0-9.:-]+)?$", description="where participants connect; empty: no video"
    )
    api_key: str = Field(default="", max_length=100, description="names the secret in tokens and webhooks")
    api_secret: SecretStr | None = Field(default=None, description="signs join tokens, and the webhooks that come in")

    @model_validator(mode="after")
    def _whole(self) -> "LiveKitSettings":
        if bool(self.url) != bool(self.api_key and self.api_secret):
            raise ValueError("url, api_key and api_secret belong together")
        return self
