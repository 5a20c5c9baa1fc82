"""Where things live and which port: read from the environment once. Knows no other room but errors."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pumice.errors import InputError

LOG_DAYS, MOST_LOG_DAYS = 30, 36_500
IDLE_SECONDS = 900
ENGINES = ("llama.cpp", "transformers", "vllm")
Quant = Literal["q8_0", "q4_0", "f16", "f32"]
QUANTS: tuple[Quant, ...] = get_args(Quant)


@dataclass(frozen=True)
class Serving:
    """What answers, where a model's files leave a choice."""

    engine: str | None = None
    """`PUMICE_ENGINE`: one of `ENGINES`, or the URL of a server; None: by the files alone."""
    quant: Quant = QUANTS[0]
    """`PUMICE_QUANT`: precision of the weights on llama.cpp, one of `QUANTS`."""
    key: str | None = field(default=None, repr=False)
    """`PUMICE_ENGINE_KEY`: the bearer key that the server behind a URL asks for."""
    idle: float | None = None
    """`PUMICE_IDLE_SECONDS`: an engine that nobody asked for so long ends; None: it stays."""

    @property
    def url(self) -> str | None:
        """The server that `engine` names, if it names one."""
        return self.engine if self.engine and "://" in self.engine else None


@dataclass(frozen=True)
class Home:
    """The one folder that holds everything Pumice keeps; two homes never touch each other."""

    root: Path
    server: str | None = field(default=None, repr=False)
    """`PUMICE_DATABASE`: where the records are, if not in the folder; it may hold a password."""
    secret_key: str | None = field(default=None, repr=False)
    """`PUMICE_SECRET_KEY`: what signing secrets are encrypted with, where servers share the records; else a file is."""
    serving: Serving = Serving()
    """What answers for the models in it."""

    @property
    def bases(self) -> Path:
        """One folder a cached base."""
        return self.root / "bases"

    @property
    def models(self) -> Path:
        """`models/<name>/<version>/`: the registered artifacts."""
        return self.root / "models"

    @property
    def jobs(self) -> Path:
        """`jobs/<id>/`: recipe, events, log and checkpoints of a job."""
        return self.root / "jobs"

    @property
    def s3(self) -> Path:
        """What `s3://` means on this machine: one folder a bucket, one file an object."""
        return self.root / "s3"

    @property
    def files(self) -> Path:
        """Files that came over the OpenAI API, one folder each."""
        return self.root / "files"

    @property
    def cache(self) -> Path:
        """What can be deleted at any time and is made again: converted weights."""
        return self.root / "cache"

    @property
    def secret_file(self) -> Path:
        """What secrets are encrypted with, unless the environment says it. Readable by its owner alone."""
        return self.root / "secret.key"

    @property
    def tls(self) -> Path:
        """The certificate that `pumice serve --tls` makes, and its private key."""
        return self.root / "tls"

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the records."""
        return self.server or f"sqlite:///{self.root / 'pumice.db'}"


@dataclass(frozen=True)
class Settings:
    """What the environment says, read once at the edge (`cli`, `jobs.worker`)."""

    home: Home
    """`PUMICE_HOME`, by default `~/.pumice`; its records where `PUMICE_DATABASE` says."""
    host: str = "127.0.0.1"
    """`PUMICE_HOST`: the address `pumice serve` binds to."""
    port: int = 8080
    """`PUMICE_PORT`: the port `pumice serve` listens on."""
    log_days: int | None = None
    """`PUMICE_LOG_DAYS`: how long the request log keeps a request; None: as the server was told, or `LOG_DAYS`."""
    log_bodies: bool = False
    """`PUMICE_LOG_BODIES=1`: the request log keeps what was asked and answered, too."""


def read_environment() -> Settings:
    """The settings of this process; creates the home folder."""
    root = Path(os.environ.get("PUMICE_HOME") or Path.home() / ".pumice").expanduser().resolve()
    root.mkdir(parents=True, exist_ok=True)
    records, secret = (os.environ.get(name) or None for name in ("PUMICE_DATABASE", "PUMICE_SECRET_KEY"))
    home = Home(root, records, secret, _serving())
    return Settings(
        home,
        os.environ.get("PUMICE_HOST", "127.0.0.1"),
        _whole("PUMICE_PORT", 8080, 65535),
        _whole("PUMICE_LOG_DAYS", LOG_DAYS, MOST_LOG_DAYS) if os.environ.get("PUMICE_LOG_DAYS") else None,
        os.environ.get("PUMICE_LOG_BODIES", "") not in ("", "0"),
    )


def _whole(name: str, default: int, most: int) -> int:
    """A number out of the environment. Raises `InputError` for what is none, or too large."""
    text = os.environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise InputError(f"{name}={text} is no whole number from 0 to {most}.", fix=f"Unset it for {default}.")
    return int(text)


def _serving() -> Serving:
    """Raises `InputError` for what is no engine, no precision, or a pair that cannot be."""
    engine, wanted = os.environ.get("PUMICE_ENGINE") or None, os.environ.get("PUMICE_QUANT") or QUANTS[0]
    if engine and engine not in ENGINES and not engine.startswith(("http://", "https://")):
        raise InputError(
            f"PUMICE_ENGINE={engine} is no engine.",
            f"It is {', '.join(ENGINES)}, or the URL of a server: http://… or https://…",
            "Unset it to let each model's files decide.",
        )
    quant = next((each for each in QUANTS if each == wanted), None)
    if quant is None:
        raise InputError(f"PUMICE_QUANT={wanted} is none of {', '.join(QUANTS)}.", fix=f"Unset it for {QUANTS[0]}.")
    if engine not in (None, ENGINES[0]) and os.environ.get("PUMICE_QUANT"):
        raise InputError(
            f"PUMICE_QUANT={quant} and PUMICE_ENGINE={engine} do not go together.",
            f"{ENGINES[0]} alone converts the weights; every other engine runs them as they are.",
            "Unset one of them.",
        )
    idle = _whole("PUMICE_IDLE_SECONDS", IDLE_SECONDS, 10**8)
    return Serving(engine, quant, os.environ.get("PUMICE_ENGINE_KEY") or None, idle or None)
