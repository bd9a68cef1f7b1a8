"""Alternated rounds: every contender once per round in a shuffled order, the first round thrown away, a bad round void."""

import gc
import random
import statistics
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Contender", "Results", "Void", "alternate", "median", "quantile", "spread"]

Contender = Callable[[], Awaitable[Mapping[str, float]]]
"""Does its work once, checks what came of it, and returns what was measured."""


class Void(Exception):
    """What a contender left behind is not what it was asked for: its numbers mean nothing."""


@dataclass
class Results:
    """Values of the rounds that count, by contender and metric; ``void`` says what spoilt the others."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    void: list[str] = field(default_factory=list)
    rounds: int = 0

    def of(self, contender: str, metric: str) -> list[float]:
        """One value per round."""
        return self.values.get(contender, {}).get(metric, [])

    def median(self, contender: str, metric: str) -> float:
        """Median over the rounds; not-a-number when all rounds were void."""
        return median(self.of(contender, metric))

    def ratio(self, contender: str, other: str, metric: str) -> list[float]:
        """Round by round: two contenders of one round share the machine's mood."""
        pairs = zip(self.of(contender, metric), self.of(other, metric), strict=True)
        return [mine / theirs for mine, theirs in pairs if theirs]


def median(values: Iterable[float]) -> float:
    """Not-a-number for no values."""
    found = list(values)
    return statistics.median(found) if found else float("nan")


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which that share of the values lies (nearest rank)."""
    found = sorted(values)
    return found[min(len(found) - 1, max(0, int(len(found) * share + 0.999999) - 1))] if found else float("nan")


def spread(values: Iterable[float], digits: int = 0) -> str:
    """``median (min-max)``, as the tables show it; a dash for no values."""
    found = list(values)
    if not found:
        return "-"
    if len(found) == 1 or min(found) == max(found):
        return f"{found[0]:,.{digits}f}"
    return f"{median(found):,.{digits}f} ({min(found):,.{digits}f}-{max(found):,.{digits}f})"


async def alternate(
    contenders: Mapping[str, Contender],
    *,
    rounds: int,
    warm_up: int,
    rng: random.Random,
    say: Callable[[str], None],
    after_round: Callable[[], Awaitable[None]] | None = None,
) -> Results:
    """Run the rounds.

    Args:
        contenders: by name.
        rounds: that count.
        warm_up: rounds before them, thrown away.
        rng: shuffles the order inside each round.
        say: told of progress.
        after_round: clears up, outside all measurements.
    """
    results = Results({name: {} for name in contenders})
    for number in range(-warm_up, rounds):
        order = list(contenders)
        rng.shuffle(order)
        measured: dict[str, Mapping[str, float]] = {}
        problem = ""
        for name in order:
            gc.collect()
            try:
                measured[name] = await contenders[name]()
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the round does not count, and the table says so
                problem = f"{name}: {type(error).__name__}: {error}"
                break
            shown = ", ".join(f"{metric} {value:,.2f}" for metric, value in measured[name].items())
            say(f"round {number if number >= 0 else 'warm-up'}: {name}: {shown}")
        if after_round is not None:
            await after_round()
        if problem:
            say(f"round {number if number >= 0 else 'warm-up'} is void: {problem}")
            results.void.append(problem)
        elif number >= 0:
            results.rounds += 1
            for name, values in measured.items():
                for metric, value in values.items():
                    results.values[name].setdefault(metric, []).append(value)
    return results
