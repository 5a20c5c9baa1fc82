"""The server on its port, until it is told to end. Knows sockets, TLS and uvicorn, nothing of requests."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from filelock import FileLock, Timeout
from sqlalchemy import Engine

from pumice.api.app import create_app
from pumice.api.certificate import Certificate
from pumice.api.identity import Identity, is_loopback, may_bind
from pumice.api.platform import open_platform
from pumice.config import Home, Settings
from pumice.errors import InputError
from pumice.store.connect import claim
from pumice.store.tables import open_database

LOGGER = logging.getLogger("pumice")


def serve(settings: Settings, host: str, port: int, certificate: Certificate | None = None) -> None:
    """Answer on `host:port` (0: any free one), over TLS when there is a certificate.

    Raises `InputError` when the address cannot be had, or needs a key or TLS that is not there.
    """
    home = settings.home
    database = open_database(home.database)
    keys = Identity(database, home)
    may_bind(host, keys, tls=certificate is not None)
    if certificate:
        certificate.check()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with alone(home, database), listen(host, port) as listener:
        scheme = "https" if certificate else "http"
        address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        LOGGER.info("Pumice answers on %s (ctrl-C ends it)", address)
        LOGGER.info("AWS clients: export AWS_ENDPOINT_URL=%s", address)
        LOGGER.info("OpenAI clients: export OPENAI_BASE_URL=%s/v1", address)
        if certificate:
            LOGGER.info(
                "Clients trust it with: export AWS_CA_BUNDLE=%s SSL_CERT_FILE=%s", certificate.path, certificate.path
            )
        if is_loopback(host) and not keys.exist():
            LOGGER.info("No key is asked for on this machine; `pumice keys create NAME` changes that.")
        configuration = uvicorn.Config(
            create_app(open_platform(home, database, settings.log_days, settings.log_bodies), host),
            log_level="warning",
            timeout_graceful_shutdown=5,
            # A proxy on this machine must not say for others what they came over.
            proxy_headers=False,
            ssl_certfile=certificate.path if certificate else None,
            ssl_keyfile=certificate.key if certificate else None,
        )
        uvicorn.Server(configuration).run(sockets=[listener])


@contextmanager
def alone(home: Home, database: Engine) -> Iterator[None]:
    """The one server of a home and its records, until the block or the process ends.

    Raises `InputError` while there is another.
    """
    try:
        with FileLock(home.root / "serve.lock", timeout=0), claim(database) as only:
            if not only:
                raise _second(f"the records in {database.url.render_as_string(hide_password=True)}")
            yield
    except Timeout as error:
        raise _second(str(home.root)) from error


def _second(where: str) -> InputError:
    return InputError(
        f"Another `pumice serve` runs on {where}.",
        "Two of them would do every batch twice, and promise the same memory twice.",
        "End that one, or give this one a folder and records of its own: PUMICE_HOME=… pumice serve",
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything is said or started."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(
            f"The address {host}:{port} cannot be had: {error.strerror or error}.",
            "Another server may be listening there, or it is no address of this machine.",
            "Choose another: pumice serve --port 8081",
        ) from error
