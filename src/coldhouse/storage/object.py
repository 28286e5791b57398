"""A bucket as a store: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage. All through obstore.

Credentials come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
AWS_ENDPOINT_URL(_S3) or the machine's role; GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME with
AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN. An endpoint may be plain HTTP if it says so.

*Lost answers.* obstore repeats a request that failed, except that this module repeats ``create`` itself: only so does
it know that "the name is taken" was the first answer, or that an earlier attempt of ours may have taken it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, NoReturn

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import AzureStore, GCSStore, S3Store

from coldhouse.errors import Corruption, ObjectExists, ObjectMissing, StorageError, UsageError
from coldhouse.model import Buffer
from coldhouse.storage.base import NO_LIMIT, PIECE, Storage, StoredObject, too_large
from coldhouse.storage.names import check_name, check_prefix, is_name
from coldhouse.storage.object_errors import read_answer, store_error
from coldhouse.storage.object_url import BucketPlace, parse_bucket_url

if TYPE_CHECKING:  # obstore has these for type checkers only
    from obstore.store import AzureConfig, ClientConfig, ObjectStore, RetryConfig, S3Config

_CLIENT_ERRORS = (BaseError, FileNotFoundError)  # the latter is how obstore says 404
_READERS = 8
_PAGE = 1000  # names in one answer to LIST, and in one DELETE
_SMALL = 4 << 20  # bytes; above it a transfer gets the long time-out
_TIMEOUT = timedelta(seconds=60)
_TRANSFER_TIMEOUT = timedelta(minutes=15)  # 32 MiB at 40 kB/s; the time-out spans a whole request
_MOST_ATTEMPTS = 1_000_000  # time alone is the limit
#: Bytes, at least, that are taken out of an answer at a time. obstore zeroes new memory for each piece and copies into
#: it. With 1 MiB, which leaves the processor's cache between, a restore took a fifth more processor time.
_STREAM_PIECE = 1 << 18
_BACKOFF = 0.1  # seconds before the second attempt, then twice as long each time
_LONGEST_BACKOFF = 15.0


class _Found(Enum):
    """What is under the name that we may or may not have created."""

    NOTHING = "nothing"
    OURS = "the same bytes"
    OTHERS = "other bytes"


class ObjectStorage(Storage):
    """The objects below a prefix of a bucket; ``patience`` is for how many seconds failing requests are repeated."""

    def __init__(self, url: str, *, patience: float = 60.0) -> None:
        self._place = parse_bucket_url(url, os.environ)
        self._patience = patience
        # obstore gives up after 10 attempts, which are over in some seconds, unless it is told otherwise.
        repeat: RetryConfig = {"max_retries": _MOST_ATTEMPTS, "retry_timeout": timedelta(seconds=patience)}
        self._prompt = _connect(self._place, _TIMEOUT, repeat)
        self._slow = _connect(self._place, _TRANSFER_TIMEOUT, repeat)
        self._once = _connect(self._place, _TRANSFER_TIMEOUT, {"max_retries": 0})

    @property
    def url(self) -> str:
        """Scheme, bucket and prefix."""
        return self._place.url

    @property
    def readers(self) -> int:
        """As many as answers can be waited for at a time."""
        return _READERS

    def get(self, name: str, *, limit: int = NO_LIMIT) -> Buffer:
        """Return the whole object. Raises ObjectMissing, or Corruption if it has more than ``limit`` bytes."""
        check_name(name)
        try:
            answer = obstore.get(self._prompt, name)
            if answer.meta["size"] > _SMALL:
                answer = obstore.get(self._slow, name)
            size = answer.meta["size"]  # of the very answer that is read: what came before it may have been another one
            if size > limit:
                raise too_large(name, size, limit)
            return memoryview(answer.bytes())
        except _CLIENT_ERRORS as error:
            self._raise(error, "read", name)

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        """Return exactly ``length`` bytes from ``offset``. Raises ObjectMissing, or Corruption if it is shorter."""
        check_name(name)
        if offset < 0 or length < 0:
            raise ValueError("offset and length of a range cannot be negative")
        if length == 0:
            return self._nothing_at(name, offset)
        store = self._prompt if length <= _SMALL else self._slow
        try:
            found = memoryview(obstore.get_range(store, name, start=offset, length=length))
        except _CLIENT_ERRORS as error:
            if read_answer(error).beyond_the_end:
                raise _truncated(name, offset, length) from None
            self._raise(error, "read", name)
        if len(found) != length:
            raise _truncated(name, offset, length)
        return found

    def read_through(self, name: str, offset: int, length: int, *, piece: int = PIECE) -> Iterator[Buffer]:
        """Yield ``length`` bytes from ``offset`` out of one request; what fails in its middle is asked for again.

        One long request costs a store less than many short ones: SeaweedFS took 1.5 s of processor time for 1 GB, and
        3.3 s in ranges of 2 MiB.
        """
        check_name(name)
        given = 0
        if length > PIECE:
            try:
                answer = obstore.get(self._slow, name, options={"range": (offset, offset + length)})
                for found in answer.stream(min_chunk_size=_STREAM_PIECE):
                    view = memoryview(found)[: length - given]
                    given += len(view)
                    yield view
            except _CLIENT_ERRORS:  # the request for the rest says what is wrong, if it still is
                pass
        yield from super().read_through(name, offset + given, length - given)

    def size(self, name: str) -> int:
        """Return the object's size in bytes. Raises ObjectMissing."""
        check_name(name)
        try:
            return obstore.head(self._prompt, name)["size"]
        except _CLIENT_ERRORS as error:
            self._raise(error, "look at", name)

    def create(self, name: str, data: Buffer) -> None:
        """Store a new object, atomically. Raises ObjectExists if the name is taken, and then changes nothing."""
        check_name(name)
        until = time.monotonic() + self._patience
        wait, in_doubt = _BACKOFF, False
        while (error := self._try_create(name, data)) is not None:
            answer = read_answer(error)
            taken = isinstance(error, (AlreadyExistsError, PreconditionError))
            # S3 answers 409 to a create that raced with another request for the same name: nothing is decided by it.
            if taken and answer.status != 409 and not in_doubt:
                raise self._exists(name)
            if not taken and not answer.may_pass:
                self._raise(error, "write", name)
            in_doubt = in_doubt or not taken
            found = self._compare(name, data)
            if found is _Found.OURS and in_doubt:
                return
            if found is not _Found.NOTHING:
                raise self._exists(name)
            if time.monotonic() > until:
                self._raise(error, "write", name)
            time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311  # so that many writers do not come back at once
            wait = min(2 * wait, _LONGEST_BACKOFF)

    def put(self, name: str, data: Buffer) -> None:
        """Store an object, atomically replacing one of the same name."""
        check_name(name)
        try:
            obstore.put(self._slow, name, _bytes_of(data), use_multipart=False)
        except _CLIENT_ERRORS as error:
            self._raise(error, "write", name)

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose name starts with ``prefix`` and sorts after ``after``, in name order, lazily.

        ``after`` is compared here: Azure cannot start in the middle, and SeaweedFS leaves out a folder of that name.
        Raises StorageError if the store does not list in the order of names.
        """
        folder = check_prefix(prefix).rpartition("/")[0]
        last = ""
        try:
            for page in obstore.list(self._prompt, folder or None, chunk_size=_PAGE):
                for found in page:
                    name = found["path"]
                    if name <= last:
                        raise self._disordered(last, name)
                    last = name
                    if name > after and name.startswith(prefix) and is_name(name):
                        yield StoredObject(name, found["size"], found["last_modified"])
        except _CLIENT_ERRORS as error:
            self._raise(error, "list", "")

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; names that do not exist are no error."""
        for start in range(0, len(names), _PAGE):
            page = [check_name(name) for name in names[start : start + _PAGE]]
            try:
                obstore.delete(self._prompt, page)
            except (
                FileNotFoundError
            ):  # Azure and Google: some of these are not there; what became of the others is open
                self._delete_each(page)
            except BaseError as error:
                self._raise(error, "delete from", "")

    def sync(self) -> None:
        """Do nothing: what a bucket has answered for is durable."""

    def free_space(self) -> int | None:
        """Return None: a bucket does not know."""
        return None

    def close(self) -> None:
        """Do nothing: connections are closed when the store is forgotten."""

    def _try_create(self, name: str, data: Buffer) -> Exception | None:
        # One PUT whatever the size: a multipart upload cannot be conditional here.
        try:
            obstore.put(self._once, name, _bytes_of(data), mode="create", use_multipart=False)
        except _CLIENT_ERRORS as error:
            return error
        return None

    def _compare(self, name: str, data: Buffer) -> _Found:
        try:
            if self.size(name) != memoryview(data).nbytes:
                return _Found.OTHERS
            return _Found.OURS if memoryview(self.get(name)) == _bytes_of(data) else _Found.OTHERS
        except ObjectMissing:
            return _Found.NOTHING

    def _delete_each(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                obstore.delete(self._prompt, name)
            except FileNotFoundError:
                continue
            except BaseError as error:
                self._raise(error, "delete", name)

    def _nothing_at(self, name: str, offset: int) -> Buffer:
        if self.size(name) < offset:
            raise _truncated(name, offset, 0)
        return b""

    def _exists(self, name: str) -> ObjectExists:
        return ObjectExists(f"There is an object {name} in {self.url} already.", object_name=name)

    def _disordered(self, last: str, name: str) -> StorageError:
        return StorageError(
            f"{self.url} does not list its objects in the order of their names ({name} after {last}).",
            object_name=name,
            hint="S3 directory buckets (Express One Zone) and the like cannot hold a repository.",
        )

    def _raise(self, error: Exception, verb: str, name: str) -> NoReturn:
        # Not chained: the client's text can hold signed URLs.
        raise store_error(error, verb, name, self._place) from None


def _connect(place: BucketPlace, timeout: timedelta, repeat: RetryConfig) -> ObjectStore:
    client: ClientConfig = {"timeout": timeout, "connect_timeout": timedelta(seconds=10)}
    if place.plain_http:
        client["allow_http"] = True
    prefix = place.prefix or None
    try:
        match place.scheme:
            case "s3":
                return _connect_s3(place, prefix, client, repeat)
            case "gs":
                return GCSStore(
                    place.bucket,
                    prefix=prefix,
                    config={"base_url": place.endpoint} if place.endpoint else {},
                    client_options=client,
                    retry_config=repeat,
                )
            case _:
                return _connect_azure(place, prefix, client, repeat)
    except (BaseError, ValueError) as error:
        raise UsageError(
            f"Cannot open {place.url}: {str(error).partition(chr(10))[0]}",
            hint="Check the URL, and the environment variables that hold the account and the credentials.",
        ) from None


def _connect_s3(place: BucketPlace, prefix: str | None, client: ClientConfig, repeat: RetryConfig) -> S3Store:
    config: S3Config = {}
    if place.untouched_on_the_way and not os.environ.get("AWS_UNSIGNED_PAYLOAD"):
        # A SHA-256 of every body costs 0.6 CPU seconds per GB; packs have seals of their own.
        config["unsigned_payload"] = True
    if place.endpoint:
        config["endpoint"] = place.endpoint
    if place.region:
        config["region"] = place.region
    return S3Store(place.bucket, prefix=prefix, config=config, client_options=client, retry_config=repeat)


def _connect_azure(place: BucketPlace, prefix: str | None, client: ClientConfig, repeat: RetryConfig) -> AzureStore:
    config: AzureConfig = {}
    if place.endpoint:
        config["endpoint"] = place.endpoint
    if place.account:
        config["account_name"] = place.account
    return AzureStore(place.bucket, prefix=prefix, config=config, client_options=client, retry_config=repeat)


def _bytes_of(data: Buffer) -> memoryview:
    return memoryview(data).cast("B")  # obstore takes it without a copy


def _truncated(name: str, offset: int, length: int) -> Corruption:
    return Corruption(
        f"{name} is truncated: bytes {offset} to {offset + length} are needed, and it is shorter.", object_name=name
    )
