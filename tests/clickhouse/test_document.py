"""The `.backup` document: written, read, and whatever else may come instead of it."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldhouse.clickhouse import document
from coldhouse.clickhouse.document import DocumentFile, RestoreFile
from coldhouse.errors import Corruption

HEADER = "<version>1</version><timestamp>2026-01-01 00:00:00</timestamp><uuid>u-u</uuid>"
SUM = "1d5952e8223ea966def237d6e7e216f1"


def read(text: str | bytes) -> list[DocumentFile]:
    return list(document.parse(text.encode() if isinstance(text, str) else text)[1])


def around(contents: str, header: str = HEADER) -> str:
    return f"<config>{header}<contents>{contents}</contents></config>"


def test_a_document_as_clickhouse_writes_it() -> None:
    text = around(
        f"<file><name>data/db/t/all_1_1_0/x.bin</name><size>3</size><checksum>{SUM}</checksum>"
        "<data_file>1d5/952</data_file></file>"
        "<file><name>empty</name><size>0</size></file>"
        f"<file><name>old</name><size>5</size><checksum>{SUM}</checksum><use_base>true</use_base></file>"
        f"<file><name>tail</name><size>5</size><checksum>{SUM}</checksum><use_base>true</use_base>"
        f"<base_size>2</base_size><base_checksum>{SUM}</base_checksum><data_file>d</data_file></file>",
        HEADER
        + "<base_backup_uuid>b-b</base_backup_uuid><data_file_name_generator>checksum</data_file_name_generator>",
    )
    header, files = document.parse(text.encode())
    checksum = bytes.fromhex(SUM)
    assert (header.uuid, header.base_uuid, header.data_file_names) == ("u-u", "b-b", "checksum")
    assert list(files) == [
        DocumentFile("data/db/t/all_1_1_0/x.bin", 3, checksum, "1d5/952"),
        DocumentFile("empty", 0, b"", "empty"),
        DocumentFile("old", 5, checksum, "old", use_base=True, base_size=5, base_checksum=checksum),
        DocumentFile("tail", 5, checksum, "d", use_base=True, base_size=2, base_checksum=checksum),
    ]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\ufffe\uffff", exclude_categories=("Cc", "Cs")), min_size=1
)


@given(st.lists(st.tuples(NAMES, st.integers(1, 1 << 62), st.binary(min_size=16, max_size=16), NAMES), max_size=30))
def test_what_is_written_is_read(items: list[tuple[str, int, bytes, str]]) -> None:
    files = [RestoreFile(name, size, checksum, at) for name, size, checksum, at in items if max(name + at) < "\ufffe"]
    written = b"".join(document.write_restore(files))
    assert [RestoreFile(file.name, file.size, file.checksum, file.data_file) for file in read(written)] == files


class Halves(BytesIO):
    """A stream that gives its first ``cut`` bytes, then the others."""

    def __init__(self, content: bytes, cut: int) -> None:
        super().__init__(content)
        self._cut = cut

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if self.tell() else self._cut)


def about(name: str, size: int, place: str) -> str:
    """What ClickHouse writes of a file; without a place all of it is in the base."""
    if not size:
        return f"<name>{name}</name><size>0</size>"
    where = f"<data_file>{place}</data_file>" if place else "<use_base>true</use_base>"
    return f"<name>{name}</name><size>{size}</size><checksum>{SUM}</checksum>{where}"


def outcome(text: str, cut: int) -> list[DocumentFile] | str:
    try:
        return list(document.parse(Halves(text.encode(), cut))[1])
    except Corruption as error:
        return error.message.split("(")[0]  # the columns of one text are not those of the other


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "data/d/t/all_1_1_0/x.bin", "a &amp; b", "\u00e9", "]]>", ">", "x\ry", ""]),
            st.integers(0, 3),
            st.sampled_from(["", "1d5/952", "&lt;", "\u00e9"]),
        ),
        max_size=8,
    ),
    st.integers(1, 1000),
)
def test_plain_files_are_read_as_all_others_are(items: list[tuple[str, int, str]], cut: int) -> None:
    """The pattern that reads them past expat does not fit ``<file >``, which is the same to XML."""
    texts = (around("".join(f"{start}{about(*item)}</file>" for item in items)) for start in ("<file>", "<file >"))
    first, second = (outcome(text, cut) for text in texts)
    assert first == second


@pytest.mark.parametrize(
    "between",
    [
        "<!-- {} -->", "<!-- </file>{} -->", "<?say </file>{} ?>", "<![CDATA[</file>{}]]>", "{}</contents><contents>",
        "</contents><contents><!-- {} -->", "<x/><!-- {} -->", "<x></x><!-- {} -->", "<file/>{}", "<file></file>{}",
        "<file >{}</file >{}", "</contents><a>1</a>{}<contents>", "</contents></config><!-- {} -->", "<!-- ", "",
    ],
)  # fmt: skip
def test_where_a_plain_file_is_none(between: str) -> None:
    """In whatever it stands, and wherever a piece of the document ends, it is what it is to expat."""
    texts = []
    for start in ("<file>", "<file >"):
        file = f"{start}{about('a', 3, '1d5/952')}</file>"
        texts.append(around(file + between.format(file, file) + file))
    expected = outcome(texts[1], len(texts[1]))
    for cut in range(1, len(texts[0])):
        assert outcome(texts[0], cut) == expected, texts[0][:cut]


def test_line_breaks_and_markup_in_names() -> None:
    names = ["a\nb", "<file>", "&amp;", "tab\there", "cr\rlf\n", "'\"`"]
    files = [RestoreFile(name, 1, bytes(16), name) for name in names]
    assert [file.name for file in read(b"".join(document.write_restore(files)))] == names


@pytest.mark.parametrize("letter", ["\0", "\x01", "\ufffe", "\udcff"])
def test_a_name_that_no_document_can_hold(letter: str) -> None:
    with pytest.raises(Corruption, match="cannot stand"):
        list(document.write_restore([RestoreFile(f"a{letter}b", 1, bytes(16), "x")]))


def test_a_base_holds_contents_under_names_that_cannot_be_real() -> None:
    written = b"".join(document.write_base([(3, bytes(16)), (0, b""), (4, b"\xff" * 16)]))
    assert [(file.size, file.checksum) for file in read(written)] == [(3, bytes(16)), (4, b"\xff" * 16)]
    assert all(file.name.startswith("zz/") for file in read(written))


def test_a_large_base_comes_in_pieces() -> None:
    pieces = list(document.write_base((size, bytes(16)) for size in range(1, 20_001)))
    assert max(map(len, pieces)) < 70_000
    assert len(read(b"".join(pieces))) == 20_000


def test_files_come_while_the_document_is_still_read() -> None:
    """Memory follows what is being looked at, not the length of the list."""
    written = BytesIO(b"".join(document.write_base((size, bytes(16)) for size in range(1, 20_001))))
    _, files = document.parse(written)
    next(files)
    assert written.tell() < 300_000


ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not XML"),
        ("hello", "not XML"),
        ("<config>", "not XML"),
        ("<html></html>", "unexpected element <html>"),
        (around("", "<version>1</version>"), "no uuid"),
        ("<config>" + HEADER + "</config>", "no list of contents"),
        (ENTITIES + around("<file><name>&b;</name><size>0</size></file>"), "document type"),
        ('<!DOCTYPE config SYSTEM "file:///etc/passwd">' + around(""), "document type"),
        (around("<file><size>0</size></file>"), "without name"),
        (around("<file><name>x</name></file>"), "not a number"),
        (around("<file><name>x</name><size>-1</size></file>"), "not a number"),
        (around("<file><name>x</name><size>99999999999999999999</size></file>"), "not a number"),
        (around("<file><name>x</name><size>1</size></file>"), "no checksum"),
        (around("<file><name>x</name><size>1</size><checksum>zz</checksum></file>"), "not a checksum"),
        (around(f"<file><name>x</name><size>1</size><checksum>{SUM}00</checksum></file>"), "not a checksum"),
        (
            around(f"<file><name>x</name><size>1</size><checksum>{SUM}</checksum><base_size>2</base_size></file>"),
            "smaller than",
        ),
        (around("<file><name>x</name><name>y</name><size>0</size></file>"), "twice"),
        (around("<file>" + "<a>" * 20), "unexpected element"),
        (around(f"<file><name>{'x' * 100_000}</name><size>0</size></file>"), "too long"),
        (around("<file>" + "".join(f"<n{i}>x</n{i}>" for i in range(100)) + "</file>"), "too many"),
    ],
)
def test_what_is_no_document_is_refused(text: str, why: str) -> None:
    with pytest.raises(Corruption, match=why):
        read(text)


@given(st.binary(max_size=400))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(Corruption):
        read(data)


WHOLE = b"".join(document.write_restore([RestoreFile(f"f{i}", i, bytes(16), f"d{i}") for i in range(1, 30)]))


@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_document_is_refused(length: int) -> None:
    with pytest.raises(Corruption):
        read(WHOLE[:length])


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(at: int, byte: int) -> None:
    try:
        read(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
    except Corruption as error:
        assert "cannot be trusted" in error.message
