"""Who is called for a page of the kernel here: whoever is on duty for the role. The board has no page of its own."""

from services.directory.paging import on_call

__all__ = ["on_call"]
