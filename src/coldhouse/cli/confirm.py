"""Asking before something is deleted."""

from __future__ import annotations

import sys

import click

from coldhouse.cli.session import Session
from coldhouse.errors import UsageError

HINT = "--dry-run shows what would be done, --yes does it without asking"


def can_ask(session: Session) -> bool:
    """Whether somebody is there who could answer; with --json a program reads what is printed."""
    return sys.stdin.isatty() and not session.json


def require_answer(session: Session, *, yes: bool, dry_run: bool) -> None:
    """Refuse early a command that could only end with a question nobody answers. Raises UsageError."""
    if not (yes or dry_run or can_ask(session)):
        raise UsageError("this deletes, and there is no terminal to ask whether it may", hint=HINT)


def agreed(question: str, *, yes: bool) -> bool:
    """Whether to go on: by --yes, or because somebody at the terminal says so."""
    return yes or click.confirm(question, default=False, err=True)
