"""A page to be printed, as the answer of a route: one document without a script and without anything from elsewhere.

It is made of elements, never of markup that is put together: a text stays a text, whatever stands in it. Who may see it is
asked as for any other answer of a route.
"""

import base64
import hashlib
from xml.etree import ElementTree

from pydantic import BaseModel

__all__ = ["Element", "Printed", "el", "printed"]

Element = ElementTree.Element


class Printed(BaseModel):
    """The document and the policy under which it is shown: its own style, and nothing else."""

    html: str
    policy: str


def el(tag: str, *children: "Element | str | None", **attributes: object) -> Element:
    """An element with its children in order; a name that Python keeps for itself ends with ``_``, ``-`` is written ``__``."""
    made = Element(tag, {name.rstrip("_").replace("__", "-"): str(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, str):
            if len(made):
                made[-1].tail = (made[-1].tail or "") + child
            else:
                made.text = (made.text or "") + child
        elif child is not None:
            made.append(child)
    return made


def printed(title: str, style: str, *body: "Element | str | None", language: str = "en") -> Printed:
    """A whole document."""
    head = el("head", el("meta", charset="utf-8"), el("title", title), el("style", style))
    document = el("html", head, el("body", *body), lang=language)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return Printed(
        html="<!doctype html>" + ElementTree.tostring(document, encoding="unicode", method="html"),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
