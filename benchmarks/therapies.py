"""How long the clinical rules take. ``python -m benchmarks.therapies`` prints the table; nothing here is a test.

Targets: one vitals set through the alert rules at most 100 microseconds, an eligibility evaluation at most 1 ms.
"""

import datetime as dt
import statistics
import time
from collections.abc import Callable

from services.therapies.ketamine.alerts import AlertState, Reading, Source, begin, fold, step
from services.therapies.ketamine.dosing import dose_of_the_day
from services.therapies.ketamine.eligibility import eligibility
from services.therapies.ketamine.gates import start_gate
from tests.support.ketamine_cases import START, dose_case, eligible, start_case, vitals
from tests.support.rules import q, rules

ROUNDS = 7


def _reading(n: int, source: Source, seconds: float) -> Reading:
    at = START.at + dt.timedelta(seconds=seconds)
    typed = source is Source.TYPED
    return Reading(
        id=f"{source.value}{n}",
        at=at,
        recorded_at=at,
        source=source,
        sbp=q("138 mm[Hg]") if typed else None,
        dbp=q("84 mm[Hg]") if typed else None,
        heart_rate=q("84 /min"),
        resp_rate=q("18 /min"),
        spo2=q("98 %"),
        moaa_s=5 if typed else None,
    )


def _best(work: Callable[[], int]) -> tuple[float, float]:
    """Median and best processor time per unit of work, in microseconds: waiting for a busy machine is not the rules'
    time.
    """
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        units = work()
        times.append((time.process_time() - started) / units * 1e6)
    return statistics.median(times), min(times)


def main() -> None:
    """Print the table."""
    ketamine = rules("ketamine")
    fresh = begin(START.at, vitals(), ketamine)
    hour = [_reading(n, Source.STREAM, n) for n in range(3600)]
    full = fold(fresh, hour, START.at + dt.timedelta(hours=1), ketamine)
    assert isinstance(full, AlertState)

    def sets(state: AlertState, readings: list[Reading]) -> int:
        for reading in readings:
            result = step(state, reading, ketamine)
            assert isinstance(result, tuple)
            state = result[0]
        return len(readings)

    early = [_reading(n, Source.TYPED, 1 + n * 30) for n in range(200)]
    beats = [_reading(n, Source.STREAM, 1 + n) for n in range(200)]
    late = [_reading(n, Source.TYPED, 3601 + n * 30) for n in range(200)]
    patient, start, order = eligible(), start_case(), dose_case()

    rows = [
        ("vitals set, typed, start of a session", 100, lambda: sets(fresh, early)),
        ("sample, stream, start of a session", 100, lambda: sets(fresh, beats)),
        ("vitals set, typed, after an hour of stream", 100, lambda: sets(full, late)),
        ("eligibility, ketamine", 1000, lambda: [eligibility(patient, ketamine) for _ in range(50)].__len__()),
        ("start gate, ketamine", 1000, lambda: [start_gate(start, ketamine) for _ in range(50)].__len__()),
        (
            "dose of the day, ketamine",
            1000,
            lambda: [dose_of_the_day(order, ketamine) for _ in range(50)].__len__(),
        ),
    ]
    print(f"{'what':46} {'median us':>10} {'best us':>9} {'target us':>10}")
    for name, target, work in rows:
        median, best = _best(work)
        print(f"{name:46} {median:10.1f} {best:9.1f} {target:10}")


if __name__ == "__main__":
    main()
