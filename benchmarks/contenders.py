"""Who is measured: Coldhouse, ClickHouse's own BACKUP and RESTORE, restic, cp. Each call is one measured run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from benchmarks.bars import COLDHOUSE, NOWHERE
from benchmarks.figures import ProcessUse, Run
from benchmarks.processes import Server, measured, run_command
from benchmarks.resident import Resident
from benchmarks.stage import Stage, Written
from coldhouse.records import replace
from tests.support.engine import CHECKOUT

PASSPHRASE = "a passphrase for benchmarks"
RESTIC_MODES = {"restic": "off", "restic compressed": "auto"}
#: What Coldhouse asks ClickHouse for, as far as it costs something.
_AS_COLDHOUSE = (
    "allow_s3_native_copy = 0, s3_max_single_part_upload_size = 1000000000, s3_upload_checksum_algorithm = 'crc32', "
    "local_filesystem_read_method = 'pread'"
)
#: What it asks for beside that where many small files come as one archive.
_AS_ARCHIVE = "archive_adaptive_buffer_max_size_bytes = 20000000"


class Coldhouse:
    """The command line in a process of its own, at a repository that is opened by its passphrase."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        store = {} if stage.store is None else stage.s3.environment
        self._environment = environment(stage.folder) | store

    def new_repository(self) -> str:
        """Make a repository; not measured."""
        place = self._stage.new_place()
        self._run("init", "--repo", place)
        return place

    def backup(self, place: str, *options: str) -> Run:
        """Back up the shape, encrypted and proven, as always; the objects that it wrote are counted."""
        before = self._stage.written(place)
        run = self._measured(*self._backup(place), *options)
        return _with(run, self._stage.written(place).since(before))

    def preview(self, place: str) -> Run:
        """Find out what such a backup would do."""
        return self._measured(*self._backup(place), "--dry-run")

    def _backup(self, place: str) -> tuple[str, ...]:
        return ("backup", "--repo", place, "--source", self._stage.engine.url, "--table", f"{self._stage.shape}.*")

    def resident(self, place: str) -> Callable[[], Run]:
        """The library in a process that has opened the repository and stays; each call is one measured backup."""
        arguments = (place, self._stage.engine.url, f"{self._stage.shape}.*")
        process = Resident(arguments, self._environment, self._stage.folder)
        self._stage.ends.callback(process.close)

        def backup() -> Run:
            before = self._stage.written(place)
            self._stage.settle()
            run = measured(process.backup, (process.server, *self._stage.servers))
            return _with(run, self._stage.written(place).since(before))

        return backup

    def restore(self, place: str, *options: str) -> Run:
        """Restore the newest snapshot beside the shape's own database."""
        database, url = self._stage.new_database(), self._stage.engine.url
        renamed = f"{self._stage.shape}={database}"
        run = self._measured("restore", "latest", "--repo", place, "--target", url, "--rename", renamed, *options)
        check_restored(self._stage, database)
        return run

    def snapshots(self, place: str) -> Run:
        """List the snapshots."""
        return self._measured("snapshots", "--repo", place)

    def show(self, place: str) -> Run:
        """Open the repository, and say what is in the newest snapshot."""
        return self._measured("show", "latest", "--repo", place)

    def help(self) -> Run:
        """Print the help."""
        return self._measured("--help")

    def _measured(self, *arguments: str) -> Run:
        self._stage.settle()
        return measured(lambda: self._run(*arguments), self._stage.servers)

    def _run(self, *arguments: str) -> ProcessUse:
        command = [sys.executable, "-m", "coldhouse", *arguments]
        return run_command(COLDHOUSE, command, self._environment, self._stage.folder)


class _Statements:
    """BACKUP and RESTORE as statements that are waited for."""

    reads = ""  # settings of RESTORE

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def restore(self, place: str) -> Run:
        """Restore beside the shape's own database."""
        database = self._stage.new_database()
        run = self._measured(f"RESTORE DATABASE {self._stage.shape} AS {database} FROM {place}{self.reads}")
        check_restored(self._stage, database)
        return run

    @property
    def _servers(self) -> tuple[Server, ...]:
        return self._stage.servers

    def _measured(self, statement: str) -> Run:
        self._stage.settle()

        def work() -> None:
            self._stage.engine.query(statement)

        return measured(work, self._servers)


class Native(_Statements):
    """BACKUP and RESTORE with the settings that they have by themselves."""

    def backup(self, base: str = "") -> tuple[str, Run]:
        """Back the shape up to a new place; returns the place as well."""
        place = self._stage.new_native_place()
        settings = f" SETTINGS base_backup = {base}" if base else ""
        run = self._measured(f"BACKUP DATABASE {self._stage.shape} TO {place}{settings}")
        return place, _with(run, self._stage.written(place))


