"""What ClickHouse's own BACKUP and RESTORE lose or spoil without a word, and how it fares with Coldhouse.

Every scenario names the loss, makes the situation in which it happens, and shows that nothing is lost here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from coldhouse.errors import BackupFailed, Corruption
from coldhouse.operations import show
from tests.scenarios.conftest import ALSO_OLD
from tests.scenarios.damage import flip, flip_data_of, packs, source_file
from tests.scenarios.world import World

pytestmark = ALSO_OLD

#: Lightweight updates need to know each row's block and place.
PATCHABLE = (
    "CREATE TABLE {db}.t (id UInt64, v UInt64, s String) ENGINE = MergeTree ORDER BY id "
    "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1"
)
#: Wide parts: every column has files of its own.
WIDE = "SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0"


class TestLightweightUpdates:
    """BACKUP leaves out the patch parts of lightweight updates: updated rows come back old, deleted rows come back."""

    @pytest.fixture
    def patched(self, world: World) -> World:
        world.run(
            PATCHABLE,
            "INSERT INTO {db}.t SELECT number, number, toString(number) FROM numbers(5000)",
            "UPDATE {db}.t SET v = v + 1000000 WHERE id < 1000",
            "DELETE FROM {db}.t WHERE id >= 4900 SETTINGS lightweight_delete_mode = 'lightweight_update'",
        )
        waiting = "SELECT count() FROM system.parts WHERE database = '{db}' AND active AND startsWith(name, 'patch-')"
        assert world.ask(waiting) != "0", "the engine applied the update at once: this scenario shows nothing"
        return world

    def test_they_are_written_into_the_parts_first(self, patched: World) -> None:
        before = patched.content()
        patched.backup(patches="apply")
        assert patched.content() == before
        patched.drop()
        patched.restore()
        assert patched.content() == before
        assert patched.ask("SELECT count(), sum(v) FROM {db}.t") == f"4900\t{sum(range(4900)) + 1000 * 1000000}"

    def test_or_the_backup_refuses_and_names_the_table(self, patched: World) -> None:
        with pytest.raises(BackupFailed, match=rf"{patched.db}\.t\b") as refused:
            patched.backup(patches="fail")
        assert "APPLY PATCHES" in refused.value.hint
        assert patched.snapshots() == []

    def test_an_update_between_two_snapshots_is_in_the_second(self, world: World) -> None:
        world.run(PATCHABLE, "INSERT INTO {db}.t SELECT number, number, toString(number) FROM numbers(5000)")
        first_content = world.content()
        first = world.backup().snapshot
        world.run("UPDATE {db}.t SET v = 0 WHERE id < 10")
        second_content = world.content()
        second = world.backup().snapshot
        for snapshot, content in ((first, first_content), (second, second_content)):
            world.drop()
            world.restore(snapshot)
            assert world.content() == content


class TestGrowingLogs:
    """BACKUP sends the tail of a file that grew, and finds it by its content: RESTORE then mixes up two tables."""

    @pytest.mark.parametrize("engine", ["Log", "TinyLog", "StripeLog"])
    def test_a_table_that_grew_restores_as_it_was_each_time(self, world: World, engine: str) -> None:
        world.run(f"CREATE TABLE {{db}}.a (n UInt64, s String) ENGINE = {engine}")
        contents, snapshots = [], []
        for step in range(3):
            world.run(f"INSERT INTO {{db}}.a SELECT number + {step * 1000}, toString(number) FROM numbers(1000)")
            contents.append(world.content())
            snapshots.append(world.backup().snapshot)
        for snapshot, content in zip(snapshots, contents, strict=True):
            world.drop()
            world.restore(snapshot)
            assert world.content() == content

    @pytest.mark.parametrize("engine", ["Log", "TinyLog", "StripeLog"])
    def test_another_table_with_the_same_final_content_is_right_as_well(self, world: World, engine: str) -> None:
        """ClickHouse issue 112403."""
        world.run(
            f"CREATE TABLE {{db}}.a (n UInt64) ENGINE = {engine}",
            "INSERT INTO {db}.a SELECT number FROM numbers(1000)",
        )
        world.backup()
        world.run(
            "INSERT INTO {db}.a SELECT number + 1000 FROM numbers(1000)",
            f"CREATE TABLE {{db}}.b (n UInt64) ENGINE = {engine}",
            "INSERT INTO {db}.b SELECT number FROM numbers(1000)",
            "INSERT INTO {db}.b SELECT number + 1000 FROM numbers(1000)",
        )
        before = world.content()
        world.backup()
        world.drop()
        world.restore()
        assert world.content() == before
        assert world.ask("SELECT (SELECT sum(n) FROM {db}.a), (SELECT sum(n) FROM {db}.b)") == "1999000\t1999000"


class TestDamagedRepository:
    """RESTORE takes a file whose bytes have changed, as long as its length is right."""

    def test_a_flipped_byte_stops_the_restore_and_is_named(self, world: World, tmp_path: Path) -> None:
        world.run(
            f"CREATE TABLE {{db}}.t (id UInt64, v String) ENGINE = MergeTree ORDER BY id {WIDE}",
            "INSERT INTO {db}.t SELECT number, randomPrintableASCII(100) FROM numbers(5000)",
        )
        before = world.content()
        world.backup()
        (pack,) = packs(tmp_path / "repository")
        flip(pack)
        world.drop()

        with pytest.raises(Corruption) as found:
            world.restore()

        assert found.value.exit_status == 20
        assert found.value.object_name == str(pack.relative_to(tmp_path / "repository"))
        assert found.value.object_name in str(found.value)
        if "t" in world.tables():
            assert world.ask("SELECT count() FROM {db}.t") == "0"
        flip(pack)  # the disk is repaired
        world.restore()
        assert world.content() == before

    @pytest.mark.parametrize("how", ["truncated", "missing"])
    def test_a_pack_that_is_not_whole_stops_the_restore_and_is_named(
        self, world: World, tmp_path: Path, how: str
    ) -> None:
        world.run("CREATE TABLE {db}.t (id UInt64, v String) ENGINE = MergeTree ORDER BY id")
        world.run("INSERT INTO {db}.t SELECT number, randomPrintableASCII(100) FROM numbers(5000)")
        world.backup()
        (pack,) = packs(tmp_path / "repository")
        content = pack.read_bytes()
        pack.unlink()
        if how == "truncated":
            pack.write_bytes(content[:-1000])
        world.drop()
        with pytest.raises(Corruption) as found:
            world.restore()
        assert found.value.object_name == str(pack.relative_to(tmp_path / "repository"))
        if "t" in world.tables():
            assert world.ask("SELECT count() FROM {db}.t") == "0"

    def test_what_lies_in_sound_packs_can_still_be_restored(self, world: World, tmp_path: Path) -> None:
        world.run("CREATE TABLE {db}.old (v String) ENGINE = MergeTree ORDER BY v")
        world.run("INSERT INTO {db}.old SELECT randomPrintableASCII(100) FROM numbers(1000)")
        world.backup()
        world.run("CREATE TABLE {db}.new (v String) ENGINE = MergeTree ORDER BY v")
        world.run("INSERT INTO {db}.new SELECT randomPrintableASCII(100) FROM numbers(1000)")
        new = world.content_of("new")
        world.backup()
        flip(packs(tmp_path / "repository")[0])
        world.drop()
        report = world.restore(include=(f"{world.db}.new",))
        assert report.complete
        assert world.content() == {"new": new}


class TestBitRotAtTheSource:
    """BACKUP sends what a broken disk gives and lists the checksum of what was once written: bad, unnoticed."""

    @pytest.fixture
    def rotten(self, world: World) -> World:
        """Two parts, one of them with a flipped byte on the source's disk."""
        world.run(
            f"CREATE TABLE {{db}}.t (id UInt64, v String) ENGINE = MergeTree ORDER BY id {WIDE}",
            "SYSTEM STOP MERGES {db}.t",
            "INSERT INTO {db}.t SELECT number, randomPrintableASCII(50) FROM numbers(1000)",
            "INSERT INTO {db}.t SELECT number + 1000, randomPrintableASCII(50) FROM numbers(500)",
            "CREATE TABLE {db}.sound (id UInt64) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO {db}.sound SELECT number FROM numbers(100)",
        )
        flip(source_file(world, "t", "all_1_1_0/v.bin"))
        return world

    def test_the_damaged_part_is_named_and_the_rest_is_kept(self, rotten: World) -> None:
        receipt = rotten.backup()
        assert receipt.damaged == (f"{rotten.db}.t all_1_1_0/v.bin",)
        assert receipt.snapshot.damaged == receipt.damaged
        assert not receipt.complete
        assert show.run(rotten.repository, "latest").snapshot.damaged == receipt.damaged

    def test_the_restore_leaves_the_damaged_part_out_and_says_so(self, rotten: World) -> None:
        sound = rotten.content_of("sound")
        good_part = rotten.ask("SELECT count(), sum(cityHash64(*)) FROM {db}.t WHERE id >= 1000")
        rotten.backup()
        rotten.drop()
        report = rotten.restore()
        assert report.left_out == (f"{rotten.db}.t part all_1_1_0 (v.bin)",)
        assert not report.complete
        assert rotten.ask("SELECT count(), sum(cityHash64(*)) FROM {db}.t") == good_part
        assert rotten.content_of("sound") == sound

    def test_the_next_backup_after_the_repair_is_whole_again(self, rotten: World) -> None:
        assert not rotten.backup().complete
        assert not rotten.backup().complete, "still broken: a second backup must not carry it over as if it were sound"
        flip(source_file(rotten, "t", "all_1_1_0/v.bin"))
        before = rotten.content()
        receipt = rotten.backup()
        assert receipt.complete
        assert rotten.entry("t").damaged == ()
        rotten.drop()
        assert rotten.restore().complete
        assert rotten.content() == before

    def test_a_good_copy_in_an_older_snapshot_stays_good(self, world: World) -> None:
        world.run(
            f"CREATE TABLE {{db}}.t (id UInt64, v String) ENGINE = MergeTree ORDER BY id {WIDE}",
            "INSERT INTO {db}.t SELECT number, randomPrintableASCII(50) FROM numbers(1000)",
        )
        before = world.content()
        first = world.backup().snapshot
        flip(source_file(world, "t", "all_1_1_0/v.bin"))
        full = world.backup(full=True)
        assert full.damaged == (f"{world.db}.t all_1_1_0/v.bin",)
        world.drop()
        assert world.restore(first).complete
        assert world.content() == before

    def test_an_increment_does_not_take_the_rot_over_the_good_copy(self, world: World) -> None:
        """The part is known by its checksum, so its bytes are not asked for again, and the good ones stay in use."""
        world.run(
            f"CREATE TABLE {{db}}.t (id UInt64, v String) ENGINE = MergeTree ORDER BY id {WIDE}",
            "SYSTEM STOP MERGES {db}.t",
            "INSERT INTO {db}.t SELECT number, randomPrintableASCII(50) FROM numbers(1000)",
        )
        world.backup()
        world.run("INSERT INTO {db}.t SELECT number + 1000, randomPrintableASCII(50) FROM numbers(10)")
        before = world.content()
        flip(source_file(world, "t", "all_1_1_0/v.bin"))
        receipt = world.backup()
        assert receipt.complete
        world.drop()
        assert world.restore().complete
        assert world.content() == before


class TestSeveralTables:
    """A RESTORE of several tables that fails leaves full ones beside empty ones, and cannot be repeated."""

    def test_a_restore_in_which_one_table_fails_is_repeated_and_doubles_nothing(self, world: World) -> None:
        for table in ("a", "b", "c"):
            world.run(f"CREATE TABLE {{db}}.{table} (id UInt64, v String) ENGINE = MergeTree ORDER BY id {WIDE}")
            world.run(f"INSERT INTO {{db}}.{table} SELECT number, randomPrintableASCII(100) FROM numbers(10000)")
        before = world.content()
        world.backup()
        world.drop()
        flip_data_of(world, "b")

        with pytest.raises(Corruption):
            world.restore()

        assert world.content_of("a") == before["a"], "it came before the one that failed, and is whole"
        if "b" in world.tables():
            assert world.ask("SELECT count() FROM {db}.b") == "0"
        flip_data_of(world, "b")  # the disk is repaired
        assert world.restore().complete
        assert world.content() == before
