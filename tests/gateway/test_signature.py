"""AWS Signature Version 4: Amazon's own published examples, and what must not pass."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from coldhouse.gateway.signature import (
    Authorization,
    SignedRequest,
    Verdict,
    canonical_path,
    canonical_query,
    join_headers,
    new_signer,
    parse_authorization,
    parse_query,
    sign,
    signing_key,
    verify,
)
from coldhouse.records import replace

EMPTY = hashlib.sha256(b"").hexdigest().encode()

# "Authenticating Requests: Using the Authorization Header", Amazon S3 API reference
S3_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
S3_HOST = b"examplebucket.s3.amazonaws.com"
S3_SCOPE = b"AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
S3_TIME = datetime(2013, 5, 24, tzinfo=UTC).timestamp()


def s3_example(
    method: bytes, path: bytes, query: bytes, more: dict[bytes, bytes], payload: bytes, signature: bytes
) -> tuple[SignedRequest, Authorization]:
    headers = {b"host": S3_HOST, b"x-amz-date": b"20130524T000000Z", b"x-amz-content-sha256": payload, **more}
    names = b";".join(sorted(headers))
    text = b"AWS4-HMAC-SHA256 Credential=" + S3_SCOPE + b",SignedHeaders=" + names + b",Signature=" + signature
    authorization = parse_authorization(text)
    assert authorization is not None
    return SignedRequest(method, path, parse_query(query), headers), authorization


GET_RANGE = s3_example(
    b"GET",
    b"/test.txt",
    b"",
    {b"range": b"bytes=0-9"},
    EMPTY,
    b"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
)
PUT_OBJECT = s3_example(
    b"PUT",
    b"/test$file.text",
    b"",
    {b"date": b"Fri, 24 May 2013 00:00:00 GMT", b"x-amz-storage-class": b"REDUCED_REDUNDANCY"},
    hashlib.sha256(b"Welcome to Amazon S3.").hexdigest().encode(),
    b"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
)
GET_LIFECYCLE = s3_example(
    b"GET", b"/", b"lifecycle", {}, EMPTY, b"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
)
LIST_OBJECTS = s3_example(
    b"GET",
    b"/",
    b"max-keys=2&prefix=J",
    {},
    EMPTY,
    b"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
)


@pytest.mark.parametrize("example", [GET_RANGE, PUT_OBJECT, GET_LIFECYCLE, LIST_OBJECTS])
def test_amazons_s3_examples_are_rightly_signed(example: tuple[SignedRequest, Authorization]) -> None:
    request, authorization = example
    assert verify(request, authorization, signing_key(S3_SECRET, authorization.signer), S3_TIME) is Verdict.GOOD


# The aws-sig-v4-test-suite (general, not of S3: the service is called "service" and no header names the payload).
SUITE_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SUITE = [
    ("get-vanilla", b"GET", b"", (), b"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "get-vanilla-query-order-key-case",
        b"GET",
        b"Param2=value2&Param1=value1",
        (),
        b"b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    ("post-vanilla", b"POST", b"", (), b"5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    (
        "get-header-key-duplicate",
        b"GET",
        b"",
        ((b"my-header1", b"value2"), (b"my-header1", b"value2"), (b"my-header1", b"value1")),
        b"c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    (
        "get-header-value-trim",
        b"GET",
        b"",
        ((b"my-header1", b" value1"), (b"my-header2", b' "a   b   c"')),
        b"acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
]


@pytest.mark.parametrize(("name", "method", "query", "more", "signature"), SUITE)
def test_amazons_test_suite(
    name: str, method: bytes, query: bytes, more: tuple[tuple[bytes, bytes], ...], signature: bytes
) -> None:
    headers = join_headers([(b"host", b"example.amazonaws.com"), *more, (b"x-amz-date", b"20150830T123600Z")])
    signed = b";".join(sorted(headers))
    signer = new_signer("AKIDEXAMPLE", (b"20150830", b"us-east-1", b"service"), signed)
    request = SignedRequest(method, b"/", parse_query(query), {**headers, b"x-amz-content-sha256": EMPTY})
    assert sign(request, signer, signing_key(SUITE_SECRET, signer)) == signature, name


def changed_headers(**changes: bytes | None) -> SignedRequest:
    headers = dict(GET_RANGE[0].headers)
    for name, value in changes.items():
        if value is None:
            del headers[name.replace("_", "-").encode()]
        else:
            headers[name.replace("_", "-").encode()] = value
    return replace(GET_RANGE[0], headers=headers)


@pytest.mark.parametrize(
    "request_",
    [
        replace(GET_RANGE[0], method=b"PUT"),
        replace(GET_RANGE[0], path=b"/test.txt2"),
        replace(GET_RANGE[0], query=[(b"versionId", b"1")]),
        changed_headers(range=b"bytes=0-10"),
        changed_headers(host=b"elsewhere"),
        changed_headers(x_amz_content_sha256=b"0" * 64),
        changed_headers(x_amz_date=b"20130524T000001Z"),
        changed_headers(x_amz_date=b"20130525T000000Z"),
        changed_headers(x_amz_date=b"20131324T000000Z"),
        changed_headers(x_amz_date=None),
        changed_headers(range=None),
        changed_headers(x_amz_acl=b"public-read"),  # not signed, though S3 demands it
    ],
)
def test_whatever_is_changed_the_signature_is_wrong(request_: SignedRequest) -> None:
    key = signing_key(S3_SECRET, GET_RANGE[1].signer)
    assert verify(request_, GET_RANGE[1], key, S3_TIME) is Verdict.WRONG


def test_another_secret_is_wrong() -> None:
    request, authorization = GET_RANGE
    assert verify(request, authorization, signing_key("another", authorization.signer), S3_TIME) is Verdict.WRONG


def test_a_signature_holds_for_a_quarter_of_an_hour() -> None:
    request, authorization = GET_RANGE
    key = signing_key(S3_SECRET, authorization.signer)
    verdicts = [verify(request, authorization, key, S3_TIME + seconds) for seconds in (-901, -900, 900, 901)]
    assert verdicts == [Verdict.STALE, Verdict.GOOD, Verdict.GOOD, Verdict.STALE]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"Basic dXNlcjpwYXNz",
        b"AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=00",
        b"AWS4-HMAC-SHA256 Credential=A/2013/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=" + b"0" * 64,
        b"AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/s3/aws4_request,SignedHeaders=Host,Signature=" + b"0" * 64,
        b"AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=" + b"0" * 65,
    ],
)
def test_other_authorizations_are_none(text: bytes) -> None:
    assert parse_authorization(text) is None


def test_a_path_is_encoded_once() -> None:
    assert canonical_path(b"/bucket/a b%2e+~\xc3\xa4") == b"/bucket/a%20b%252e%2B~%C3%A4"


def test_a_query_is_sorted_by_name_and_then_by_value() -> None:
    query = parse_query(b"b=2&a-b=1&a=%7e&a=1&uploads&b=")
    assert canonical_query(query) == b"a=1&a=~&a-b=1&b=&b=2&uploads="
