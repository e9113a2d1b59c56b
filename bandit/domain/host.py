"""Where somebody listens, or calls."""

import ipaddress

UNIX = "unix:"


def is_of_this_machine(host: str) -> bool:
    """Whether nobody on another machine is reached there, or reaches it; a name says nothing."""
    if host.startswith(UNIX) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(target: str) -> str:
    """The host in `host:port`, as gRPC takes it; of a Unix socket the whole."""
    if target.startswith(UNIX):
        return target
    host, separator, port = target.rpartition(":")
    return host if separator and port.isdigit() else target
