"""Whether a database's URL is one, before its parts are told: they may be a password's."""

import re

SCHEMES = ("postgresql://", "postgres://")

_CREDENTIALS = re.compile(r"[^@/]*@")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]@]*)(:[0-9]*)?")


def is_readable(url: str) -> bool:
    """
    Whether the driver will read every part of the URL as what it is meant to be.

    A password with a character that ought to be percent-encoded makes a port, a host or a database
    of what follows it, and whoever complains of those repeats them.
    """
    scheme, _, rest = url.partition("://")
    if f"{scheme}://" not in SCHEMES or _BROKEN_ESCAPE.search(rest):
        return False
    credentials = _CREDENTIALS.match(rest)
    place = rest[credentials.end() :] if credentials else rest
    path, has_query, query = place.partition("?")
    hosts, _, database = path.partition("/")
    return (
        "@" not in database
        and all(_HOST.fullmatch(host) for host in hosts.split(","))
        and (not has_query or all("=" in pair for pair in query.split("&")))
    )
