"""What a server sends may be anything: reading it ends in an error of ours, in memory that does not follow its size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, cast

import pytest
from hypothesis import strategies as st

from coldhouse.clickhouse import document, layout
from coldhouse.errors import Corruption
from tests.clickhouse.test_document import SUM, around
from tests.support.fuzzing import BUDGETS, bent_bytes, explore

GOOD = around(
    f"<file><name>data/db/t/all_1_1_0/x.bin</name><size>3</size><checksum>{SUM}</checksum><data_file>d</data_file></file>"
    f"<file><name>old</name><size>5</size><checksum>{SUM}</checksum><use_base>true</use_base><base_size>2</base_size>"
    f"<base_checksum>{SUM}</base_checksum></file><file><name>empty</name><size>0</size></file>"
).encode()
TAGS = ["config", "contents", "file", "name", "size", "checksum", "uuid", "version", "timestamp", "use_base", "a:b"]
TEXTS = [
    "", "1", "-1", "true", "9" * 30, "\u0661", SUM, SUM[:-1], "&#0;", "&#55296;", "&lt;", "&x;", "]]>", "<![CDATA[1]]>",
    "<!-- -->", "<?php ?>", "x" * 20_000,
]  # fmt: skip
HEADS = [
    "", "<?xml version='1.0' encoding='utf-16'?>", "<?xml version='1.0' encoding='nonsense'?>", "<!DOCTYPE config>",
    "<!DOCTYPE config [<!ENTITY % x SYSTEM 'file:///etc/passwd'> %x;]>", "\ufeff",
]  # fmt: skip


def read(content: bytes) -> None:
    """All of it, as a backup does: the files, and what their names mean."""
    with suppress(Corruption):
        _, files = document.parse(content)
        for file in files:
            layout.member(file.name)


@BUDGETS
def test_documents_with_bytes_changed(budget: int) -> None:
    def check(data: st.DataObject) -> None:
        content = GOOD
        for _ in range(data.draw(st.integers(1, 3))):
            content = bent_bytes(data, content) if content else content
        read(content)

    explore(check, 70, budget)


@BUDGETS
def test_documents_of_any_elements(budget: int) -> None:
    trees: st.SearchStrategy[str] = st.recursive(
        st.sampled_from(TEXTS),
        lambda inner: st.tuples(st.sampled_from(TAGS), st.lists(inner, max_size=5)).map(_element),
        max_leaves=25,
    )

    def check(data: st.DataObject) -> None:
        tree = data.draw(trees)
        inside = data.draw(
            st.sampled_from([tree, f"<config>{tree}</config>", around(tree), around(f"<file>{tree}</file>")])
        )
        head = data.draw(st.sampled_from(HEADS))
        read((head + inside).encode(data.draw(st.sampled_from(["utf-8", "utf-16"])), "replace"))

    explore(check, 70, budget)


def _element(parts: tuple[str, list[str]]) -> str:
    tag, inner = parts
    return f"<{tag}>{''.join(inner)}</{tag}>"


LAUGHS = "".join(f'<!ENTITY a{level} "{f"&a{level - 1};" * 10}">' for level in range(1, 12))
MANY = 30_000

#: Documents of some 30 MB, of one thing without end.
BOMBS: dict[str, Callable[[], Iterator[bytes]]] = {
    "a text": lambda: _repeated(b"<config><version>", b"1" * 1000, MANY),
    "a name": lambda: _repeated(b"<config><", b"n" * 1000, MANY),
    "an attribute": lambda: _repeated(b'<config a="', b"v" * 1000, MANY),
    "attributes": lambda: _repeated(b"<config ", b"", 0, (b'a%d="%s" ' % (at, b"v" * 990) for at in range(MANY))),
    "depth": lambda: _repeated(b"", b"<config>" * 125, MANY),
    "fields": lambda: _repeated(b"<config>", b"", 0, (b"<a%d>%s</a%d>" % (at, b"v" * 980, at) for at in range(MANY))),
    "a comment": lambda: _repeated(b"<config><!-- ", b"c" * 1000, MANY),
    "laughter": lambda: iter([f"<!DOCTYPE c [<!ENTITY a0 'ha'>{LAUGHS}]><config><uuid>&a11;</uuid></config>".encode()]),
}


def _repeated(begin: bytes, piece: bytes, count: int, more: Iterable[bytes] = ()) -> Iterator[bytes]:
    yield begin
    for _ in range(count):
        yield piece
    yield from more


class Pieces:
    """A stream that is made while it is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.given = 0

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        found, self._rest = self._rest[:size], self._rest[size:]
        self.given += len(found)
        return found


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_document_of_one_thing_without_end_is_refused_early(bomb: str) -> None:
    """After a megabyte or two: expat, whose memory nobody counts, has seen no more of it then."""
    stream = Pieces(BOMBS[bomb]())
    with pytest.raises(Corruption):
        list(document.parse(cast("BinaryIO", stream))[1])
    assert stream.given < 2 << 20


def test_the_good_one_is_good() -> None:
    assert len(list(document.parse(BytesIO(GOOD))[1])) == 3
