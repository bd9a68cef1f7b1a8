"""Who is called for a page of visits: whoever is on duty for the role."""

from services.directory.paging import on_call

__all__ = ["on_call"]
