"""Every variable that our code reads, as one table: what ``telemed config check`` knows, and what docs/settings.md shows.

``python -m services.cli.settings_table`` writes docs/settings.md anew; a test fails while it differs.
"""

import json
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from services.cli.operate.access import OperatorSettings
from services.cli.stack.settings import StackSettings
from services.follow_up.settings import MessageSettings
from services.runtime.settings import (
    AuditSettings,
    DatabaseSettings,
    HttpSettings,
    KafkaSettings,
    MessagingSettings,
    OidcSettings,
    ProcessSettings,
    SmtpSettings,
)
from services.session_logging.settings import SampleSettings
from services.staff_dashboard.settings import BoardSettings
from services.video_visits.settings import LiveKitSettings

__all__ = ["DOCUMENT", "SECTIONS", "Setting", "known", "reference", "settings", "unknown"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"

SECTIONS: Mapping[str, type[BaseSettings]] = {
    "The process": ProcessSettings,
    "PostgreSQL": DatabaseSettings,
    "Apache Kafka": KafkaSettings,
    "Mail": SmtpSettings,
    "HTTP": HttpSettings,
    "Identity": OidcSettings,
    "The sealed audit": AuditSettings,
    "The messaging kernel": MessagingSettings,
    "Messages to patients (`follow_up`)": MessageSettings,
    "Samples of monitors (`telemed samples keep`)": SampleSettings,
    "Video (`video_visits`)": LiveKitSettings,
    "The staff board (`staff_dashboard`)": BoardSettings,
    "Operators' commands": OperatorSettings,
    "The local stack (`telemed up`)": StackSettings,
}
_COMMAND_LINE = (
    ("TELEMED_HOME", "`.telemed`", "folder of the local stack: its data, secrets and logs"),
    ("TELEMED_CACHE", "`~/.cache/telemed`", "folder of what was downloaded for the local stack"),
    ("TELEMED_MAVEN_URL", "Maven's own", "repository from which Apache Kafka is fetched"),
    ("TELEMED_SERVICES", "the product's", "packages of the services of this deployment, separated by commas"),
)
"""Read by the command line before any settings class."""

_HEAD = """# Settings

Every setting is an environment variable. A service reads all of them once, when it starts, and refuses to start when one is
missing or wrong; `telemed config check` lists every problem at once, without any value.

A **secret** may be given as a file instead: the same name with `_FILE` at its end holds the path. Give one of the two.
`TELEMED_ENV` unset means production.

This page is written by `python -m services.cli.settings_table`; do not edit it by hand.
"""


class Setting(NamedTuple):
    """One row of the table."""

    variable: str
    kind: str
    default: str
    meaning: str
    secret: bool


def settings(section: type[BaseSettings]) -> Iterator[Setting]:
    """The variables of one settings class."""
    prefix = str(section.model_config.get("env_prefix", ""))
    for name, field in section.model_fields.items():
        secret = SecretStr in _kinds(field.annotation)
        default = "required" if field.is_required() else _default(field)
        yield Setting((prefix + name).upper(), _kind(field), default, field.description or "", secret)


def known() -> frozenset[str]:
    """Every variable that something of ours reads. Any of a service's own settings may be given as a file."""
    found = {name for name, _, _ in _COMMAND_LINE}
    for section in SECTIONS.values():
        for setting in settings(section):
            found |= {setting.variable, setting.variable + "_FILE"}
    return frozenset(found)


def unknown(names: Iterable[str]) -> list[str]:
    """Variables that look like ours and are not: most likely misspelt."""
    return sorted(name for name in names if name.startswith("TELEMED_") and name not in known())


def reference() -> str:
    """The text of docs/settings.md."""
    parts = [_HEAD]
    for title, section in SECTIONS.items():
        parts.append(f"\n## {title}\n\n| variable | type | default | meaning |\n|---|---|---|---|\n")
        for setting in settings(section):
            mark = " (secret)" if setting.secret else ""
            parts.append(f"| `{setting.variable}` | {setting.kind}{mark} | {setting.default} | {setting.meaning} |\n")
    parts.append("\n## The command line\n\n| variable | default | meaning |\n|---|---|---|\n")
    parts += [f"| `{variable}` | {default} | {meaning} |\n" for variable, default, meaning in _COMMAND_LINE]
    return "".join(parts)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _kind(field: FieldInfo) -> str:
    kind = next(kind for kind in _kinds(field.annotation) if kind is not type(None))
    if get_origin(kind) is tuple:
        return "JSON list of texts"
    names = {int: "whole number", float: "number", str: "text", SecretStr: "text", Path: "path"}
    return names.get(kind) or " or ".join(f"`{member.value}`" for member in kind)


def _default(field: FieldInfo) -> str:
    if field.default is None or field.default == "":
        return "-"
    if isinstance(field.default, tuple):
        return f"`{json.dumps(field.default)}`"
    return f"`{getattr(field.default, 'value', field.default)}`"


if __name__ == "__main__":
    DOCUMENT.write_text(reference(), encoding="utf-8")
