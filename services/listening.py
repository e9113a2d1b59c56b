"""Where the service listens, and whether it may, as it is set up."""

from dataclasses import dataclass

from bandit.domain.host import UNIX, is_of_this_machine
from services.router.tls import Certificates, Files
from services.settings import BadSettings, Settings


@dataclass(frozen=True, slots=True)
class Listening:
    """
    is_local       only this machine can call
    certificates   None: without TLS
    """

    is_local: bool
    certificates: Certificates | None
    takes_client_certificates: bool = False


def listening(settings: Settings) -> Listening:
    """How to listen; raises BadSettings where that would let in whom nobody meant to."""
    is_local = is_of_this_machine(settings.host)
    files = _files(settings)
    if files is None:
        if not is_local and not settings.allow_plaintext:
            raise BadSettings(
                "host",
                f"host: {settings.host} is open to other machines, and without TLS whoever is in "
                "between reads and changes what passes: set tls_certificate and tls_key, listen on "
                "127.0.0.1, or say allow_plaintext = true",
            )
        return Listening(is_local, None)
    if settings.host.startswith(UNIX):
        raise BadSettings("tls_certificate", "tls_certificate: has no use on a Unix socket")
    certificates = Certificates(files)
    try:
        certificates.check()
    except (OSError, ValueError) as error:
        raise BadSettings("tls_certificate", f"tls_certificate, tls_key: {error}") from None
    return Listening(is_local, certificates, files.client_ca is not None)


def address_of(host: str, port: int) -> str:
    """As gRPC takes it: host:port, or the path of a socket."""
    if host.startswith(UNIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _files(settings: Settings) -> Files | None:
    certificate, key, ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None and key is None:
        if ca is not None:
            raise BadSettings("tls_client_ca", "tls_client_ca: needs tls_certificate and tls_key")
        return None
    if certificate is None or key is None:
        missing = "tls_key" if key is None else "tls_certificate"
        raise BadSettings(missing, f"{missing}: must be set where the other one is")
    return Files(certificate, key, ca)
