"""The gateway: the S3-speaking HTTP endpoint that ClickHouse's own BACKUP writes to and RESTORE reads from.

    with Gateway(GatewaySettings()) as gateway:
        session = IngestSession(writer, base=..., verify=..., keep=...)
        address = gateway.open_ingest(session)      BACKUP ... TO S3('<address.url>data', ...), or data/archive.tar
        ...                                         base_backup = S3('<address.url>base', ...)
        gateway.close(address)
        serving = gateway.open_serve(lookup)        RESTORE ... FROM S3('<serving.address.url>...', ...)
        gateway.close(serving.address)
        reading = gateway.open_web(lookup)          disk(type = 'web', endpoint = '<reading.address.url>')
        gateway.close(reading.address)

An *address* is a random prefix with random keys for one operation; a *session* is what stands behind it: one that
takes in (ingest) or one that gives out (serve, web). A *sink* is where bodies go: a pack writer. Every request is
signed (AWS Signature Version 4) or, for the web disk, which cannot sign, carries its address's token in the path;
without them nothing can be learned, not even whether something exists.

The modules are loaded when a name of theirs is first used: the command line needs the settings alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from coldhouse.gateway.settings import ARCHIVE, Address, GatewaySettings

if TYPE_CHECKING:
    from coldhouse.gateway.ingest import Arrived, ArrivedFiles, FileSink, FileStream, IngestSession
    from coldhouse.gateway.objects import AtHand
    from coldhouse.gateway.serve import Namespace, Served, ServeSession
    from coldhouse.gateway.server import Gateway, load_server
    from coldhouse.gateway.web import WebSession

__all__ = [
    "ARCHIVE",
    "Address",
    "Arrived",
    "ArrivedFiles",
    "AtHand",
    "FileSink",
    "FileStream",
    "Gateway",
    "GatewaySettings",
    "IngestSession",
    "Namespace",
    "ServeSession",
    "Served",
    "WebSession",
    "load_server",
]

_LATER = {
    "Arrived": "ingest",
    "ArrivedFiles": "ingest",
    "AtHand": "objects",
    "FileSink": "ingest",
    "FileStream": "ingest",
    "Gateway": "server",
    "IngestSession": "ingest",
    "Namespace": "serve",
    "ServeSession": "serve",
    "Served": "serve",
    "WebSession": "web",
    "load_server": "server",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(name)
    value: object = getattr(import_module(f"coldhouse.gateway.{_LATER[name]}"), name)
    return value
