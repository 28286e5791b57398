"""Open a repository by its URL, or make one."""

from __future__ import annotations

from msgspec import Struct

from coldhouse import repository, storage
from coldhouse.beside import Beside
from coldhouse.repository import Credential, Repository
from coldhouse.storage import Storage
from coldhouse.storage.counted import CountedStorage


class Limits(Struct, frozen=True):
    """How many bytes per second may go up to a store and come down from it, and how many requests of each kind at once.

    0 is no limit.
    """

    upload: int = 0
    download: int = 0
    uploads: int = 0
    downloads: int = 0


NO_LIMITS = Limits()


def store_at(url: str, limits: Limits = NO_LIMITS) -> Storage:
    """The store at a folder or bucket URL, which keeps within the limits and counts requests. Raises UsageError."""
    store = storage.open_storage(url)
    if limits == NO_LIMITS:
        return CountedStorage(store)
    from coldhouse.storage.throttled import throttled

    bounded = throttled(
        store,
        upload=limits.upload,
        download=limits.download,
        uploads=limits.uploads,
        downloads=limits.downloads,
    )
    return CountedStorage(bounded)


def open_at(repo_url: str, credential: Credential, limits: Limits = NO_LIMITS) -> Repository:
    """Open the repository at a folder or bucket URL; use it as a context manager, or close it.

    Raises NoRepository, WrongPassphrase, Corruption, StorageError.
    """
    store = store_at(repo_url, limits)
    try:
        return repository.open_repository(store, credential)
    except BaseException:
        store.close()
        raise


class Opening:
    """A repository that is being opened by a thread; a context manager that waits for it, and closes it in the end.

    A passphrase costs a tenth of a second without the interpreter's lock: time in which the caller can import.
    """

    def __init__(self, repo_url: str, credential: Credential, limits: Limits = NO_LIMITS) -> None:
        self._opening = Beside(lambda: open_at(repo_url, credential, limits), "coldhouse-opening")

    def __enter__(self) -> Repository:
        """The open repository. Raises what open_at raises."""
        return self._opening.result()

    def __exit__(self, *_: object) -> None:
        self._opening.result().close()


def read_credential(kind: str, text: str, origin: str) -> Credential:
    """What the text of a "key file", "identity file" or "recovery file" opens with; ``origin`` names it in errors.

    Raises UsageError.
    """
    if kind == "key file":
        return repository.read_key_file(text, origin)
    if kind == "identity file":
        return repository.read_identity(text, origin)
    return repository.read_key_lines(text, origin)


def create_at(repo_url: str, passphrase: str) -> Repository:
    """Make a new repository at a folder or bucket URL and open it. Raises RepositoryExists, StorageError."""
    store = store_at(repo_url)
    try:
        return repository.init(store, passphrase)
    except BaseException:
        store.close()
        raise
