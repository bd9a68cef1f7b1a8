"""How a table of handlers turns many items into many ``Changes``: load once per handler, decide one by one, isolate failures.

A handler is three small functions, so that one shape serves a projection of a thousand events and a reaction to a single one.
``decide`` is pure: what it raises is the failure of that item alone, and the state before it stands.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, RowChanges

__all__ = ["Folded", "Handler", "ProjectionHandler", "fold"]

Item = TypeVar("Item", contravariant=True)
Key = TypeVar("Key")
State = TypeVar("State")
Written = TypeVar("Written", bound=RowChanges, covariant=True)


class _Folds(Protocol[Item, Key, State, Written]):
    def key(self, item: Item) -> Key:
        """Which state the item is about; hashable."""
        ...

    async def load(self, read: Reader, keys: Collection[Key]) -> Mapping[Key, State]:
        """The states of many keys in one query (``= any(...)``); a key without one is left out."""
        ...

    def decide(self, state: State | None, item: Item, context: Context) -> tuple[State | None, Written]:
        """The next state and what is to be written. Pure; must not change ``state`` in place."""
        ...


class Handler(_Folds[Item, Key, State, Changes], Protocol[Item, Key, State]):
    """Reacts to items with anything that ``Changes`` can hold."""


class ProjectionHandler(_Folds[Item, Key, State, RowChanges], Protocol[Item, Key, State]):
    """Keeps a read model: rows only, so that rebuilding it can send nothing to anybody."""


T = TypeVar("T")


@dataclass(slots=True)
class Folded(Generic[T]):
    """Outcome of a fold, in the order of the items.

    Attributes:
        done: items and what they want written.
        failed: items whose handler raised, with the error; an item after a failed one of the same stream is in ``behind``.
    """

    done: list[tuple[T, RowChanges]] = field(default_factory=list)
    failed: list[tuple[T, Exception]] = field(default_factory=list)
    behind: list[T] = field(default_factory=list)


async def fold(items: Sequence[tuple[T, Any, Any, str]], read: Reader, context: Context) -> Folded[T]:
    """Run handlers over items.

    Args:
        items: ``(item, handler or None, handler's argument, stream)``; None means that nobody handles it, which succeeds.
            After a failure, later items of the same stream are not tried.
    """
    outcome: Folded[T] = Folded()
    wanted: dict[int, tuple[Any, dict[Any, None]]] = {}
    keyed: list[tuple[T, Any, Any, str, Any]] = []
    broken: set[str] = set()
    for item, handler, argument, stream in items:
        key = None
        if handler is not None:
            try:
                key = handler.key(argument)
            except Exception as error:  # noqa: BLE001 - any bug of a handler is that item's failure, not the batch's
                key = error
            else:
                wanted.setdefault(id(handler), (handler, {}))[1][key] = None
        keyed.append((item, handler, argument, stream, key))
    states: dict[int, dict[Any, Any]] = {}
    for identity, (handler, keys) in wanted.items():
        states[identity] = dict(await handler.load(read, list(keys)))
    for item, handler, argument, stream, key in keyed:
        if stream in broken:
            outcome.behind.append(item)
        elif handler is None:
            outcome.done.append((item, RowChanges()))
        else:
            known = states.get(id(handler), {})
            try:
                if isinstance(key, Exception):
                    raise key  # noqa: TRY301 - one place that isolates failures
                state, changes = handler.decide(known.get(key), argument, context)
            except Exception as error:  # noqa: BLE001 - see above
                broken.add(stream)
                outcome.failed.append((item, error))
            else:
                known[key] = state
                outcome.done.append((item, changes))
    return outcome
