"""Make a repository."""

from __future__ import annotations

from msgspec import Struct

from coldhouse.operations.opening import create_at


class RepositoryInfo(Struct, frozen=True):
    """A repository: where it is (without credentials) and its id."""

    url: str
    id: str
    created: bool


def create(repo_url: str, passphrase: str) -> RepositoryInfo:
    """Make a new repository at a folder or bucket URL. Raises RepositoryExists, StorageError."""
    with create_at(repo_url, passphrase) as repository:
        return RepositoryInfo(repository.url, repository.id, created=True)
