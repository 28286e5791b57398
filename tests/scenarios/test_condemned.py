"""A backup beside a prune: what is condemned is not built upon, and what the backup does is announced."""

from __future__ import annotations

from coldhouse.repository import Repository, condemned, intents, names
from coldhouse.repository.condemned import Candidate, What
from coldhouse.storage.base import names_of
from tests.scenarios.world import World
from tests.support.faulty import Call, FaultyStorage

LIST = "0123456789abcdef" * 2


def test_what_is_condemned_is_sent_again(world: World) -> None:
    world.run(
        "CREATE TABLE {db}.t (id UInt64) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.t SELECT number FROM numbers(1000)",
        "CREATE TABLE {db}.l (id UInt64) ENGINE = Log",
        "INSERT INTO {db}.l SELECT number FROM numbers(1000)",
    )
    first = world.backup().snapshot
    repository, content = world.repository, world.content()
    packs = {id for id, _ in repository.stored_packs()}
    everything = [Candidate(What.PACK, id) for id in packs]
    everything += [Candidate(What.MANIFEST, id) for id, _ in repository.stored_manifests()]
    repository.storage.create(names.condemned(LIST), condemned.encode(everything))
    second = world.backup().snapshot
    assert second.parent == first.id
    repository.forget([first.id])
    repository.storage.delete([each.name for each in everything])
    assert packs.isdisjoint(id for id, _ in repository.stored_packs())
    world.drop()
    world.restore("latest")
    assert world.content() == content


def test_a_backup_is_announced_before_it_reads_anything(world: World) -> None:
    world.run("CREATE TABLE {db}.t (id UInt64) ENGINE = MergeTree ORDER BY id")
    inner = world.repository.storage
    said: list[intents.Declaration | None] = []

    def watch(call: Call) -> None:
        if call.verb == "create" and call.name.startswith("snapshots/"):
            said.extend(intents.read(inner, name) for name in names_of(inner.list("intents/")))

    storage = FaultyStorage(inner, watch=watch)
    world.repository = Repository(storage, world.repository._ring)
    made = world.backup().snapshot
    assert said == [intents.Declaration(kind="backup", commits=(f"snapshots/{made.id}",))]
    assert names_of(inner.list("intents/")) == []
    calls = [(call.verb, call.name.partition("/")[0]) for call in storage.calls]
    announced = calls.index(("create", "intents"))
    assert announced < calls.index(("list", "condemned")) < calls.index(("list", "snapshots"))
    assert calls[-1] == ("delete", "intents")
