"""A folder as a store: the contract, what a folder adds to it, and what can go wrong with disks."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from coldhouse.errors import ObjectExists, ObjectMissing, StorageError, StorageFull, StorageRefused
from coldhouse.model import Buffer
from coldhouse.storage import Storage, names_of
from coldhouse.storage.local import LocalStorage
from coldhouse.storage.system_calls import BLOCK, LARGE, SystemCalls
from tests.storage.contract import StorageContract


class TestContract(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        storage = LocalStorage(tmp_path / "not" / "yet" / "there")
        yield storage
        storage.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def storage(root: Path) -> Iterator[LocalStorage]:
    storage = LocalStorage(root)
    yield storage
    storage.close()


def everything_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_looking_does_not_make_the_folder(storage: LocalStorage, root: Path) -> None:
    assert names_of(storage.list("")) == []
    assert (storage.free_space() or 0) > 0
    with pytest.raises(ObjectMissing):
        storage.get("config")
    assert not root.exists()


def test_a_file_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    storage = LocalStorage(tmp_path / "file")
    for use in (lambda: storage.get("config"), lambda: list(storage.list("")), lambda: storage.create("config", b"")):
        with pytest.raises(StorageError, match="is not a folder"):
            use()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_the_owner_can_read_whatever_the_umask_is(storage: LocalStorage, root: Path, umask: int) -> None:
    root.mkdir(mode=0o700)
    (root / "packs").mkdir(mode=0o700)
    before = os.umask(umask)
    try:
        storage.create("packs/one", b"1")
        storage.put("packs/two", b"2")
    finally:
        os.umask(before)
    assert {stat.S_IMODE((root / "packs" / name).stat().st_mode) for name in ("one", "two")} == {0o600}


def test_only_the_owner_can_enter_the_folders(storage: LocalStorage, root: Path) -> None:
    before = os.umask(0)
    try:
        storage.create("packs/ab/one", b"1")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (root, root / "packs", root / "packs/ab")} == {0o700}


def test_the_order_is_that_of_whole_names(storage: LocalStorage) -> None:
    names = ["a-b", "a.b", "a/x", "a/y-z", "a/y/z", "a0", "b"]  # "-" and "." sort before "/"
    for name in names:
        storage.create(name, b"")
    assert names_of(storage.list("")) == names
    for after in names:
        assert names_of(storage.list("", after=after)) == [name for name in names if name > after]


def test_only_what_is_asked_for_is_looked_at(storage: LocalStorage, root: Path) -> None:
    for name in ("packs/00/a", "packs/01/a", "snapshots/a"):
        storage.create(name, b"")
    listing = storage.list("")
    assert next(listing).name == "packs/00/a"
    (root / "packs/01/b").write_bytes(b"written after the listing began")
    assert names_of(listing) == ["packs/01/a", "packs/01/b", "snapshots/a"]


def test_what_is_not_ours_is_not_listed(storage: LocalStorage, root: Path) -> None:
    storage.create("packs/one", b"1")
    (root / "lost+found").mkdir(mode=0)
    (root / "a file").write_text("")
    (root / "packs" / "~lock#").write_text("")
    (root / "packs" / "link").symlink_to("one")
    os.mkfifo(root / "packs" / "fifo")
    assert names_of(storage.list("")) == ["packs/one"]


def test_an_object_deleted_while_listing_is_left_out(storage: LocalStorage) -> None:
    for name in ("a", "b", "c"):
        storage.create(name, b"")
    listing = storage.list("")
    assert next(listing).name == "a"
    storage.delete(["b"])
    assert names_of(listing) == ["c"]


@pytest.mark.parametrize("link", ["packs", "packs/00", "packs/00/object"])
def test_a_symbolic_link_leads_nowhere(storage: LocalStorage, root: Path, tmp_path: Path, link: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "00").mkdir(parents=True)
    for secret in (elsewhere / "object", elsewhere / "00" / "object"):
        secret.write_text("a secret")
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(elsewhere / "object" if link.endswith("object") else elsewhere)
    with pytest.raises(StorageRefused, match="symbolic link"):
        storage.get("packs/00/object")
    with pytest.raises((StorageRefused, ObjectExists)):
        storage.create("packs/00/object", b"mine")
    assert names_of(storage.list("")) == []
    assert (elsewhere / "object").read_text() == "a secret"


def test_a_fifo_is_no_object_and_nobody_waits_for_it(storage: LocalStorage, root: Path) -> None:
    root.mkdir()
    os.mkfifo(root / "config")
    with pytest.raises(ObjectMissing):
        storage.get("config")


def test_leftovers_of_dead_writers_are_found_and_removed(storage: LocalStorage, root: Path) -> None:
    storage.create("packs/00/one", b"1")
    old, new = root / "packs" / "00" / ".coldhouse~0123", root / ".coldhouse~4567"
    for leftover in (old, new):
        leftover.write_bytes(b"half an obj")
    os.utime(old, (time.time() - 7200,) * 2)
    assert names_of(storage.list("")) == ["packs/00/one"]
    assert storage.remove_leftovers(older_than=3600) == 1
    assert everything_below(root) == [".coldhouse~4567", "packs", "packs/00", "packs/00/one"]


class Recorder(SystemCalls):
    """Makes the real calls and writes down, in order, what happened to which inode."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def write(self, file: int, data: Buffer) -> int:
        self._note("write", file)
        return super().write(file, data)

    def sync_data(self, file: int) -> None:
        super().sync_data(file)
        self._note("data", file)

    def sync_folder(self, folder: int) -> None:
        super().sync_folder(folder)
        self._note("folder", folder)

    def link(self, old: str, new: str, folder: int) -> None:
        self.events.append(("named", os.stat(old, dir_fd=folder).st_ino))
        super().link(old, new, folder)

    def rename(self, old: str, new: str, folder: int) -> None:
        self.events.append(("named", os.stat(old, dir_fd=folder).st_ino))
        super().rename(old, new, folder)

    def _note(self, what: str, handle: int) -> None:
        self.events.append((what, os.fstat(handle).st_ino))

    def of(self, path: Path) -> list[str]:
        inode = path.stat().st_ino
        return [what for what, which in self.events if which == inode]

    def folders(self) -> set[int]:
        return {which for what, which in self.events if what == "folder"}


