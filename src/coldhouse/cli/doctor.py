"""``coldhouse doctor``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from coldhouse.cli import options
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session
from coldhouse.errors import ColdhouseError, UsageError

if TYPE_CHECKING:
    from coldhouse.operations.doctor import Diagnosis

FINE, FAILED, IN_PART = 0, 1, 3
#: What Nagios, Icinga and their kin take an exit status for.
MONITOR = {"ok": 0, "warning": 1, "critical": 2}
UNKNOWN = 3


@click.command("doctor")
@options.source
@click.option(
    "--max-age",
    metavar="HOURS",
    type=click.FloatRange(min=0, min_open=True),
    default=26.0,
    show_default=True,
    help="Warn when the newest snapshot is older; beyond twice that it is critical.",
)
@click.option(
    "--max-proof-age",
    metavar="DAYS",
    type=click.FloatRange(min=0, min_open=True),
    default=35.0,
    show_default=True,
    help="Warn when the last proof (verify --level data or drill) is older; beyond twice that it is critical.",
)
@click.option(
    "--monitor",
    is_flag=True,
    help="Print one line for Nagios and its kin, with their exit statuses: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.",
)
@options.gateway
@options.repository
@options.everywhere
@click.pass_obj
def command(session: Session, max_age: float, max_proof_age: float, monitor: bool) -> int:
    """Look for everything that can be wrong before it is needed, and say what to do about it.

    Looks at the ClickHouse of --source, at the repository, or at both, as far as they are given. Exit status: 0 all is
    fine, 3 there are warnings, 1 something is critical.
    """
    if not monitor:
        return _tell(session, _diagnose(session, max_age, max_proof_age))
    if session.json:
        raise UsageError("--monitor prints its line and --json a document", hint="choose one of them")
    session.quiet = True
    from coldhouse.cli.doctor_output import line, unknown

    try:
        diagnosis = _diagnose(session, max_age, max_proof_age)
    except ColdhouseError as error:
        print_text([unknown(session.scrubber.clean(error.message))])
        return UNKNOWN
    print_text([session.scrubber.clean(line(diagnosis))])
    return MONITOR[diagnosis.status]


def _diagnose(session: Session, max_age: float, max_proof_age: float) -> Diagnosis:
    source = session.server_url("source") if session.text("source") else ""
    settings = options.gateway_settings(session)
    from coldhouse.operations import doctor

    chosen = doctor.DoctorOptions(
        source=source,
        max_age=timedelta(hours=max_age),
        max_proof_age=timedelta(days=max_proof_age),
        gateway=settings,
    )
    with session.listener() as listener:
        return doctor.run(chosen, session.repository if session.text("repo") else None, listener)


def _tell(session: Session, diagnosis: Diagnosis) -> int:
    from coldhouse.cli import doctor_output

    if session.json:
        print_json(doctor_output.document(diagnosis))
    else:
        print_text(session.scrubber.clean(text) for text in doctor_output.text(diagnosis))
    return {"ok": FINE, "warning": IN_PART}.get(diagnosis.status, FAILED)
