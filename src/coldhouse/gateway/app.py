"""Who may ask what: finds the session of a request, checks its signature, and lets the session answer."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import string
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from coldhouse.errors import ColdhouseError, GatewayError
from coldhouse.gateway import s3, signature
from coldhouse.gateway.request import Disconnected, Receive, Request, Scope, Send
from coldhouse.gateway.settings import Address
from coldhouse.gateway.web import FOLDER, hidden, is_web
from coldhouse.gateway.workers import Workers

BUCKET = "coldhouse"
#: A target without a query and with nothing to decode: what is signed is what is sent.
_PLAIN_TARGET = re.compile(rb"/coldhouse/([0-9a-f]{32})/([A-Za-z0-9_/-]{1,200})")
_KEY_LETTERS = string.ascii_uppercase + string.digits


class Session(Protocol):
    """What stands behind an address."""

    async def answer(self, request: Request, key: str, workers: Workers) -> s3.Reply | None:
        """Answer a request for a key below the session's prefix; None if the answer is sent already."""

    async def delete_objects(self, request: Request) -> s3.Reply:
        """Answer DeleteObjects."""

    async def find(self, key: str, workers: Workers) -> s3.Listed | None:
        """What a listing says of a key."""

    def fail(self, error: ColdhouseError) -> s3.Refusal:
        """Keep an error that ended a request, and say how the request is answered."""


#: What may answer a GET or HEAD at once: method, headers and key give the answer without its status line, or None.
Prompt = Callable[[str, signature.Headers, str], bytes | None]


@dataclass(eq=False, slots=True)
class Door:
    """An open address: its random prefix and keys, the session behind it, and the requests that are under way."""

    session: Session
    prefix: str
    access_key: str
    secret_key: str = field(repr=False)
    active: set[Request] = field(default_factory=set)
    prompt: Prompt | None = None
    latest_key: tuple[bytes, hmac.HMAC] | None = field(default=None, repr=False)

    def signing_key(self, signer: signature.Signer) -> hmac.HMAC:
        """The key for a signer's scope; the latest one is kept."""
        if self.latest_key is None or self.latest_key[0] != signer.scope:
            self.latest_key = (signer.scope, signature.signing_key(self.secret_key, signer))
        return self.latest_key[1]


def new_address(url: str) -> tuple[Address, str]:
    """A new address at the gateway's url, and its prefix; all of it random and fit to stand in SQL and in a URL."""
    prefix = secrets.token_hex(16)
    access_key = "".join(secrets.choice(_KEY_LETTERS) for _ in range(20))
    return Address(f"{url}/{BUCKET}/{prefix}/", access_key, secrets.token_hex(32)), prefix


def new_web_address(url: str) -> tuple[Address, str]:
    """A new address for a web disk, and its token: 192 random bits in the path are all that it has of a key."""
    token = secrets.token_hex(24)
    return Address(f"{url}/{FOLDER}/{token}/", token, ""), token


