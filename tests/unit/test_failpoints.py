"""Failpoints: what is written in the environment is what happens, and what happened can be proven."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.runtime.failpoints import FailpointError, Failpoints


def test_without_any_a_hit_does_nothing() -> None:
    Failpoints().check("anything")
    asyncio.run(Failpoints.parse("").hit("anything"))


def test_it_fires_every_time_unless_a_number_is_given() -> None:
    points = Failpoints.parse("always=raise;third=raise@3")
    for _ in range(3):
        with pytest.raises(FailpointError, match="always"):
            points.check("always")
    points.check("third")
    points.check("third")
    with pytest.raises(FailpointError, match="third"):
        points.check("third")
    points.check("third")


def test_an_argument_of_raise_selects_by_detail_and_only_those_count() -> None:
    points = Failpoints.parse("handle=raise:bad@2")
    points.check("handle", "good")
    points.check("handle", "bad")
    points.check("handle", "good")
    with pytest.raises(FailpointError):
        points.check("handle", "bad")


def test_a_delay_lets_the_loop_go_on_and_a_block_does_not(tmp_path: Path) -> None:
    async def ticks_during(point: str) -> int:
        points = Failpoints.parse(f"here={point}:0.2", tmp_path / "log")
        ticks = 0

        async def count() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        started = time.monotonic()
        await points.hit("here")
        assert time.monotonic() - started >= 0.2
        counting.cancel()
        return ticks

    assert asyncio.run(ticks_during("delay")) > 0
    assert asyncio.run(ticks_during("block")) == 0
    assert (tmp_path / "log").read_text() == f"{os.getpid()} here\n" * 2


@pytest.mark.parametrize(("action", "number"), [("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)])
def test_a_signal_ends_or_stops_the_process_after_it_was_recorded(tmp_path: Path, action: str, number: signal.Signals) -> None:
    log = tmp_path / "log"
    program = (
        "import pathlib; from services.runtime.failpoints import Failpoints; "
        f"p = Failpoints.parse('there={action}@2', pathlib.Path({str(log)!r})); p.check('there'); p.check('there'); print('on')"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        if action == "stop":
            assert os.WIFSTOPPED(status)
            assert os.WSTOPSIG(status) == number
        else:
            assert os.WIFSIGNALED(status)
            assert os.WTERMSIG(status) == number
            child.returncode = -int(number)
        assert log.read_text() == f"{child.pid} there\n"
    finally:
        if child.returncode is None:
            child.kill()
        child.communicate()


@pytest.mark.parametrize("text", ["nonsense", "a=explode", "a=", "a=raise@soon", "a=delay:x;b=nothing"])
def test_what_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a failpoint|invalid literal"):
        Failpoints.parse(text)
