"""Whether ClickHouse can reach the gateway: asked before the work, because afterwards it costs hours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from coldhouse.beside import Beside
from coldhouse.clickhouse import S3Place, Source, statements

if TYPE_CHECKING:  # a server in Python takes long to import, and not every backup needs one
    from coldhouse.gateway import Address, Gateway, GatewaySettings


class LateGateway:
    """The gateway, started when it is first asked for: a backup that finds nothing new needs none."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._gateway: Gateway | None = None

    def __enter__(self) -> LateGateway:
        return self

    def __exit__(self, *_: object) -> None:
        if self._gateway is not None:
            self._gateway.stop()

    def running(self) -> Gateway:
        """The gateway, which listens. Raises UsageError, GatewayError."""
        if self._gateway is None:
            from coldhouse.gateway import Gateway

            gateway = Gateway(self._settings)
            gateway.start()
            self._gateway = gateway
        return self._gateway


def place_of(address: Address, below: str = "") -> S3Place:
    """An address of the gateway as BACKUP and RESTORE write it."""
    return S3Place(f"{address.url}{below}", address.access_key, address.secret_key)


class Reaching:
    """A gateway that is started, and a server's knock at it, beside what the caller does meanwhile.

    A context manager that waits for the knock, and stops the gateway in the end.
    """

    def __init__(self, settings: GatewaySettings, source: Callable[[], Source]) -> None:
        """``source`` waits for the server, in a thread. Raises UsageError, GatewayError."""
        from coldhouse.gateway import Gateway

        self._gateway = Gateway(settings)
        self._gateway.start()
        self._knocking = Beside(lambda: reach_gateway(source(), self._gateway), "coldhouse-knocking")

    def __enter__(self) -> Gateway:
        """The gateway, which the server can reach. Raises GatewayUnreachable, and what waiting for the server does."""
        try:
            self._knocking.result()
        except BaseException:
            self.stop()
            raise
        return self._gateway

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the gateway, also one that was never entered."""
        self._gateway.stop()


def reach_gateway(source: Source, gateway: Gateway) -> None:
    """Let the server knock at our door. Raises GatewayUnreachable with what to do about it."""
    address = gateway.open_serve(lambda _: None).address
    try:
        statements.probe_gateway(source, place_of(address))
    finally:
        gateway.close(address)