class Doors:
    """The open addresses, by access key. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._doors: dict[str, Door] = {}

    def open(self, door: Door) -> None:
        """Let requests in."""
        with self._lock:
            self._doors[door.access_key] = door

    def close(self, access_key: str) -> Door | None:
        """Let no request in any more; None if the address is closed already."""
        with self._lock:
            return self._doors.pop(access_key, None)

    def close_all(self) -> list[Door]:
        """Let nobody in any more."""
        with self._lock:
            doors = list(self._doors.values())
            self._doors.clear()
        return doors

    def find(self, access_key: str) -> Door | None:
        """The address of an access key."""
        with self._lock:
            return self._doors.get(access_key)


class App:
    """The ASGI application."""

    def __init__(self, doors: Doors, web_doors: Doors, workers: Workers) -> None:
        self._doors = doors
        self._web_doors = web_doors
        self._workers = workers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request: Request | None = None
        try:
            request = Request(scope, receive, send)
            door = self._door(request)
        except s3.Refusal as refusal:
            await _refuse_early(hidden() if is_web(scope["raw_path"]) else refusal, scope, send)
            return
        door.active.add(request)
        try:
            await self._serve(request, door)
        finally:
            door.active.discard(request)

    def prompt(self, method: bytes, url: bytes, headers: signature.Headers) -> bytes | None:
        """The answer to a rightly signed GET or HEAD that is at hand, without its status line.

        None for all that is unusual in the slightest: then the application is called, which says no in the right words.
        """
        asked = _PLAIN_TARGET.fullmatch(url)
        if asked is None:
            return None
        authorization = signature.parse_authorization(headers.get(b"authorization", b""))
        door = None if authorization is None else self._doors.find(authorization.signer.access_key)
        if authorization is None or door is None or door.prompt is None or asked[1].decode() != door.prefix:
            return None
        request = signature.SignedRequest(method, url, (), headers)
        key = door.signing_key(authorization.signer)
        if signature.verify(request, authorization, key, time.time()) is not signature.Verdict.GOOD:
            return None
        try:
            return door.prompt(method.decode(), headers, asked[2].decode())
        except ColdhouseError:
            return None

    async def close(self, door: Door) -> None:
        """Cut the requests of an address that is no longer open, and wait until their threads have ended."""
        for request in list(door.active):
            request.cut()
        while door.active:
            await asyncio.sleep(0.01)

    def _door(self, request: Request) -> Door:
        """The open address that a request was signed for. Raises Refusal (403), the same for all but a wrong clock."""
        if request.bucket == FOLDER:
            return self._web_door(request)
        authorization = signature.parse_authorization(request.header(b"authorization"))
        door = None if authorization is None else self._doors.find(authorization.signer.access_key)
        if authorization is None or door is None:
            raise s3.denied()
        match signature.verify(request.signed, authorization, door.signing_key(authorization.signer), time.time()):
            case signature.Verdict.GOOD:
                return door
            case signature.Verdict.STALE:
                message = "The clocks of ClickHouse's host and of Coldhouse's host differ by more than 15 minutes."
                raise s3.Refusal(403, "RequestTimeTooSkewed", message)
        raise s3.denied()

    def _web_door(self, request: Request) -> Door:
        """The open address whose token stands in the path. Raises Refusal (404)."""
        door = self._web_doors.find(request.key.partition("/")[0])
        if door is None:
            raise hidden()
        return door

    async def _serve(self, request: Request, door: Door) -> None:
        """Answer a request of the right asker; whatever goes wrong, the session knows and no internals get out."""
        ended = False
        try:
            await self._give(request, door)
            ended = True
        except Disconnected:  # perhaps while an error was told: then nobody wants to know it any more
            request.cut()
            ended = True
        finally:
            if not ended:
                failure = GatewayError("The gateway failed in the middle of a request; this is a bug of Coldhouse.")
                failure.__cause__ = sys.exception()
                door.session.fail(failure)

    async def _give(self, request: Request, door: Door) -> None:
        try:
            reply = await self._answer(request, door)
            if reply is not None:
                await request.reply(reply)
        except s3.Refusal as refusal:
            await _end(request, refusal)
        except ColdhouseError as error:
            await _end(request, door.session.fail(error))

    async def _answer(self, request: Request, door: Door) -> s3.Reply | None:
        if request.bucket == FOLDER:
            return await door.session.answer(request, request.key.partition("/")[2], self._workers)
        if request.bucket != BUCKET:
            raise s3.denied()
        if not request.key:
            return await self._answer_bucket(request, door)
        prefix, _, key = request.key.partition("/")
        if prefix != door.prefix or not key:
            raise s3.denied()
        return await door.session.answer(request, key, self._workers)

    async def _answer_bucket(self, request: Request, door: Door) -> s3.Reply:
        if request.method == "POST" and "delete" in request.query:
            return await door.session.delete_objects(request)
        asked = request.query.get("prefix", "")
        prefix, _, key = asked.partition("/")
        if request.method != "GET" or prefix != door.prefix:
            raise s3.denied()
        version = 2 if request.query.get("list-type") == "2" else 1
        return s3.listing(BUCKET, asked, await door.session.find(key, self._workers), version=version)


async def _end(request: Request, refusal: s3.Refusal) -> None:
    """Answer with an error; an answer that has begun is cut off instead, so that nobody takes it for whole."""
    if request.started:
        request.cut()
    else:
        await request.reply(refusal.reply())


async def _refuse_early(refusal: s3.Refusal, scope: Scope, send: Send) -> None:
    """Answer somebody who has not shown that he may ask."""
    reply = refusal.reply()
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})
