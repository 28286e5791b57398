"""The doctor at real engines and real stores: what is fine, and everything that can be wrong before it is needed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from coldhouse.clickhouse import open_source, rights
from coldhouse.clickhouse.rights import Lacking
from coldhouse.clickhouse.traces import RunningOperation
from coldhouse.errors import StorageRefused
from coldhouse.gateway import GatewaySettings
from coldhouse.operations import doctor, doctor_source, mount_note
from coldhouse.operations.doctor import DoctorOptions
from coldhouse.operations.doctor_findings import Finding, Status, utc_now
from coldhouse.operations.verify import VerifyOptions
from coldhouse.operations.verify import run as verify
from coldhouse.records import replace
from coldhouse.repository import Repository, open_repository
from coldhouse.storage import open_storage
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.world import PASSPHRASE, World
from tests.support.engine import EngineServer
from tests.support.faulty import Fault, FaultyStorage, How

OK, WARNING, CRITICAL, SKIPPED = Status.OK, Status.WARNING, Status.CRITICAL, Status.SKIPPED
#: Where tests run, a repository is on the disk of the data, and how full that is is not known.
BESIDE_THE_POINT = {"same-disk", "free-space"}
SALES = (
    "CREATE TABLE {db}.sales (id UInt64) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO {db}.sales SELECT number FROM numbers(1000)",
)


def examine(
    source: str, repository: Repository | None = None, *, gateway: GatewaySettings | None = None, by: float = 0
) -> dict[str, Finding]:
    """All findings; ``by`` is how many seconds this machine's clock is wrong."""
    diagnosis = doctor.run(
        DoctorOptions(source=source, gateway=gateway or GatewaySettings()),
        None if repository is None else lambda: nullcontext(repository),
        now=lambda: utc_now() + timedelta(seconds=by),
    )
    found = {finding.check: finding for finding in diagnosis.findings if finding.check not in BESIDE_THE_POINT}
    assert len(found) >= len(diagnosis.findings) - len(BESIDE_THE_POINT), "each check says something once"
    return found


def wrong(found: dict[str, Finding]) -> dict[str, Status]:
    """What is not fine; what other scenarios may have left in the server that they share is none of ours."""
    return {
        check: finding.status
        for check, finding in found.items()
        if finding.status is not OK and check != "server-leftovers"
    }


def test_before_the_first_backup_and_after_it_was_proven(world: World) -> None:
    found = examine(world.url, world.repository)
    assert wrong(found) == {"snapshot-age": WARNING, "proof-age": SKIPPED}
    world.run(*SALES)
    world.backup()
    verify(world.repository, VerifyOptions(level="data"))
    assert wrong(examine(world.url, world.repository)) == {}
    assert list(world.repository.storage.list("doctor/")) == []


def test_a_repository_in_s3(server: Clickhouse, s3_url: str) -> None:
    for world in play(server, s3_url):
        world.run(*SALES)
        world.backup()
        found = examine(world.url, world.repository)
        assert wrong(found) == {"proof-age": WARNING}
        assert list(world.repository.storage.list("doctor/")) == []


@pytest.fixture
def served(server: Clickhouse, folder_url: str) -> Iterator[World]:
    """A server over HTTP and a folder."""
    yield from play(server, folder_url)


def test_without_a_repository_only_the_source_is_looked_at(served: World) -> None:
    found = examine(served.url)
    assert wrong(found) == {}
    assert list(found) == ["connection", "version", "grants", "source-clock", "gateway", "server-leftovers", "mounts"]


def test_a_server_that_is_down(served: World) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        found = examine(f"http://me:secret@127.0.0.1:{closed.getsockname()[1]}", served.repository)
    assert found["connection"].status is CRITICAL
    assert "runs" in found["connection"].hint
    assert "secret" not in str(found)
    assert found["gateway"].status is SKIPPED
    assert found["storage-create"].status is OK, "the repository is looked at all the same"


def test_of_a_server_that_is_down_it_is_not_said_that_it_was_never_backed_up(served: World) -> None:
    """Snapshots are known by the server's identity, which a server that is down does not tell."""
    served.run(*SALES)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{closed.getsockname()[1]}"
        found = examine(down, served.repository)["snapshot-age"]
        assert (found.status, found.message) == (WARNING, "there is no snapshot of this source yet"), "nor of any other"
        served.backup()
        found = examine(down, served.repository)["snapshot-age"]
        assert found.status is SKIPPED
        assert "does not say which it is" in found.message
    address = served.url.rpartition("@")[2]
    by_url = examine(f"http://keeper:not-the-word@{address}", served.repository)["snapshot-age"]
    assert by_url.status is OK, "a snapshot also notes at which URL it was taken"


def test_a_wrong_password(served: World) -> None:
    address = served.url.rpartition("@")[2]
    found = examine(f"http://keeper:not-the-word@{address}")["connection"]
    assert found.status is CRITICAL
    assert "keeper" in found.message
    assert "not-the-word" not in str(found)


def test_a_server_that_is_too_old(tmp_path: Path) -> None:
    with EngineServer(tmp_path / "engine", version="21.8.15.7") as engine:
        found = examine(engine.url)
    assert found["version"].status is CRITICAL
    assert "22.8" in found["version"].hint
    assert {found[check].status for check in ("grants", "gateway", "mounts")} == {SKIPPED}


