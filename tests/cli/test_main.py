"""The outermost edge: whatever a verb does, there is a message, a hint and the right exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from coldhouse import errors
from coldhouse.cli import main, options
from coldhouse.cli.main import run
from coldhouse.cli.output import print_text
from coldhouse.cli.session import Session

Capture = pytest.CaptureFixture[str]
Body = Callable[[Session], int | None]
Install = Callable[[Body], None]

#: msgspec is not among them: it makes the records that every command has, and with them it costs less than they would.
HEAVY = ("obstore", "uvicorn", "clickhouse_connect", "rich", "cryptography", "chdb", "asyncio", "zstandard")


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("COLDHOUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a function in the place of ``show``, so that the edge can be tested with anything that a verb may do."""

    def install(body: Body) -> None:
        @click.command("show")
        @options.repository
        @options.everywhere
        @click.pass_obj
        def command(session: Session) -> int | None:
            return body(session)

        monkeypatch.setattr("coldhouse.cli.show.command", command)

    return install


def failing(error: BaseException) -> Body:
    def body(_: Session) -> int | None:
        raise error

    return body


def every_error(kind: type[errors.ColdhouseError] = errors.ColdhouseError) -> list[type[errors.ColdhouseError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in every_error(child))]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_exit_status_and_its_code(
    kind: type[errors.ColdhouseError], verb: Install, capsys: Capture
) -> None:
    verb(failing(kind("it happened", hint="do this")))
    assert run(["show", "--json"]) == kind.exit_status
    printed = capsys.readouterr()
    assert printed.err == "error: it happened\nhint: do this\n"
    assert json.loads(printed.out) == {"error": {"code": kind.code, "message": "it happened", "hint": "do this"}}


def test_without_json_standard_output_stays_empty(verb: Install, capsys: Capture) -> None:
    verb(failing(errors.NoRepository("nothing there")))
    assert run(["show"]) == 10
    assert capsys.readouterr() == ("", "error: nothing there\n")


def test_a_damaged_object_is_named_for_programs(verb: Install, capsys: Capture) -> None:
    verb(failing(errors.Corruption("damaged", object_name="packs/ab/abcd", hint="see the copy")))
    assert run(["show", "--json"]) == 20
    assert json.loads(capsys.readouterr().out)["error"]["object"] == "packs/ab/abcd"


@pytest.mark.parametrize("status", [None, 0, 3])
def test_a_verb_says_its_own_exit_status(status: int | None, verb: Install) -> None:
    verb(lambda _: status)
    assert run(["show"]) == (status or 0)


