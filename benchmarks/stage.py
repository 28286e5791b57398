"""What a piece of work plays in: an engine with one shape of data, a store, folders; all gone at its end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import obstore
from obstore.store import S3Store

from benchmarks.processes import Server
from benchmarks.ready import LARGE, fetch_memory
from benchmarks.shapes import Shape, make
from tests.support.engine import EngineServer
from tests.support.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

ENGINE, STORE = "clickhouse", "seaweedfs"


@dataclass(frozen=True, slots=True)
class Written:
    """What lies at a place: bytes, and how many objects or files."""

    bytes: int
    objects: int

    def since(self, before: Written) -> Written:
        """What came after ``before``."""
        return Written(self.bytes - before.bytes, self.objects - before.objects)


@dataclass(slots=True)
class Stage:
    """One engine with one shape, an S3 store if there is one, and a folder for everything else."""

    engine: EngineServer
    shape: Shape
    folder: Path
    store: SeaweedFS | None
    memory: int = 0  # bytes that a run may need and find at hand
    ends: ExitStack = field(default_factory=ExitStack)
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def servers(self) -> tuple[Server, ...]:
        """The processes that work while others are measured."""
        return (Server(ENGINE, self.engine.pid), *([Server(STORE, self.s3.pid)] if self.store else []))

    @property
    def s3(self) -> SeaweedFS:
        """The store. Raises RuntimeError where there is none."""
        if self.store is None:
            raise RuntimeError("this work has no S3 store")
        return self.store

    @property
    def many_files(self) -> bool:
        """Whether the shape lies in many small files: what was made of them is removed when the work is over.

        For minutes after many were deleted, ext4 without a journal looks long for each inode that it gives to a new
        one, and whoever comes next would pay for it.
        """
        return self.shape is not Shape.WIDE

    def settle(self) -> None:
        """Make the machine ready for a measured run: nothing to be written, and memory for what is large."""
        os.sync()
        if self.memory:
            fetch_memory(self.memory)

    def new_folder(self) -> Path:
        """A folder that does not exist yet."""
        return self.folder / f"place-{next(self._numbers)}"

    def new_place(self) -> str:
        """A new place for a repository: in the store if there is one, else a folder."""
        return str(self.new_folder()) if self.store is None else f"s3://{self.s3.bucket}/place-{next(self._numbers)}"

    def new_native_place(self) -> str:
        """A new place for a native BACKUP, as SQL."""
        if self.store is None:
            return f"File('{self.new_folder()}')"
        address = f"{self.s3.endpoint}/{self.s3.bucket}/place-{next(self._numbers)}/"
        return f"S3('{address}', '{ACCESS_KEY}', '{SECRET_KEY}')"

    def new_database(self) -> str:
        """The name of a database to restore to, which is dropped at the end of the work if it holds many files."""
        name = f"{self.shape}_back{next(self._numbers)}"
        if self.many_files:
            self.ends.callback(self.drop, name)
        return name

    def drop(self, database: str) -> None:
        """Drop a database that was restored."""
        self.engine.query(f"DROP DATABASE IF EXISTS {database} SYNC")

    def written(self, place: str) -> Written:
        """What lies at a place: a folder, the URL of a repository, or a native place as SQL."""
        path = place.removeprefix("File('").removesuffix("')")
        if path.startswith("/"):
            return _in_folder(Path(path))
        prefix = next(
            step for step in place.split("'")[-1 if place.startswith("s3:") else 1].split("/") if "place-" in step
        )
        return self._in_bucket(prefix + "/")

    def frozen_parts(self) -> Path:
        """The part files of the shape's tables, frozen: hard links that nobody changes."""
        shadow = self.engine.directory / "shadow" / "benchmark"
        if not shadow.exists():
            for table in self.engine.query(f"SHOW TABLES FROM {self.shape}").split():
                self.engine.query(f"ALTER TABLE {self.shape}.{table} FREEZE WITH NAME 'benchmark'")
        return shadow

    def _in_bucket(self, prefix: str) -> Written:
        store = S3Store(
            self.s3.bucket,
            config={
                "endpoint": self.s3.endpoint,
                "access_key_id": ACCESS_KEY,
                "secret_access_key": SECRET_KEY,
                "region": "us-east-1",
            },
            client_options={"allow_http": True},
        )
        sizes = [item["size"] for page in obstore.list(store, prefix) for item in page]
        return Written(sum(sizes), len(sizes))


@contextmanager
def staged(work: Path, shape: Shape, share: float, *, store: bool) -> Iterator[Stage]:
    """Start what a piece of work needs; the data of a shape is made once for all works and kept in ``work``."""
    folder = work / "places"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as ends:
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        engine = ends.enter_context(EngineServer(data_folder(work, shape, share), config=_configuration(work)))
        make(engine.query, shape, share)
        seaweedfs = SeaweedFS(folder / "seaweedfs").start() if store else None
        if seaweedfs is not None:
            ends.callback(seaweedfs.stop)
        os.sync()
        memory = int(LARGE * share) if shape is Shape.WIDE else 0
        yield Stage(engine, shape, folder, seaweedfs, memory, ends.enter_context(ExitStack()))


def data_folder(work: Path, shape: Shape, share: float) -> Path:
    """Where the engine keeps a shape."""
    return work / f"data-{shape}-{share:g}"


def _configuration(work: Path) -> Path:
    path = work / "server.xml"
    path.write_text(f"<clickhouse><backups><allowed_path>{work}</allowed_path></backups></clickhouse>\n")
    return path


def _in_folder(folder: Path) -> Written:
    sizes = [(Path(at) / name).lstat().st_size for at, _, names in os.walk(folder) for name in names]
    return Written(sum(sizes), len(sizes))
