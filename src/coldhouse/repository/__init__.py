"""The repository: keys, packs, manifests, snapshots and their commit. FORMAT.md specifies every byte.

repository = init(storage, passphrase)            or open_repository(storage, passphrase)
with repository.pack_writer() as writer:          file contents go in, extents come out
    stream = writer.open_file(size, checksum)
    ...
    writer.flush()                                all of it is stored
with repository.draft(parent) as draft:           the tables of a new snapshot
    draft.carry(entry)                            as in the parent
    draft.add(entry, parts, writer.pack)          new
    snapshot = draft.commit(root)                 proven complete, then visible
"""

from coldhouse.repository.ahead import Ahead
from coldhouse.repository.credentials import (
    Credential,
    Holder,
    Identity,
    KeyFile,
    Recipient,
    RecoveryKeys,
    new_key_file,
    read_identity,
    read_key_file,
    read_recipient,
)
from coldhouse.repository.draft import SnapshotDraft
from coldhouse.repository.file_stream import FileStream
from coldhouse.repository.intents import Intent
from coldhouse.repository.keys import KdfCost
from coldhouse.repository.names import id_of, new_snapshot_id
from coldhouse.repository.names import manifest as manifest_name
from coldhouse.repository.names import pack as pack_name
from coldhouse.repository.names import quarantined as quarantined_name
from coldhouse.repository.names import snapshot as snapshot_name
from coldhouse.repository.opened_pack import DamagedFrames
from coldhouse.repository.own_state import OwnState
from coldhouse.repository.pack_format import Run
from coldhouse.repository.pack_reader import PackReader, frames_of
from coldhouse.repository.pack_writer import PackSettings, PackWriter
from coldhouse.repository.page import Page, PageMatch, digest_of_states, match_pages
from coldhouse.repository.page_encoding import PagePart
from coldhouse.repository.records import IMPOSSIBLE
from coldhouse.repository.recovery import key_lines, read_key_lines
from coldhouse.repository.repository import Repository, init, open_repository
from coldhouse.repository.slots import Slot, Slots
from coldhouse.repository.sweeps import SweptFrames, is_swept

__all__ = [
    "IMPOSSIBLE",
    "Ahead",
    "Credential",
    "DamagedFrames",
    "FileStream",
    "Holder",
    "Identity",
    "Intent",
    "KdfCost",
    "KeyFile",
    "OwnState",
    "PackReader",
    "PackSettings",
    "PackWriter",
    "Page",
    "PageMatch",
    "PagePart",
    "Recipient",
    "RecoveryKeys",
    "Repository",
    "Run",
    "Slot",
    "Slots",
    "SnapshotDraft",
    "SweptFrames",
    "digest_of_states",
    "frames_of",
    "id_of",
    "init",
    "is_swept",
    "key_lines",
    "manifest_name",
    "match_pages",
    "new_key_file",
    "new_snapshot_id",
    "open_repository",
    "pack_name",
    "quarantined_name",
    "read_identity",
    "read_key_file",
    "read_key_lines",
    "read_recipient",
    "snapshot_name",
]
