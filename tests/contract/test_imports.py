"""The import contracts name every folder: one that is forgotten would be free to import anything."""

import configparser
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Folders of services/ that are not services: what may import what is said in contracts of their own.
_NOT_SERVICES = {"runtime", "therapies", "directory", "screening", "cli"}


def contracts(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    return found


def complaints(found: list[dict[str, Any]], folders: set[str]) -> list[str]:
    """Folders about which the contracts say too little."""

    def forbidden(source: str) -> set[str]:
        """What this module must not import."""
        named: set[str] = set()
        for contract in found:
            if contract["type"] == "forbidden" and source in contract["source_modules"]:
                named |= set(contract["forbidden_modules"])
            elif contract["type"] == "independence" and source in contract["modules"]:
                named |= set(contract["modules"]) - {source}
        return named

    services = {f"services.{name}" for name in folders - _NOT_SERVICES}
    problems = []
    for name in sorted(folders - {"cli"}):
        source = f"services.{name}"
        lacking = ({"services.cli"} | services) - {source} - forbidden(source)
        problems += [f"{source} may import {other}" for other in sorted(lacking)]
    if "services" not in forbidden("schemas"):
        problems.append("schemas may import services")
    return problems


def folders_of(root: Path) -> set[str]:
    return {path.parent.name for path in (root / "services").glob("*/__init__.py")}


def test_every_folder_of_services_stands_in_the_contracts() -> None:
    folders = folders_of(ROOT)
    assert {"runtime", "cli"} <= folders
    assert complaints(contracts((ROOT / "pyproject.toml").read_text(encoding="utf-8")), folders) == []


def test_a_forgotten_service_is_noticed() -> None:
    found = contracts((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    noticed = complaints(found, folders_of(ROOT) | {"forgotten"})
    assert "services.forgotten may import services.cli" in noticed
    assert "services.runtime may import services.forgotten" in noticed


def test_the_contracts_notice_an_import_across_them(tmp_path: Path) -> None:
    """The tool itself, on a copy in miniature where the runtime imports the command line."""
    folders = [f"services/{name}" for name in sorted(folders_of(ROOT))]
    for package in ("services", *folders, "services/runtime/messaging", "schemas"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    config = configparser.ConfigParser()
    config["importlinter"] = {"root_packages": "\n services\n schemas"}
    for number, contract in enumerate(contracts((ROOT / "pyproject.toml").read_text(encoding="utf-8"))):
        section = {key: "\n " + "\n ".join(value) if isinstance(value, list) else value for key, value in contract.items()}
        # What is about modules or libraries that the miniature does not have is left out.
        if not any(name in str(value) for value in section.values() for name in ("aiohttp", "cryptography", "layers")):
            config[f"importlinter:contract:{number}"] = section
    with (tmp_path / ".importlinter").open("w") as file:
        config.write(file)
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"]

    def lint() -> int:
        done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, check=False)
        return done.returncode

    assert lint() == 0
    (tmp_path / "services/runtime/bad.py").write_text("import services.cli\n", encoding="utf-8")
    assert lint() == 1
