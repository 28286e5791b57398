"""Connecting, and what is said when it does not work."""

from __future__ import annotations

import socket
import threading
import traceback
from contextlib import suppress
from pathlib import Path

import pytest

from coldhouse.clickhouse import Source, check_source, failures, open_source, parse_address, sql
from coldhouse.clickhouse.sql import Statement
from coldhouse.errors import (
    MissingGrant,
    SourceRefused,
    SourceTooOld,
    SourceUnreachable,
    StatementFailed,
    UsageError,
)
from tests.support.engine import EngineServer


def test_an_address_shows_no_password() -> None:
    address = parse_address("https://m%C3%A9:p%40ss@host/sub/?database=x&verify=false")
    assert (address.user, address.password, address.port) == ("mé", "p@ss", 8443)
    assert address.url == "https://host:8443/sub"
    assert "p@ss" not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:8123",
        "ftp://host",
        "chdb://dir",
        "chdb:///",
        "http://",
        "http://h:99999/",
        "http://u:geheim@h:x/",
        "http://[::1",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError) as failure:
        parse_address(url)
    assert "geheim" not in str(failure.value)
    assert "chdb:///directory" in failure.value.hint


def test_who_answers(source: Source, engine: EngineServer) -> None:
    info = source.info()
    assert info.url == engine.address
    assert source.version >= (26, 9)
    assert info.version == source.version_text
    assert info.timezone
    check_source(source)


def test_the_same_directory_has_the_same_identity(tmp_path: Path) -> None:
    """An embedded engine has no id; through a server or in this process it is known by its directory."""
    with EngineServer(tmp_path / "data") as server, open_source(server.url) as source:
        served = source.identity
    with open_source(f"chdb://{tmp_path}/data") as embedded:
        assert embedded.identity == served
        assert embedded.is_embedded
        assert embedded.data_path == str(tmp_path / "data")


def test_rows_are_streamed_while_other_queries_run(source: Source) -> None:
    rows = source.rows("SELECT number, toString(number) FROM numbers(200000)")
    assert next(rows) == (0, "0")
    assert source.value("SELECT 1") == 1
    assert sum(1 for _ in rows) == 199_999


def test_a_stream_that_is_given_up_disturbs_nothing(source: Source) -> None:
    rows = source.rows("SELECT number FROM numbers(10000000)")
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert source.value("SELECT 2") == 2


def test_an_error_in_the_middle_of_a_stream_is_an_error(source: Source) -> None:
    rows = source.rows("SELECT throwIf(number = 3000000) FROM numbers(10000000)")
    with pytest.raises(StatementFailed) as failure:
        list(rows)
    assert failure.value.clickhouse_code == 395


def test_the_embedded_engine_after_an_error(tmp_path: Path) -> None:
    """What a failed query had begun to say must not stand before the next answer (seen with chdb-core 26.9)."""
    with open_source(f"chdb://{tmp_path}/data") as source:
        for _ in range(3):
            with pytest.raises(StatementFailed):
                source.command(
                    "SELECT a FROM url('http://127.0.0.1:1/', 'RawBLOB', 'a String') SETTINGS http_max_tries = 1"
                )
        assert source.fetch("SELECT 'clean'") == [("clean",)]
        rows = source.rows("SELECT number FROM numbers(100000)")
        next(rows)
        assert source.value("SELECT 3") == 3


def test_a_statement_that_fails(source: Source) -> None:
    with pytest.raises(StatementFailed) as failure:
        source.command("SELECT * FROM nowhere.nothing")
    assert failure.value.clickhouse_code == 81
    assert "nowhere" in failure.value.message
    assert "DB::Exception" not in failure.value.message


