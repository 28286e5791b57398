"""Make tables of a snapshot readable in a ClickHouse: a scratch engine that queries them, a server that mounts them.

What ClickHouse cannot load from a ``web`` disk it leaves out without a word, so every table is compared with its
manifest before anybody may query it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from uuid import uuid4

from msgspec import Struct

from coldhouse.clickhouse import OperationState, RestoreElement, RestoreRequest, Source, inspect, sql, statements
from coldhouse.clickhouse.rewriting import Place
from coldhouse.errors import Corruption, RestoreFailed, StatementFailed
from coldhouse.events import Listener, Warned
from coldhouse.gateway import Gateway, WebSession
from coldhouse.model import TableName
from coldhouse.operations.attach_plan import Attachment, Way
from coldhouse.operations.reaching import place_of
from coldhouse.operations.restore_source import RestoreSource
from coldhouse.operations.watching import run_to_end
from coldhouse.operations.web_tables import SMALL, PageShelf, Readers, WebFolders, WebTable
from coldhouse.records import replace

UNKNOWN_SETTING = 115
#: How many names an error lists.
SHOWN = 10
#: How often a definition is tried with one more setting left out.
MOST_SETTINGS = 30

#: What lets a definition through as it was, whatever it needed when it was made.
_PERMISSIVE = {
    "allow_suspicious_low_cardinality_types": "1",
    "allow_suspicious_fixed_string_types": "1",
    "allow_suspicious_variant_types": "1",
    "allow_suspicious_types_in_order_by": "1",
    "allow_suspicious_indices": "1",
    "allow_suspicious_codecs": "1",
    "allow_experimental_codecs": "1",
    "allow_experimental_json_type": "1",
    "allow_experimental_object_type": "1",
    "allow_experimental_variant_type": "1",
    "allow_experimental_dynamic_type": "1",
    "allow_experimental_full_text_index": "1",
    "allow_experimental_vector_similarity_index": "1",
    "allow_experimental_inverted_index": "1",
    "enable_time_time64_type": "1",
    "flatten_nested": "0",
    "data_type_default_nullable": "0",
}

#: Says where the next table with parts will lie: its folder in the namespace, and its place for the statement.
Locate = Callable[[], tuple[str, Place]]


class Site(Struct, frozen=True):
    """Where tables are made readable, and from what."""

    target: Source
    gateway: Gateway
    web: WebSession
    folders: WebFolders
    shelf: PageShelf
    readers: Readers
    listener: Listener


class Attacher:
    """Makes tables readable, each once. ``absent`` says of tables why they cannot be read."""

    def __init__(self, site: Site, locate: Locate, *, load: bool = True) -> None:
        """``load``: whether tables without parts are copied to where they are read."""
        self._site = site
        self._locate = locate
        self._may_load = load
        self._permissive = {name: _PERMISSIVE[name] for name in sorted(site.target.settings_known(tuple(_PERMISSIVE)))}
        self._done: set[TableName] = set()
        self.absent: dict[TableName, str] = {}
        self.left_out: list[str] = []

    def attach(self, attachments: Iterable[Attachment]) -> None:
        """Make these readable, in this order.

        Raises Corruption (naming the object, or the parts that ClickHouse left out), SourceError.
        """
        for attachment in attachments:
            if attachment.name in self._done or attachment.name in self.absent:
                continue
            if attachment.way is Way.ABSENT:
                self.absent[attachment.name] = attachment.reason
                continue
            if attachment.way is Way.LOAD and not self._may_load:
                engine = attachment.entry.engine
                self.absent[attachment.name] = f"engine {engine} has no parts that could be read from afar; restore it"
                continue
            try:
                self._attach(attachment)
            except StatementFailed as failure:
                self._raise_damage()
                self.absent[attachment.name] = f"ClickHouse refused its definition: {failure.message}"
                continue
            self._done.add(attachment.name)

    def _attach(self, attachment: Attachment) -> None:
        if attachment.way is Way.WEB:
            self._attach_parts(attachment)
        elif attachment.way is Way.LOAD and attachment.entry.pages:
            self._load(attachment)
        else:
            self._site.target.command(attachment.statement(), self._permissive)

    def _attach_parts(self, attachment: Attachment) -> None:
        site = self._site
        table = WebTable(attachment.entry, site.shelf, site.readers)
        folder, place = self._locate()
        site.folders.add(folder, table)
        self._create(attachment, place)
        self._compare(attachment, table)
        self._leave_out([f"{attachment.name} part {part}" for part in table.left_out])

    def _create(self, attachment: Attachment, place: Place) -> None:
        """Create the table; table settings that this ClickHouse does not know are left out."""
        for _ in range(MOST_SETTINGS):
            try:
                return self._site.target.command(attachment.statement(place), self._permissive)
            except StatementFailed as failure:
                found = re.search(r"[Uu]nknown setting '?(\w+)'?", failure.message)
                if failure.clickhouse_code != UNKNOWN_SETTING or not found or found[1] in place.without:
                    raise
                place = replace(place, without=place.without | {found[1]})
        return None

    def _compare(self, attachment: Attachment, table: WebTable) -> None:
        """Parts and rows of the attached table against the manifest."""
        self._raise_damage()
        loaded = {str(name): int(str(rows)) for name, rows in self._loaded(attachment.name)}
        wrong = [name for name, rows in table.parts() if loaded.get(name, 0) != rows]
        if not wrong:
            return
        named = ", ".join(wrong[:SHOWN]) + (f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
        version = self._site.target.version_text
        raise Corruption(
            f"ClickHouse {version} could not load {len(wrong)} parts of {attachment.name}: {named}",
            hint="a part may be damaged (coldhouse verify --level data) or written by a newer ClickHouse than this one",
        )

    def _loaded(self, name: TableName) -> Iterable[tuple[object, ...]]:
        return self._site.target.rows(sql.loaded_parts_query(name))

    def _raise_damage(self) -> None:
        if isinstance(self._site.web.error, Corruption):
            raise self._site.web.error

    def _load(self, attachment: Attachment) -> None:
        """Restore a table whose engine cannot read from afar."""
        site = self._site
        name = attachment.name
        entry = replace(attachment.entry, name=name, definition=attachment.statement())
        pages = [site.shelf.page(ref)[0] for ref in entry.pages]
        reader = site.readers.small if entry.bytes < SMALL else site.readers.large
        source = RestoreSource(entry, pages, reader)
        served = site.gateway.open_serve(source.lookup)
        try:
            request = RestoreRequest(
                id=f"coldhouse-{uuid4().hex}", elements=(RestoreElement(name, name),), place=place_of(served.address)
            )
            statements.start_restore(site.target, request)
            ended = run_to_end(site.target, request.id, lambda _: None, lambda: served.refuse("interrupted"))
        finally:
            site.gateway.close(served.address)
        if served.error is not None:
            raise served.error
        if ended.state is not OperationState.DONE:
            raise RestoreFailed(f"ClickHouse could not load {name}: {ended.error}")
        if source.rows_known and (found := inspect.count_rows(site.target, name)) != source.rows:
            raise Corruption(f"{name} has {found:,} rows here; the snapshot holds {source.rows:,}")
        self._leave_out(source.left_out)

    def _leave_out(self, parts: Iterable[str]) -> None:
        for part in parts:
            self.left_out.append(part)
            self._site.listener(Warned(f"left out, because its bytes were damaged at the source already: {part}"))
