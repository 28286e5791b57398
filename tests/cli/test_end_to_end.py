"""The whole command line, as a person or a script uses it: a process of its own, a real engine, a real repository."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coldhouse.version import VERSION
from tests.support.command import Coldhouse, Done
from tests.support.engine import EngineServer

PASSPHRASE = "correct horse battery staple"
PASSWORD = "p@ss/word:of the server"
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
SNAPSHOT = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{16}")
#: A step of the recovery sheet, without what it says about the command.
COMMAND = re.compile(r"^[0-9]\. coldhouse (.*?)(?:  .*)?$", re.MULTILINE)
SUMS = "SELECT count(), sum(cityHash64(*)) FROM shop.orders"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    with EngineServer(tmp_path_factory.mktemp("engine") / "data", user="keeper", password=PASSWORD) as server:
        yield server


@dataclass
class Desk:
    """Where somebody sits: a folder, a command line, a server. ``said`` is all that was ever printed."""

    engine: EngineServer
    coldhouse: Coldhouse
    repo: Path
    said: list[str] = field(default_factory=list)

    def run(self, *arguments: str, **variables: str) -> Done:
        done = self.coldhouse.run(*arguments, **variables)
        self.said += [done.out, done.err]
        return done

    def good(self, *arguments: str) -> dict[str, object]:
        """Run it with --json; it must succeed. Returns its document."""
        done = self.run(*arguments, "--json")
        assert done.status == 0, done.err
        return done.document

    def bad(self, status: int, code: str, *arguments: str, **variables: str) -> Done:
        """Run it with --json; it must fail with this status, say so on stderr, and print the error's document."""
        done = self.run(*arguments, "--json", **variables)
        assert done.status == status, done
        error = done.document["error"]
        assert isinstance(error, dict)
        assert error["code"] == code
        assert done.err.splitlines()[-2 if error["hint"] else -1] == f"error: {error['message'].splitlines()[-1]}"
        assert "Traceback" not in done.err
        return done


@pytest.fixture
def desk(tmp_path: Path, engine: EngineServer) -> Iterator[Desk]:
    """A server with a small shop, and a repository that is already made."""
    engine.query("DROP DATABASE IF EXISTS shop SYNC")
    engine.query("DROP DATABASE IF EXISTS shop2 SYNC")
    engine.query("CREATE DATABASE shop")
    engine.query("CREATE TABLE shop.orders (id UInt64, v String) ENGINE = MergeTree PARTITION BY id % 2 ORDER BY id")
    engine.query("INSERT INTO shop.orders SELECT number, toString(number) FROM numbers(10000)")
    engine.query("CREATE VIEW shop.ids AS SELECT id FROM shop.orders")
    environment = {
        "COLDHOUSE_REPO": str(tmp_path / "repository"),
        "COLDHOUSE_PASSWORD": PASSPHRASE,
        "COLDHOUSE_SOURCE": engine.address,
        "COLDHOUSE_SOURCE_USER": "keeper",
        "COLDHOUSE_SOURCE_PASSWORD": PASSWORD,
        "COLDHOUSE_TARGET": engine.url,
    }
    made = Desk(engine, Coldhouse(tmp_path, environment), tmp_path / "repository")
    done = made.run("init")
    assert (done.status, done.err) == (0, "")
    yield made
    for secret in (PASSPHRASE, PASSWORD, "p%40ss"):
        assert not any(secret in text for text in made.said), "a secret was printed"


