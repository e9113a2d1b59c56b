"""The certificate that the service shows, and which callers' certificates it believes."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.logs import Outage, logger

if TYPE_CHECKING:
    import grpc

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Files:
    """
    Where the PEM files are.

    client_ca   callers must show a certificate that one of these has signed; None: none is asked
                for
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Certificates:
    """
    What the files hold, read again for a new connection when one of them was replaced.

    Connections that are there go on.  While what is new cannot be used, the old is shown on.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._stamps: Sequence[tuple[int, int, int]] = ()
        self._outage = Outage(_log, "reading the renewed certificate")

    def check(self) -> None:
        """Raises OSError where a file cannot be read, ValueError where it cannot be used."""
        _check_pair(self._files)

    def credentials(self) -> "grpc.ServerCredentials":
        """For `add_secure_port`; raises as `check`."""
        import grpc  # not by those who only check

        first = self._read()
        return grpc.dynamic_ssl_server_credentials(
            first,
            self._renewed,  # type: ignore[arg-type]  # whose None is allowed, but not declared
            require_client_authentication=self._files.client_ca is not None,
        )

    def _renewed(self) -> "grpc.ServerCertificateConfiguration | None":
        """What a new connection is shown; None: the same as before.  Called by gRPC's threads."""
        try:
            if self._stamped() == self._stamps:
                return None
            renewed = self._read()
        except (OSError, ValueError) as error:
            self._outage.began(error)
            return None
        self._outage.ended()
        _log.info("the certificate was renewed")
        return renewed

    def _read(self) -> "grpc.ServerCertificateConfiguration":
        import grpc

        stamps = self._stamped()
        _check_pair(self._files)
        certificate, key = self._files.certificate.read_bytes(), self._files.key.read_bytes()
        ca = None if self._files.client_ca is None else self._files.client_ca.read_bytes()
        if self._stamped() != stamps:
            raise ValueError("the files are being replaced")
        self._stamps = stamps
        return grpc.ssl_server_certificate_configuration([(key, certificate)], ca)

    def _stamped(self) -> Sequence[tuple[int, int, int]]:
        files = [self._files.certificate, self._files.key]
        if self._files.client_ca is not None:
            files.append(self._files.client_ca)
        stats = [file.stat() for file in files]
        return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats]


def _check_pair(files: Files) -> None:
    """
    See that the key belongs to the certificate, as far as Python's own TLS can tell.

    gRPC itself would refuse every caller over a pair that does not fit, without a word.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
    except ssl.SSLError as error:
        raise ValueError(f"it cannot be used: {error.reason or error}") from None


def _no_password() -> str:
    raise ValueError("the key is encrypted: nobody is here to type its password")
