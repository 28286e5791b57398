from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coldhouse.cli.passphrase import PassphraseSources, resolve
from coldhouse.errors import ColdhouseError, UsageError

NOTHING = PassphraseSources()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def no_warning(text: str) -> None:
    raise AssertionError(text)


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> str:
    path = folder / "passphrase"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def answers(monkeypatch: pytest.MonkeyPatch, *typed: str) -> None:
    """Let a person at a terminal type these."""
    lines = iter(typed)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(lines))


def test_the_first_level_that_offers_one_wins(tmp_path: Path) -> None:
    levels = (NOTHING, PassphraseSources(value="second"), PassphraseSources(file=str(tmp_path / "missing")))
    assert resolve(levels, no_warning) == "second"


@pytest.mark.parametrize("content", [b"tr\xc3\xa4umen", b"tr\xc3\xa4umen\n", b"tr\xc3\xa4umen\r\n"])
def test_a_file_holds_it_with_or_without_an_end_of_line(tmp_path: Path, content: bytes) -> None:
    assert resolve((PassphraseSources(file=secret_file(tmp_path, content)),), no_warning) == "träumen"


def test_spaces_belong_to_it(tmp_path: Path) -> None:
    assert resolve((PassphraseSources(file=secret_file(tmp_path, b"  two words \n")),), no_warning) == "  two words "


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"\xff", "is not UTF-8"), (b"x" * 65537, "longer")],
)
def test_a_file_that_holds_no_passphrase_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve((PassphraseSources(file=secret_file(tmp_path, content)),), no_warning)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere cannot be read: No such file"):
        resolve((PassphraseSources(file=str(tmp_path / "nowhere")),), no_warning)


def test_the_hint_about_a_missing_file_makes_it(tmp_path: Path) -> None:
    source = PassphraseSources(file=str(tmp_path / "not here yet"))
    with pytest.raises(UsageError) as missing:
        resolve((source,), no_warning)
    command = re.search(r"\(umask .*\)(?=, and keep)", missing.value.hint)
    assert command
    subprocess.run(["sh", "-c", command[0]], check=True)
    warnings: list[str] = []
    assert len(resolve((source,), warnings.append)) == 44
    assert warnings == []


def test_a_file_that_everybody_can_read_is_warned_of(tmp_path: Path) -> None:
    warnings: list[str] = []
    assert resolve((PassphraseSources(file=secret_file(tmp_path, b"open", 0o644)),), warnings.append) == "open"
    assert "chmod 600" in warnings[0]


def test_a_command_prints_it_and_no_shell_is_involved() -> None:
    command = f"{sys.executable} -c 'print(\"it costs $5; no?\")'"
    assert resolve((PassphraseSources(command=command),), no_warning) == "it costs $5; no?"


def test_a_command_that_fails_is_named_without_its_arguments() -> None:
    with pytest.raises(ColdhouseError, match="failed with exit status 7") as caught:
        resolve((PassphraseSources(command=f"{sys.executable} -c 'exit(7)' my-token"),), no_warning)
    assert "my-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "message"),
    [("/no/such/program", "cannot be run"), ("pass 'show", "cannot be split"), ("true", "is empty"), (" ", "is empty")],
)
def test_a_command_that_gives_none_is_refused(command: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve((PassphraseSources(command=command),), no_warning)


def test_a_file_and_a_command_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="both a password file and a password command"):
        resolve((PassphraseSources(file="a", command="b"),), no_warning)


def test_without_a_terminal_the_ways_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(UsageError) as caught:
        resolve((NOTHING,), no_warning)
    assert "COLDHOUSE_PASSWORD_COMMAND" in caught.value.hint


def test_a_person_at_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "open sesame")
    assert resolve((NOTHING,), no_warning) == "open sesame"


def test_a_new_one_is_asked_for_until_it_was_typed_twice_alike(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, "", "one", "two", "three", "three")
    assert resolve((NOTHING,), no_warning, confirm=True) == "three"
    assert capsys.readouterr().err == "the passphrase cannot be empty\nthe two differ\n"


def test_after_three_attempts_nobody_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "", "", "", "too late")
    with pytest.raises(UsageError, match="no passphrase was given"):
        resolve((NOTHING,), no_warning)


def test_it_is_not_in_a_repr() -> None:
    assert "hunter2" not in repr(PassphraseSources(value="hunter2", command="echo hunter2"))
