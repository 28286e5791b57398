"""Where a bucket is: from a URL and the environment to the options of the client, before any request is made."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from coldhouse.errors import UsageError

_QUERY = {"s3": ("endpoint", "region"), "gs": ("endpoint",), "az": ("endpoint", "account")}
# The first variable that is set counts. The client itself reads the variables that hold credentials.
_ENDPOINT = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL", "STORAGE_EMULATOR_HOST"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ACCOUNT = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")


class BucketPlace(Struct, frozen=True):
    """A bucket (or container) and the prefix of our names in it, without slashes around it.

    ``endpoint`` is empty for the provider's own; ``region`` is for S3 and ``account`` for Azure, empty if unknown.
    """

    scheme: str
    bucket: str
    prefix: str
    endpoint: str = ""
    region: str = ""
    account: str = ""

    @property
    def url(self) -> str:
        """The URL that people read: no endpoint, nothing secret."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}" if self.prefix else f"{self.scheme}://{self.bucket}"

    @property
    def untouched_on_the_way(self) -> bool:
        """Whether nobody can change what is sent: TLS sees to it, or it does not leave this machine."""
        host = urlsplit(self.endpoint).hostname or ""
        return not self.plain_http or _is_loopback(host)

    @property
    def plain_http(self) -> bool:
        """Whether the endpoint asks for HTTP without TLS."""
        return self.endpoint.startswith("http://")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def parse_bucket_url(url: str, environment: Mapping[str, str]) -> BucketPlace:
    """Read ``scheme://bucket/prefix?endpoint=...``; what the URL does not say comes from the environment.

    Raises UsageError if the URL holds credentials, an unknown option, or no bucket.
    """
    split = urlsplit(url)
    shown = f"{split.scheme}://{split.hostname or ''}"
    if "@" in split.netloc:
        raise UsageError(
            f"The URL of a repository at {shown} must not hold credentials: it is shown in lists and logs.",
            hint=f"Put them into the environment: {_CREDENTIALS[split.scheme]}.",
        )
    if not split.netloc or ":" in split.netloc or split.fragment:
        raise UsageError(f"{url} does not name a bucket.", hint=f"Write it as {split.scheme}://bucket/prefix.")
    options = dict(parse_qsl(split.query, keep_blank_values=True))
    for option in options:
        if option not in _QUERY[split.scheme]:
            raise UsageError(
                f"A {split.scheme}:// URL has no option {option!r}.",
                hint=f"It may have {' and '.join(_QUERY[split.scheme])}; credentials belong into the environment.",
            )
    return BucketPlace(
        scheme=split.scheme,
        bucket=split.netloc,
        prefix=unquote(split.path).strip("/"),
        endpoint=_endpoint(options.get("endpoint") or _first(environment, _ENDPOINT[split.scheme])),
        region=options.get("region") or (_first(environment, _REGION) if split.scheme == "s3" else ""),
        account=options.get("account") or (_first(environment, _ACCOUNT) if split.scheme == "az" else ""),
    )


def credentials_hint(scheme: str) -> str:
    """What to look at when a store rejects us."""
    return f"Check {_CREDENTIALS[scheme]}, and the rights they give: read, write, list and delete below the prefix."


_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN) and AWS_REGION",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def _endpoint(text: str) -> str:
    if text and "://" not in text:
        text = f"http://{text}"  # STORAGE_EMULATOR_HOST is usually host:port
    if "@" in urlsplit(text).netloc:
        raise UsageError("The endpoint of a store must not hold credentials.", hint="Put them into the environment.")
    return text.rstrip("/")