class TestMainJob:
    """Back up, change, back up again, list, look, lose, restore."""

    def test_backup_prints_what_it_did(self, desk: Desk) -> None:
        document = desk.good("backup", "--table", "shop.*", "--tag", "host=db1")
        assert SNAPSHOT.fullmatch(str(document.pop("snapshot")))
        for name in ("started_at", "finished_at"):
            assert ISO.fullmatch(str(document.pop(name)))
        for name in ("bytes_total", "bytes_new", "bytes_sent", "bytes_stored", "objects_stored", "files", "seconds"):
            value = document.pop(name)
            assert isinstance(value, int | float)
            assert value > 0, name
        warnings = document.pop("warnings")
        assert isinstance(warnings, list)
        assert all("same disk" in warning for warning in warnings)
        expected: dict[str, object] = {
            "parent": None,
            "kind": "full",
            "source": desk.engine.address,
            "databases": 1,
            "tables": 2,
            "parts": 2,
            "rows": 10000,
            "bytes_reused": 0,
            "location": str(desk.repo),
            "server_version": desk.engine.query("SELECT version()"),
            "tags": {"host": "db1"},
            "damaged_at_source": [],
        }
        assert {name: document[name] for name in expected} == expected

    def test_an_increment_adds_up(self, desk: Desk) -> None:
        first = desk.good("backup", "--table", "shop.*")
        desk.engine.query("INSERT INTO shop.orders SELECT 2 * number, 'new' FROM numbers(10)")
        second = desk.good("backup", "--table", "shop.*")
        assert (second["kind"], second["parent"]) == ("incremental", first["snapshot"])
        total, reused, new = (second[f"bytes_{name}"] for name in ("total", "reused", "new"))
        assert isinstance(total, int)
        assert isinstance(reused, int)
        assert isinstance(new, int)
        assert total == reused + new
        assert 0 < new < reused

    def test_the_listing_and_what_show_adds_to_it(self, desk: Desk) -> None:
        first = desk.good("backup", "--table", "shop.*", "--tag", "kind=nightly")
        second = desk.good("backup", "--table", "shop.*")
        listed = json.loads(desk.run("snapshots", "--json").out)
        assert [each["snapshot"] for each in listed] == [first["snapshot"], second["snapshot"]]
        del first["seconds"], first["requests"]
        assert {name: listed[0][name] for name in first} == first
        tagged = json.loads(desk.run("snapshots", "--json", "--tag", "kind=nightly").out)
        assert [each["snapshot"] for each in tagged] == [first["snapshot"]]

        shown = desk.good("show", str(first["snapshot"]))
        contents = shown.pop("contents")
        assert shown.pop("functions") == []
        assert {name: shown[name] for name in listed[0]} == listed[0]
        assert isinstance(contents, list)
        ids, orders = contents
        assert (ids["database"], ids["table"], ids["engine"], ids["rows"]) == ("shop", "ids", "View", 0)
        assert orders == {
            "database": "shop",
            "table": "orders",
            "engine": "MergeTree",
            "parts": 2,
            "rows": 10000,
            "bytes": first["bytes_total"],
            "bytes_reused": 0,
            "bytes_new": first["bytes_new"],
            "unfinished_mutations": [],
            "damaged_at_source": [],
        }

    def test_restore_prints_what_it_did(self, desk: Desk) -> None:
        sums = desk.engine.query(SUMS)
        snapshot = desk.good("backup", "--table", "shop.*")
        desk.engine.query("DROP DATABASE shop SYNC")
        planned = desk.good("restore", "latest", "--dry-run")
        assert planned["dry_run"] is True
        assert desk.engine.query("SELECT count() FROM system.databases WHERE name = 'shop'") == "0"

        document = desk.good("restore", "latest")

        assert desk.engine.query(SUMS) == sums
        assert isinstance(document.pop("seconds"), float)
        tables = document.pop("tables")
        served, asked = document.pop("bytes_served"), document.pop("requests")
        total = snapshot["bytes_total"]
        assert isinstance(served, int)
        assert isinstance(total, int)
        assert served > total == planned["bytes_served_at_least"] == planned["bytes_served_at_most"]
        least, most = planned["requests_at_least"], planned["requests_at_most"]
        assert isinstance(asked, dict)
        assert isinstance(least, dict)
        assert isinstance(most, dict)
        assert [kind for kind, number in asked.items() if not least[kind] <= number <= most[kind]] == []
        assert document == {
            "snapshot": snapshot["snapshot"],
            "source": desk.engine.address,
            "taken_at": snapshot["started_at"],
            "dry_run": False,
            "rows": 10000,
            "bytes": snapshot["bytes_total"],
            "unfinished_mutations": [],
            "left_out": [],
            "warnings": [],
        }
        assert isinstance(tables, list)
        assert tables[0] == {
            "database": "shop",
            "table": "orders",
            "restored_from": "shop.orders",
            "action": "create",
            "status": "restored",
            "parts": 2,
            "bytes": snapshot["bytes_total"],
            "rows_expected": 10000,
            "rows_restored": 10000,
            "note": "",
        }
        assert [(each["table"], each["status"]) for each in tables] == [("orders", "restored"), ("ids", "restored")]

    def test_a_partition_under_another_name(self, desk: Desk) -> None:
        desk.good("backup", "--table", "shop.*")
        done = desk.run("restore", "latest", "--partition", "shop.orders:1", "--rename", "shop=shop2")
        assert done.status == 0, done.err
        assert desk.engine.query("SELECT count(), countIf(id % 2 = 1) FROM shop2.orders") == "5000\t5000"

    def test_text_for_people(self, desk: Desk) -> None:
        done = desk.run("backup", "--table", "shop.*")
        assert done.status == 0
        assert "Backup complete: snapshot" in done.out
        assert "D = B + I" in done.out
        assert "ClickHouse sends" in done.err
        assert desk.run("backup", "--table", "shop.*", "--quiet").err == ""
        of_this_source = desk.run("snapshots").out
        assert of_this_source.startswith(f"Snapshots of {desk.engine.address} only; --source ''")
        assert "2 snapshots, newest last" in of_this_source
        of_another = desk.run("snapshots", COLDHOUSE_SOURCE="http://new-host:8123").out
        assert of_another.startswith(
            f"No snapshots of http://new-host:8123; 2 of other sources: {desk.engine.address}."
        )
        everything = desk.run("snapshots", "--source", "", COLDHOUSE_SOURCE="http://new-host:8123").out
        assert everything.startswith("SNAPSHOT")
        assert "2 snapshots, newest last" in everything
        assert "shop.orders" in desk.run("show", "latest").out
        desk.engine.query("DROP DATABASE shop SYNC")
        assert "Restore complete" in desk.run("restore", "latest").out

    def test_damage_at_the_source_is_done_in_part(self, desk: Desk) -> None:
        desk.engine.query("CREATE TABLE shop.rotten (v String CODEC(NONE)) ENGINE = MergeTree ORDER BY tuple()")
        desk.engine.query("INSERT INTO shop.rotten SELECT toString(number) FROM numbers(1000)")
        path = desk.engine.query(
            "SELECT path FROM system.parts WHERE database = 'shop' AND table = 'rotten' AND active"
        )
        damaged = Path(path) / "data.bin"
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
        done = desk.run("backup", "--table", "shop.*", "--json")
        assert done.status == 3, done.err
        assert done.document["damaged_at_source"] == ["shop.rotten all_1_1_0/data.bin"]
        assert desk.good("show", "latest")["damaged_at_source"] == ["shop.rotten all_1_1_0/data.bin"]
        assert "IN PART" in desk.run("backup", "--table", "shop.*").out
        desk.engine.query("DROP DATABASE shop SYNC")
        done = desk.run("restore", "latest", "--json")
        assert done.status == 3, done.err
        assert done.document["left_out"] == ["shop.rotten part all_1_1_0 (data.bin)"]
        rotten = next(each for each in done.document["tables"] if each["table"] == "rotten")  # type: ignore[attr-defined]
        assert (rotten["rows_expected"], rotten["rows_restored"]) == (1000, 0)


