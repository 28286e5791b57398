"""Whether ClickHouse can reach the gateway: asked before the work, because afterwards it costs hours."""

from __future__ import annotations

from coldhouse.clickhouse import S3Place, Source, statements
from coldhouse.gateway import Address, Gateway


def place_of(address: Address, below: str = "") -> S3Place:
    """An address of the gateway as BACKUP and RESTORE write it."""
    return S3Place(f"{address.url}{below}", address.access_key, address.secret_key)


def reach_gateway(source: Source, gateway: Gateway) -> None:
    """Let the server knock at our door. Raises GatewayUnreachable with what to do about it."""
    address = gateway.open_serve(lambda _: None).address
    try:
        statements.probe_gateway(source, place_of(address))
    finally:
        gateway.close(address)
