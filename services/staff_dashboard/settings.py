"""Where the board's page signs people in, and whom it calls as them."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.runtime.settings import Settings

__all__ = ["BoardSettings"]

_ORIGIN = "^https?://[A-Za-z0-9.-]+(:[0-9]+)?$"


class BoardSettings(Settings):
    """The board's page. Each origin is that of a service as a browser reaches it."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_BOARD_")

    client_id: str = Field(default="board", max_length=100, description="the page, as the identity provider knows it")
    clinic: str = Field(default="http://127.0.0.1:7001", pattern=_ORIGIN, description="origin of `clinic`")
    consultation: str = Field(default="http://127.0.0.1:7002", pattern=_ORIGIN, description="origin of `consultation`")
    treatment_planning: str = Field(
        default="http://127.0.0.1:7003", pattern=_ORIGIN, description="origin of `treatment_planning`"
    )
    follow_up: str = Field(default="http://127.0.0.1:7004", pattern=_ORIGIN, description="origin of `follow_up`")
    session_logging: str = Field(default="http://127.0.0.1:7005", pattern=_ORIGIN, description="origin of `session_logging`")
    video_visits: str = Field(default="http://127.0.0.1:7006", pattern=_ORIGIN, description="origin of `video_visits`")