class TestWhereSettingsComeFrom:
    """The environment, a configuration file, a file or a command for the passphrase."""

    def test_a_configuration_file(self, desk: Desk, tmp_path: Path) -> None:
        config = tmp_path / "coldhouse.toml"
        passphrase = tmp_path / "passphrase"
        passphrase.write_text(PASSPHRASE + "\n")
        passphrase.chmod(0o600)
        config.write_text(
            f'repo = "{desk.repo}"\nsource = "{desk.engine.address}"\npassword-file = "passphrase"\n'
            '[backup]\ntable = ["shop.*"]\ntag = ["from=file"]\n'
        )
        desk.coldhouse.environment = {
            name: value
            for name, value in desk.coldhouse.environment.items()
            if name in ("COLDHOUSE_SOURCE_USER", "COLDHOUSE_SOURCE_PASSWORD")
        }
        document = desk.good("backup", "--config", str(config))
        assert document["tags"] == {"from": "file"}
        assert document["tables"] == 2

    def test_a_command_for_the_passphrase(self, desk: Desk, tmp_path: Path) -> None:
        del desk.coldhouse.environment["COLDHOUSE_PASSWORD"]
        script = tmp_path / "ask"
        script.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
        script.chmod(stat.S_IRWXU)
        assert desk.run("snapshots", "--password-command", str(script)).status == 0
        assert desk.run("snapshots", COLDHOUSE_PASSWORD_COMMAND=str(script)).status == 0

    def test_credentials_in_the_url_are_not_printed(self, desk: Desk) -> None:
        for arguments in (("backup", "--table", "shop.*"), ("backup", "--table", "shop.*", "--debug")):
            done = desk.run(*arguments, "--source", desk.engine.url)
            assert done.status == 0, done.err

    def test_an_embedded_engine(self, desk: Desk, tmp_path: Path) -> None:
        source, target = tmp_path / "embedded", tmp_path / "other"
        with EngineServer(source) as engine:
            engine.query("CREATE DATABASE shop")
            engine.query("CREATE TABLE shop.orders (id UInt64) ENGINE = MergeTree ORDER BY id")
            engine.query("INSERT INTO shop.orders SELECT number FROM numbers(1000)")
            sums = engine.query(SUMS)
        for name in ("USER", "PASSWORD"):
            del desk.coldhouse.environment[f"COLDHOUSE_SOURCE_{name}"]
        assert desk.good("backup", "--source", f"chdb://{source}")["rows"] == 1000
        assert desk.good("restore", "latest", "--target", f"chdb://{target}")["rows"] == 1000
        with EngineServer(target) as engine:
            assert engine.query(SUMS) == sums


