"""Loopback ports: choosing free ones, and saying who holds a taken one."""

import secrets
import socket

from services.cli.stack.errors import StackError

__all__ = ["HOST", "free_ports", "is_open", "require_free"]

HOST = "127.0.0.1"

# Below 32768, where client sockets begin: a port from there may at any moment be the near end of somebody's connection.
_LOWEST, _HIGHEST = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on right now."""
    found: list[int] = []
    for _ in range(100 * count):
        if len(found) == count:
            return found
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if port not in found and _bindable(port):
            found.append(port)
    raise StackError(f"no free port between {_LOWEST} and {_HIGHEST}")


def require_free(port: int, what: str) -> None:
    """Make sure that ``what`` (e.g. "PostgreSQL") can listen on ``port``.

    Raises:
        StackError: naming the port and, where this user may see it, the process that holds it.
    """
    if not _bindable(port):
        raise StackError(f"port {port} for {what} is in use{_holder(port)}: stop it or choose another port")


def is_open(port: int) -> bool:
    """Whether something accepts connections on this port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _bindable(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do, so that connections of a stopped server which are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _holder(port: int) -> str:
    import psutil  # of the local stack only: operators' commands import this module without it

    try:
        connections = psutil.net_connections(kind="tcp")
        for connection in connections:
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass  # on some systems only root may see the sockets of others
    return ""