class Least(_Statements):
    """BACKUP and RESTORE as Coldhouse asks for them, with a store that does less: a limit of what a gateway can reach.

    ``name`` is ``NOWHERE`` (it does nothing) or ``SEALED`` (it encrypts, and stores where Coldhouse would).
    """

    reads = " SETTINGS max_read_buffer_size_remote_fs = 131072"

    def __init__(self, stage: Stage, name: str) -> None:
        """Start the store; it ends with the work."""
        super().__init__(stage)
        self._name = name
        self._place = stage.new_place()
        folder = stage.new_folder()
        folder.mkdir()
        module = ["benchmarks.nowhere"] if name == NOWHERE else ["benchmarks.sealing", self._place]
        store = {} if stage.store is None else stage.s3.environment
        self._process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=folder,
            env={**environment(stage.folder), **store, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'src'}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self._numbers = count()
        stage.ends.callback(self._process.communicate, timeout=60)

    def backup(self, *, keep: bool = False) -> tuple[str, Run]:
        """Back the shape up, to be forgotten or to be restored; returns the place as well."""
        many = self._stage.many_files
        name, settings = ("all.tar", f"{_AS_COLDHOUSE}, {_AS_ARCHIVE}") if many else ("", _AS_COLDHOUSE)
        kept = "keep" if keep or many else "drop"  # ClickHouse asks whether its archive is there
        place = f"S3('{self._url}/{kept}/{next(self._numbers)}/{name}', 'key', 'secret')"
        run = self._measured(f"BACKUP DATABASE {self._stage.shape} TO {place} SETTINGS {settings}")
        if not keep:
            # What a folder holds; a bucket goes at the end of the work.
            shutil.rmtree(Path(self._place) / "packs", ignore_errors=True)
        return place, run

    @property
    def _servers(self) -> tuple[Server, ...]:
        return (Server(self._name, self._process.pid), *super()._servers)


class Restic:
    """restic on the frozen part files, in a repository in a folder."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def new_repository(self) -> Path:
        """Make a repository; not measured."""
        place = self._stage.new_folder()
        self._run(place, "init")
        return place

    def backup(self, place: Path, compression: str) -> Run:
        """Back up with a compression of restic's: off, auto, max."""
        source = str(self._stage.frozen_parts())
        before = self._stage.written(str(place))
        run = self._measured(place, "backup", "--compression", compression, source)
        return _with(run, self._stage.written(str(place)).since(before))

    def restore(self, place: Path) -> Run:
        """Restore the files into an empty folder."""
        target = self._stage.new_folder()
        try:
            return self._measured(place, "restore", "latest", "--target", str(target))
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def _measured(self, place: Path, *arguments: str) -> Run:
        self._stage.settle()
        return measured(lambda: self._run(place, *arguments), ())

    def _run(self, place: Path, *arguments: str) -> ProcessUse:
        variables = {"RESTIC_PASSWORD": PASSPHRASE, "RESTIC_CACHE_DIR": str(self._stage.folder / "restic-cache")}
        command = ["restic", "--repo", str(place), "--quiet", *arguments]
        return run_command("restic", command, environment(self._stage.folder) | variables, self._stage.folder)


def has_restic() -> bool:
    """Whether this machine has restic: apt-get install restic."""
    return shutil.which("restic") is not None


def copy(stage: Stage) -> Run:
    """Copy the frozen part files with cp and bring them to the disk: neither encrypted nor checked."""
    source, target = stage.frozen_parts(), stage.new_folder()
    try:
        stage.settle()
        command = ["sh", "-c", 'cp -r "$1" "$2" && sync -f "$2"', "sh", str(source), str(target)]
        run = measured(lambda: run_command("cp", command, environment(stage.folder), stage.folder), ())
        return _with(run, stage.written(str(target)))
    finally:
        shutil.rmtree(target, ignore_errors=True)


def interpreter(stage: Stage, *, arguments: Sequence[str] = ("-c", "pass")) -> Run:
    """Start Python and do nothing."""
    command = [sys.executable, *arguments]
    return measured(lambda: run_command("python", command, environment(stage.folder), stage.folder), ())


def environment(home: Path) -> dict[str, str]:
    """The variables of every command: nothing of the user's own configuration."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    own = {"HOME": str(home), "PYTHONPATH": str(CHECKOUT / "src"), "COLDHOUSE_PASSWORD": PASSPHRASE}
    return kept | own | {"COLDHOUSE_COMPRESSION": "none"}


def check_restored(stage: Stage, database: str) -> None:
    """Compare what was restored with the shape itself; a large one is dropped. Raises RuntimeError if it differs."""
    query = (
        "SELECT sum(cityHash64(table, rows, hash_of_uncompressed_files)), count(), sum(rows) FROM system.parts "
        "WHERE active AND database = '{}'"
    )
    expected, found = (stage.engine.query(query.format(name)) for name in (stage.shape, database))
    if not stage.many_files:
        stage.drop(database)
    if expected != found:
        raise RuntimeError(f"what was restored is not what was backed up: {expected} and {found}")


def _with(run: Run, written: Written) -> Run:
    return replace(run, stored=written.bytes, objects=written.objects)
