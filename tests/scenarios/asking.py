"""Asking a snapshot in the words of the scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from coldhouse.operations.sql import SqlOptions, SqlSession
from tests.scenarios.world import World


class Asked:
    """An open session; ``{db}`` in queries stands for the scenario's database, as in World."""

    def __init__(self, world: World, session: SqlSession) -> None:
        self.world = world
        self.session = session

    def ask(self, query: str, format: str = "TSV") -> str:
        """The answer as text, without the last newline."""
        return self.raw(query, format).decode().rstrip("\n")

    def raw(self, query: str, format: str = "") -> bytes:
        """The answer as bytes."""
        return b"".join(self.session.stream(query.replace("{db}", self.world.db), format))


@contextmanager
def asking(world: World, snapshot: str = "latest", **attach: str) -> Iterator[Asked]:
    """A session on a snapshot, with others attached by name."""
    options = SqlOptions(snapshot, attach=tuple(attach.items()), database=world.db)
    with SqlSession(world.repository, options) as session:
        yield Asked(world, session)


def content_queries(world: World, *, final: bool = False) -> list[str]:
    """A query for each table whose answer covers all of its rows, whatever their order."""
    queries = []
    for table in world.tables():
        name = "`" + table.replace("\\", "\\\\").replace("`", "\\`") + "`"
        engine = world.query(
            f"SELECT engine FROM system.tables WHERE database = '{world.db}' AND name = unhex('{table.encode().hex()}')"
        )
        last = " FINAL" if final and engine.endswith("MergeTree") and engine != "MergeTree" else ""
        queries.append(
            "SELECT count(), sum(cityHash64(formatRow('TSV', *))), groupBitXor(cityHash64(formatRow('TSV', *))) "
            f"FROM {world.db}.{name}{last}"
        )
    return queries


def answers_as_the_source(world: World, *more: str, final: bool = False) -> None:
    """Ask the source, back up, lose everything, and ask the snapshot the same."""
    queries = content_queries(world, final=final) + [query.replace("{db}", world.db) for query in more]
    before = {query: world.ask(query) for query in queries}
    assert world.backup().complete
    world.drop()
    with asking(world) as snapshot:
        assert {query: snapshot.ask(query) for query in queries} == before
