"""From what ClickHouse and its client raise to our own errors, without secrets and with what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from coldhouse.clickhouse import sql
from coldhouse.errors import MissingGrant, SourceError, SourceRefused, SourceUnreachable, StatementFailed

#: ClickHouse's own error numbers (src/Common/ErrorCodes.cpp).
NOT_IMPLEMENTED = 48
UNKNOWN_TABLE = 60
UNKNOWN_DATABASE = 81
UNKNOWN_SETTING = 115
ACCESS_DENIED = 497
S3_ERROR = 499
BACKUP_NOT_FOUND = 599
CANNOT_RESTORE_TABLE = 608

_WRONG_CREDENTIALS = frozenset({192, 193, 194, 516})  # UNKNOWN_USER, WRONG_, REQUIRED_PASSWORD, AUTHENTICATION_FAILED
#: How the message of a StatementFailed begins.
REPORTED = "ClickHouse reported an error: "

_LONGEST = 2000
#: An error that a server before 25.11 writes into an answer is at its end; longer texts were not seen.
_TAIL = 16 << 10


@dataclass(frozen=True, slots=True)
class Guard:
    """Turns failures of one source into our errors; ``secrets`` appear in none of them."""

    url: str
    user: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @contextmanager
    def translated(self, secrets: tuple[str, ...] = ()) -> Iterator[None]:
        """Run the client's calls in here. The cause is not chained: its text may hold a secret."""
        from clickhouse_connect.driver.exceptions import ClickHouseError, Error, OperationalError, ProgrammingError

        try:
            yield
        except Error as error:
            text = self._clean(str(error), secrets)
            if error.code is None and isinstance(error, ProgrammingError):
                raise self._client_failure(text) from None
            if error.code is None and isinstance(error, OperationalError):
                raise self._unreachable(text) from None
            raise self.failure(error.code or 0, text) from None
        except ClickHouseError as error:
            raise SourceError(f"The ClickHouse client failed: {self._clean(str(error), secrets)}") from None
        except OSError as error:
            raise self._unreachable(self._clean(str(error), secrets)) from None

    def failure(self, code: int, text: str) -> SourceError:
        """The error for ClickHouse's own error number and message."""
        if code in _WRONG_CREDENTIALS:
            return SourceRefused(
                f"ClickHouse at {self.url} rejected user {self.user!r} or the password.",
                hint="Check user and password in the URL, and from which hosts this user may connect.",
            )
        if code == ACCESS_DENIED:
            return missing_grant(self.user, text)
        return StatementFailed(f"{REPORTED}{text}", clickhouse_code=code)

    def _unreachable(self, text: str) -> SourceError:
        if re.search(r"\b(401|403)\b", text) and "HTTP" in text.upper():
            return self.failure(516, text)
        return SourceUnreachable(
            f"No ClickHouse answers at {self.url}: {_reason(text)}",
            hint="Check host, port (8123 for http, 8443 for https) and that the server runs.",
        )

    def _client_failure(self, text: str) -> SourceError:
        if "Unable to open the chdb engine" in text:
            return SourceUnreachable(
                f"The embedded engine cannot open {self.url}: {text}",
                hint="A data directory is used by one process at a time, and a process opens one directory at a time.",
            )
        return SourceError(f"The ClickHouse client refused the statement: {text}")

    def _clean(self, text: str, secrets: tuple[str, ...]) -> str:
        return clean(text, self.secrets + secrets)


def is_refusal(error: BaseException) -> bool:
    """Whether the client raised what the server answered, with its number: then the answer was read to its end."""
    from clickhouse_connect.driver.exceptions import Error

    return isinstance(error, Error) and error.code is not None


def exception_tag(answer: object) -> str:
    """The mark with which a server (25.11 and later) frames an error in the middle of an answer; empty without."""
    headers = getattr(answer, "headers", None)
    return str(headers.get("X-ClickHouse-Exception-Tag", "")) if isinstance(headers, Mapping) else ""


def checked(pieces: Iterator[bytes], tag: str, guard: Guard) -> Iterator[bytes]:
    """Pass on the pieces of an answer. Raises StatementFailed for an error that the server wrote among them."""
    from urllib3.exceptions import HTTPError

    mark = b"__exception__\r\n" + tag.encode() if tag else b""
    held = b""
    try:
        for piece in pieces:
            held += piece
            if mark and mark in held:
                answer, _, held = held.partition(mark)
                yield answer.removesuffix(b"\r\n")
                for rest in pieces:
                    held += rest
                raise _reported(guard, held)
            # What may be the beginning of the mark waits for the next piece.
            keep = len(mark) + 1 if mark else _TAIL
            if len(held) > keep:
                yield held[:-keep]
                held = held[-keep:]
    except HTTPError:
        raise _reported(guard, held) from None
    if held:
        yield held


def _reported(guard: Guard, text: bytes) -> SourceError:
    """The error that the end of an answer tells of; an answer that ends without one was cut off."""
    found = re.search(rb"Code: (\d+)\. DB::Exception: .*", text, re.DOTALL)
    if found is None:
        return SourceUnreachable(f"The answer of ClickHouse at {guard.url} was cut off.", hint="Does it still run?")
    words = found[0].decode("utf-8", "replace")
    return guard.failure(int(found[1]), clean(re.split(r"\n\d+ \w+\r\n__exception__", words)[0], guard.secrets))


def clean(text: str, secrets: tuple[str, ...] = ()) -> str:
    """An error text without secrets, stack trace, repetition of the code and the version."""
    for secret in secrets:
        text = text.replace(secret, "[HIDDEN]") if secret else text
    text = re.split(r"\s*,?\s*Stack trace", text, maxsplit=1)[0]
    text = re.sub(r"Received ClickHouse exception, code: \d+, server response: ", "", text)
    text = re.sub(r"\s*\(for url [^()]*\)", "", text)
    text = re.sub(r"(Code: \d+\. )?DB::Exception: ", "", text)
    text = re.sub(r"\s*\(version [^()]*(\([^()]*\))?\)\.?", "", text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def _reason(text: str) -> str:
    """The last words of the operating system in the client's long story."""
    found = re.findall(r"\[Errno -?\d+\] ([^'\")]+)|((?:read|connect(?:ion)?) timed out)", text, re.IGNORECASE)
    return next((one or other for one, other in reversed(found)), text)


def missing_grant(user: str, text: str) -> MissingGrant:
    """The error for a missing right, with the GRANT that cures it when ClickHouse names it."""
    found = re.search(r"necessary to have the grant\s+(.+?)(?:\.\s|\.?\s*\(ACCESS_DENIED|\.?$)", text)
    return lacking(user, found.group(1).strip() if found else "BACKUP ON *.*", text)


def lacking(user: str, grant: str, text: str) -> MissingGrant:
    """The error for a right (``BACKUP ON *.*``) that this user lacks; ``user`` is the one that the server names."""
    return MissingGrant(
        f"The ClickHouse user {user!r} may not do this: {text}",
        hint=f"Let an administrator run: GRANT {grant} TO {grantee(user)}. A backup needs BACKUP on what it takes, and "
        "since ClickHouse 26.8 also READ and WRITE ON S3; a restore CREATE and INSERT, and READ ON S3.",
    )


def grantee(user: str) -> str:
    """The user as GRANT names it: in backticks where it is no plain word."""
    return user if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", user) else sql.quote_identifier(user)