class TestTwoSources:
    """One repository for two ClickHouses."""

    @pytest.fixture
    def other(self, desk: Desk, tmp_path: Path) -> str:
        """An embedded database whose table has the same name, backed up after the server's."""
        folder = tmp_path / "other"
        session = f"from chdb.session import Session; q = Session({str(folder)!r}).query; "
        session += "q('CREATE DATABASE shop'); "
        session += "q('CREATE TABLE shop.orders (id UInt64, v String) ENGINE = MergeTree ORDER BY id'); "
        session += "q('INSERT INTO shop.orders SELECT 1, toString(2)')"
        subprocess.run([sys.executable, "-c", session], check=True)
        desk.good("backup", "--table", "shop.*")
        url = f"chdb://{folder}"
        desk.good("backup", "--table", "shop.*", "--source", url)
        return url

    def test_the_configured_source_is_whose_latest_is_meant(self, desk: Desk, other: str) -> None:
        sums = desk.engine.query(SUMS)
        assert desk.good("show", "latest")["source"] == desk.engine.address
        assert desk.good("show", "latest", "--source", other)["source"] == other
        for source, rows in (((), "10000\n"), (("--source", other), "1\n")):
            done = desk.run("sql", "latest", "SELECT count() FROM shop.orders", *source)
            assert (done.status, done.out) == (0, rows), done.err
            exported = desk.good("export", "latest", "shop.orders", "--to", f"{rows.strip()}.csv", *source)
            assert exported["rows"] == int(rows)
        document = desk.good("restore", "latest", "--existing", "replace", "--table", "shop.orders")
        assert document["source"] == desk.engine.address
        assert ISO.fullmatch(str(document["taken_at"]))
        assert desk.engine.query(SUMS) == sums

    def test_without_one_nothing_is_overwritten(self, desk: Desk, other: str) -> None:
        sums = desk.engine.query(SUMS)
        del desk.coldhouse.environment["COLDHOUSE_SOURCE"]
        for which in (("latest",), ("--at", "2100-01-01T00:00")):
            done = desk.bad(13, "no_such_snapshot", "restore", *which, "--existing", "replace")
            assert other in done.err
            assert desk.engine.address in done.err
            assert "--source" in done.err
        assert desk.engine.query(SUMS) == sums

    def test_people_are_told_what_they_get(self, desk: Desk, other: str) -> None:
        for arguments in (("--dry-run",), ()):
            done = desk.run("restore", "latest", "--source", other, "--rename", "shop=shop2", *arguments)
            assert done.status == 0, done.err
            assert re.search(rf" of {re.escape(other)}, taken \d{{4}}-", done.out), done.out
            desk.engine.query("DROP DATABASE IF EXISTS shop2 SYNC")