@pytest.mark.parametrize("store", [LocalStorage.create, LocalStorage.put], ids=["create", "put"])
def test_data_is_on_the_disk_before_it_has_a_name(root: Path, store: object) -> None:
    recorder = Recorder()
    storage = LocalStorage(root, calls=recorder)
    (storage.create if store is LocalStorage.create else storage.put)("packs/00/one", b"x" * 100_000)
    steps = recorder.of(root / "packs/00/one")
    assert steps[0] == "write"
    assert steps[-2:] == ["data", "named"]


def test_sync_brings_every_folder_on_the_way_to_the_disk(tmp_path: Path) -> None:
    recorder = Recorder()
    root = tmp_path / "new" / "repository"
    storage = LocalStorage(root, calls=recorder)
    storage.create("packs/00/one", b"1")
    storage.create("packs/01/two", b"2")
    storage.put("config", b"3")
    assert recorder.folders() == set()  # once for all of them
    storage.sync()
    on_the_way = [root / "packs/00", root / "packs/01", root / "packs", root, tmp_path / "new", tmp_path]
    assert recorder.folders() == {path.stat().st_ino for path in on_the_way}


def test_sync_has_nothing_to_do_twice(root: Path) -> None:
    recorder = Recorder()
    storage = LocalStorage(root, calls=recorder)
    storage.create("a", b"1")
    storage.sync()
    recorder.events.clear()
    storage.sync()
    assert recorder.events == []
    storage.delete(["a"])
    storage.sync()
    assert recorder.folders() == {root.stat().st_ino}


