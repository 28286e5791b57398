"""A scratch engine: what it can do, and that it keeps its limits and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coldhouse.clickhouse import Source, open_source
from coldhouse.clickhouse.scratch import ScratchEngine, ScratchLimits
from coldhouse.errors import SourceError, SourceRefused, StatementFailed

SECONDS = 60


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScratchEngine]:
    limits = ScratchLimits(memory=512 << 20)
    with ScratchEngine(limits, directory=tmp_path_factory.mktemp("scratch")) as engine:
        yield engine


@pytest.fixture
def source(engine: ScratchEngine) -> Iterator[Source]:
    with open_source(engine.url) as source:
        yield source


def test_it_answers_who_knows_the_password(engine: ScratchEngine, source: Source) -> None:
    assert source.value("SELECT 40 + 2") == 42
    address = engine.url.rpartition("@")[2]
    with pytest.raises(SourceRefused):
        open_source(f"http://default:guess@{address}")


def test_its_password_stands_in_no_list_of_processes(engine: ScratchEngine) -> None:
    password = engine.url.split(":")[2].partition("@")[0]
    arguments = Path(f"/proc/{engine.pid}/cmdline").read_text()
    environment = Path(f"/proc/{engine.pid}/environ").read_text()
    assert password not in arguments
    assert password not in environment


@pytest.mark.parametrize(
    ("format", "first", "last"),
    [("TSV", b"0\n1\n", b"\n999999\n"), ("CSV", b"0\n1\n", b"\n999999\n"), ("Parquet", b"PAR1", b"PAR1")],
)
def test_a_result_streams_in_any_format(source: Source, format: str, first: bytes, last: bytes) -> None:
    pieces = list(source.stream("SELECT number FROM numbers(1000000)", format))
    whole = b"".join(pieces)
    assert whole.startswith(first)
    assert whole.endswith(last)
    assert len(pieces) > 2, "it came in one piece"


def test_a_format_with_a_frame_is_whole(source: Source) -> None:
    whole = b"".join(source.stream("SELECT 1 AS one, 'a' AS letter -- a remark", "PrettyCompactNoEscapes")).decode()
    assert whole.splitlines() == ["   ┌─one─┬─letter─┐", "1. │   1 │ a      │", "   └─────┴────────┘"]


@pytest.mark.parametrize("format", ["TSV", "Parquet", "Pretty"])
def test_an_error_before_the_first_row_has_its_number(source: Source, format: str) -> None:
    with pytest.raises(StatementFailed, match="nowhere") as raised:
        list(source.stream("SELECT * FROM nowhere.nothing", format))
    assert raised.value.clickhouse_code in (60, 81)


@pytest.mark.parametrize("format", ["TSV", "TSVWithNames", "JSON"])
def test_an_error_in_the_middle_ends_the_stream_with_that_error(source: Source, format: str) -> None:
    got = bytearray()
    with pytest.raises(StatementFailed, match="non-zero") as raised:
        for piece in source.stream("SELECT number, throwIf(number = 900000) FROM numbers(1000000)", format):
            got += piece
    assert raised.value.clickhouse_code == 395
    assert len(got) > 1000
    assert b"exception" not in got.lower()


@pytest.mark.parametrize("format", ["TSV", "Parquet"])
def test_a_stream_may_be_left_early(source: Source, format: str) -> None:
    with closing(source.stream("SELECT number FROM numbers(1000000000)", format)) as pieces:
        assert next(pieces)
    assert source.value("SELECT 1") == 1


def test_a_query_that_needs_too_much_memory_fails_and_the_engine_lives(source: Source) -> None:
    with pytest.raises(StatementFailed) as raised:
        source.fetch("SELECT uniqExact(number) FROM numbers(1000000000)")
    assert raised.value.clickhouse_code == 241
    assert source.value("SELECT 1") == 1


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    with ScratchEngine(directory=tmp_path) as engine:
        pid = engine.pid
        assert engine.directory.stat().st_mode & 0o777 == 0o700
    assert not _alive(pid)
    assert list(tmp_path.iterdir()) == []


def test_its_time_is_limited(tmp_path: Path) -> None:
    with (
        ScratchEngine(ScratchLimits(seconds=3), directory=tmp_path) as engine,
        open_source(engine.url) as source,
    ):
        with pytest.raises(SourceError):
            source.fetch("SELECT sleepEachRow(1) FROM numbers(60) SETTINGS function_sleep_max_microseconds_per_block=0")
        ended = engine.ended()
    assert ended is not None
    assert "time limit" in ended.message


def test_it_ends_and_its_directory_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = f"""
        import sys
        from pathlib import Path
        from coldhouse.clickhouse.scratch import ScratchEngine
        engine = ScratchEngine(directory=Path({str(tmp_path)!r})).start()
        print(engine.pid, flush=True)
        sys.stdin.read()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    _wait_until(lambda: not _alive(pid) and not list(tmp_path.iterdir()))


def test_without_chdb_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceError) as raised:
        ScratchEngine().start()
    assert raised.value.hint == "pip install 'coldhouse[embedded]'"


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait_until(done: Callable[[], bool]) -> None:
    """Wait for another process, as long as needed and no longer."""
    end = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_a_result_streams_from_a_process_that_has_many_files_open(tmp_path: Path) -> None:
    """As an engine has that reads a table of a thousand columns: select() knows no file beyond 1,023."""
    script = """
        import os, sys
        from coldhouse.clickhouse.embedded_engine import Engine, run

        engine = Engine(sys.argv[1])
        held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
        answer = b"".join(run(engine.connection(), b"SELECT number FROM numbers(3) FORMAT JSONCompact", "TSV"))
        sys.stdout.buffer.write(answer)
        sys.stdout.flush()
        os._exit(0)
    """
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "engine")],
        check=False,
        capture_output=True,
        timeout=SECONDS,
    )
    assert b'"rows": 3' in child.stdout, child.stderr.decode()
