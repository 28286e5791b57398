"""The rows of the table: what is compared with what, and which bar is to hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.figures import Series

COLDHOUSE = "coldhouse"
#: Coldhouse in a process that runs already, as the server with which it is compared.
LIBRARY = "coldhouse library"
#: Who opens the repository, reads the newest snapshot and ends.
START = "coldhouse show"
#: Who finds out what there is to back up, and ends: what comes before the first statement of a backup.
LOOK = "coldhouse dry run"
#: ClickHouse's own part of it, with a store that does nothing.
NOWHERE = "to nowhere"
#: The same with a store that encrypts and stores, and does nothing else.
SEALED = "sealed only"
MIB = 1 << 20


class Kind(StrEnum):
    """How two series are compared."""

    FASTER = "times as fast"  # peer's seconds / ours, at least
    BYTES = "of its bytes"  # our bytes / the peer's, at most
    OBJECTS = "of its objects"  # our objects / the peer's, at most
    EXTRA = "seconds more"  # our seconds - the peer's, at most
    MEMORY = "MB"  # our peak, at most, in 10^6 bytes


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: our contender at ``work`` against a peer at the same work (``peer`` is empty for memory).

    Where ours is the command line, ``START`` does what it does before anyone else can begin, and nothing else.
    """

    key: str
    title: str
    against: str
    work: str
    ours: str
    peer: str
    kind: Kind
    limit: float

    @property
    def text(self) -> str:
        """The bar in words."""
        match self.kind:
            case Kind.FASTER:
                return f"at least {self.limit:g} times as fast"
            case Kind.BYTES:
                return f"at most {self.limit:.2f} of its bytes"
            case Kind.OBJECTS:
                return f"at most 1/{1 / self.limit:.0f} of its objects"
            case Kind.EXTRA:
                return f"at most {self.limit:.2f} s more"
        return f"at most {self.limit:.0f} MB"


_STARTING = "starting and opening the repository"
_LOOKING = "starting and finding out what there is to back up"
_OTHERS = "what is not Coldhouse's own"
_SEALING = f"{_OTHERS}, with a gateway that only encrypts and stores,"
_NOTHING = "ClickHouse with a store that does nothing"


@dataclass(frozen=True, slots=True)
class Floor:
    """What nobody can do without, in seconds: ``start`` of the command, and then ``least``.

    ``kind`` says what the latter is, ``begin`` the former. It is the longest of what was measured of these: what the
    others used of the processors, spread over all cores, with what a gateway needs of them that only encrypts and
    stores (or Coldhouse after its start, if it needed less); and what ClickHouse takes with a store that does nothing,
    where many tables are concerned after it was asked which there are. How long that gateway took by the clock is no
    limit: it waits.
    """

    start: float
    least: float
    kind: str = _OTHERS
    begin: str = _STARTING

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.start + self.least


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured for a bar: our figure, the peer's, and how they compare.

    ``floor`` are the seconds that were left if all that is Coldhouse's own cost nothing but its start; ``reached`` are
    those that the gateway took, at its fastest, that only encrypts and stores, and the start. None if unknown.
    """

    bar: Bar
    ours: float
    peer: float
    value: float
    floor: Floor | None = None
    reached: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the bar holds."""
        return self.value >= self.bar.limit if self.bar.kind is Kind.FASTER else self.value <= self.bar.limit


def _faster(key: str, title: str, against: str, work: str, sides: tuple[str, str], limit: float) -> Bar:
    return Bar(key, title, against, work, sides[0], sides[1], Kind.FASTER, limit)


_NONE, _AUTO = "coldhouse", "coldhouse auto"
_RESTIC, _RESTIC_AUTO, _NATIVE = "restic", "restic compressed", "native"