class NoDirectWrites(Recorder):
    """A file system that refuses the flag or, after so many (``after``), a write past its cache; or nothing."""

    def __init__(self, refuses: str, after: int = 0) -> None:
        super().__init__()
        self.refuses = refuses
        self.after = after
        self.past_cache = 0
        self._on = False

    def pass_cache(self, file: int, on: bool) -> None:
        if on and self.refuses == "flag":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._on = on
        super().pass_cache(file, on)

    def write(self, file: int, data: Buffer) -> int:
        if self._on:
            if self.refuses == "write" and self.past_cache >= self.after:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            self.past_cache += 1
            return super().write(file, memoryview(data)[: len(data) // 2 // BLOCK * BLOCK or BLOCK])
        return super().write(file, data)


def in_memory(data: bytes, shift: int = 0) -> memoryview:
    """The data in memory that begins ``shift`` bytes after the beginning of a page."""
    memory = mmap(-1, len(data) + shift)
    memory[shift:] = data
    return memoryview(memory)[shift:]


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1, LARGE + BLOCK - 1, LARGE + BLOCK, 3 * LARGE + 17])
@pytest.mark.parametrize("shift", [0, 1, 512], ids=lambda shift: f"{shift} bytes after a page begins")
def test_a_large_object_is_what_was_written_wherever_it_lay(storage: LocalStorage, size: int, shift: int) -> None:
    data = os.urandom(size)
    storage.create("packs/00/one", in_memory(data, shift))
    storage.put("notes/one", in_memory(data, shift))
    assert storage.get("packs/00/one") == storage.get("notes/one") == data


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has O_DIRECT")
def test_a_large_object_goes_past_the_cache_and_a_small_one_does_not(root: Path) -> None:
    calls = NoDirectWrites(refuses="nothing")
    storage = LocalStorage(root, calls=calls)
    storage.create("small", in_memory(bytes(LARGE - 1)))
    assert calls.past_cache == 0
    storage.create("large", in_memory(bytes(LARGE + 1)))
    assert calls.past_cache > 0
    assert calls.of(root / "large")[-3:] == ["write", "data", "named"]


@pytest.mark.parametrize("calls", [NoDirectWrites("flag"), NoDirectWrites("write"), NoDirectWrites("write", after=2)])
def test_where_nothing_can_go_past_the_cache_it_goes_through_it(root: Path, calls: NoDirectWrites) -> None:
    data = os.urandom(LARGE + BLOCK + 7)
    storage = LocalStorage(root, calls=calls)
    storage.create("large", in_memory(data))
    assert storage.get("large") == data
    assert calls.past_cache == (calls.after if calls.refuses == "write" else 0)


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no file system in memory here")
def test_a_file_system_in_memory_takes_large_objects(tmp_path: Path) -> None:
    data = os.urandom(2 * LARGE + 1)
    with TemporaryDirectory(dir="/dev/shm") as folder:
        storage = LocalStorage(Path(folder) / "repository")
        storage.create("large", in_memory(data))
        assert storage.get("large") == data
        storage.close()


def test_a_disk_that_fills_up_in_the_middle_of_a_large_object_leaves_nothing_behind(root: Path) -> None:
    storage = LocalStorage(root, calls=Failing("write", errno.ENOSPC))
    with pytest.raises(StorageFull):
        storage.create("packs/one", in_memory(os.urandom(3 * LARGE + 1)))
    assert everything_below(root) == ["packs"]


class Failing(SystemCalls):
    """Fails with ``code`` in one call, from the ``calls``-th on, until ``healthy``."""

    def __init__(self, where: str, code: int, *, after_effect: bool = False) -> None:
        self.where = where
        self.code = code
        self.after_effect = after_effect
        self.healthy = False

    def write(self, file: int, data: Buffer) -> int:
        if self.where == "write" and not self.healthy:
            super().write(file, memoryview(data)[: len(data) // 2])  # a disk fills up in the middle
        self._fail("write")
        return super().write(file, data)

    def sync_data(self, file: int) -> None:
        self._fail("sync_data")
        super().sync_data(file)

    def sync_folder(self, folder: int) -> None:
        self._fail("sync_folder")
        super().sync_folder(folder)

    def link(self, old: str, new: str, folder: int) -> None:
        if self.after_effect:
            super().link(old, new, folder)
        self._fail("link")
        super().link(old, new, folder)

    def rename(self, old: str, new: str, folder: int) -> None:
        self._fail("rename")
        super().rename(old, new, folder)

    def _fail(self, where: str) -> None:
        if where == self.where and not self.healthy:
            raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EACCES, StorageRefused),
        (errno.EROFS, StorageRefused),
        (errno.EIO, StorageError),
        (errno.ENAMETOOLONG, StorageError),
    ],
)
@pytest.mark.parametrize("where", ["write", "sync_data", "link", "rename"])
def test_a_failing_disk_leaves_nothing_behind(root: Path, where: str, code: int, expected: type[StorageError]) -> None:
    storage = LocalStorage(root, calls=Failing(where, code))
    storage_call = storage.put if where == "rename" else storage.create
    with pytest.raises(StorageError) as caught:
        storage_call("packs/one", b"0123456789")
    assert type(caught.value) is expected
    assert caught.value.object_name == "packs/one"
    assert str(root) in caught.value.message
    assert everything_below(root) == ["packs"]


