"""The pieces of work: what each sets up once, and who then takes turns at it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bars import LIBRARY, LOOK, NOWHERE, SEALED, START
from benchmarks.contenders import RESTIC_MODES, Coldhouse, Least, Native, Restic, copy, has_restic, interpreter
from benchmarks.figures import Run
from benchmarks.many_snapshots import make_in_child
from benchmarks.shapes import Shape, change_a_partition
from benchmarks.stage import Stage

Turn = Callable[[int], Run]
Turns = Mapping[str, Turn]


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work: ``set_up`` gives each contender's turn, which gets the number of the round.

    ``once`` works are for their peak of memory and need no repetition; ``spoils`` says that the data is changed.
    """

    name: str
    shape: Shape
    set_up: Callable[[Stage], Turns] = field(repr=False)
    store: bool = False
    once: bool = False
    spoils: bool = False


def _backups(stage: Stage) -> Turns:
    """Full backups, each into a place of its own."""
    coldhouse, native = Coldhouse(stage), Native(stage)
    full = coldhouse.new_repository()
    coldhouse.backup(full)
    return {
        "coldhouse": lambda _: _full(stage, coldhouse),
        "native": lambda _: _native(stage, native),
        START: lambda _: coldhouse.show(full),
    }


def _tables_folder(stage: Stage) -> Turns:
    nowhere, coldhouse = Least(stage, NOWHERE), Coldhouse(stage)
    empty = coldhouse.new_repository()
    return {
        **_backups(stage),
        LOOK: lambda _: coldhouse.preview(empty),
        NOWHERE: lambda _: nowhere.backup()[1],
    }


def _wide_folder(stage: Stage) -> Turns:
    coldhouse, native, restic = Coldhouse(stage), Native(stage), Restic(stage)
    stage.frozen_parts()
    full = coldhouse.new_repository()
    coldhouse.backup(full)
    turns: dict[str, Turn] = {
        "coldhouse": lambda _: _full(stage, coldhouse),
        "restic": lambda _: _restic(restic, "restic"),
        "coldhouse auto": lambda _: _full(stage, coldhouse, "--compression", "auto"),
        "restic compressed": lambda _: _restic(restic, "restic compressed"),
        "native": lambda _: _native(stage, native),
        "cp": lambda _: copy(stage),
        START: lambda _: coldhouse.show(full),
        **_least_backups(stage),
    }
    return {name: turn for name, turn in turns.items() if has_restic() or not name.startswith("restic")}


def _large_backups(stage: Stage) -> Turns:
    return {**_backups(stage), **_least_backups(stage)}


def _least_backups(stage: Stage) -> Turns:
    nowhere, sealed = Least(stage, NOWHERE), Least(stage, SEALED)
    return {NOWHERE: lambda _: nowhere.backup()[1], SEALED: lambda _: sealed.backup()[1]}


def _restores(stage: Stage) -> Turns:
    coldhouse, native = Coldhouse(stage), Native(stage)
    place = coldhouse.new_repository()
    coldhouse.backup(place)
    native_place, _ = native.backup()
    return {
        "coldhouse": lambda _: coldhouse.restore(place),
        "native": lambda _: native.restore(native_place),
        START: lambda _: coldhouse.show(place),
    }


def _large_restores(stage: Stage) -> Turns:
    nowhere, sealed = Least(stage, NOWHERE), Least(stage, SEALED)
    there, _ = nowhere.backup(keep=True)
    sealed_there, _ = sealed.backup(keep=True)
    return {
        **_restores(stage),
        NOWHERE: lambda _: nowhere.restore(there),
        SEALED: lambda _: sealed.restore(sealed_there),
    }


def _restores_of_files(stage: Stage) -> Turns:
    if not has_restic():
        return _large_restores(stage)
    restic = Restic(stage)
    restic_place = restic.new_repository()
    restic.backup(restic_place, "off")
    return {**_large_restores(stage), "restic": lambda _: restic.restore(restic_place)}


def _nothing_changed(stage: Stage) -> Turns:
    coldhouse, native = Coldhouse(stage), Native(stage)
    place = coldhouse.new_repository()
    coldhouse.backup(place)
    base, _ = native.backup()
    resident = coldhouse.resident(place)
    resident()  # what it does once in its life is not its usual cost
    return {
        LIBRARY: lambda _: resident(),
        "coldhouse": lambda _: coldhouse.backup(place),
        "native": lambda _: native.backup(base)[1],
        START: lambda _: coldhouse.show(place),
    }


def _partition_changed(stage: Stage) -> Turns:
    turns = _nothing_changed(stage)

    def changed(place: int, turn: Turn) -> Turn:
        def run(number: int) -> Run:
            stage.engine.query(change_a_partition(2 * number + place))
            return turn(number)

        return run

    ours = {name: changed(place, turns[name]) for place, name in enumerate((LIBRARY, "coldhouse"))}
    return {**turns, **ours}


def _slow_stores(stage: Stage) -> Turns:
    """The store is as slow as 40 MB/s: memory must not grow while ClickHouse waits."""
    coldhouse = Coldhouse(stage)
    place = coldhouse.new_repository()
    return {
        "coldhouse backup": lambda _: coldhouse.backup(place, "--max-upload", "40M"),
        "coldhouse restore": lambda _: coldhouse.restore(place, "--max-download", "40M"),
    }


def _command_line(stage: Stage) -> Turns:
    coldhouse = Coldhouse(stage)
    place = coldhouse.new_repository()
    make_in_child(place, stage.folder)
    return {
        "pass": lambda _: interpreter(stage),
        "help": lambda _: coldhouse.help(),
        "snapshots": lambda _: coldhouse.snapshots(place),
    }


WORKS: tuple[Work, ...] = (
    Work("backup wide folder", Shape.WIDE, _wide_folder),
    Work("backup wide s3", Shape.WIDE, _large_backups, store=True),
    Work("restore wide s3", Shape.WIDE, _large_restores, store=True),
    Work("restore wide folder", Shape.WIDE, _restores_of_files),
    Work("slow store wide folder", Shape.WIDE, _slow_stores, once=True),
    Work("backup tables folder", Shape.TABLES, _tables_folder),
    Work("backup tables s3", Shape.TABLES, _backups, store=True),
    Work("command line", Shape.SMALL, _command_line),
    Work("increment nothing s3", Shape.SMALL, _nothing_changed, store=True),
    Work("backup small s3", Shape.SMALL, _backups, store=True),
    Work("restore small s3", Shape.SMALL, _restores, store=True),
    Work("increment partition s3", Shape.SMALL, _partition_changed, store=True, spoils=True),
)


def _full(stage: Stage, coldhouse: Coldhouse, *options: str) -> Run:
    place = coldhouse.new_repository()
    run = coldhouse.backup(place, *options)
    _remove(place)
    return run


def _native(stage: Stage, native: Native) -> Run:
    place, run = native.backup()
    if not stage.many_files:
        _remove(place.removeprefix("File('").removesuffix("')"))
    return run


def _restic(restic: Restic, mode: str) -> Run:
    place = restic.new_repository()
    run = restic.backup(place, RESTIC_MODES[mode])
    _remove(str(place))
    return run


def _remove(place: str) -> None:
    """Make room where it can be made at once; the store as a whole goes at the end of the work."""
    if place.startswith("/"):
        shutil.rmtree(Path(place))
