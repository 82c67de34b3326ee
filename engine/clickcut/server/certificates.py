"""Certificates of the server and of the authorities of its clients, kept up to date.

They are checked when they are read: a certificate that has expired or does not belong to its key
would fail at every handshake instead. The server reads them again when their files change and on
SIGHUP; where the new ones cannot be used, the old ones stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from clickcut.errors import ClickcutError
from clickcut.server.settings import Settings

_log = logging.getLogger(__name__)

_WATCH_SECONDS = 5.0

_EXPIRED, _NOT_YET_VALID = 10, 9
"""X509_V_ERR_CERT_HAS_EXPIRED and X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL."""


class CertificateError(ClickcutError):
    """A certificate or key cannot be used."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What the files hold.

    Attributes:
        key: private key, PEM.
        chain: certificate chain, PEM.
        authorities: CA certificates, PEM, by file.
    """

    key: bytes
    chain: bytes
    authorities: Mapping[Path, bytes]


class Certificates:
    """The certificate of a server, its key, and the authorities of its clients.

    Args:
        cert: certificate chain.
        key: its private key.
        authorities: files of CA certificates.

    Raises:
        CertificateError: one cannot be used.
    """

    def __init__(self, cert: Path, key: Path, *authorities: Path) -> None:
        self._cert, self._key, self._authorities = cert, key, authorities
        self._stamps = self._present_stamps()
        self._loaded = self._load()
        self._contexts: list[ssl.SSLContext] = []

    @staticmethod
    def of(settings: Settings) -> Certificates | None:
        """Return the certificates that settings name; None for plain text.

        Raises:
            CertificateError: one cannot be used.
        """
        if settings.tls_cert is None or settings.tls_key is None:
            return None
        authorities = settings.tls_client_ca, settings.admin_client_ca
        named = [path for path in authorities if path is not None]
        return Certificates(settings.tls_cert, settings.tls_key, *named)

    def credentials(self, authority: Path | None) -> grpc.ServerCredentials:
        """Return credentials for an address.

        Args:
            authority: file of CA certificates, one of `authorities`; clients must present a
                certificate that one of these signed. None: clients need no certificate.
        """
        given = self._loaded

        def configuration() -> grpc.ServerCertificateConfiguration:
            roots = None if authority is None else given.authorities[authority]
            return grpc.ssl_server_certificate_configuration([(given.key, given.chain)], roots)

        def changed() -> grpc.ServerCertificateConfiguration | None:
            """In a thread of gRPC, before each handshake."""
            nonlocal given
            if given is self._loaded:
                return None
            given = self._loaded
            return configuration()

        return grpc.dynamic_ssl_server_credentials(
            configuration(),
            changed,  # type: ignore[arg-type]  # the stubs lack None: nothing has changed
            require_client_authentication=authority is not None,
        )

    def context(self) -> ssl.SSLContext:
        """Return a context for a server that is not gRPC's; it is kept up to date as well."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._cert, self._key, password=_no_password)
        self._contexts.append(context)
        return context

    def reload(self) -> None:
        """Read the files again; the old content stays when it cannot be used, which is logged."""
        self._stamps = self._present_stamps()
        try:
            self._loaded = self._load()
            for context in self._contexts:
                context.load_cert_chain(self._cert, self._key, password=_no_password)
        except (CertificateError, OSError) as error:
            _log.warning("certificates not reloaded, the old ones remain in use: %s", error)
        else:
            _log.info("certificates reloaded: %s", self._cert)

    async def watch(self) -> None:
        """Reload when a file changes, until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._present_stamps() != self._stamps:
                self.reload()

    def _present_stamps(self) -> list[tuple[int, int, int] | None]:
        """Return what changes when a file is written or replaced."""
        return [_stamp(path) for path in (self._cert, self._key, *self._authorities)]

    def _load(self) -> _Loaded:
        check_pair(self._cert, self._key)
        for path in self._authorities:
            check_authorities(path)
        try:
            return _Loaded(
                self._key.read_bytes(),
                self._cert.read_bytes(),
                {path: path.read_bytes() for path in self._authorities},
            )
        except OSError as error:  # they were there a moment ago
            raise CertificateError(
                f"{error.filename}: cannot be read ({error.strerror})"
            ) from error


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def check_pair(cert: Path, key: Path) -> None:
    """Check that a certificate and its key can be used, by a handshake in memory.

    Raises:
        CertificateError: one cannot be read or is encrypted, they do not belong together, or the
            certificate has expired or is not valid yet.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # the certificate suffices
    try:
        server.load_cert_chain(cert, key, password=_no_password)
        client.load_verify_locations(cert)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise CertificateError(
            f"cannot use the certificate {cert} with the key {key}: both must be PEM, not "
            f"encrypted, and belong together ({_reason(error)})"
        ) from error
    try:
        _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
            what = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
            raise CertificateError(
                f"the certificate {cert} {what}: renew it, or check this machine's clock"
            ) from error
        # Clients may trust it for reasons that are not known here.


def check_authorities(path: Path) -> None:
    """Check a file of CA certificates.

    Raises:
        CertificateError: it cannot be read, holds no certificate, or all have expired.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise CertificateError(
            f"{path}: holds no CA certificate in PEM form ({_reason(error)})"
        ) from error
    ends = [
        ssl.cert_time_to_seconds(str(authority["notAfter"])) for authority in context.get_ca_certs()
    ]
    if not ends:
        raise CertificateError(f"{path}: holds no certificate of an authority (CA)")
    if max(ends) < time.time():
        raise CertificateError(f"{path}: its CA certificates have expired; renew them")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    upwards, downwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(downwards, upwards),
        server.wrap_bio(upwards, downwards, server_side=True),
    )
    for _ in range(3):  # flights of messages
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)


def _no_password() -> str:
    """Return no password, so that OpenSSL does not ask for one on the terminal."""
    return ""
