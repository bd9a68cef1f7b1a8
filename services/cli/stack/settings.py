"""What can be chosen about the local stack."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["StackSettings"]


class StackSettings(BaseSettings):
    """Ports and limits of the local stack, each ``TELEMED_STACK_<FIELD>``."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_STACK_", frozen=True, extra="ignore")

    postgres_port: int = Field(default=15432, ge=1, le=65535, description="PostgreSQL")
    kafka_port: int = Field(default=19092, ge=1, le=65535, description="Apache Kafka")
    kafka_controller_port: int = Field(default=19093, ge=1, le=65535, description="its controller")
    smtp_port: int = Field(default=11025, ge=1, le=65535, description="the mail server")
    mail_port: int = Field(default=18025, ge=1, le=65535, description="page that shows the mail")
    issuer_port: int = Field(default=18080, ge=1, le=65535, description="the local issuer, where people sign in")
    livekit_port: int = Field(default=17880, ge=1, le=65535, description="the video server, where participants connect")
    livekit_udp_port: int = Field(default=17881, ge=1, le=65535, description="its media, over UDP")
    port_offset: int = Field(default=0, ge=0, le=20000, description="added to every port, for a second stack")
    min_memory_mb: int = Field(default=700, ge=0, description="refuse to start with less available memory")
    min_disk_mb: int = Field(default=500, ge=0, description="refuse to start with less room for data")
    start_timeout_s: float = Field(default=60.0, gt=0, description="how long a service may take to become ready")

    def port(self, wanted: int) -> int:
        """A port of this stack."""
        return wanted + self.port_offset
