"""The event loop that services run on, for every contender alike."""

from typing import Any

__all__ = ["loop_factory"]


def loop_factory() -> Any:
    """uvloop where it is installed, else None."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
