"""Mutations: what ClickHouse's own BACKUP and RESTORE forget or spoil of them, and how it fares with Coldhouse."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from coldhouse.clickhouse import mutations
from coldhouse.errors import BackupFailed
from coldhouse.events import Event, Phase, Warned
from coldhouse.model import Mutation, TableName
from tests.scenarios.conftest import ALSO_OLD_LONG
from tests.scenarios.world import World

pytestmark = ALSO_OLD_LONG


class TestUnfinishedMutations:
    """BACKUP notes an unfinished mutation, and RESTORE forgets it without a word."""

    @pytest.fixture
    def unfinished(self, world: World) -> World:
        world.run(
            "CREATE TABLE {db}.t (id UInt64, v UInt64) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO {db}.t SELECT number, number FROM numbers(1000)",
            "SYSTEM STOP MERGES {db}.t",
            "ALTER TABLE {db}.t UPDATE v = v + 5 WHERE id < 100 SETTINGS mutations_sync = 0",
        )
        return world

    def test_the_snapshot_says_that_there_is_one(self, unfinished: World) -> None:
        unfinished.backup()
        assert unfinished.entry("t").mutations == (Mutation("mutation_2.txt", "(UPDATE v = v + 5 WHERE id < 100)"),)

    def test_the_restore_says_that_it_was_not_applied(self, unfinished: World) -> None:
        unfinished.backup()
        unfinished.drop()
        report = unfinished.restore()
        assert [(name, mutation.command) for name, mutation in report.mutations] == [
            (TableName(unfinished.db, "t"), "(UPDATE v = v + 5 WHERE id < 100)")
        ]
        assert any("UPDATE v = v + 5" in text and "--resubmit-mutations" in text for text in report.warnings)
        assert unfinished.ask("SELECT sum(v) FROM {db}.t") == str(sum(range(1000)))

    def test_it_is_submitted_again_if_asked(self, unfinished: World) -> None:
        unfinished.backup()
        unfinished.drop()
        report = unfinished.restore(resubmit_mutations=True)
        assert len(report.mutations) == 1
        assert report.warnings == ()
        unfinished.run("ALTER TABLE {db}.t UPDATE v = v WHERE 0 SETTINGS mutations_sync = 2")  # waits for those before
        assert unfinished.ask("SELECT sum(v) FROM {db}.t") == str(sum(range(1000)) + 500)

    def test_several_are_submitted_in_their_order(self, world: World) -> None:
        world.run(
            "CREATE TABLE {db}.t (id UInt64, v UInt64) ENGINE = MergeTree ORDER BY id", "SYSTEM STOP MERGES {db}.t"
        )
        for _ in range(8):  # so that the ids of the mutations get longer: 9, 10
            world.run("INSERT INTO {db}.t SELECT 1, 1")
        world.run(
            "ALTER TABLE {db}.t UPDATE v = v * 2 WHERE 1 SETTINGS mutations_sync = 0",
            "ALTER TABLE {db}.t UPDATE v = v + 5 WHERE 1 SETTINGS mutations_sync = 0",
        )
        world.backup()
        assert [mutation.id for mutation in world.entry("t").mutations] == ["mutation_9.txt", "mutation_10.txt"]
        world.drop()
        world.restore(resubmit_mutations=True)
        world.run("ALTER TABLE {db}.t UPDATE v = v WHERE 0 SETTINGS mutations_sync = 2")
        assert world.ask("SELECT DISTINCT v FROM {db}.t") == "7"

    def test_one_that_would_change_rows_it_never_meant_is_not_submitted_but_named(self, unfinished: World) -> None:
        unfinished.run("INSERT INTO {db}.t SELECT number, number FROM numbers(10)")
        before = unfinished.ask("SELECT sum(v) FROM {db}.t")
        unfinished.backup()
        unfinished.drop()
        report = unfinished.restore(resubmit_mutations=True)
        (warning,) = report.warnings
        assert "UPDATE v = v + 5 WHERE id < 100" in warning
        assert "1 of 2 parts" in warning
        unfinished.run("ALTER TABLE {db}.t UPDATE v = v WHERE 0 SETTINGS mutations_sync = 2")
        assert unfinished.ask("SELECT sum(v) FROM {db}.t") == before

    def test_rows_that_were_in_the_target_before_are_not_changed(self, unfinished: World) -> None:
        unfinished.backup()
        unfinished.drop()
        unfinished.restore()
        report = unfinished.restore(existing="append", resubmit_mutations=True)
        assert any("were in the table before" in warning for warning in report.warnings)
        unfinished.run("ALTER TABLE {db}.t UPDATE v = v WHERE 0 SETTINGS mutations_sync = 2")
        assert unfinished.ask("SELECT sum(v) FROM {db}.t") == str(2 * sum(range(1000)))

    def test_a_column_that_is_being_dropped_is_no_failed_restore(self, world: World) -> None:
        """The definition in the snapshot has it no more: there is nothing to submit."""
        world.run(
            "CREATE TABLE {db}.t (id UInt64, v UInt64) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO {db}.t SELECT number, number FROM numbers(10)",
            "SYSTEM STOP MERGES {db}.t",
            "ALTER TABLE {db}.t DROP COLUMN v SETTINGS mutations_sync = 0, alter_sync = 0",
        )
        before = world.content()
        world.backup()
        world.drop()
        report = world.restore(resubmit_mutations=True)
        assert any(
            "DROP COLUMN v was not submitted again" in warning.replace("(", "").replace(")", "")
            for warning in report.warnings
        )
        assert world.content() == before

    def test_a_mutation_that_fails_again_and_again_is_noted_too(self, world: World) -> None:
        world.run(
            "CREATE TABLE {db}.t (id UInt64, s String) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO {db}.t SELECT number, 'not a number' FROM numbers(10)",
            "ALTER TABLE {db}.t UPDATE s = toString(toUInt8(s)) WHERE 1 SETTINGS mutations_sync = 0",
        )
        before = world.ask("SELECT sum(cityHash64(*)) FROM {db}.t")
        world.backup()
        assert [mutation.command for mutation in world.entry("t").mutations] == [
            "(UPDATE s = toString(toUInt8(s)) WHERE 1)"
        ]
        world.drop()
        world.restore()
        assert world.ask("SELECT sum(cityHash64(*)) FROM {db}.t") == before

    def test_once_it_is_finished_the_next_snapshot_has_none(self, unfinished: World) -> None:
        unfinished.backup()
        unfinished.run(
            "SYSTEM START MERGES {db}.t", "ALTER TABLE {db}.t UPDATE v = v WHERE 0 SETTINGS mutations_sync = 2"
        )
        before = unfinished.content()
        unfinished.backup()
        assert unfinished.entry("t").mutations == ()
        unfinished.drop()
        unfinished.restore()
        assert unfinished.content() == before


class TestUnfinishedRenames:
    """BACKUP takes parts with the old name of a column under a definition with the new one: RESTORE gives it empty."""

    @pytest.fixture
    def renaming(self, world: World) -> World:
        world.run(
            "CREATE TABLE {db}.t (id UInt64, s String) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO {db}.t SELECT number, toString(number) FROM numbers(100)",
            "SYSTEM STOP MERGES {db}.t",
            "ALTER TABLE {db}.t RENAME COLUMN s TO s2 SETTINGS mutations_sync = 0, alter_sync = 0",
        )
        return world

    def test_the_backup_waits_for_the_end_of_it(self, renaming: World) -> None:
        pending = "SELECT count() FROM system.mutations WHERE database = '{db}' AND NOT is_done"
        assert renaming.ask(pending) == "1"
        before = renaming.ask("SELECT sum(cityHash64(*)) FROM {db}.t")
        world_goes_on = threading.Timer(0.5, renaming.run, ("SYSTEM START MERGES {db}.t",))
        world_goes_on.start()
        renaming.backup()
        world_goes_on.join()
        assert renaming.ask(pending) == "0"
        renaming.drop()
        renaming.restore()
        assert renaming.ask("SELECT sum(cityHash64(*)), countIf(s2 = '') FROM {db}.t") == f"{before}\t0"

    def test_or_refuses_and_names_the_table(self, renaming: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mutations, "RENAME_SECONDS", 0.1)
        with pytest.raises(BackupFailed, match=rf"RENAME COLUMN is unfinished in {renaming.db}\.t\b"):
            renaming.backup()
        assert renaming.snapshots() == []

    def begin_before_the_statement(self, world: World, *, then: str = "") -> Callable[[Event], None]:
        """A listener: the RENAME begins when the source was looked at, just before BACKUP; then something is run."""

        def listen(event: Event) -> None:
            if isinstance(event, Phase) and "ClickHouse sends" in event.text:
                columns = world.ask("SELECT name FROM system.columns WHERE database = '{db}' AND table = 't'")
                if "s2" not in columns:
                    world.run(
                        "SYSTEM STOP MERGES {db}.t",
                        "ALTER TABLE {db}.t RENAME COLUMN s TO s2 SETTINGS mutations_sync = 0, alter_sync = 0",
                    )
            if isinstance(event, Warned) and then:
                world.run(then)

        return listen

    @pytest.fixture
    def quiet(self, world: World) -> World:
        world.run(
            "CREATE TABLE {db}.t (id UInt64, s String) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO {db}.t SELECT number, toString(number) FROM numbers(100)",
        )
        return world

    def test_one_that_begins_after_the_look_is_seen_in_what_arrives(self, quiet: World) -> None:
        before = quiet.ask("SELECT sum(cityHash64(*)) FROM {db}.t")
        listener = self.begin_before_the_statement(quiet, then="SYSTEM START MERGES {db}.t")
        quiet.backup(listener=listener)
        quiet.drop()
        quiet.restore()
        assert quiet.ask("SELECT sum(cityHash64(*)), countIf(s2 = '') FROM {db}.t") == f"{before}\t0"

    def test_and_refused_if_it_does_not_end(self, quiet: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mutations, "RENAME_SECONDS", 0.1)
        with pytest.raises(BackupFailed, match=rf"RENAME COLUMN is unfinished in {quiet.db}\.t\b"):
            quiet.backup(listener=self.begin_before_the_statement(quiet))
        assert quiet.snapshots() == []


class TestMutatedParts:
    """RESTORE keeps the mutation number of a part; later mutations are then reported done and change nothing."""

    @pytest.fixture
    def restored(self, world: World) -> World:
        world.run("CREATE TABLE {db}.t (id UInt64, v UInt64, s String) ENGINE = MergeTree ORDER BY id")
        world.run("INSERT INTO {db}.t SELECT number, number, toString(number) FROM numbers(100)")
        for _ in range(3):
            world.run("ALTER TABLE {db}.t UPDATE v = v + 1 WHERE 1 SETTINGS mutations_sync = 2")
        assert world.ask("SELECT name FROM system.parts WHERE database = '{db}' AND active") == "all_1_1_0_4"
        world.backup()
        world.drop()
        world.restore()
        return world

    def test_an_update_after_the_restore_takes_effect(self, restored: World) -> None:
        restored.run("ALTER TABLE {db}.t UPDATE v = 7 WHERE 1 SETTINGS mutations_sync = 2")
        assert restored.ask("SELECT DISTINCT v FROM {db}.t") == "7"

    def test_a_delete_after_the_restore_takes_effect(self, restored: World) -> None:
        restored.run("ALTER TABLE {db}.t DELETE WHERE id < 40 SETTINGS mutations_sync = 2")
        assert restored.ask("SELECT count(), min(id) FROM {db}.t") == "60\t40"

    def test_a_lightweight_delete_after_the_restore_takes_effect(self, restored: World) -> None:
        restored.run("DELETE FROM {db}.t WHERE id < 40")
        assert restored.ask("SELECT count(), min(id) FROM {db}.t") == "60\t40"

    def test_a_renamed_column_keeps_its_values(self, restored: World) -> None:
        restored.run(
            "ALTER TABLE {db}.t RENAME COLUMN s TO s2 SETTINGS mutations_sync = 2", "OPTIMIZE TABLE {db}.t FINAL"
        )
        assert restored.ask("SELECT sum(toUInt64(s2)) FROM {db}.t") == str(sum(range(100)))

    def test_a_changed_type_takes_effect(self, restored: World) -> None:
        restored.run("ALTER TABLE {db}.t MODIFY COLUMN v String SETTINGS mutations_sync = 2")
        restored_sum = sum(range(100)) + 300
        assert restored.ask("SELECT sum(toUInt64(v)), any(toTypeName(v)) FROM {db}.t") == f"{restored_sum}\tString"
