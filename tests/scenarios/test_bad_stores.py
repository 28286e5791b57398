"""Stores that fill up, turn read-only, or take the credentials away while something is on its way."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coldhouse import repository as repositories
from coldhouse.errors import StorageError, StorageRefused
from coldhouse.events import Event, Warned
from coldhouse.operations import backup, copy, verify
from coldhouse.operations.proof import Level
from coldhouse.records import replace
from coldhouse.repository import KeyFile, Repository, open_repository
from coldhouse.storage import open_storage
from tests.scenarios.conftest import CHEAP, Clickhouse, play
from tests.scenarios.world import PASSPHRASE, World
from tests.support.command import Coldhouse
from tests.support.faulty import Call, FaultyStorage
from tests.support.fixtures_storage import use_environment
from tests.support.gcs_stub import BUCKET, GcsStub, Trouble

pytestmark = pytest.mark.timeout(600)

MIB = 1 << 20
OTHER = "another passphrase"
WRITES = frozenset({"create", "put", "delete"})


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of this size; skips where this user cannot mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(world: World, mebibytes: int) -> None:
    """Some MiB that no compression makes smaller, in many small parts."""
    world.run(
        "CREATE TABLE {db}.large (id UInt64, v String CODEC(NONE)) ENGINE = MergeTree PARTITION BY id % 64 ORDER BY id",
        "SYSTEM STOP MERGES {db}.large",
        f"INSERT INTO {{db}}.large SELECT number, randomString(1024) FROM numbers({mebibytes * 1024})",
    )


@pytest.fixture
def world(embedded: Clickhouse, folder_url: str) -> Iterator[World]:
    """The engine in this process: the store is all that differs."""
    for world in play(embedded, folder_url):
        world.run(
            "CREATE TABLE {db}.t (id UInt64, v String) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO {db}.t SELECT number, toString(number) FROM numbers(1000)",
        )
        yield world


def restored(world: World, snapshot: str) -> dict[str, str]:
    """What a snapshot brings back, beside what is there."""
    copied = f"{world.db}_copy"
    world.run(f"DROP DATABASE IF EXISTS {copied} SYNC")
    world.restore(snapshot, renames=((world.db, copied),))
    return world.content(db=copied)


# ------------------------------------------------------------------------------------------------------------ full


def test_a_disk_fills_up_during_a_backup(world: World, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "24m") as small:
        store = open_storage(str(small / "repository"))
        with repositories.init(store, PASSPHRASE, kdf=CHEAP) as repository:
            here = replace(world, repository=repository)
            before, first = world.content(), here.backup().snapshot.id
            fill(world, 36)
            now = world.content()

            with pytest.raises(StorageError, match=r"the disk or the quota is full") as caught:
                here.backup()
            assert "nothing that was stored is lost" in caught.value.hint
            assert [snapshot.id for snapshot in here.snapshots()] == [first]
            assert restored(here, first) == before

            subprocess.run(["mount", "-o", "remount,size=100m", str(small)], check=True)
            second = here.backup().snapshot.id
            assert restored(here, second) == now
            assert restored(here, first) == before


def test_a_full_disk_can_be_restored_from_and_verified(world: World, tmp_path: Path) -> None:
    before = world.content()
    with disk(tmp_path / "disk", "8m") as small:
        store = open_storage(str(small / "repository"))
        with repositories.init(store, PASSPHRASE, kdf=CHEAP) as repository:
            here = replace(world, repository=repository)
            snapshot = here.backup().snapshot.id
            with (small / "everything").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while file.write(bytes(4096)):
                    pass
            (report,) = verify.run(repository, verify.VerifyOptions(level="data"))
            assert report.ok
            assert "not recorded" in report.remarks[0]
            assert restored(here, snapshot) == before


def test_a_write_only_host_whose_own_folder_is_full_backs_up_and_says_so(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = KeyFile(bytes(range(32)))
    world.repository.slots.add(key, full=False)
    with disk(tmp_path / "state", "1m") as small:
        monkeypatch.setenv("XDG_STATE_HOME", str(small))
        with (small / "everything").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while file.write(bytes(4096)):
                pass
        told: list[str] = []

        def listen(event: Event) -> None:
            if isinstance(event, Warned):
                told.append(event.text)

        with open_repository(open_storage(world.repository.url), key) as host:
            snapshot = replace(world, repository=host).backup(listener=listen).snapshot.id
        assert any(text.startswith("the next backup will be a full one") for text in told)
    assert restored(world, snapshot) == world.content()


# ------------------------------------------------------------------------------------------------------- read-only


@pytest.fixture
def read_only(world: World) -> World:
    """The same world, with a snapshot, and a store that nothing can be written to or deleted from."""
    world.backup()

    def refuse(call: Call) -> None:
        if call.verb in WRITES:
            raise StorageRefused("Cannot write: the file system is read-only.")

    store = FaultyStorage(open_storage(world.repository.url), watch=refuse)
    return replace(world, repository=open_repository(store, PASSPHRASE))


def test_a_read_only_store_can_be_restored_from(read_only: World) -> None:
    content = read_only.content()
    read_only.drop()
    report = read_only.restore()
    assert report.complete
    assert report.warnings == (
        "if this restore is interrupted, a repeat cannot continue it: Cannot write: the file system is read-only.",
    )
    assert read_only.content() == content
    read_only.run("INSERT INTO {db}.t VALUES (5000, 'later')")
    read_only.restore(existing="replace")
    assert read_only.content() == content
    with pytest.raises(StorageRefused):  # without a note a repeat could double rows
        read_only.restore(existing="append")
    assert read_only.content() == content


@pytest.mark.parametrize("level", ["structure", "data"])
def test_a_read_only_store_can_be_verified(read_only: World, level: Level) -> None:
    (report,) = verify.run(read_only.repository, verify.VerifyOptions(level=level))
    assert report.ok
    assert report.remarks == ("what was found is not recorded: Cannot write: the file system is read-only.",)


def test_a_backup_to_a_read_only_store_fails_at_once(read_only: World) -> None:
    with pytest.raises(StorageRefused, match="read-only"):
        read_only.backup()
    assert len(read_only.snapshots()) == 1


# ----------------------------------------------------------------------------------------------------- credentials


def test_credentials_expire_during_a_backup_and_the_repeat_sends_the_rest(
    world: World, gcs_stub: GcsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first pack everything is refused; what was stored by then is not sent again."""
    use_environment(monkeypatch, gcs_stub.environment)
    fill(world, 72)  # three packs of 32 MiB
    now = world.content()
    with repositories.init(open_storage(gcs_stub.new_url()), PASSPHRASE, kdf=CHEAP) as repository:
        here = replace(world, repository=repository)
        options = backup.BackupOptions(
            source=world.url, include=(f"{world.db}.*",), compression="none", checkpoint_bytes=MIB
        )
        expire_after_first_checkpoint(gcs_stub, repository)

        with pytest.raises(StorageRefused, match="the credentials have expired") as caught:
            backup.run(repository, options)
        assert "run the same command again" in caught.value.hint
        gcs_stub.state.troubles.clear()
        assert here.snapshots() == []

        accounting = backup.run(repository, options).snapshot.accounting
        assert accounting.data > 72 * MIB
        assert accounting.sent < accounting.data - 8 * MIB, "what was stored was sent again"
        assert restored(here, "latest") == now


