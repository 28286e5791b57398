"""AWS Signature Version 4 in its header form, as pure functions.

Source: "Authenticating Requests: Using the Authorization Header" in the Amazon S3 API reference. S3 differs from other
services: the path is encoded once and never normalized. Everything is bytes, because what was signed is bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from urllib.parse import quote_from_bytes, unquote_to_bytes

from msgspec import Struct

ALGORITHM = b"AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = b"UNSIGNED-PAYLOAD"
MAX_SKEW = 15 * 60  # seconds, as S3 allows

_AUTHORIZATION = re.compile(
    rb"AWS4-HMAC-SHA256\s+Credential=([\w+=.@-]{1,128})/(\d{8})/([\w-]{1,64})/([\w-]{1,64})/aws4_request,\s*"
    rb"SignedHeaders=([a-z0-9;!#$%&'*+.^_`|~-]{1,2048}),\s*Signature="
)
_SIGNATURE = re.compile(rb"[0-9a-f]{64}")
#: How many signers are remembered: strangers may name any.
_SIGNERS = 32
_DATE = re.compile(rb"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
_PLAIN = re.compile(rb"[A-Za-z0-9_.~-]*")
_PLAIN_PATH = re.compile(rb"[A-Za-z0-9/_.~-]*")

Headers = Mapping[bytes, bytes]
Query = Sequence[tuple[bytes, bytes]]


class Verdict(Enum):
    """What a look at a signature tells."""

    GOOD = "good"
    WRONG = "wrong"
    STALE = "stale"  # rightly signed, but too long ago or ahead of our clock


class Signer(Struct, frozen=True):
    """Who signs which headers, for what: the same in a hundred thousand requests of a restore.

    ``scope`` is what the signature is bound to beside the request.
    """

    access_key: str
    date: bytes
    region: bytes
    service: bytes
    signed_headers: bytes
    scope: bytes
    names: frozenset[bytes]


class Authorization(Struct, frozen=True):
    """The parts of an Authorization header."""

    signer: Signer
    signature: bytes


class SignedRequest(Struct, frozen=True):
    """What a signature covers: the path percent-decoded, the query decoded into pairs, header names in lower case."""

    method: bytes
    path: bytes
    query: Query
    headers: Headers


def parse_authorization(text: bytes) -> Authorization | None:
    """Read an Authorization header; None if it is not one of Signature Version 4."""
    signer = _read_signer(text[:-64])
    return None if signer is None or not _SIGNATURE.fullmatch(text[-64:]) else Authorization(signer, text[-64:])


@lru_cache(maxsize=_SIGNERS)
def _read_signer(text: bytes) -> Signer | None:
    match = _AUTHORIZATION.fullmatch(text)
    if match is None:
        return None
    access_key, *scope, signed_headers = match.groups()
    return new_signer(access_key.decode(), (scope[0], scope[1], scope[2]), signed_headers)


def new_signer(access_key: str, scope: tuple[bytes, bytes, bytes], signed_headers: bytes) -> Signer:
    """A signer of a date, region and service; ``signed_headers`` are names joined by semicolons."""
    names = frozenset(signed_headers.split(b";"))
    return Signer(access_key, *scope, signed_headers, b"/".join((*scope, b"aws4_request")), names)


def parse_query(text: bytes) -> list[tuple[bytes, bytes]]:
    """Split a query string and percent-decode it once; ``?uploads`` is a name with an empty value."""
    pairs = (item.partition(b"=") for item in text.split(b"&") if item)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]


def join_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; the values of one name joined by commas, in the order in which they came."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        joined[name] = joined[name] + b"," + value if name in joined else value
    return joined


def verify(request: SignedRequest, authorization: Authorization, key: hmac.HMAC, now: float) -> Verdict:
    """Compare a request's signature with the one that a signing key gives; ``now`` in seconds since 1970.

    The host and every ``x-amz-`` header must be signed, as S3 demands. Takes the same time whatever is wrong with the
    signature's bytes.
    """
    date = request.headers.get(b"x-amz-date", b"")
    sent_at = _seconds(date)
    signer = authorization.signer
    if sent_at is None or not date.startswith(signer.date) or signer.service != b"s3":
        return Verdict.WRONG
    if not _covers(signer.names, request.headers):
        return Verdict.WRONG
    expected = sign(request, signer, key)
    if not hmac.compare_digest(expected, authorization.signature):
        return Verdict.WRONG
    return Verdict.GOOD if abs(now - sent_at) <= MAX_SKEW else Verdict.STALE


def signing_key(secret_key: str, signer: Signer) -> hmac.HMAC:
    """The key that signs all requests of one day, region and service, as a signature just begun: worth keeping."""
    key = b"AWS4" + secret_key.encode()
    for part in (signer.date, signer.region, signer.service, b"aws4_request"):
        key = hmac.digest(key, part, "sha256")
    return hmac.new(key, digestmod="sha256")


def sign(request: SignedRequest, signer: Signer, key: hmac.HMAC) -> bytes:
    """The signature, in hex, that a request should carry."""
    digest = hashlib.sha256(canonical_request(request, signer.signed_headers)).hexdigest().encode()
    text = b"\n".join((ALGORITHM, request.headers[b"x-amz-date"], signer.scope, digest))
    begun = key.copy()  # hmac.digest would let go of the interpreter's lock, and wait for other threads to get it back
    begun.update(text)
    return begun.hexdigest().encode()


def canonical_request(request: SignedRequest, signed_headers: bytes) -> bytes:
    """The form of a request that is signed."""
    get = request.headers.get
    headers = b"".join(  # a list, here and below: twice as fast as a generator, a hundred thousand times a restore
        [name + b":" + b" ".join(get(name, b"").split()) + b"\n" for name in signed_headers.split(b";")]
    )
    payload = get(b"x-amz-content-sha256", b"")
    return b"\n".join(
        (request.method, canonical_path(request.path), canonical_query(request.query), headers, signed_headers, payload)
    )


def canonical_path(path: bytes) -> bytes:
    """A decoded path, encoded once by S3's rules: everything but ``A-Za-z0-9-_.~/``."""
    return path if _PLAIN_PATH.fullmatch(path) else quote_from_bytes(path, safe="/").encode()


def canonical_query(query: Query) -> bytes:
    """Decoded pairs, encoded and sorted."""
    if not query:
        return b""
    return b"&".join(
        name + b"=" + value for name, value in sorted((_quote(name), _quote(value)) for name, value in query)
    )


def _quote(text: bytes) -> bytes:
    return text if _PLAIN.fullmatch(text) else quote_from_bytes(text, safe="").encode()


def _covers(names: frozenset[bytes], headers: Headers) -> bool:
    must = [name for name in headers if name.startswith(b"x-amz-")]
    return names.issuperset(must) and b"host" in names and names <= headers.keys()


@lru_cache(maxsize=_SIGNERS)
def _seconds(date: bytes) -> float | None:
    match = _DATE.fullmatch(date)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None
