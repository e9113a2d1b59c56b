"""Certificates that the tests believe, and files that hold them."""

from pathlib import Path

import grpc
import trustme

HOST = "localhost"


class Authority:
    """Who signs certificates, with its own in a file."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, *, certificate: Path, key: Path, common_name: str | None = None) -> None:
        """Write a fresh certificate for this machine, and its key, in place of what is there."""
        issued = self._ca.issue_cert(HOST, "127.0.0.1", common_name=common_name)
        for path, content in (
            (certificate, b"".join(blob.bytes() for blob in issued.cert_chain_pems)),
            (key, issued.private_key_pem.bytes()),
        ):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(path)

    def credentials(self, common_name: str | None = None) -> grpc.ChannelCredentials:
        """Of a caller that believes this authority, and shows a certificate of that name."""
        if common_name is None:
            return grpc.ssl_channel_credentials(self.file.read_bytes())
        certificate, key = self._folder / "caller.pem", self._folder / "caller.key"
        self.issue(certificate=certificate, key=key, common_name=common_name)
        return grpc.ssl_channel_credentials(
            self.file.read_bytes(), key.read_bytes(), certificate.read_bytes()
        )


class Served:
    """The files that a service is started with."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.certificate, self.key = folder / "service.pem", folder / "service.key"
        self.renew()

    def renew(self) -> None:
        """Another certificate in place of the present one."""
        self.authority.issue(certificate=self.certificate, key=self.key)

    @property
    def settings(self) -> dict[str, str]:
        """What makes a service use them."""
        return {"tls_certificate": str(self.certificate), "tls_key": str(self.key)}