def test_a_refused_statement_costs_no_new_connection(
    source: Source, engine: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coldhouse.clickhouse import source as module

    made: list[str] = []
    connect = module._connect

    def counted(address: module.Address) -> module._Client:
        made.append(address.url)
        return connect(address)

    monkeypatch.setattr(module, "_connect", counted)
    with pytest.raises(StatementFailed):
        source.command("DROP TABLE not_there")
    assert source.value("SELECT 1") == 1
    assert made == []
    with pytest.raises(StatementFailed):
        source.fetch("SELECT throwIf(number = 3) FROM numbers(5)")
    assert source.value("SELECT 1") == 1
    assert made == [source.url], "an answer that broke off may not be read to its end"


def test_secrets_are_cut_out_of_errors(source: Source, engine: EngineServer) -> None:
    statement = Statement("SELECT nonsense('geheim')", ("geheim",))
    with pytest.raises(StatementFailed) as failure:
        source.command(statement)
    shown = "".join(traceback.format_exception(failure.value))
    assert "[HIDDEN]" in failure.value.message
    assert "geheim" not in shown
    assert engine.password not in shown


@pytest.mark.parametrize(("user", "password"), [("us er", "wrong-secret"), ("nobody", "wrong-secret"), ("us er", "")])
def test_wrong_credentials(engine: EngineServer, user: str, password: str) -> None:
    with pytest.raises(SourceRefused) as failure:
        open_source(f"http://{user.replace(' ', '%20')}:{password}@127.0.0.1:{engine.port}")
    assert "wrong-secret" not in "".join(traceback.format_exception(failure.value))
    assert user in failure.value.message


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(SourceUnreachable, match="Connection refused") as failure:
            open_source(f"http://u:geheim@127.0.0.1:{unused.getsockname()[1]}")
    assert "geheim" not in str(failure.value)
    assert "8123" in failure.value.hint


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(SourceUnreachable):
        open_source("http://nowhere.invalid:8123")


def test_something_else_listens(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]

        def hang_up() -> None:
            with suppress(OSError):  # it is shut down
                while True:
                    silent.accept()[0].close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        with pytest.raises(SourceUnreachable):
            open_source(f"http://127.0.0.1:{port}")
        silent.shutdown(socket.SHUT_RDWR)
        thread.join()  # before its descriptor can become somebody else's


def test_a_second_directory_in_one_process(tmp_path: Path) -> None:
    with open_source(f"chdb://{tmp_path}/one"), pytest.raises(SourceUnreachable, match="one") as failure:
        open_source(f"chdb://{tmp_path}/two")
    assert "one directory at a time" in failure.value.hint
    with open_source(f"chdb://{tmp_path}/two") as source:
        assert source.value("SELECT 1") == 1


def test_a_directory_that_another_process_uses(engine: EngineServer) -> None:
    with pytest.raises(SourceUnreachable) as failure:
        open_source(f"chdb://{engine.directory}")
    assert "one process at a time" in failure.value.hint


def test_a_user_without_the_grant(tmp_path: Path) -> None:
    """Whatever name we came with, the GRANT has to be for the user that the server takes us for (here: default)."""
    with (
        EngineServer(tmp_path / "data", user="keeper", denied=("BACKUP",)) as server,
        open_source(server.url) as source,
    ):
        assert source.user == server.query("SELECT currentUser()")
        with pytest.raises(MissingGrant) as failure:
            check_source(source)
        assert f"GRANT BACKUP ON *.* TO {source.user}." in failure.value.hint
        with pytest.raises(MissingGrant) as failure:
            source.command("BACKUP TABLE a.b TO Null")
        assert f"GRANT BACKUP ON *.* TO {source.user}." in failure.value.hint
        assert f"user {source.user!r} may not" in failure.value.message


@pytest.mark.parametrize(
    ("user", "named"), [("keeper", "keeper"), ("us er", "`us er`"), ("o`b\\rien", "`o\\`b\\\\rien`"), ("7", "`7`")]
)
def test_a_hint_can_be_run_as_it_stands(user: str, named: str) -> None:
    assert f"GRANT SELECT ON a.* TO {named}." in failures.lacking(user, "SELECT ON a.*", "no").hint


def test_a_server_that_is_too_old(tmp_path: Path) -> None:
    with EngineServer(tmp_path / "data", version="22.3.20.29") as server, open_source(server.url) as source:
        with pytest.raises(SourceTooOld, match=r"22\.3\.20\.29") as failure:
            check_source(source)
        assert "22.8" in failure.value.hint


def test_a_restarted_server_is_found_again(engine_server: EngineServer) -> None:
    with open_source(engine_server.url) as source:
        engine_server.kill()
        with pytest.raises(SourceUnreachable):
            source.value("SELECT 1")
        engine_server.start()
        assert source.value("SELECT 1") == 1


def test_a_closed_source_says_so(engine: EngineServer) -> None:
    source = open_source(engine.url)
    source.close()
    with pytest.raises(UsageError, match="closed"):
        source.value("SELECT 1")


def test_to_ask_how_much_was_read_says_what_the_question_reads(source: Source) -> None:
    """Between two of them something runs that the server counts for the first time: a row more of its list."""
    ((before, asking),) = source.fetch(sql.selected_rows_query())
    source.fetch("SELECT count() FROM numbers(1000) WHERE number IN (SELECT arrayJoin([1, 2, 3]))")
    ((after, more),) = source.fetch(sql.selected_rows_query())
    assert int(str(after)) - int(str(before)) == int(str(asking)) + 1000 + 1
    assert int(str(more)) >= int(str(asking))
