"""What a verification finds: counts of what it looked at, and problems."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Struct

from coldhouse.errors import Corruption

#: Problems that are told one by one; of more, only the number.
MOST = 1000


class Problem(Struct, frozen=True):
    """Something wrong: ``object`` in the repository, ``table`` and ``part`` that it concerns, as far as they are known.

    ``kind`` is missing, size, corrupt, inconsistent (found by structure and data), checksum (data), restore, check, or
    assertion (drill).
    """

    kind: str
    message: str
    object: str = ""
    table: str = ""
    part: str = ""


class Checked(Struct, frozen=True):
    """How much was looked at: objects of the repository and their bytes; files, parts and rows of tables."""

    objects: int = 0
    bytes: int = 0
    files: int = 0
    parts: int = 0
    rows: int = 0

    def __add__(self, other: Checked) -> Checked:
        return Checked(
            self.objects + other.objects,
            self.bytes + other.bytes,
            self.files + other.files,
            self.parts + other.parts,
            self.rows + other.rows,
        )


@dataclass(slots=True)
class Findings:
    """Collects what is found about one snapshot; ``beyond`` problems were counted and not kept.

    ``beside``: something is damaged that lies beside what the snapshot needs, and is a remark.
    """

    checked: Checked = field(default_factory=Checked)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    beyond: int = 0
    beside: bool = False
    _seen: set[Problem] = field(default_factory=set)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def add(self, problem: Problem) -> None:
        """Keep a problem, once."""
        if problem in self._seen:
            return
        if len(self.problems) >= MOST:
            self.beyond += 1
            return
        self._seen.add(problem)
        self.problems.append(problem)

    def corrupt(self, error: Corruption, *, table: str = "", part: str = "") -> None:
        """Keep what an error says of a damaged object."""
        self.add(Problem("corrupt", error.message, error.object_name, table, part))

    def remark(self, text: str) -> None:
        """Keep something that one should know and that is not wrong."""
        if text not in self.remarks:
            self.remarks.append(text)
