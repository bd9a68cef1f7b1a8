"""Structured logs by allow-list: a key that is not listed here does not leave the process, and no exception text does."""

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

__all__ = ["ALLOWED", "configure", "get_logger"]

ALLOWED = frozenset(
    {
        "event", "level", "timestamp", "service", "consumer", "topic", "partition", "lane", "offset", "count", "outcome",
        "reason", "error_class", "code", "kind", "event_type", "event_id", "source_hash", "sequence", "epoch", "seconds",
        "attempt", "pid", "signal", "port", "phase", "version", "route", "method", "status", "request_id", "setting", "name",
        "where",
    }
)  # fmt: skip


def configure(service: str) -> None:
    """JSON lines on standard error; libraries only from warning upwards, and only their logger's name and level.

    A library's message may hold a client's bytes (aiohttp logs malformed requests, aiokafka logs topics and errors), so its
    text is dropped and only who spoke is kept.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _named(service),
            _allow_listed,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Libraries()]
    root.setLevel(logging.WARNING)
    sys.excepthook = _crashed
    sys.unraisablehook = lambda lost: _crashed(lost.exc_type, lost.exc_value, lost.exc_traceback)
    threading.excepthook = lambda lost: _crashed(lost.exc_type, lost.exc_value, lost.exc_traceback)


def get_logger() -> Any:
    """A logger whose keys are filtered by ``ALLOWED``."""
    return structlog.get_logger()


class _Libraries(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        get_logger().warning("library", name=record.name, error_class=error)


def _crashed(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """What nobody has caught: its class and its place in the code, in one line. Its text may quote a row of the database."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
        kind, trace = type(error), error.__traceback__
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(trace)]
    get_logger().critical("crashed", error_class=kind.__name__, where=" ".join(places))


def _named(service: str) -> Any:
    def add(_: object, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        entry["service"] = service
        return entry

    return add


def _allow_listed(_: object, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value for key, value in entry.items() if key in ALLOWED}
