"""HTTPS with a certificate of one's own."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from coldhouse.errors import GatewayError, UsageError
from coldhouse.gateway import Gateway, GatewaySettings
from coldhouse.records import replace
from tests.gateway.client import Client
from tests.gateway.conftest import Taking
from tests.gateway.test_ingest import LARGE


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_a_file_arrives_over_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(cert))
    with Gateway(GatewaySettings(tls_cert=cert, tls_key=key)) as gateway:
        taking = Taking(gateway)
        client = replace(taking.client, context=trusting)
        assert taking.client.address.url.startswith("https://127.0.0.1:")
        assert client.put("data/a", LARGE).status == 200
        assert taking.content("a") == LARGE
        with pytest.raises(ssl.SSLError):
            Client(taking.client.address).get("data/a")


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with pytest.raises(UsageError, match="its key"):
        Gateway(GatewaySettings(tls_cert=cert))
    key.write_text("no key")
    with pytest.raises(GatewayError, match="cannot be used"):
        Gateway(GatewaySettings(tls_cert=cert, tls_key=key)).start()
    with pytest.raises(GatewayError, match="cannot be used"):
        Gateway(GatewaySettings(tls_cert=tmp_path / "absent", tls_key=key)).start()
