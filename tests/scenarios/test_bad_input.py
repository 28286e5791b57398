"""What a person gets who asks for something that cannot be: one clear error, and everything as it was before."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from coldhouse import repository as repositories
from coldhouse.errors import (
    GatewayError,
    GatewayUnreachable,
    MissingGrant,
    NoRepository,
    NoSuchSnapshot,
    RepositoryExists,
    SourceRefused,
    SourceTooOld,
    SourceUnreachable,
    StorageFull,
    TargetExists,
    UsageError,
    WrongPassphrase,
)
from coldhouse.events import Event, Phase, Warned
from coldhouse.gateway import GatewaySettings
from coldhouse.operations import backup, restore, show
from coldhouse.operations.opening import create_at, open_at
from coldhouse.repository import Repository
from coldhouse.storage import open_storage
from tests.scenarios.conftest import CHEAP, Clickhouse
from tests.scenarios.world import PASSPHRASE, World
from tests.support.engine import EngineServer
from tests.support.faulty import Fault, FaultyStorage, How
from tests.support.ports import free_ports

SMALL = (
    "CREATE TABLE {db}.t (id UInt64) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO {db}.t SELECT * FROM numbers(9)",
)


class TestTheRepository:
    """Its place and its passphrase."""

    @pytest.fixture
    def made(self, folder_url: str) -> str:
        repositories.init(open_storage(folder_url), PASSPHRASE, kdf=CHEAP).close()
        return folder_url

    def test_a_wrong_passphrase(self, made: str) -> None:
        with pytest.raises(WrongPassphrase) as error:
            open_at(made, "another passphrase")
        assert error.value.exit_status == 12
        assert "another passphrase" not in str(error.value)

    def test_no_repository_there(self, tmp_path: Path) -> None:
        with pytest.raises(NoRepository) as error:
            open_at(str(tmp_path / "nothing"), PASSPHRASE)
        assert error.value.exit_status == 10
        assert str(tmp_path / "nothing") in str(error.value)
        assert not (tmp_path / "nothing").exists()

    def test_a_second_repository_in_the_same_place(self, made: str) -> None:
        with pytest.raises(RepositoryExists) as error:
            create_at(made, "the passphrase of somebody else")
        assert error.value.exit_status == 11
        open_at(made, PASSPHRASE).close()


class TestNames:
    """Snapshots, tables and patterns that are not there."""

    def test_an_unknown_snapshot(self, world: World) -> None:
        world.run(*SMALL)
        with pytest.raises(NoSuchSnapshot):
            world.restore("latest")
        world.backup()
        for name in ("20200101T000000Z-0000000000000000", "ffffffff", "yesterday"):
            with pytest.raises(NoSuchSnapshot) as error:
                world.restore(name)
            assert error.value.exit_status == 13
            with pytest.raises(NoSuchSnapshot):
                show.run(world.repository, name)

    def test_a_beginning_that_two_snapshots_share(self, world: World) -> None:
        world.run(*SMALL)
        first, second = (world.backup().snapshot.id for _ in range(2))
        shared = first[:4]
        assert second.startswith(shared)
        with pytest.raises(NoSuchSnapshot):
            world.restore(shared)

    def test_a_time_before_the_first_snapshot(self, world: World) -> None:
        world.run(*SMALL)
        world.backup()
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        with pytest.raises(NoSuchSnapshot, match="2020-01-01"):
            restore.run(world.repository, restore.RestoreOptions(target=world.url, at=long_ago))

    def test_a_pattern_that_matches_nothing_at_the_source(self, world: World) -> None:
        world.run(*SMALL)
        with pytest.raises(UsageError, match="no_such_table") as error:
            world.backup(include=(f"{world.db}.*", f"{world.db}.no_such_table"))
        assert error.value.exit_status == 2
        assert world.snapshots() == []

    def test_a_pattern_that_matches_nothing_in_the_snapshot(self, world: World) -> None:
        world.run(*SMALL)
        world.backup()
        world.drop()
        with pytest.raises(UsageError, match="no_such_table"):
            world.restore(include=(f"{world.db}.no_such_table",))
        assert world.ask("SELECT count() FROM system.databases WHERE name = '{db}'") == "0"

    def test_a_partition_that_is_not_in_the_snapshot(self, world: World) -> None:
        world.run(*SMALL)
        world.backup()
        with pytest.raises(UsageError, match="202613"):
            world.restore(partitions=(("t", "202613"),), existing="append")
        with pytest.raises(UsageError, match="no_such_table"):
            world.restore(partitions=(("no_such_table", "all"),))

    def test_two_tables_for_one_name(self, world: World) -> None:
        world.run(*SMALL, "CREATE TABLE {db}.u (id UInt64) ENGINE = MergeTree ORDER BY id")
        world.backup()
        with pytest.raises(UsageError, match=f"{world.db}.t and {world.db}.u"):
            world.restore(renames=((f"{world.db}.t", f"{world.db}.same"), (f"{world.db}.u", f"{world.db}.same")))


class TestTheTarget:
    """A table that is already there is never touched unasked."""

    def test_an_existing_table(self, world: World) -> None:
        world.run(*SMALL, "CREATE TABLE {db}.u (id UInt64) ENGINE = MergeTree ORDER BY id")
        world.backup()
        world.run("DROP TABLE {db}.u SYNC", "INSERT INTO {db}.t SELECT 1000")
        before = world.content()
        with pytest.raises(TargetExists, match=rf"{world.db}\.t\b") as error:
            world.restore()
        assert "--existing" in error.value.hint
        assert world.content() == before, "neither t is changed nor u, which is missing, created"


class TestTheServer:
    """Servers that do not answer, do not let us in, or cannot do it."""

    def test_nobody_answers(self, world: World) -> None:
        (port,) = free_ports(1)
        address = f"http://127.0.0.1:{port}"
        for user in ("", "keeper:secret-word@"):
            with pytest.raises(SourceUnreachable) as error:
                backup.run(world.repository, backup.BackupOptions(source=f"http://{user}127.0.0.1:{port}"))
            assert address in str(error.value)
            assert "secret-word" not in str(error.value)
        world.run(*SMALL)
        world.backup()
        with pytest.raises(SourceUnreachable, match=address):
            world.restore(target=address)

    def test_the_wrong_password(self, server: Clickhouse, folder_url: str) -> None:
        parts = urlsplit(server[0])
        url = f"http://{parts.username or 'default'}:not-the-word@{parts.hostname}:{parts.port}"
        with (
            repositories.init(open_storage(folder_url), PASSPHRASE, kdf=CHEAP) as repository,
            pytest.raises(SourceRefused) as error,
        ):
            backup.run(repository, backup.BackupOptions(source=url))
        assert "not-the-word" not in str(error.value)
        assert (parts.username or "default") in str(error.value)

    def test_a_user_who_may_not_back_up(self, tmp_path: Path, folder_url: str) -> None:
        """The embedded engine knows no users: its HTTP face answers as a server does to a user without the right."""
        with (
            EngineServer(tmp_path / "engine", denied=("BACKUP",)) as engine,
            repositories.init(open_storage(folder_url), PASSPHRASE, kdf=CHEAP) as repository,
        ):
            engine.query("CREATE DATABASE play")
            engine.query("CREATE TABLE play.t (id UInt64) ENGINE = MergeTree ORDER BY id")
            with pytest.raises(MissingGrant) as error:
                backup.run(repository, backup.BackupOptions(source=engine.url))
            assert "GRANT BACKUP ON *.* TO default" in error.value.hint
            assert repository.snapshot_ids() == []

    def test_a_user_who_may_not_restore(self, world: World, tmp_path: Path) -> None:
        """As above."""
        world.run(*SMALL)
        world.backup()
        with EngineServer(tmp_path / "engine", denied=("RESTORE",)) as engine:
            with pytest.raises(MissingGrant, match="RESTORE") as error:
                world.restore(target=engine.url)
            assert "GRANT" in error.value.hint
            assert engine.query(f"SELECT count() FROM system.databases WHERE name = '{world.db}'") == "0"

    def test_a_server_that_is_too_old(self, tmp_path: Path, folder_url: str) -> None:
        with (
            EngineServer(tmp_path / "engine", version="21.8.15.7") as engine,
            repositories.init(open_storage(folder_url), PASSPHRASE, kdf=CHEAP) as repository,
        ):
            with pytest.raises(SourceTooOld, match=r"21\.8\.15\.7") as error:
                backup.run(repository, backup.BackupOptions(source=engine.url))
            assert "22.8" in error.value.hint


class TestTheGateway:
    """Where ClickHouse is to send to and to read from."""

    def test_the_server_cannot_reach_it_and_nothing_is_sent(self, world: World) -> None:
        world.run(*SMALL)
        (port,) = free_ports(1)
        phases: list[str] = []

        def listen(event: Event) -> None:
            if isinstance(event, Phase):
                phases.append(event.text)

        options = backup.BackupOptions(
            source=world.url, include=(f"{world.db}.*",), gateway=GatewaySettings(url=f"http://127.0.0.1:{port}")
        )
        with pytest.raises(GatewayUnreachable, match=f"127.0.0.1:{port}") as error:
            backup.run(world.repository, options, listen)
        assert "--gateway-url" in error.value.hint
        assert not any("ClickHouse sends" in text for text in phases)
        assert world.snapshots() == []
        assert list(world.repository.storage.list("packs/")) == []

    def test_a_restore_notices_it_before_it_changes_anything(self, world: World) -> None:
        world.run(*SMALL)
        world.backup()
        world.drop()
        (port,) = free_ports(1)
        options = restore.RestoreOptions(
            target=world.url, snapshot="latest", gateway=GatewaySettings(url=f"http://127.0.0.1:{port}")
        )
        with pytest.raises(GatewayUnreachable):
            restore.run(world.repository, options)
        assert world.ask("SELECT count() FROM system.databases WHERE name = '{db}'") == "0"

    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            (GatewaySettings(url="ftp://backup-host:9440"), UsageError),
            (GatewaySettings(url="http://backup-host:9440/a/path"), UsageError),
            (GatewaySettings(tls_cert=Path("cert.pem")), UsageError),
            (GatewaySettings(tls_cert=Path("missing.pem"), tls_key=Path("missing.key")), GatewayError),
            (GatewaySettings(listen_host="192.0.2.1"), GatewayError),
        ],
    )
    def test_options_that_cannot_work(
        self, world: World, settings: GatewaySettings, error: type[GatewayError | UsageError]
    ) -> None:
        world.run(*SMALL)
        with pytest.raises(error):
            backup.run(
                world.repository,
                backup.BackupOptions(source=world.url, include=(f"{world.db}.*",), gateway=settings),
            )
        assert world.snapshots() == []


@dataclass
class SmallDisk:
    """A file system of its own with room for ``size`` bytes, and a repository on it."""

    folder: Path
    repository: Repository

    def grow(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={3 << 20}", "coldhouse-test", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can make a small file system, and not everywhere")
    try:
        with repositories.init(open_storage(str(folder / "repository")), PASSPHRASE, kdf=CHEAP) as repository:
            yield SmallDisk(folder, repository)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(world: World, table: str, size: int) -> None:
    """A table of about so many bytes that cannot be compressed."""
    world.run(
        f"CREATE TABLE {{db}}.{table} (id UInt64, v String CODEC(NONE)) ENGINE = MergeTree ORDER BY id",
        f"INSERT INTO {{db}}.{table} SELECT number, randomString(1000) FROM numbers({size // 1000})",
    )


class TestFullDisk:
    """The repository's disk has no room."""

    def test_it_is_seen_before_the_work(self, world: World, small_disk: SmallDisk) -> None:
        fill(world, "big", 8 << 20)
        world.repository = small_disk.repository
        phases: list[str] = []
        with pytest.raises(StorageFull, match="are free at") as error:
            world.backup(listener=lambda event: phases.append(event.text) if isinstance(event, Phase) else None)
        assert error.value.hint
        assert not any("ClickHouse sends" in text for text in phases)
        assert world.snapshots() == []

    def test_it_fills_up_during_the_work(self, world: World, small_disk: SmallDisk) -> None:
        fill(world, "small", 1 << 19)
        world.repository = small_disk.repository
        first_content, first = world.content(), world.backup().snapshot
        fill(world, "larger", 7 << 19)
        content = world.content()
        warnings: list[str] = []

        with pytest.raises(StorageFull):
            world.backup(listener=lambda event: warnings.append(event.text) if isinstance(event, Warned) else None)

        assert any("may not fit" in text for text in warnings)
        assert [each.id for each in world.snapshots()] == [first.id]
        world.drop()
        world.restore(first)
        assert world.content() == first_content
        small_disk.grow(32 << 20)
        fill(world, "larger", 7 << 19)
        content = world.content()
        world.backup()
        world.drop()
        world.restore()
        assert world.content() == content

    def test_any_store_that_says_it_is_full(self, world: World, folder_url: str) -> None:
        """A bucket with a quota tells it in the middle of an upload."""
        world.run(*SMALL)
        first_content, first = world.content(), world.backup().snapshot
        fill(world, "more", 1 << 20)
        content = world.content()
        full = StorageFull("the quota of the bucket is used up", hint="make room")
        faulty = FaultyStorage(open_storage(folder_url), Fault(How.BEFORE, "create", "packs/*", error=full, times=99))
        with repositories.open_repository(faulty, PASSPHRASE) as repository:
            world.repository, whole = repository, world.repository
            with pytest.raises(StorageFull, match="quota"):
                world.backup()
            assert [each.id for each in world.snapshots()] == [first.id]
            faulty.heal()
            second = world.backup().snapshot
            world.repository = whole
        for snapshot, expected in ((first, first_content), (second, content)):
            world.drop()
            world.restore(snapshot)
            assert world.content() == expected