BARS: tuple[Bar, ...] = (
    _faster("wide-local", "full backup, wide, folder", "restic backup, no compression", "backup wide folder",
            (_NONE, _RESTIC), 3.0),
    _faster("wide-s3", "full backup, wide, SeaweedFS", "native BACKUP TO S3", "backup wide s3", (_NONE, _NATIVE), 1.1),
    Bar("wide-auto-bytes", "full backup, wide, --compression auto", "bytes of native BACKUP", "backup wide folder",
        _AUTO, _NATIVE, Kind.BYTES, 0.80),
    _faster("wide-auto-time", "full backup, wide, --compression auto", "restic backup, compressed",
            "backup wide folder", (_AUTO, _RESTIC_AUTO), 1.0),
    _faster("small-s3", "full backup, small, SeaweedFS", "native BACKUP TO S3", "backup small s3",
            (_NONE, _NATIVE), 2.0),
    Bar("small-objects", "full backup, small, SeaweedFS", "objects of native BACKUP TO S3", "backup small s3", _NONE,
        _NATIVE, Kind.OBJECTS, 1 / 50),
    _faster("increment-nothing", "increment, nothing changed, small, SeaweedFS, by the library",
            "native BACKUP with base_backup", "increment nothing s3", (LIBRARY, _NATIVE), 20),
    _faster("increment-nothing-cli", "the same, by the command line from its start to its end",
            "native BACKUP with base_backup", "increment nothing s3", (_NONE, _NATIVE), 20),
    _faster("increment-partition", "increment, 1 of 1,000 partitions changed, small, SeaweedFS, by the library",
            "native BACKUP with base_backup", "increment partition s3", (LIBRARY, _NATIVE), 10),
    _faster("increment-partition-cli", "the same, by the command line from its start to its end",
            "native BACKUP with base_backup", "increment partition s3", (_NONE, _NATIVE), 10),
    _faster("tables-local", "full backup, tables, folder", "native BACKUP TO File", "backup tables folder",
            (_NONE, _NATIVE), 1.0),
    _faster("tables-s3", "full backup, tables, SeaweedFS", "native BACKUP TO S3", "backup tables s3",
            (_NONE, _NATIVE), 1.0),
    _faster("restore-wide-s3", "restore, wide, SeaweedFS", "native RESTORE FROM S3", "restore wide s3",
            (_NONE, _NATIVE), 1.0),
    _faster("restore-small-s3", "restore, small, SeaweedFS", "native RESTORE FROM S3", "restore small s3",
            (_NONE, _NATIVE), 1.5),
    _faster("restore-wide-local", "restore, wide, folder", "restic restore", "restore wide folder",
            (_NONE, _RESTIC), 2.5),
    Bar("memory", "peak memory of Coldhouse in any run, slow stores too", "-", "", COLDHOUSE, "", Kind.MEMORY, 300),
    Bar("help", "coldhouse --help", "python -c pass", "command line", "help", "pass", Kind.EXTRA, 0.15),
    Bar("snapshots", "coldhouse snapshots, 1,000 of them in a folder", "python -c pass", "command line", "snapshots",
        "pass", Kind.EXTRA, 0.5),
)  # fmt: skip


def judge(bars: Sequence[Bar], measured: Sequence[Series], cores: int = 0) -> list[Verdict]:
    """Compare what was measured, on so many ``cores``, with the bars; one whose work was not measured is left out."""
    by_name = {(series.work, series.contender): series for series in measured if series.runs}
    return [verdict for bar in bars if (verdict := _judge(bar, by_name, measured, cores)) is not None]


def _judge(
    bar: Bar, by_name: Mapping[tuple[str, str], Series], measured: Sequence[Series], cores: int
) -> Verdict | None:
    if bar.kind is Kind.MEMORY:
        peak = max((series.peak_of(COLDHOUSE) for series in measured), default=0)
        return Verdict(bar, peak / 1e6, 0, peak / 1e6) if peak else None
    ours, peer = by_name.get((bar.work, bar.ours)), by_name.get((bar.work, bar.peer))
    if ours is None or peer is None:
        return None
    match bar.kind:
        case Kind.FASTER:
            mine, its = ours.spread("seconds").middle, peer.spread("seconds").middle
            return Verdict(bar, mine, its, its / mine, _floor(bar, by_name, cores), _reached(bar, by_name))
        case Kind.EXTRA:
            mine, its = ours.spread("seconds").middle, peer.spread("seconds").middle
            return Verdict(bar, mine, its, mine - its)
        case Kind.BYTES:
            mine, its = ours.spread("stored").middle, peer.spread("stored").middle
        case Kind.OBJECTS:
            mine, its = ours.spread("objects").middle, peer.spread("objects").middle
    return Verdict(bar, mine, its, mine / its if its else float("inf"))


def _reached(bar: Bar, by_name: Mapping[tuple[str, str], Series]) -> float | None:
    start, sealed = by_name.get((bar.work, START)), by_name.get((bar.work, SEALED))
    if start is None or sealed is None:
        return None
    return start.spread("seconds").least + sealed.spread("seconds").least


def _floor(bar: Bar, by_name: Mapping[tuple[str, str], Series], cores: int) -> Floor | None:
    if not cores:
        return None
    ours, start = by_name[bar.work, bar.ours], by_name.get((bar.work, START)) if bar.ours != LIBRARY else None
    begin = start.spread("seconds").middle if start else 0.0
    used = sum(process.cpu for process in ours.processes() if process.name != COLDHOUSE)
    floors = [Floor(begin, used / cores)]
    if (sealed := by_name.get((bar.work, SEALED))) is not None:
        own = ours.cpu_of(COLDHOUSE) - (start.cpu_of(COLDHOUSE) if start else 0.0)
        floors.append(Floor(begin, (used + min(own, sealed.cpu_of(SEALED))) / cores, _SEALING))
    if (nowhere := by_name.get((bar.work, NOWHERE))) is not None:
        least, look = nowhere.spread("seconds").middle, by_name.get((bar.work, LOOK))
        floors.append(
            Floor(look.spread("seconds").middle, least, _NOTHING, _LOOKING) if look else Floor(begin, least, _NOTHING)
        )
    return max(floors, key=lambda floor: floor.seconds)
