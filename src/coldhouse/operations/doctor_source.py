"""What the doctor looks at in a ClickHouse: whether a backup of it would work, and what earlier runs left there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from coldhouse.clickhouse import Source, inspect, rights, traces
from coldhouse.clickhouse.failures import grantee
from coldhouse.clickhouse.traces import RunningOperation
from coldhouse.errors import GatewayError, GatewayUnreachable, MissingGrant, SourceError
from coldhouse.gateway import Gateway, GatewaySettings
from coldhouse.model import TableName
from coldhouse.operations import mount_note
from coldhouse.operations.doctor_findings import Clock, Finding, Status, clock_finding, failed, span
from coldhouse.operations.reaching import reach_gateway
from coldhouse.repository import Repository

#: A statement that runs for longer has most likely been left alone.
LONGEST_STATEMENT = timedelta(days=1)
#: How many names a message lists.
_LISTED = 5


def connection(source: Source) -> Finding:
    """Who answers, and whom it takes us for."""
    return Finding(
        "connection", Status.OK, f"ClickHouse {source.version_text} at {source.url} answers user {source.user!r}"
    )


def version(source: Source) -> Finding:
    """Whether this version has BACKUP. Raises SourceTooOld."""
    inspect.check_version(source)
    return Finding("version", Status.OK, f"ClickHouse {source.version_text} can BACKUP and RESTORE")


def grants(source: Source) -> Finding:
    """Whether the user may do what a backup does."""
    try:
        inspect.check_backup_grant(source)
    except MissingGrant as error:
        return failed("grants", error)
    lacking = rights.lacking_rights(source)
    if lacking:
        whom = grantee(source.user)
        return Finding(
            "grants",
            Status.CRITICAL,
            "the user lacks " + "; ".join(f"{right.grant} ({right.purpose})" for right in lacking),
            "let an administrator run: " + "; ".join(f"GRANT {right.grant} TO {whom}" for right in lacking),
        )
    return Finding("grants", Status.OK, f"user {source.user!r} may back up")


def clock(source: Source, now: Clock) -> Finding:
    """Whether the server's clock and ours agree."""
    before = now()
    seen = inspect.clock(source)
    return clock_finding("source-clock", "the server's", seen, (before, now()))


def gateway(source: Source, settings: GatewaySettings, running: Sequence[RunningOperation]) -> Finding:
    """Whether ClickHouse reaches the gateway as a backup would open it; that we reach ClickHouse is known by now."""
    try:
        with Gateway(settings) as opened:
            reach_gateway(source, opened)
            url = opened.url
    except GatewayUnreachable as error:
        return failed("gateway", error)
    except GatewayError as error:
        if running and settings.listen_port:
            reason = f"port {settings.listen_port} is taken, probably by the command whose {running[0].statement} runs"
            return Finding("gateway", Status.SKIPPED, reason)
        return failed("gateway", error)
    return Finding("gateway", Status.OK, f"ClickHouse reaches the gateway at {url}, and Coldhouse reaches ClickHouse")


def leftovers(source: Source, running: Sequence[RunningOperation]) -> Finding:
    """Statements that run for too long, and tables of restores that did not end."""
    aside = traces.set_aside(source)
    long = [one for one in running if one.seconds > LONGEST_STATEMENT.total_seconds()]
    told: list[str] = []
    hints: list[str] = []
    if long:
        longest = span(timedelta(seconds=max(one.seconds for one in long)))
        told.append(f"{_some(long, 'statement')} of Coldhouse's, under way for up to {longest}")
        hints.append("if no command waits for them: KILL QUERY, by the query_id that system.backups shows")
    if aside.beside:
        told.append(
            f"{_some(aside.beside, 'table')} of a restore that runs, or that did not end: {_names(aside.beside)}"
        )
        hints.append("the same restore command finishes its work and removes them; if it never will, drop them")
    if aside.unfinished:
        told.append(f"{_some(aside.unfinished, 'table')} that a restore had filled in part: {_names(aside.unfinished)}")
        hints.append("these were restored again under their own names: look at them, then drop them")
    if told:
        return Finding("server-leftovers", Status.WARNING, "; ".join(told), "; ".join(hints))
    busy = f"; {_some(running, 'statement')} of Coldhouse's runs now" if running else ""
    return Finding("server-leftovers", Status.OK, f"nothing is left of earlier runs{busy}")


def mounts(source: Source, repository: Repository | None) -> Finding:
    """Databases of mounts: those whose process died are dropped here; of others it is said that they are there.

    Without the notes of a repository nobody can tell the dead from the living.
    """
    there = traces.mount_databases(source, mount_note.COMMENT)
    if repository is None or repository.write_only:
        return Finding("mounts", Status.OK, f"{_some(there, 'database')} of mounts" if there else "no mounts")
    try:
        dropped = mount_note.clear_dead(repository, source)
    except SourceError as error:
        return failed("mounts", error, Status.WARNING)
    known = {f"{mount_note.COMMENT}{note.id}" for note in mount_note.notes(repository)}
    left = [one for one in there if one.name not in dropped]
    strange = [TableName(one.name, "") for one in left if one.comment not in known]
    told = [f"dropped what a dead mount had left: {', '.join(dropped)}"] if dropped else []
    if strange:
        told.append(f"{_some(strange, 'database')} of mounts that this repository does not know: {_names(strange)}")
        hint = "they are of another repository's mount, or left behind: if no mount runs, DROP DATABASE"
        return Finding("mounts", Status.WARNING, "; ".join(told), hint)
    told += [f"{_some(left, 'database')} of living mounts"] if left else []
    return Finding("mounts", Status.OK, "; ".join(told) or "no mounts")


def _some(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _names(tables: Sequence[TableName]) -> str:
    more = f" and {len(tables) - _LISTED} more" if len(tables) > _LISTED else ""
    return ", ".join(map(str, tables[:_LISTED])) + more
