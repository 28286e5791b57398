"""Azure Blob Storage for tests: Azurite, Microsoft's emulator, from npm, on loopback."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from email.utils import formatdate
from pathlib import Path
from typing import Self
from uuid import uuid4

from tests.support.ports import free_ports

PACKAGE = "azurite@3.35.0"
TOOLS = Path(__file__).resolve().parents[2] / ".tools" / "azurite"  # where `make test` puts it
MAIN = TOOLS / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
ACCOUNT = "devstoreaccount1"
# The public key that every Azurite has: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
START_SECONDS = 30.0


def why_not() -> str:
    """Why Azurite cannot run here, or nothing if it can."""
    missing = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    return f"Azurite needs {' and '.join(missing)}, not installed here" if missing else ""


def install() -> None:
    """Install Azurite into the checkout, unless it is there; test processes wait for each other."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not MAIN.exists():
            command = ["npm", "install", "--prefix", str(TOOLS), "--no-save", "--no-audit", "--no-fund", PACKAGE]
            subprocess.run(command, check=True, capture_output=True, timeout=300)


class Azurite:
    """One server with one container."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.container = f"coldhouse-{uuid4().hex[:8]}"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The address of the blob interface of the one account."""
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that let a client in."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
        }

    def new_url(self) -> str:
        """A place in the container that nobody used before."""
        return f"az://{self.container}/run/{uuid4().hex[:12]}"

    def start(self) -> Self:
        """Start it, wait until it answers and make the container."""
        install()
        (self.port,) = free_ports(1)
        self.directory.mkdir(parents=True, exist_ok=True)
        flags = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.directory)]
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["node", str(MAIN), *flags, "--silent", "--disableTelemetry", "--skipApiVersionCheck"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        self._make_container()
        return self

    def stop(self) -> None:
        """Kill it: nothing of it is kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _make_container(self) -> None:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(self._request_for_container(), timeout=5).close()
                return
            except urllib.error.HTTPError as error:
                error.close()
                raise RuntimeError(f"Azurite answered {error.code} to the creation of a container") from error
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def _request_for_container(self) -> urllib.request.Request:
        # Shared Key: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
        date, version = formatdate(usegmt=True), "2021-12-02"
        resource = f"/{ACCOUNT}/{ACCOUNT}/{self.container}\nrestype:container"
        text = f"PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n{resource}"
        signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
        return urllib.request.Request(
            f"{self.endpoint}/{self.container}?restype=container",
            method="PUT",
            headers={
                "x-ms-date": date,
                "x-ms-version": version,
                "Authorization": f"SharedKey {ACCOUNT}:{signature}",
                "Content-Length": "0",
            },
        )
