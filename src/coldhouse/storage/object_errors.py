"""What the answer of S3, Google Cloud Storage or Azure means for a repository.

The client's errors are long texts that can hold signed URLs: only the HTTP status, the provider's error code and the
start of its message are taken out of them, and the rest is dropped.
"""

from __future__ import annotations

import re

from msgspec import Struct

from coldhouse.errors import ObjectMissing, StorageError, StorageFull, StorageRefused
from coldhouse.storage.object_url import BucketPlace, credentials_hint

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9_.-]{1,100})\s*</Code>|\(code: ([A-Za-z0-9_.-]{1,100})\)")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})")
_FULL = frozenset({
    "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "EntityTooLargeForQuota", "StorageFull",
    "InsufficientStorage", "BucketQuotaExceeded", "UserQuotaExceeded", "AccountStorageLimitExceeded",
})  # fmt: skip
_FULL_WORDS = ("storage cap exceeded", "quota exceeded", "exceeded your quota", "storage quota")
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_ARCHIVED = frozenset({"InvalidObjectState", "BlobArchived"})
_REFUSED_CODES = frozenset(
    {"AccessDenied", "AuthorizationFailure", "AuthorizationPermissionMismatch", "InvalidAccessKeyId"}
)
_WRONG_REGION = ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException")


class Answer(Struct, frozen=True):
    """What a store answered: HTTP status (0 if no answer came), its error code and message (empty if none)."""

    status: int
    code: str
    message: str
    region_wrong: bool = False
    no_credentials: bool = False
    beyond_the_end: bool = False

    @property
    def may_pass(self) -> bool:
        """Whether the same request can succeed later, and whether this one may have taken effect is open."""
        passing = self.status in (0, 408, 409, 429) or (self.status >= 500 and self.status not in (501, 507))
        return passing and not self.region_wrong and not self.no_credentials and not self.full

    @property
    def full(self) -> bool:
        """Whether the store has no room for us."""
        text = self.message.lower()
        return self.status == 507 or self.code in _FULL or any(words in text for words in _FULL_WORDS)

    @property
    def expired(self) -> bool:
        """Whether credentials that were good have come to their end."""
        return self.status in (400, 401, 403) and "expired" in f"{self.code} {self.message}".lower()

    @property
    def reason(self) -> str:
        """In a few words for people."""
        told = " ".join(part for part in (f"HTTP {self.status}" if self.status else "", self.code) if part)
        return f"{told}: {self.message}" if told and self.message else told or self.message or "no answer"


def read_answer(error: Exception) -> Answer:
    """Take the answer out of a client's error."""
    text = str(error).partition("\nDebug source:")[0]
    status, code, message = _STATUS.search(text), _CODE.search(text), _MESSAGE.search(text)
    found = (code.group(1) or code.group(2)) if code else ""
    return Answer(
        status=int(status.group(1)) if status else 0,
        code=found,
        message=message.group(1).strip().partition("\n")[0] if message else "",
        region_wrong=found in _WRONG_REGION or "incorrectly configured region" in text,
        # Azure answers 200 to a range that begins at the end, and the client notices.
        beyond_the_end=bool(status and status.group(1) == "416") or "Wanted range starting at" in text,
        no_credentials=any(words in text for words in ("169.254.169.254", "metadata.google", "security-credentials")),
    )


def store_error(error: Exception, verb: str, name: str, place: BucketPlace) -> StorageError:
    """Translate: ``verb`` is what we wanted to do with the object ``name`` (or "" for the bucket)."""
    answer = read_answer(error)
    what = f"{name} in {place.url}" if name else place.url
    failed = f"Cannot {verb} {what}"
    if answer.code in _NO_BUCKET:
        return StorageError(
            f"{failed}: there is no bucket {place.bucket}.",
            object_name=name,
            hint="Check the name and the endpoint, or create the bucket; Coldhouse does not create buckets.",
        )
    if isinstance(error, FileNotFoundError) or (answer.status == 404 and name):
        return ObjectMissing(f"There is no object {what}.", object_name=name)
    if answer.full:
        return StorageFull(
            f"{failed}: the store is full or the quota is used up ({answer.reason}).",
            object_name=name,
            hint="Free space there or raise the quota, then repeat; nothing that was stored is lost.",
        )
    if answer.code in _ARCHIVED:
        return StorageRefused(
            f"{failed}: the object was moved to an archive class that cannot be read at once.",
            object_name=name,
            hint="Restore it from the archive at the provider, and keep the repository out of such lifecycle rules.",
        )
    return _refused(answer, failed, name, place) or _unanswered(answer, failed, name, place)


def _refused(answer: Answer, failed: str, name: str, place: BucketPlace) -> StorageError | None:
    if answer.region_wrong:
        return StorageRefused(
            f"{failed}: the bucket is in another region ({answer.reason}).",
            object_name=name,
            hint="Set AWS_REGION, or write the URL as s3://bucket/prefix?region=...",
        )
    if answer.no_credentials:
        return StorageRefused(
            f"{failed}: no credentials were found.", object_name=name, hint=credentials_hint(place.scheme)
        )
    if answer.expired:
        return StorageRefused(
            f"{failed}: the credentials have expired ({answer.reason}).",
            object_name=name,
            hint="Renew them, and run the same command again: it goes on from what was stored.",
        )
    if answer.status in (401, 403) or answer.code in _REFUSED_CODES:
        return StorageRefused(
            f"{failed}: the store refused ({answer.reason}).", object_name=name, hint=credentials_hint(place.scheme)
        )
    return None


def _unanswered(answer: Answer, failed: str, name: str, place: BucketPlace) -> StorageError:
    if answer.status == 0 and not answer.code:
        where = place.endpoint or "the provider"
        return StorageError(
            f"{failed}: no answer from {where}, or the connection broke off, also after repeating.",
            object_name=name,
            hint="Check the endpoint and the network, then repeat; nothing that was stored is lost.",
        )
    hint = "The store is overloaded or out of order: repeat later." if answer.may_pass else ""
    return StorageError(f"{failed}: {answer.reason}.", object_name=name, hint=hint)