def test_missing_grants(tmp_path: Path) -> None:
    """The hint names the user that the server itself reports, whatever name the connection uses."""
    with EngineServer(tmp_path / "engine", user="keeper", password="x", denied=("BACKUP",)) as engine:
        reported = engine.query("SELECT currentUser()")
        found = examine(engine.url)["grants"]
    assert found.status is CRITICAL
    assert f"GRANT BACKUP ON *.* TO {reported}." in found.hint


def test_rights_besides_backup(served: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        rights, "lacking_rights", lambda _: (Lacking("WRITE ON S3", "to send its data to the gateway"),)
    )
    found = examine(served.url)["grants"]
    assert (found.status, found.message) == (CRITICAL, "the user lacks WRITE ON S3 (to send its data to the gateway)")
    assert found.hint == f"let an administrator run: GRANT WRITE ON S3 TO {served.ask('SELECT currentUser()')}"


def test_a_gateway_that_the_server_cannot_reach(served: World) -> None:
    found = examine(served.url, gateway=GatewaySettings(url="http://127.0.0.1:1"))["gateway"]
    assert found.status is CRITICAL
    assert "--gateway-listen" in found.hint


def test_a_gateway_whose_port_is_taken(served: World) -> None:
    with socket.socket() as other, open_source(served.url) as source:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = GatewaySettings(listen_port=other.getsockname()[1])
        assert examine(served.url, gateway=settings)["gateway"].status is CRITICAL
        running = (RunningOperation("coldhouse-1", "BACKUP", 60),)
        found = doctor_source.gateway(source, settings, running)
    assert found.status is SKIPPED, "a backup that runs has taken it"


def test_settings_of_the_gateway_that_cannot_work(served: World) -> None:
    found = examine(served.url, gateway=GatewaySettings(listen_host="0.0.0.0"))["gateway"]
    assert found.status is CRITICAL
    assert "--gateway-url" in found.hint


@pytest.mark.parametrize(("minutes", "status"), [(5, WARNING), (-60, CRITICAL)])
def test_clocks_that_differ(served: World, minutes: int, status: Status) -> None:
    found = examine(served.url, served.repository, by=60 * minutes)
    assert {check: found[check].status for check in ("source-clock", "storage-clock")} == {
        "source-clock": status,
        "storage-clock": status,
    }
    assert "NTP" in found["source-clock"].hint


def test_a_read_only_store(served: World, folder_url: str) -> None:
    refused = StorageRefused("the file system is read-only", hint="mount it writable")
    storage = FaultyStorage(open_storage(folder_url))
    storage.inject(*(Fault(How.BEFORE, verb, error=refused, times=99) for verb in ("create", "put", "delete")))
    with open_repository(storage, PASSPHRASE) as repository:
        found = examine(served.url, repository)
    assert (found["storage-create"].status, found["storage-create"].hint) == (CRITICAL, "mount it writable")
    assert found["gateway"].status is OK


def test_what_a_dead_mount_left_is_dropped(served: World) -> None:
    with open_source(served.url) as source:
        living = mount_note.new_note(source.identity, (f"{served.db}_living",), "snapshot")
        dead = replace(living, id="dead", databases=(f"{served.db}_dead",), host="gone")
        dead = replace(dead, heard=datetime.now(UTC) - timedelta(hours=1))
        mount_note.write(served.repository, living)
        for note in (living, dead):
            served.query(f"CREATE DATABASE {note.databases[0]} ENGINE = Memory COMMENT '{mount_note.COMMENT}{note.id}'")
        served.repository.put_note(mount_note.KIND, dead.id, msgspec.msgpack.encode(dead))
        found = examine(served.url, served.repository)
        assert found["mounts"].status is OK
        assert (
            found["mounts"].message
            == f"dropped what a dead mount had left: {served.db}_dead; 1 database of living mounts"
        )
        assert served.ask("SELECT name FROM system.databases WHERE name LIKE '{db}_%'") == f"{served.db}_living"
        assert [note.id for note in mount_note.notes(served.repository)] == [living.id]
        served.repository.delete_note(mount_note.KIND, living.id)
        found = examine(served.url, served.repository)
        assert found["mounts"].status is WARNING, "nobody knows whose it is: it is not ours to drop"
        assert f"{served.db}_living" in found["mounts"].message
        assert examine(served.url)["mounts"].status is OK, "without a repository nobody can tell"
        served.query(f"DROP DATABASE {served.db}_living")


def test_tables_that_a_restore_left(served: World) -> None:
    served.run(*SALES, "RENAME TABLE {db}.sales TO {db}.sales__partial_0a1b2c3d")
    found = examine(served.url)["server-leftovers"]
    assert found.status is WARNING
    assert f"{served.db}.sales__partial_0a1b2c3d" in found.message
    served.run("RENAME TABLE {db}.sales__partial_0a1b2c3d TO {db}.coldhouse_0123456789abcdef_sales")
    found = examine(served.url)["server-leftovers"]
    assert found.status is WARNING
    assert "same restore command" in found.hint


def test_a_statement_that_nobody_waits_for(served: World) -> None:
    with open_source(served.url) as source:
        busy = RunningOperation("coldhouse-1", "BACKUP", 3600)
        assert doctor_source.leftovers(source, (busy,)).message.endswith("1 statement of Coldhouse's runs now")
        found = doctor_source.leftovers(source, (busy, replace(busy, seconds=200_000)))
    assert found.status is WARNING
    assert found.message == "1 statement of Coldhouse's, under way for up to 55 hours"
    assert "KILL QUERY" in found.hint
