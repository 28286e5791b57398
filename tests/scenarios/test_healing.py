"""After damage was found, the next backup builds on nothing that is damaged: what it makes is whole again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldhouse.operations import broken, copy, repair, verify
from coldhouse.operations.verify import VerifyOptions
from coldhouse.repository import manifest_name, snapshot_name
from coldhouse.storage import open_storage
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.damage import flip, flip_data_of
from tests.scenarios.test_increments import Asked, asked, elements
from tests.scenarios.world import World

__all__ = ["asked"]

MAKE = (
    "CREATE TABLE {db}.t (id UInt64, p UInt8, text String CODEC(NONE)) ENGINE = MergeTree PARTITION BY p ORDER BY id",
    "CREATE TABLE {db}.log (a String) ENGINE = Log",
    "INSERT INTO {db}.log SELECT randomString(300) FROM numbers(2000)",
)
FILL = "INSERT INTO {db}.t SELECT number, %s, randomString(400) FROM numbers(4000)"


@pytest.fixture
def world(embedded: Clickhouse, folder_url: str) -> Iterator[World]:
    """Two snapshots: forty partitions, whose page is an object; then one more in a pack of its own."""
    for world in play(embedded, folder_url):
        world.run(*MAKE, FILL % "if(number < 2500, 0, number % 40)")
        world.backup()
        world.run(FILL % "50")
        world.backup()
        yield world


def drilled(world: World) -> verify.VerifyReport:
    (report,) = verify.run(world.repository, VerifyOptions("latest", "drill"))
    return report


def packs_of(world: World, table: str) -> set[bytes]:
    return {pack for ref in world.entry(table).pages for pack in world.repository.page(ref).packs}


def partitions_in(world: World, pack: bytes) -> set[str]:
    """The partitions of ``t`` that have a file in a pack."""
    return {
        part.state.partition
        for part in world.repository.parts(world.entry("t"))
        for file in part.files
        if any(extent.pack == pack for extent in file.extents)
    }


def newest_pack_of(world: World) -> bytes:
    """The pack with the partition that the second snapshot added."""
    part = next(part for part in world.repository.parts(world.entry("t"), ["50"]))
    return max((extent for file in part.files for extent in file.extents), key=lambda extent: extent.length).pack


@pytest.mark.parametrize("how", ["flipped", "lost"])
def test_what_lay_in_a_damaged_pack_is_sent_again_and_nothing_else(world: World, asked: Asked, how: str) -> None:
    content = world.content()
    if how == "flipped":
        path = flip_data_of(world, "t")
        pack = bytes.fromhex(path.name)
    else:
        pack = newest_pack_of(world)
        path = Path(world.repository.url, f"packs/{pack[:1].hex()}/{pack.hex()}")
        path.unlink()
    hurt = partitions_in(world, pack)
    found = verify.run(world.repository, VerifyOptions(level="data"))
    assert not found[-1].ok
    assert broken.read(world.repository).ids == {pack}

    asked.clear()
    healed = world.backup().snapshot

    (request,) = asked
    assert set(elements(request)["t"]) == hurt or len(hurt) == 41
    assert 0 < healed.accounting.new < healed.accounting.data
    assert pack not in packs_of(world, "t") | packs_of(world, "log")
    report = drilled(world)
    assert report.ok, report.problems
    assert world.backup().snapshot.accounting.new == 0  # and what is whole is built upon again
    world.drop()
    world.restore()
    assert world.content() == content


def test_a_lost_page_is_no_reason_for_a_backup_to_fail(world: World, asked: Asked) -> None:
    """Its table is sent again, as far as no other page has it."""
    content = world.content()
    Path(world.repository.url, manifest_name(world.entry("t").pages[0].ref.id)).unlink()
    assert not verify.run(world.repository, VerifyOptions("latest"))[0].ok
    asked.clear()
    assert not world.backup().damaged
    assert "t" in elements(asked[0])
    assert drilled(world).ok
    world.drop()
    world.restore()
    assert world.content() == content


@pytest.mark.parametrize("kind", ["catalog", "snapshot"])
def test_a_damaged_catalog_or_root_is_warned_of_and_gone_around(world: World, kind: str) -> None:
    content = world.content()
    snapshot = world.snapshots()[-1]
    name = manifest_name(snapshot.catalog[0].id) if kind == "catalog" else snapshot_name(snapshot.id)
    flip(Path(world.repository.url, name))
    receipt = world.backup()
    assert any(name in warning for warning in receipt.warnings)
    assert drilled(world).ok
    world.drop()
    world.restore(receipt.snapshot)
    assert world.content() == content


def test_only_reading_it_proves_that_a_damaged_pack_is_sound_again(world: World, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(world.repository.url, kept)
    path = flip_data_of(world, "t")
    verify.run(world.repository, VerifyOptions(level="data"))
    shutil.copy(kept / path.relative_to(world.repository.url), path)
    verify.run(world.repository, VerifyOptions(level="structure"))
    assert broken.read(world.repository).ids == {bytes.fromhex(path.name)}
    verify.run(world.repository, VerifyOptions(level="data"))
    assert not broken.read(world.repository).ids


def test_a_repair_from_a_copy_ends_it(world: World, tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "copy"))
    assert copy.run(world.repository, copy.open_target(world.repository, storage, lambda: "", init_like=True)).complete
    flip_data_of(world, "t")
    verify.run(world.repository, VerifyOptions(level="data"))
    assert repair.run(world.repository, data=True, copy=storage, dry_run=False).healed
    assert not broken.read(world.repository).ids
    assert world.backup().snapshot.accounting.new == 0