def test_a_failed_replacement_leaves_the_old_object(root: Path) -> None:
    calls = Failing("write", errno.ENOSPC)
    storage = LocalStorage(root, calls=calls)
    calls.healthy = True
    storage.put("notes", b"old")
    calls.healthy = False
    with pytest.raises(StorageFull):
        storage.put("notes", b"new and longer")
    assert bytes(storage.get("notes")) == b"old"
    assert everything_below(root) == ["notes"]


def test_a_failed_sync_is_not_forgotten(root: Path) -> None:
    root.mkdir()
    calls = Failing("sync_folder", errno.EIO)
    storage = LocalStorage(root, calls=calls)
    storage.create("a", b"1")
    for _ in range(2):  # the second must not believe that there is nothing to do
        with pytest.raises(StorageError, match="the disk reported an error"):
            storage.sync()
    calls.healthy = True
    storage.sync()


def test_a_file_system_without_folder_sync_is_accepted(root: Path) -> None:
    storage = LocalStorage(root, calls=Failing("sync_folder", errno.EINVAL))
    storage.create("a", b"1")
    storage.sync()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_is_named_as_such(root: Path, code: int) -> None:
    storage = LocalStorage(root, calls=Failing("link", code))
    with pytest.raises(StorageError, match="cannot make hard links") as caught:
        storage.create("a", b"1")
    assert "ext4" in caught.value.hint
    assert everything_below(root) == []


def test_a_link_that_was_made_though_the_answer_says_it_exists_is_ours(root: Path) -> None:
    storage = LocalStorage(root, calls=Failing("link", errno.EEXIST, after_effect=True))  # NFS repeats lost requests
    storage.create("a", b"1")
    assert bytes(storage.get("a")) == b"1"
    assert everything_below(root) == ["a"]


WRITER = """
import sys
from coldhouse.storage.local import LocalStorage
storage = LocalStorage(sys.argv[1])
for number in range(100_000):
    storage.create(f"packs/{number % 8}/{number:06}", b"%06d" % number * 5000)
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_whole_objects_only(root: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with writer.stdout as lines:
        for _ in range(50):
            lines.readline()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    storage = LocalStorage(root)
    found = list(storage.list("packs/"))
    assert len(found) >= 50
    for stored in found:
        assert stored.size == 30_000
        assert bytes(storage.get(stored.name)) == stored.name[-6:].encode() * 5000


def test_many_processes_can_write_one_repository(root: Path) -> None:
    code = (
        "import sys\nfrom coldhouse.errors import ObjectExists\nfrom coldhouse.storage.local import LocalStorage\n"
        "storage = LocalStorage(sys.argv[1])\nwon = 0\n"
        "for number in range(100):\n"
        "    try:\n        storage.create(f'race/{number}', sys.argv[2].encode())\n        won += 1\n"
        "    except ObjectExists:\n        pass\n"
        "storage.sync()\nprint(won)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(root), str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    won = [int(writer.communicate(timeout=60)[0]) for writer in writers]
    assert sum(won) == 100
    held = [bytes(LocalStorage(root).get(f"race/{number}")) for number in range(100)]
    assert [held.count(b"%d" % number) for number in range(3)] == won
