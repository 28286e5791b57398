"""Users and passwords in the URLs of sources and targets."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit, urlunsplit


def with_credentials(url: str, user: str, password: str) -> str:
    """The URL with ``user`` and ``password`` filled in where it has none of its own."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not (user or password):
        return url
    found_user, found_password = _user_and_password(parts.netloc)
    user = found_user or quote(user, safe="")
    password = found_password or quote(password, safe="")
    host = parts.netloc.rpartition("@")[2]
    authority = f"{user}:{password}@{host}" if password else f"{user}@{host}"
    return urlunsplit(parts._replace(netloc=authority))


def without_credentials(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url


def password_of(url: str) -> str:
    """The password in the URL, decoded, or nothing."""
    return unquote(_user_and_password(urlsplit(url).netloc)[1])


def _user_and_password(authority: str) -> tuple[str, str]:
    user, _, password = authority.rpartition("@")[0].partition(":")
    return user, password