class TestExitStatuses:
    """Every failure has its status, its code, and its sentence on standard error."""

    def test_usage(self, desk: Desk) -> None:
        desk.bad(2, "usage", "backup", "--table", "shop.nothing")
        desk.bad(2, "usage", "restore")
        desk.bad(2, "usage", "backup", "--no-such-option")

    def test_the_repository(self, desk: Desk, tmp_path: Path) -> None:
        desk.bad(10, "no_repository", "snapshots", "--repo", str(tmp_path / "nothing"))
        desk.bad(11, "repository_exists", "init")
        desk.bad(12, "wrong_passphrase", "snapshots", COLDHOUSE_PASSWORD="another one")

    def test_snapshots(self, desk: Desk) -> None:
        desk.bad(13, "no_such_snapshot", "show", "latest")
        desk.good("backup", "--table", "shop.*")
        desk.bad(13, "no_such_snapshot", "restore", "--at", "2020-01-01T00:00:00Z")

    def test_servers(self, desk: Desk) -> None:
        desk.bad(1, "source_unreachable", "backup", "--source", "http://127.0.0.1:1")
        done = desk.bad(1, "source_refused", "backup", COLDHOUSE_SOURCE_PASSWORD="not the one")
        assert "not the one" not in done.err + done.out

    def test_a_source_that_does_not_exist_is_not_created(self, desk: Desk, tmp_path: Path) -> None:
        for name in ("USER", "PASSWORD"):
            del desk.coldhouse.environment[f"COLDHOUSE_SOURCE_{name}"]
        desk.bad(1, "source_unreachable", "backup", "--source", f"chdb://{tmp_path / 'typo'}")
        assert not (tmp_path / "typo").exists()

    def test_a_table_that_is_there(self, desk: Desk) -> None:
        desk.good("backup", "--table", "shop.*")
        desk.bad(1, "target_exists", "restore", "latest")

    def test_the_gateway(self, desk: Desk) -> None:
        desk.bad(1, "gateway_unreachable", "backup", "--table", "shop.*", "--gateway-url", "http://127.0.0.1:1")

    def test_corruption_names_the_object(self, desk: Desk) -> None:
        desk.good("backup", "--table", "shop.*")
        (pack,) = (path for path in (desk.repo / "packs").rglob("*") if path.is_file())
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(content)
        desk.engine.query("DROP DATABASE shop SYNC")
        done = desk.bad(20, "corruption", "restore", "latest")
        error = done.document["error"]
        assert isinstance(error, dict)
        assert error["object"] == str(pack.relative_to(desk.repo))

    def test_the_version(self, desk: Desk) -> None:
        assert VERSION in desk.run("--version").out


class TestRecoverySheet:
    """What the paper says is done to the letter, when everything but the repository and the paper is lost."""

    def test_every_command_on_it_works(self, desk: Desk, tmp_path: Path) -> None:
        desk.good("backup", "--table", "shop.*")
        sums = desk.engine.query(SUMS)
        assert desk.run("key", "export", "--to", str(tmp_path / "sheet.txt")).status == 0
        for slot in (desk.repo / "keys").iterdir():
            slot.unlink()
        desk.engine.query("DROP DATABASE shop SYNC")
        after = "a passphrase of afterwards"
        alone = Coldhouse(tmp_path, {"COLDHOUSE_PASSWORD": after, "COLDHOUSE_NEW_PASSWORD": after})
        words = {"PLACE": str(desk.repo), "URL": desk.engine.url, "sheet.txt": str(tmp_path / "sheet.txt")}
        commands = COMMAND.findall((tmp_path / "sheet.txt").read_text())
        assert [command.split()[0] for command in commands] == ["key", "restore"]
        for command in commands:
            done = alone.run(*(words.get(word, word) for word in command.split()))
            assert done.status == 0, done.err
        assert desk.engine.query(SUMS) == sums
