"""A table as a folder of the web disk: names, indices, and memory that does not follow the number of parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coldhouse.model import FileEntry, PackRef, PageRef, Part, PartState, TableEntry, TableKind, TableName
from coldhouse.operations.web_tables import PAGES_KEPT, PageShelf, Readers, WebFolders, WebTable
from coldhouse.repository import Repository, init
from coldhouse.repository.keys import KdfCost
from tests.support.memory_storage import MemoryStorage

FILES = ("checksums.txt", "data.bin", "p.proj/data.bin", "p.proj/columns.txt", "v%2Esize.bin")


@pytest.fixture
def repository() -> Repository:
    return init(MemoryStorage(), "a passphrase", kdf=KdfCost(memory_kib=64, passes=1, lanes=1))


def parts(
    repository: Repository, partitions: int, per_partition: int, *, damaged: str = ""
) -> tuple[list[Part], dict[bytes, PackRef]]:
    """Parts whose files hold their own names, and the packs in which they are."""
    with repository.pack_writer() as writer:
        made = []
        for partition in sorted(str(number) for number in range(partitions)):
            for number in range(1, per_partition + 1):
                name = f"{partition}_{number}_{number}_0_{number + 5}"
                files = []
                for file in FILES:
                    content = f"{name}/{file}".encode()
                    stream = writer.open_file(len(content), None)
                    stream.write(content)
                    extents = stream.finish(bytes(16), verified=True)
                    files.append(FileEntry(file, len(content), bytes(16), extents, damaged=name == damaged))
                made.append(Part(PartState(partition, name, b"h", number, 100), tuple(files)))
        made.sort(key=lambda part: (part.state.partition, part.state.name))
        writer.flush()
        ids = {extent.pack for part in made for file in part.files for extent in file.extents}
        return made, {id: writer.pack(id) for id in ids}


def entry_of(repository: Repository, made: list[Part], packs: dict[bytes, PackRef]) -> TableEntry:
    """The table as a snapshot has it."""
    entry = TableEntry(
        TableName("d", "t"), "", "MergeTree", TableKind.PARTS, "CREATE TABLE d.t", b"", 0, 0, 0, 0, 0, "s"
    )
    return repository.draft(None).add(entry, iter(made), packs.__getitem__)


@pytest.fixture
def readers(repository: Repository) -> Iterator[Readers]:
    with repository.pack_reader() as small, repository.pack_reader() as large:
        yield Readers(small, large)


def content(table: WebTable | WebFolders, path: str) -> bytes | None:
    found = table.lookup(path)
    return None if found is None else b"".join(bytes(piece) for piece in found.read(0, found.size))


def test_folders_and_files(repository: Repository, readers: Readers) -> None:
    entry = entry_of(repository, *parts(repository, 2, 2))
    table = WebTable(entry, PageShelf(repository.page), readers)
    assert content(table, ".index") == (
        b"format_version.txt\t0\t1\n0_1_1_0\t1\n0_2_2_0\t1\n1_1_1_0\t1\n1_2_2_0\t1\n"
    ), "without mutation versions"
    assert content(table, "format_version.txt") == b"1"
    size = len("0_1_1_0_6/checksums.txt")
    assert content(table, "0_1_1_0/.index") == (
        f"checksums.txt\t0\t{size}\ndata.bin\t0\t{size - 5}\np.proj\t1\nv%2Esize.bin\t0\t{size - 1}\n".encode()
    )
    assert content(table, "0_1_1_0/p.proj/.index") == f"data.bin\t0\t{size + 2}\ncolumns.txt\t0\t{size + 5}\n".encode()
    assert content(table, "1_2_2_0/p.proj/data.bin") == b"1_2_2_0_7/p.proj/data.bin"
    assert content(table, "1_2_2_0/v%2Esize.bin") == b"1_2_2_0_7/v%2Esize.bin"
    for absent in ("", "x", "2_1_1_0/data.bin", "0_1_1_0_6/data.bin", "0_1_1_0/nothing", "0_1_1_0", "0_1_1_0/q/.index"):
        assert content(table, absent) is None
    assert list(table.parts()) == [("0_1_1_0", 1), ("0_2_2_0", 2), ("1_1_1_0", 1), ("1_2_2_0", 2)]


def test_few_pages_are_kept_whatever_the_number_of_parts(repository: Repository, readers: Readers) -> None:
    entry = entry_of(repository, *parts(repository, 12, 600))
    assert len(entry.pages) > PAGES_KEPT - 2
    loaded: list[PageRef] = []

    def load(ref: PageRef) -> object:
        loaded.append(ref)
        return repository.page(ref)

    shelf = PageShelf(load, kept=2)  # type: ignore[arg-type]
    table = WebTable(entry, shelf, readers)
    assert len(list(table.parts())) == 7200
    assert len(shelf._pages) == 2
    loaded.clear()
    assert content(table, "7_599_599_0/data.bin") == b"7_599_599_0_604/data.bin"
    assert len(loaded) <= 2, "only pages that can hold the part are read"
    loaded.clear()
    assert content(table, "7_599_599_0/checksums.txt") is not None
    assert not loaded


def test_parts_that_were_damaged_at_the_source_are_left_out(repository: Repository, readers: Readers) -> None:
    entry = entry_of(repository, *parts(repository, 1, 3, damaged="0_2_2_0_7"))
    table = WebTable(entry, PageShelf(repository.page), readers)
    assert table.left_out == ("0_2_2_0",)
    assert [name for name, _ in table.parts()] == ["0_1_1_0", "0_3_3_0"]
    assert content(table, "0_2_2_0/data.bin") is None
    assert b"0_2_2_0" not in (content(table, ".index") or b"")


def test_tables_are_found_by_their_folders(repository: Repository, readers: Readers) -> None:
    entry = entry_of(repository, *parts(repository, 1, 1))
    folders = WebFolders()
    folders.add("store/abc/abcdef", WebTable(entry, PageShelf(repository.page), readers))
    assert content(folders, "store/abc/abcdef/format_version.txt") == b"1"
    assert content(folders, "store/abc/abcdef/0_1_1_0/data.bin") == b"0_1_1_0_6/data.bin"
    for absent in ("store/abc/.index", "store/abc/abcdeX/.index", ".index", "store/abc/abcdef"):
        assert content(folders, absent) is None
