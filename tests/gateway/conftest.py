"""A gateway on a free port, and sessions on it whose sink is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from coldhouse.gateway import Arrived, Gateway, GatewaySettings, IngestSession, ServeSession
from coldhouse.model import Buffer
from tests.gateway.client import Client
from tests.gateway.memory import MemoryObject, MemorySink

BASE = b"<config>an earlier backup</config>"


@dataclass
class Taking:
    """An ingest session, its sink, and the verdict that its ``verify`` gives."""

    gateway: Gateway
    sink: MemorySink = field(default_factory=MemorySink)
    verdict: str | None = None
    judged: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = IngestSession(
            self.sink,
            base=self.base,
            verify=self.verify,
            keep=lambda body: body.startswith(b"CREATE"),
            max_document=4**10,
        )
        self.client = Client(self.gateway.open_ingest(self.session))

    def base(self) -> Buffer:
        return BASE

    def verify(self, document: bytes, arrived: Mapping[str, Arrived]) -> str | None:
        self.judged.append(document)
        return self.verdict

    def content(self, key: str) -> bytes:
        return self.sink.read(self.session.arrived[key].extents)


@dataclass
class Serving:
    """A serve session with its objects."""

    session: ServeSession
    objects: dict[str, MemoryObject]

    @property
    def client(self) -> Client:
        return Client(self.session.address)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(GatewaySettings()) as running:
        yield running


@pytest.fixture
def taking(gateway: Gateway) -> Taking:
    return Taking(gateway)


@pytest.fixture
def serving(gateway: Gateway) -> Serving:
    objects: dict[str, MemoryObject] = {}
    return Serving(gateway.open_serve(objects.get), objects)
