"""Keeping secrets out of everything that is printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

#: What replaces a secret.
MASK = "***"

#: Environment variables whose values never belong in a message.
SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "COLDHOUSE_NEW_PASSWORD",
    "COLDHOUSE_PASSWORD",
    "COLDHOUSE_SOURCE_PASSWORD",
    "COLDHOUSE_TARGET_PASSWORD",
)

#: Shorter ones would blot out ordinary words; a password in a URL is found by its place, however short.
SHORTEST = 4

_URL_PASSWORD = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)[^\s/'\"]*(?=@)", re.IGNORECASE)
_PARAMETER = re.compile(r"(?P<before>[?&](?:password|secret|token|sig|signature)=)[^&\s'\"]+", re.IGNORECASE)


class Scrubber:
    """Knows the secrets of this invocation and takes them out of a text."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._secrets: set[str] = set()
        for variable in SECRET_VARIABLES:
            self.add(environment.get(variable, ""))

    def __repr__(self) -> str:
        return f"Scrubber({len(self._secrets)} secrets)"

    def add(self, secret: str) -> None:
        """Never print ``secret`` again, neither as it is nor as a URL or ``repr`` would write it."""
        forms = {secret, quote(secret, safe=""), unquote(secret), repr(secret)[1:-1]}
        self._secrets |= {form for form in forms if len(form) >= SHORTEST}

    def clean(self, text: str) -> str:
        """The text without secrets."""
        for secret in sorted(self._secrets, key=len, reverse=True):  # a secret may be part of a longer one
            text = text.replace(secret, MASK)
        text = _URL_PASSWORD.sub(rf"\g<before>{MASK}", text)
        return _PARAMETER.sub(rf"\g<before>{MASK}", text)
