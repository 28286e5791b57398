"""Tables on more than the default disk: two disks, an encrypted one, and servers that have neither."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenarios.conftest import play
from tests.scenarios.world import World
from tests.support.engine import EngineServer

CONFIG = """<clickhouse>
<storage_configuration>
  <disks>
    <fast><type>local</type><path>{folder}/fast/</path></fast>
    <slow><type>local</type><path>{folder}/slow/</path></slow>
    <sealed><type>encrypted</type><disk>fast</disk><path>sealed/</path><key>0123456789abcdef</key></sealed>
  </disks>
  <policies>
    <tiered><volumes>
      <hot><disk>fast</disk></hot>
      <cold><disk>slow</disk></cold>
    </volumes></tiered>
    <secret><volumes><main><disk>sealed</disk></main></volumes></secret>
  </policies>
</storage_configuration>
<graphite_rollup>
  <default><function>avg</function><retention><age>0</age><precision>60</precision></retention></default>
</graphite_rollup>
</clickhouse>
"""


@pytest.fixture(scope="module")
def server_with_disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    """A server with a policy of two disks and one of an encrypted disk."""
    folder = tmp_path_factory.mktemp("disks")
    for name in ("fast", "slow"):
        (folder / name).mkdir()
    config = folder / "config.xml"
    config.write_text(CONFIG.format(folder=folder))
    with EngineServer(folder / "data", config=config) as server:
        yield server


@pytest.fixture
def world_with_disks(server_with_disks: EngineServer, folder_url: str) -> Iterator[World]:
    yield from play((server_with_disks.url, server_with_disks.query), folder_url)


@pytest.fixture
def plain_world(module_engine: EngineServer, world_with_disks: World) -> Iterator[World]:
    """The same repository, and a server that has the default disk only."""
    world = World(module_engine.url, module_engine.query, world_with_disks.repository, world_with_disks.db)
    yield world
    world.drop()


TIERED = (
    "CREATE TABLE {db}.tiered (d Date, v UInt32, s String) ENGINE = MergeTree PARTITION BY toYYYYMM(d) ORDER BY v "
    "SETTINGS storage_policy = 'tiered'",
    "INSERT INTO {db}.tiered SELECT toDate('2026-01-01') + number % 60, number, toString(number) FROM numbers(1000)",
    "ALTER TABLE {db}.tiered MOVE PARTITION ID '202602' TO DISK 'slow'",
)
SEALED = (
    "CREATE TABLE {db}.sealed (v UInt32, s String) ENGINE = MergeTree ORDER BY v SETTINGS storage_policy = 'secret'",
    "INSERT INTO {db}.sealed SELECT number, 'a very secret text' FROM numbers(1000)",
    "CREATE TABLE {db}.sealed_log (v UInt32) ENGINE = Log SETTINGS storage_policy = 'secret'",
    "INSERT INTO {db}.sealed_log SELECT number FROM numbers(100)",
)
INNER = (
    "CREATE MATERIALIZED VIEW {db}.mv (v UInt32) ENGINE = MergeTree ORDER BY v SETTINGS storage_policy = 'tiered' "
    "AS SELECT v FROM {db}.tiered",
    "INSERT INTO {db}.tiered SELECT '2026-01-01', number, 'late' FROM numbers(10)",
)


def test_tables_on_two_disks_and_on_an_encrypted_one_come_back(world_with_disks: World) -> None:
    world = world_with_disks
    world.run(*TIERED, *SEALED, *INNER)
    disks = "SELECT groupUniqArray(disk_name) FROM system.parts WHERE database = '{db}' AND table = 'tiered' AND active"
    assert sorted(world.ask(disks)) == sorted("['fast','slow']")
    before = world.content()
    receipt = world.backup()
    assert receipt.complete
    world.drop()
    assert world.restore().warnings == ()
    assert world.content() == before
    sealed = "SELECT DISTINCT disk_name FROM system.parts WHERE database = '{db}' AND table = 'sealed'"
    assert world.ask(sealed) == "sealed"


def test_nothing_of_an_encrypted_disk_is_sent_twice(world_with_disks: World) -> None:
    """Its files are read decrypted: the checksums are those of their contents, and stay the same."""
    world = world_with_disks
    world.run(*SEALED)
    world.backup()
    world.run("INSERT INTO {db}.sealed SELECT number, 'more' FROM numbers(5)")
    second = world.backup().snapshot.accounting
    assert second.new < second.reused
    assert world.backup().snapshot.accounting.sent == 0


def test_a_server_without_the_policy_gets_the_tables_on_its_own_disk(
    world_with_disks: World, plain_world: World
) -> None:
    """Its policy is not the data: rather another disk than no restore, and the report says so."""
    world = world_with_disks
    world.run(*TIERED, *SEALED, *INNER)
    before = {table: _rows(content) for table, content in world.content().items()}
    world.backup()
    report = plain_world.restore()
    assert {table: _rows(content) for table, content in plain_world.content().items()} == before
    for table, policy in (("tiered", "tiered"), ("sealed", "secret"), ("sealed_log", "secret"), ("mv", "tiered")):
        assert any(f".{table}" in warning and policy in warning for warning in report.warnings), table
    policies = "SELECT DISTINCT storage_policy FROM system.tables WHERE database = '{db}' AND engine = 'MergeTree'"
    assert plain_world.ask(policies) == "default"
    plain_world.run("INSERT INTO {db}.tiered VALUES ('2026-03-01', 1, 'goes on')")


def test_appending_to_a_table_on_another_policy(world_with_disks: World, plain_world: World) -> None:
    world = world_with_disks
    world.run(*TIERED)
    world.backup()
    plain_world.restore()
    before = plain_world.ask("SELECT count(), sum(v) FROM {db}.tiered")
    plain_world.restore(existing="replace")
    assert plain_world.ask("SELECT count(), sum(v) FROM {db}.tiered") == before
    plain_world.restore(existing="replace", partitions=(("tiered", "202602"),))
    assert plain_world.ask("SELECT count(), sum(v) FROM {db}.tiered") == before


def test_graphite_comes_back(world_with_disks: World) -> None:
    """Its rollup rules are in the server's configuration."""
    world = world_with_disks
    world.run(
        "CREATE TABLE {db}.g (Path String, Time DateTime, Value Float64, Timestamp UInt32) "
        "ENGINE = GraphiteMergeTree('graphite_rollup') ORDER BY (Path, Time)",
        "INSERT INTO {db}.g SELECT 'a.b', toDateTime(1700000000 + number), number, number FROM numbers(100)",
    )
    before = world.content()
    world.backup()
    world.drop()
    world.restore()
    assert world.content() == before


def _rows(content: str) -> str:
    return content.split("\n", 1)[0]
