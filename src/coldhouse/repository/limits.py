"""The numbers by which objects are cut, for who wants to know beforehand how many there will be."""

from __future__ import annotations

from coldhouse.repository.catalog import MAX_BYTES as CATALOG_BYTES
from coldhouse.repository.needs import ASKED
from coldhouse.repository.pack_format import FRAME_SIZE
from coldhouse.repository.pack_format import MAX_RUNS as PACK_RUNS
from coldhouse.repository.pack_reader import CACHE_BYTES, FETCH_BYTES
from coldhouse.repository.pack_reader import TABLES as OPEN_PACKS
from coldhouse.repository.page import MAX_FILES as PAGE_FILES
from coldhouse.repository.page import MAX_PARTS as PAGE_PARTS
from coldhouse.repository.paging import is_small

__all__ = [
    "ASKED",
    "CACHE_BYTES",
    "CATALOG_BYTES",
    "FETCH_BYTES",
    "FRAME_SIZE",
    "OPEN_PACKS",
    "PACK_RUNS",
    "PAGE_FILES",
    "PAGE_PARTS",
    "is_small",
]
