"""Mutations that were unfinished in a snapshot: submitted again after a restore, where that means the same as then.

A mutation may have reached some of the parts before the snapshot was taken, and rows that came after it were never
meant: over the whole table it would then change rows twice, or others than it should. So it is submitted only where all
parts still need it; of the others the user is told, who can say for which rows it is to be done.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection

from coldhouse.clickhouse import Source, changes, layout
from coldhouse.errors import StatementFailed
from coldhouse.model import Mutation, PartState
from coldhouse.operations.restore_plan import TableStep

#: Commands that change nothing where they were done already, and that are right for later parts too.
_REPEATABLE = re.compile(r"\(?(MATERIALIZE|MODIFY COLUMN|APPLY)\b")


def resubmit(target: Source, step: TableStep, parts: Collection[PartState], warn: Callable[[str], None]) -> None:
    """Submit the mutations of a restored table again, in their order; ``parts`` are those of the snapshot.

    One that an earlier run of the same restore has submitted is not submitted twice. What cannot be submitted is told
    to ``warn``: the table itself is restored.
    """
    there = Counter(changes.mutation_commands(target, step.target))
    for mutation in step.entry.mutations:
        reason = _reason_against(step, mutation, parts)
        if not reason and there[mutation.command]:
            there[mutation.command] -= 1
            continue
        if not reason:
            try:
                changes.submit_mutation(target, step.target, mutation)
            except StatementFailed as error:
                reason = error.message
        if reason:
            warn(f"{step.target}: the mutation {mutation.command} was not submitted again: {reason}")


def _reason_against(step: TableStep, mutation: Mutation, parts: Collection[PartState]) -> str:
    if step.action == "append" or (step.action == "replace" and step.partitions is not None):
        return "it would also change rows that were in the table before"
    if _REPEATABLE.match(mutation.command):
        return ""
    done = sum(not layout.needs_mutation(part.name, mutation.id) for part in parts)
    if done:
        return (
            f"{done} of {len(parts)} parts may have it already or came after it; "
            "run it by hand for the rows that still need it"
        )
    return ""
