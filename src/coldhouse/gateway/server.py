"""The gateway's server: uvicorn in a thread of its own, on a socket that is bound before anything starts."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from contextlib import suppress
from importlib import import_module
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from coldhouse.errors import GatewayError, UsageError
from coldhouse.gateway.app import App, Door, Doors, new_address, new_web_address
from coldhouse.gateway.serve import Namespace, ServeSession
from coldhouse.gateway.settings import Address, GatewaySettings
from coldhouse.gateway.web import WebSession
from coldhouse.gateway.workers import Workers

if TYPE_CHECKING:  # who only gives out need not load what takes in
    from coldhouse.gateway.ingest import IngestSession
    from coldhouse.gateway.prompt_server import PromptServer

MAX_CONNECTIONS = 512
KEEP_ALIVE = 75  # seconds; longer than ClickHouse keeps an idle connection, so that it is the one that closes
START_LIMIT = 15.0  # seconds
CLOSE_LIMIT = 60.0  # seconds
STOP_LIMIT = 10  # seconds
BACKLOG = 256
#: Where a gateway listens that may take any port. ClickHouse keeps the connections to a server that is gone, some 16 of
#: a backup and 4 of a restore, until it talks to that port again: with a new port each time, hourly backups left it 380
#: dead sockets a day (26.9; SYSTEM DROP CONNECTIONS CACHE closes them). Linux gives none of these to clients by itself.
USUAL_PORTS = tuple(range(61440, 61456))


class Gateway:
    """The endpoint; a context manager, or ``start()`` and ``stop()``. Its methods may be called from any thread."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Raises UsageError if the settings cannot mean anything."""
        _check(settings)
        self._settings = settings
        self._doors = Doors()
        self._web_doors = Doors()
        self._running: _Running | None = None

    def __enter__(self) -> Gateway:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen. Raises GatewayError if the address is taken or the certificate cannot be used."""
        if self._running is None:
            self._running = _Running(self._settings, self._doors, self._web_doors)

    def stop(self) -> None:
        """Close all addresses, end all threads and free the port. A sink that blocks must be aborted before."""
        running, self._running = self._running, None
        if running is not None:
            try:
                for door in self._doors.close_all():
                    running.close(door)
            finally:
                running.stop()

    @property
    def port(self) -> int:
        """The port that the gateway listens on. Raises GatewayError before ``start``."""
        if self._running is None:
            raise _not_running()
        return self._running.port

    @property
    def url(self) -> str:
        """Where ClickHouse reaches the gateway, without a slash at the end. Raises GatewayError before ``start``."""
        if self._settings.url:
            return self._settings.url.rstrip("/")
        scheme = "http" if self._settings.tls_cert is None else "https"
        host = self._settings.listen_host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def open_ingest(self, ingest: IngestSession) -> Address:
        """Open an address for one BACKUP: ``<url>data`` to write to, ``<url>base`` as its base. Raises GatewayError."""
        address, prefix = self._new_address()
        ingest.address = address
        self._doors.open(Door(ingest, prefix, address.access_key, address.secret_key))
        return address

    def open_serve(self, lookup: Namespace, expected: int | None = None) -> ServeSession:
        """Open an address for what reads; ``lookup`` gets the keys below its ``address.url``. Raises GatewayError.

        With ``expected`` (bytes, about) the session tells when almost so many were sent.
        """
        address, prefix = self._new_address()
        session = ServeSession(lookup, address, expected)
        self._doors.open(Door(session, prefix, address.access_key, address.secret_key, prompt=session.prompt))
        return session

    def open_web(self, lookup: Namespace) -> WebSession:
        """Open an address for a ``web`` disk: unsigned GETs below a token. Raises GatewayError."""
        if self._running is None:
            raise _not_running()
        address, token = new_web_address(self.url)
        session = WebSession(lookup, address)
        self._web_doors.open(Door(session, token, token, ""))
        return session

    def close(self, address: Address) -> None:
        """Close an address: its keys are worth nothing any more, its requests are cut, and their threads have ended.

        Waits for calls into the sink or the reader that are under way. Raises GatewayError if they take over a minute.
        """
        door = self._doors.close(address.access_key) or self._web_doors.close(address.access_key)
        if door is not None and self._running is not None:
            self._running.close(door)

    def _new_address(self) -> tuple[Address, str]:
        if self._running is None:
            raise _not_running()
        return new_address(self.url)


class _Running:
    """A server that runs: its socket, its thread, its event loop."""

    def __init__(self, settings: GatewaySettings, doors: Doors, web_doors: Doors) -> None:
        self._workers = Workers()
        self._app = App(doors, web_doors, self._workers)
        self._socket = _bind(settings.listen_host, settings.listen_port)
        self.port: int = self._socket.getsockname()[1]
        try:
            self._server = _server(self._app, settings)
        except (OSError, ValueError) as error:
            self._socket.close()
            raise GatewayError(
                f"The gateway's certificate or key cannot be used: {error}",
                hint="--gateway-tls-cert and --gateway-tls-key are PEM files, the certificate with its chain",
            ) from error
        self._serving: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="coldhouse-gateway", daemon=True)
        self._thread.start()
        self._wait_until_started()

    def close(self, door: Door) -> None:
        """Cut the requests of an address and wait for their end."""
        loop = self._serving
        if loop is None or not self._thread.is_alive():
            return
        ending = asyncio.run_coroutine_threadsafe(self._app.close(door), loop)
        try:
            ending.result(CLOSE_LIMIT)
        except TimeoutError:
            raise GatewayError(
                "A request to the gateway does not end: the repository's store does not answer."
            ) from None

    def stop(self) -> None:
        """End the thread; what is under way is cut."""
        self._server.leave()
        self._thread.join()
        self._workers.stop()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            self._serving = runner.get_loop()
            runner.run(self._server.serve(sockets=[self._socket]))

    def _wait_until_started(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self._socket.close()
                raise GatewayError("The gateway could not start.")
            time.sleep(0.002)


def load_server() -> None:
    """Import now what a gateway imports when it starts."""
    for module in ("uvicorn", "coldhouse.gateway.prompt_server", "coldhouse.gateway.protocol"):
        import_module(module)


def _server(app: App, settings: GatewaySettings) -> PromptServer:
    """A uvicorn server that logs nothing by itself, tells nothing about itself, and waits for nobody when it stops."""
    import uvicorn

    from coldhouse.gateway.prompt_server import PromptServer
    from coldhouse.gateway.protocol import GatewayProtocol

    config = uvicorn.Config(
        app,
        http=GatewayProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=STOP_LIMIT,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return PromptServer(config)


def _bind(host: str, port: int) -> socket.socket:
    """Bind a listening socket; port 0 is the first of the usual ones that is free, or else any. Raises GatewayError."""
    for usual in () if port else USUAL_PORTS:
        try:
            return _bound(host, usual)
        except OSError:
            continue
    try:
        return _bound(host, port)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ip_address(address[0]).is_loopback:
            _leave_unpaced(bound)
        bound.bind(address)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _leave_unpaced(listening: socket.socket) -> None:
    """Let what this machine sends to itself go out as fast as it is taken.

    BBR, which some hosts use for all connections, paces by timers what needs no pacing: of 2 GB a restore took 2.4 s
    instead of 2.0. Reno is in every Linux, and everybody may choose it.
    """
    if hasattr(socket, "TCP_CONGESTION"):
        with suppress(OSError):  # it is as fast as the host's own way, then
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


def _cannot_listen(host: str, port: int, error: OSError) -> GatewayError:
    return GatewayError(
        f"The gateway cannot listen on {host}:{port}: {error.strerror or error}",
        hint="--gateway-listen takes an address of this machine and a free port; port 0 takes any free one",
    )


def _not_running() -> GatewayError:
    return GatewayError("The gateway is not running.", hint="use it in a with statement, or call start()")


def _check(settings: GatewaySettings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UsageError(
            "TLS takes a certificate and its key.", hint="give both --gateway-tls-cert and --gateway-tls-key"
        )
    if settings.listen_host in ("", "0.0.0.0", "::", "*") and not settings.url:  # noqa: S104
        raise UsageError(
            f"--gateway-listen {settings.listen_host} is every address of this machine; ClickHouse needs one of them.",
            hint="say which with --gateway-url, for example http://backup-host:9440",
        )
    if settings.url:
        parts = urlsplit(settings.url)
        plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password)
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise UsageError(
                f"--gateway-url {settings.url!r} is not scheme://host:port",
                hint="for example http://backup-host:9440; a path would become part of what ClickHouse signs",
            )
