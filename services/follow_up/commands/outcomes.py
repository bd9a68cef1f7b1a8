"""Use cases of outcomes: what a score comes to, and what the first infusion freezes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from schemas.values import Moment
from services.follow_up import events
from services.follow_up.commands import tasks
from services.follow_up.domain.outcomes import Baseline, Score, State, frozen, review
from services.follow_up.store import outcomes as store
from services.runtime.messaging.changes import Changes, Context
from services.therapies.rulebook import Rulebook

__all__ = ["Outcomes"]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The use cases, under the signed rules."""

    rulebook: Rulebook

    def scored(
        self, patient: UUID, state: State, score: Score, suicide_item: int | None, owner: str, zone: str, context: Context
    ) -> Changes:
        """A questionnaire was scored somewhere: kept, compared with its baseline, and a task for a prescriber if it asks so."""
        state = replace(state, scores=(*state.scores, score))
        changes, state = self.freeze(patient, state, context)
        changes = replace(changes, rows=[store.score_row(patient, score, suicide_item, owner), *changes.rows])
        day = context.now.date()
        scales, rules = self.rulebook.on("instruments", day), self.rulebook.on("ketamine", day)
        found = review(state, score, Moment(context.now, zone), scales, rules)
        if found is None:
            return changes
        wait = rules["check.after_discharge"].elapsed
        asked = [tasks.opened(patient, None, kind, "prescriber", context.now + wait, wait * 0, context) for kind in found.asks]
        told = Changes(rows=[store.outcome_row(patient, found)], events=[events.outcome_reviewed(patient, found)])
        return tasks.merged(changes, told, *asked)

    def freeze(self, patient: UUID, state: State, context: Context) -> tuple[Changes, State]:
        """Baselines that can be frozen now."""
        new: Mapping[str, Baseline] = frozen(state, self.rulebook.on("ketamine", context.now.date()))
        rows = [store.baseline_row(patient, base) for base in new.values()]
        return Changes(rows=rows), replace(state, baselines={**state.baselines, **new})