def test_ctrl_c_is_an_interruption(verb: Install, capsys: Capture) -> None:
    verb(failing(KeyboardInterrupt()))
    assert run(["show", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "interrupted"


@contextmanager
def handled(number: signal.Signals, how: signal.Handlers) -> Iterator[None]:
    """As the command would find it, however the tests were started."""
    before = signal.signal(number, how)
    try:
        yield
        assert signal.getsignal(number) == how
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_termination_is_an_interruption_too(number: signal.Signals, verb: Install, capsys: Capture) -> None:
    def body(_: Session) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    verb(body)
    with handled(number, signal.SIG_DFL):
        assert run(["show"]) == 130
    assert capsys.readouterr().err.startswith("error: interrupted\n")


def test_under_nohup_the_end_of_the_terminal_is_none_of_the_command(verb: Install) -> None:
    verb(lambda _: os.kill(os.getpid(), signal.SIGHUP))
    with handled(signal.SIGHUP, signal.SIG_IGN):
        assert run(["show"]) == 0


def test_the_unexpected_is_one_line_and_no_traceback(verb: Install, capsys: Capture) -> None:
    verb(failing(ValueError("first\nsecond")))
    assert run(["show", "--json"]) == 1
    printed = capsys.readouterr()
    assert "error: something unexpected happened: ValueError: first second\nhint: this is a bug" in printed.err
    assert "Traceback" not in printed.err
    assert json.loads(printed.out)["error"]["code"] == "internal"


def test_debug_shows_the_traceback_without_secrets(
    verb: Install, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open sesame")

    def body(session: Session) -> None:
        raise RuntimeError(f"{session.passphrase()} does not fit http://me:hunter2@db")

    verb(body)
    assert run(["show", "--debug"]) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert "*** does not fit http://me:***@db" in printed
    assert "open sesame" not in printed
    assert "hunter2" not in printed


def test_an_error_cannot_command_the_terminal(verb: Install, capsys: Capture) -> None:
    verb(failing(errors.SourceError("table \x1b]0;owned\x07")))
    run(["show"])
    assert capsys.readouterr().err == "error: table \\x1b]0;owned\\x07\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bakup"], "no such command 'bakup'"),
        (["show"], "missing argument 'SNAPSHOT'"),
        (["show", "latest", "--nonsense"], "no such option"),
        (["restore", "latest", "--existing", "overwrite"], "invalid value for '--existing'"),
        (["snapshots"], "which repository? None is given"),
        (["backup"], "which source? None is given"),
        (["restore", "latest"], "which target? None is given"),
        (["restore"], "which snapshot?"),
        (["restore", "latest", "--at", "2026-11-22T18:00"], "both SNAPSHOT and --at are given"),
        (["backup", "--compression", "lz4"], "--compression 'lz4' is not known"),
    ],
)
def test_wrong_usage_is_2_with_a_hint(arguments: list[str], message: str, capsys: Capture) -> None:
    assert run([*arguments, "--json"]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "\nhint: " in printed.err
    assert json.loads(printed.out)["error"]["code"] == "usage"


def test_options_of_every_verb_may_stand_before_it(verb: Install) -> None:
    seen: list[tuple[str, bool, bool]] = []
    verb(lambda session: seen.append((session.repository_url(), session.json, session.quiet)))
    assert run(["--repo", "/a", "--json", "-q", "show"]) == 0
    assert run(["--repo=/a", "show", "--repo", "/b"]) == 0
    assert seen == [("/a", True, True), ("/b", False, False)]


def test_the_option_wins_over_the_environment_and_that_over_the_file(
    verb: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []
    verb(lambda session: seen.append(session.repository_url()))
    (tmp_path / "coldhouse").mkdir()
    (tmp_path / "coldhouse" / "config.toml").write_text('repo = "/from-file"\n')
    run(["show"])
    monkeypatch.setenv("COLDHOUSE_REPO", "/from-environment")
    run(["show"])
    run(["show", "--repo", "/from-option"])
    assert seen == ["/from-file", "/from-environment", "/from-option"]


def test_the_file_can_be_named_by_option_and_by_environment(
    verb: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []
    verb(lambda session: seen.append(session.repository_url()))
    for name in ("one", "two"):
        (tmp_path / name).write_text(f'repo = "/{name}"\n')
    monkeypatch.setenv("COLDHOUSE_CONFIG", str(tmp_path / "one"))
    assert run(["show"]) == 0
    assert run(["show", "--config", str(tmp_path / "two")]) == 0
    assert seen == ["/one", "/two"]
    assert run(["show", "--config", str(tmp_path / "missing")]) == 2


def test_a_password_file_by_option_wins_over_a_passphrase_in_the_environment(
    verb: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []
    verb(lambda session: seen.append(session.passphrase()))
    (tmp_path / "config.toml").write_text('password-command = "echo from file"\n')
    (tmp_path / "secret").write_text("from option\n")
    (tmp_path / "secret").chmod(0o600)
    config = ["--config", str(tmp_path / "config.toml")]
    run(["show", *config])
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "from environment")
    run(["show", *config])
    run(["show", *config, "--password-file", str(tmp_path / "secret")])
    assert seen == ["from file", "from environment", "from option"]


def test_who_reads_no_further_hears_no_complaint() -> None:
    program = (
        "import sys\n"
        "from coldhouse.cli import main\n"
        "from coldhouse.cli.output import print_text\n"
        "def verb(arguments, session):\n"
        "    while True: print_text(['line'] * 1000)\n"
        "main._invoke = verb\n"
        "main.main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_a_terminal_without_unicode_gets_escapes() -> None:
    program = "from coldhouse.cli.output import print_text; print_text(['träge'])"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert done.stdout == b"tr\\xe4ge\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in main.VERBS)])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from coldhouse.cli.main import run\n"
        "status = run(sys.argv[1:])\n"
        f"sys.exit(status or ' '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_names_every_verb(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, text in main.VERBS.items():
        assert f"{name} " in printed
        assert text in printed


def test_every_verb_can_be_called_by_its_name(capsys: Capture) -> None:
    for name in main.VERBS:
        assert run([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: coldhouse {name} ")


def test_print_text_ends_every_line(capsys: Capture) -> None:
    print_text(["a", "b"])
    assert capsys.readouterr().out == "a\nb\n"