@pytest.mark.long
def test_credentials_expire_during_a_restore_and_the_repeat_goes_on(
    world: World, gcs_stub: GcsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first pack was read everything is refused."""
    use_environment(monkeypatch, gcs_stub.environment)
    fill(world, 72)
    now = world.content()
    copied = f"{world.db}_copy"
    with repositories.init(open_storage(gcs_stub.new_url()), PASSPHRASE, kdf=CHEAP) as repository:
        here = replace(world, repository=repository)
        here.backup(compression="none")
        expire_after(gcs_stub, repository, "GET", "packs/*")
        with pytest.raises(StorageRefused, match="the credentials have expired"):
            here.restore(renames=((world.db, copied),))
        gcs_stub.state.troubles.clear()
        assert here.restore(renames=((world.db, copied),)).complete
        assert world.content(db=copied) == now
        assert list(repository.notes("restore")) == []


@pytest.mark.long
@pytest.mark.parametrize("end", ["source", "target"])
@pytest.mark.parametrize("how", ["objects", "anew"])
def test_credentials_expire_during_a_copy_and_the_repeat_sends_the_rest(
    world: World, gcs_stub: GcsStub, monkeypatch: pytest.MonkeyPatch, end: str, how: str
) -> None:
    use_environment(monkeypatch, gcs_stub.environment)
    fill(world, 72)
    now = world.content()
    with repositories.init(open_storage(gcs_stub.new_url()), PASSPHRASE, kdf=CHEAP) as source:
        snapshot = replace(world, repository=source).backup(compression="none").snapshot.id
        elsewhere = open_storage(gcs_stub.new_url())
        if how == "anew":
            target = repositories.init(elsewhere, OTHER, kdf=CHEAP)
        else:
            target = copy.open_target(source, elsewhere, lambda: "", init_like=True)
        with target:
            if end == "source":
                expire_after(gcs_stub, source, "GET", "packs/*")
            else:
                expire_after(gcs_stub, target, "PUT", "packs/*")
            # The answer to a HEAD has no text that could say why.
            with pytest.raises(StorageRefused, match=r"the credentials have expired|refused \(HTTP 401\)"):
                copy.run(source, target, transfers=1)
            gcs_stub.state.troubles.clear()
            assert target.snapshot_ids() == []
            assert copy.run(source, target, transfers=1).complete
            assert restored(replace(world, repository=target), snapshot) == now
            assert list(target.notes(copy.KIND)) == []


def expire_after_first_checkpoint(stub: GcsStub, repository: Repository) -> None:
    """From the first note of what is stored on, each request is refused."""
    expire_after(stub, repository, "PUT", "notes/unfinished/*")


def expire_after(stub: GcsStub, repository: Repository, last: str, name: str) -> None:
    """From one request on each is refused, as when a token has expired: from the first of this method and name."""
    prefix = repository.url.partition(f"{BUCKET}/")[2]

    def expire() -> None:
        stub.state.troubles += [
            Trouble(method, 401, "ExpiredToken", "The provided token has expired.", times=1_000_000)
            for method in ("PUT", "GET", "HEAD", "LIST", "DELETE")
        ]

    # That one still takes effect, without an answer; the next request is the first one that is refused.
    stub.state.troubles.append(Trouble(last, 0, effect=True, meanwhile=expire, key=f"{prefix}/{name}"))


def test_a_user_sees_what_to_do_when_credentials_have_expired(
    gcs_stub: GcsStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_environment(monkeypatch, gcs_stub.environment)
    url = gcs_stub.new_url()
    repositories.init(open_storage(url), PASSPHRASE, kdf=CHEAP).close()
    gcs_stub.state.troubles += [
        Trouble(method, 403, "AccessDenied", times=1_000_000) for method in ("PUT", "GET", "HEAD", "LIST")
    ]
    environment = {"COLDHOUSE_REPO": url, "COLDHOUSE_PASSWORD": PASSPHRASE, **gcs_stub.environment}
    done = Coldhouse(tmp_path, environment).run("snapshots")
    assert done.status == 1
    assert "the store refused (HTTP 403 AccessDenied)" in done.err
    assert "hint: " in done.err
    assert "GOOGLE_APPLICATION_CREDENTIALS" in done.err
