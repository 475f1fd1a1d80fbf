"""Settings, read from `QUANTA_*` environment variables."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend.errors import InvalidInputError


class Settings(BaseSettings):
    """Settings of the program; the README documents each."""

    model_config = SettingsConfigDict(env_prefix="QUANTA_", extra="ignore")

    data_dir: Path = Path("var")
    database_url: str = ""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    token: str = ""
    allowed_hosts: str = ""
    hub_cache_gb: float = Field(default=50, gt=0)
    cache_gb: float = Field(default=200, gt=0)
    jobs_fetch: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the store: the embedded SQLite file unless one is set."""
        if not self.database_url:
            return f"sqlite:///{(self.data_dir / 'quanta.sqlite').resolve()}"
        # Plain postgresql:// would select a driver that is not installed.
        for scheme in ("postgresql://", "postgres://"):
            if self.database_url.startswith(scheme):
                return "postgresql+psycopg://" + self.database_url.removeprefix(scheme)
        return self.database_url

    @property
    def cache_dir(self) -> Path:
        """Folder of memory-mapped caches, which can be rebuilt."""
        return self.data_dir / "cache"

    @property
    def hub_dir(self) -> Path:
        """Folder of weights downloaded from a hub, at most `hub_cache_gb`."""
        return self.data_dir / "hub"


@cache
def settings() -> Settings:
    """Return the process's settings, read once.

    Raises:
        InvalidInputError: a variable has an invalid value.
    """
    try:
        return Settings()
    except ValidationError as error:
        fault = error.errors()[0]
        name = f"QUANTA_{fault['loc'][0]}".upper()
        raise InvalidInputError(f"{name} is {fault['input']!r}", fault["msg"], name) from error
