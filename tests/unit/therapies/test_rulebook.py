"""The rulebook of a process: all files or none, and the revision that is in force."""

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.therapies.registry import COMMON, THERAPIES
from services.therapies.rulebook import Rulebook
from services.therapies.thresholds import Refused

ROOT = Path(__file__).parents[3]
DAY = dt.date(2027, 1, 12)


def test_every_programme_has_a_revision_in_force_from_its_first_day_on() -> None:
    book = Rulebook(production=lambda: False)
    for name in (*THERAPIES, *COMMON):
        first = book.revisions[name][0]
        assert book.on(name, first.effective) is first
        assert book.on(name, DAY).therapy == name
        with pytest.raises(LookupError, match="no revision"):
            book.on(name, first.effective - dt.timedelta(days=1))
    with pytest.raises(LookupError):
        book.on("homeopathy", DAY)


def test_one_refused_file_refuses_all(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="development key"):
        Rulebook(production=lambda: True).on("cadence", DAY)
    with pytest.raises(Refused, match="no threshold file"):
        Rulebook(production=lambda: False, directory=tmp_path).on("cadence", DAY)


def test_a_service_does_not_start_in_production_on_figures_that_nobody_has_signed() -> None:
    code = "from services.consultation.app import SERVICE; SERVICE.ladders()"
    env = {name: value for name, value in os.environ.items() if not name.startswith("TELEMED_")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "SettingsError" in last
    assert "signed with the development key" in last
