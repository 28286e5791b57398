"""What every store must do: the tests of a store subclass StorageContract and give it the fixture ``storage``."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from coldhouse.errors import Corruption, ObjectExists, ObjectMissing, StorageError
from coldhouse.model import Buffer
from coldhouse.storage import Storage, names_of

MANY = 1100  # more than one page of a listing


class StorageContract:
    """The contract of coldhouse.storage.base.Storage, test by test. ``storage`` is empty and nobody else's."""

    def test_what_was_created_can_be_read(self, storage: Storage) -> None:
        storage.create("packs/ab/abcdef", b"some bytes")
        assert bytes(storage.get("packs/ab/abcdef")) == b"some bytes"
        assert storage.size("packs/ab/abcdef") == 10

    @pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview], ids=lambda wrap: wrap.__name__)
    def test_any_buffer_can_be_stored(self, storage: Storage, wrap: Callable[[bytes], Buffer]) -> None:
        storage.create("created", wrap(b"one"))
        storage.put("put", wrap(b"another"))
        assert [bytes(storage.get("created")), bytes(storage.get("put"))] == [b"one", b"another"]

    def test_a_piece_of_a_larger_buffer_can_be_stored(self, storage: Storage) -> None:
        storage.create("piece", memoryview(bytearray(range(100)))[10:20])
        assert bytes(storage.get("piece")) == bytes(range(10, 20))

    def test_an_object_may_be_empty(self, storage: Storage) -> None:
        storage.create("empty", b"")
        assert bytes(storage.get("empty")) == b""
        assert storage.size("empty") == 0
        assert bytes(storage.get_range("empty", 0, 0)) == b""

    def test_an_object_may_be_as_large_as_a_pack(self, storage: Storage) -> None:
        data = bytes(range(256)) * (33 * 4096)  # 33 MiB
        storage.create("packs/large", data)
        assert storage.size("packs/large") == len(data)
        assert memoryview(storage.get("packs/large")) == data
        assert bytes(storage.get_range("packs/large", len(data) - 3, 3)) == data[-3:]

    @pytest.mark.parametrize("size", [10, 5 << 20], ids=["small", "large"])
    def test_an_object_is_read_up_to_a_limit_and_not_beyond(self, storage: Storage, size: int) -> None:
        storage.create("notes/one", bytes(size))
        assert memoryview(storage.get("notes/one", limit=size)) == bytes(size)
        with pytest.raises(Corruption, match="larger than it can be") as caught:
            storage.get("notes/one", limit=size - 1)
        assert caught.value.object_name == "notes/one"
        assert memoryview(storage.get("notes/one", limit=size)) == bytes(size)

    def test_create_refuses_a_name_that_is_taken_and_changes_nothing(self, storage: Storage) -> None:
        storage.create("config", b"first")
        with pytest.raises(ObjectExists) as caught:
            storage.create("config", b"second")
        assert caught.value.object_name == "config"
        assert bytes(storage.get("config")) == b"first"

    def test_create_refuses_the_same_bytes_as_well(self, storage: Storage) -> None:
        storage.create("config", b"same")
        with pytest.raises(ObjectExists):
            storage.create("config", b"same")

    def test_exactly_one_of_many_creators_wins(self, storage: Storage) -> None:
        writers, rounds = 8, 5
        together = threading.Barrier(writers)

        def race(writer: int) -> list[bool]:
            return [self._try_to_create(storage, f"race/{round}", b"%d" % writer, together) for round in range(rounds)]

        with ThreadPoolExecutor(writers) as pool:
            won = list(pool.map(race, range(writers)))
        for round in range(rounds):
            winners = [writer for writer in range(writers) if won[writer][round]]
            assert len(winners) == 1
            assert bytes(storage.get(f"race/{round}")) == b"%d" % winners[0]

    def _try_to_create(self, storage: Storage, name: str, data: bytes, together: threading.Barrier) -> bool:
        together.wait(timeout=30)
        try:
            storage.create(name, data)
        except ObjectExists:
            return False
        return True

    def test_put_replaces(self, storage: Storage) -> None:
        storage.put("notes/one", b"long old text")
        storage.put("notes/one", b"new")
        assert bytes(storage.get("notes/one")) == b"new"
        assert storage.size("notes/one") == 3

    def test_a_reader_sees_the_old_or_the_new_object_and_nothing_between(self, storage: Storage) -> None:
        versions = [bytes([letter]) * 300_000 for letter in b"ab"]
        storage.put("notes/one", versions[0])
        done = threading.Event()

        def replace_often() -> None:
            for turn in range(20):
                storage.put("notes/one", versions[turn % 2])
            done.set()

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(replace_often)
            while not done.is_set() and not writer.done():
                assert bytes(storage.get("notes/one")) in versions
            writer.result()

    @pytest.mark.parametrize(("offset", "length"), [(0, 10), (0, 3), (4, 3), (9, 1), (7, 3), (10, 0), (0, 0)])
    def test_ranges(self, storage: Storage, offset: int, length: int) -> None:
        storage.create("object", b"0123456789")
        assert bytes(storage.get_range("object", offset, length)) == b"0123456789"[offset : offset + length]

    @pytest.mark.parametrize(("offset", "length"), [(0, 11), (9, 2), (10, 1), (1000, 5), (11, 0)])
    def test_a_range_beyond_the_end_is_corruption(self, storage: Storage, offset: int, length: int) -> None:
        storage.create("packs/short", b"0123456789")
        with pytest.raises(Corruption) as caught:
            storage.get_range("packs/short", offset, length)
        assert caught.value.object_name == "packs/short"

    def test_a_large_range_can_be_read_through(self, storage: Storage) -> None:
        data = random.Random(9).randbytes((5 << 20) + 3)
        storage.create("packs/large", data)
        for offset, length in ((0, len(data)), (1, len(data) - 2), (4 << 20, 1000), (7, 0)):
            pieces = [bytes(piece) for piece in storage.read_through("packs/large", offset, length)]
            assert b"".join(pieces) == data[offset : offset + length]
        pieces = [bytes(piece) for piece in storage.read_through("packs/large", 3, 4 << 20, piece=300_001)]
        assert b"".join(pieces) == data[3 : 3 + (4 << 20)]
        with pytest.raises(Corruption):
            list(storage.read_through("packs/large", 5, len(data)))
        with pytest.raises(ObjectMissing):
            list(storage.read_through("packs/absent", 0, len(data)))

    def test_what_is_not_there_is_missing(self, storage: Storage) -> None:
        storage.create("here/one", b"1")
        for read in (storage.get, storage.size, lambda name: storage.get_range(name, 0, 1)):
            for name in ("absent", "here/two", "here", "absent/too"):
                with pytest.raises(ObjectMissing) as caught:
                    read(name)
                assert caught.value.object_name == name

    def test_deleting_is_for_good_and_can_be_repeated(self, storage: Storage) -> None:
        for name in ("a/1", "a/2", "b/1"):
            storage.create(name, b"x")
        storage.delete(["a/1", "absent", "absent/too", "b/1"])
        storage.delete(["a/1", "b/1"])
        storage.delete([])
        assert names_of(storage.list("")) == ["a/2"]
        with pytest.raises(ObjectMissing):
            storage.get("a/1")

    def test_a_deleted_name_is_free_again(self, storage: Storage) -> None:
        storage.create("name", b"first")
        storage.delete(["name"])
        storage.create("name", b"second")
        assert bytes(storage.get("name")) == b"second"

    def test_a_listing_tells_name_size_and_time(self, storage: Storage) -> None:
        before = datetime.now(UTC)
        storage.create("snapshots/one", b"12345")
        (found,) = storage.list("snapshots/")
        assert (found.name, found.size) == ("snapshots/one", 5)
        assert found.modified.tzinfo is not None
        self.check_time(found.modified, before)

    def check_time(self, modified: datetime, before: datetime) -> None:
        """Stores count whole seconds; clocks differ a little."""
        assert abs(modified - before) < timedelta(seconds=60)

    def test_a_listing_is_in_the_order_of_names(self, storage: Storage) -> None:
        names = ["snapshots/b", "config", "packs/00/ff", "packs/ff/00", "packs/00/aa", "snapshots/a", "keys/x.y-z"]
        for name in names:
            storage.create(name, b"")
        assert names_of(storage.list("")) == sorted(names)

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            ("packs/", ["packs/00/1", "packs/00/2", "packs/01/1"]),
            ("packs/00/", ["packs/00/1", "packs/00/2"]),
            ("packs/0", ["packs/00/1", "packs/00/2", "packs/01/1"]),
            ("packs/00", ["packs/00/1", "packs/00/2"]),
            ("packs/00/1", ["packs/00/1"]),
            ("pack", ["packs/00/1", "packs/00/2", "packs/01/1", "packs2"]),
            ("packs2", ["packs2"]),
            ("absent", []),
            ("absent/", []),
            ("config/", []),
            ("config/x", []),
        ],
    )
    def test_a_listing_starts_with_its_prefix(self, storage: Storage, prefix: str, expected: list[str]) -> None:
        for name in ("config", "packs/00/1", "packs/00/2", "packs/01/1", "packs2"):
            storage.create(name, b"")
        assert names_of(storage.list(prefix)) == expected

    @pytest.mark.parametrize("after", ["", "a", "p", "p/00", "p/00/", "p/00/1", "p/00/15", "p/01", "p/01/1", "q", "z"])
    def test_a_listing_can_start_in_the_middle(self, storage: Storage, after: str) -> None:
        names = ["a", "p/00/1", "p/00/2", "p/01/1", "q"]
        for name in names:
            storage.create(name, b"")
        assert names_of(storage.list("", after=after)) == [name for name in names if name > after]
        assert names_of(storage.list("p/", after=after)) == [name for name in names if name > after and name[0] == "p"]

    def test_an_empty_store_lists_nothing(self, storage: Storage) -> None:
        assert names_of(storage.list("")) == []
        assert names_of(storage.list("packs/")) == []

    def test_many_objects_are_all_listed_and_can_be_deleted_together(self, storage: Storage) -> None:
        names = [f"many/{number:05}" for number in range(MANY)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: storage.create(name, b"x"), names))
        assert names_of(storage.list("many/")) == names
        assert names_of(storage.list("many/", after=names[1049])) == names[1050:]
        storage.delete([*names[:-1], "many/absent"])
        assert names_of(storage.list("many/")) == names[-1:]

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "/",
            "/absolute",
            "..",
            "../up",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a/.",
            "a//b",
            "a/",
            "a+b",
            "a b",
            "a\n",
            "ä",
            "~",
        ],
    )
    def test_a_name_that_could_lead_elsewhere_is_refused(self, storage: Storage, name: str) -> None:
        for use in (
            storage.get,
            storage.size,
            lambda name: storage.get_range(name, 0, 1),
            lambda name: storage.create(name, b""),
            lambda name: storage.put(name, b""),
            lambda name: storage.delete([name]),
        ):
            with pytest.raises(StorageError, match="cannot be the name"):
                use(name)

    @pytest.mark.parametrize("prefix", ["/", "../", "a/../", "a//", "+", "./"])
    def test_a_prefix_that_could_lead_elsewhere_is_refused(self, storage: Storage, prefix: str) -> None:
        with pytest.raises(StorageError, match="cannot be the start"):
            list(storage.list(prefix))

    def test_dots_are_welcome_in_names(self, storage: Storage) -> None:
        names = ["...", "..a", ".a", "a..b", "d.e/f.g"]
        for name in names:
            storage.create(name, name.encode())
        assert names_of(storage.list("")) == sorted(names)

    def test_sync_and_free_space_answer(self, storage: Storage) -> None:
        storage.sync()
        storage.create("a", b"1")
        storage.sync()
        space = storage.free_space()
        assert space is None or space > 0
        assert storage.remove_leftovers(0) == 0
        assert names_of(storage.list("")) == ["a"]
