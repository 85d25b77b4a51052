"""What the upload benchmark sends: files of USER_PROFILE lines, and the certificate of its receiver."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

from check_lines import KINDS, corpus

SOURCES = {
    "source.ndjson": (KINDS[:1], 0.0),
    "mixed.ndjson": (KINDS, 0.0),
    "bad.ndjson": (KINDS[:1], 0.01),
}


def make_sources(size: int) -> dict[str, int]:
    """Write each source, and the first one compressed, too; returns how many good lines each one has.

    A source's lines name their people in one way, as an export of one system does; or in all three ways, mixed line
    by line; or in one way, and every hundredth line or so is bad.
    """
    lines = {name: write_source(Path(name), size, kinds, bad) for name, (kinds, bad) in SOURCES.items()}
    subprocess.run(["gzip", "-1", "-k", "source.ndjson"], check=True)
    return lines | {"source.ndjson.gz": lines["source.ndjson"]}


def write_source(path: Path, size: int, kinds: tuple[str, ...] = KINDS[:1], bad: float = 0.0) -> int:
    """Write lines of about so many bytes, a piece of them again and again; return how many good ones there are."""
    piece = corpus(min(size, 50_000_000), kinds, bad=bad)
    data = b"".join(piece)
    times = max(1, round(size / len(data)))
    with path.open("wb") as file:
        file.writelines(data for _ in range(times))
    return sum(b'"user_profile"' in line for line in piece) * times


def make_certificate() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    Path("cert.pem").write_bytes(certificate.public_bytes(pem))
    private = serialization.PrivateFormat.PKCS8
    Path("key.pem").write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))
