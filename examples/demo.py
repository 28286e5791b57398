"""The main job on real data: back up, change, back up again, lose everything, get it back, compare every row.

Run it with `make demo`. It uses the embedded ClickHouse engine and a temporary folder, and needs no server.
Each `$` line is a command that was really run, and what follows is what it printed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS = 1_200_000

CREATE = """
CREATE DATABASE shop;
CREATE TABLE shop.orders
(
    id UInt64,
    day Date,
    customer LowCardinality(String),
    items Array(String),
    price Decimal(12, 2),
    note Nullable(String),
    attributes Map(String, String),
    position Tuple(lat Float64, lon Float64)
)
ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY (customer, id);
CREATE TABLE shop.customers (id UInt64, name String, since DateTime64(3)) ENGINE = ReplacingMergeTree ORDER BY id;
CREATE TABLE shop.audit (at DateTime, text String) ENGINE = Log;
CREATE TABLE shop.revenue (day Date, total Decimal(18, 2)) ENGINE = SummingMergeTree ORDER BY day;
CREATE MATERIALIZED VIEW shop.revenue_by_day TO shop.revenue
AS SELECT day, sum(price) AS total FROM shop.orders GROUP BY day;
CREATE VIEW shop.best_customers AS SELECT customer, sum(price) AS spent FROM shop.orders GROUP BY customer;
INSERT INTO shop.customers
SELECT number, 'customer ' || toString(number), toDateTime64('2024-01-01 00:00:00', 3) + number FROM numbers(20000);
INSERT INTO shop.audit SELECT toDateTime('2026-01-01 00:00:00') + number, 'login ' || toString(number)
FROM numbers(50000);
"""

INSERT = """
INSERT INTO shop.orders SELECT
    number + {first} AS id,
    toDate('2026-01-01') + {first_day} + number % {days},
    'customer ' || toString(cityHash64(number) % 20000),
    arrayMap(i -> 'item ' || toString(cityHash64(number, i) % 500), range(1 + number % 4)),
    toDecimal64(cityHash64(number) % 1000000, 2) / 100,
    if(number % 7 = 0, NULL, 'note ' || hex(cityHash64(number, 'note'))),
    map('channel', ['web', 'shop', 'phone'][1 + number % 3], 'campaign', toString(number % 100)),
    (number % 180 - 90.0, number % 360 - 180.0)
FROM numbers({rows});
"""

CHANGES = (
    INSERT.format(first=2_000_000, first_day=181, days=20, rows=60_000)
    + """
ALTER TABLE shop.orders UPDATE note = 'corrected' WHERE toYYYYMM(day) = 202602 AND id % 50 = 0
SETTINGS mutations_sync = 2;
INSERT INTO shop.audit SELECT toDateTime('2026-07-01 00:00:00') + number, 'logout ' || toString(number)
FROM numbers(10000);
"""
)

HASHES = """
SELECT * FROM (
    SELECT 'orders', count(), sum(cityHash64(*)) FROM shop.orders
    UNION ALL SELECT 'customers', count(), sum(cityHash64(*)) FROM shop.customers
    UNION ALL SELECT 'audit', count(), sum(cityHash64(*)) FROM shop.audit
    UNION ALL SELECT 'revenue', count(), sum(cityHash64(*)) FROM (SELECT day, sum(total) FROM shop.revenue GROUP BY day)
    UNION ALL SELECT 'best_customers', count(), sum(cityHash64(*)) FROM shop.best_customers
)
ORDER BY 1
"""


class Demo:
    """One run in one folder: a database directory, a repository, and the commands between them."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "clickhouse"
        self.environment = os.environ | {
            "COLDHOUSE_REPO": str(folder / "backups"),
            "COLDHOUSE_SOURCE": f"chdb://{self.database}",
            "COLDHOUSE_TARGET": f"chdb://{self.database}",
            "COLDHOUSE_PASSWORD": "correct horse battery staple",
        }

    def coldhouse(self, *arguments: str, status: int = 0) -> None:
        """Run a command as a user would, and show it; any other exit status than this ends the demo."""
        print(f"\n$ coldhouse {shlex.join(arguments)}", flush=True)
        command = [sys.executable, "-m", "coldhouse", *arguments]
        ended = subprocess.run(command, env=self.environment, check=False).returncode
        if ended != status:
            raise SystemExit(f"exit status {ended} instead of {status}")
        if status:
            print(f"(exit status {status})", flush=True)

    def flip_a_bit(self) -> None:
        """Go on with a copy of the repository in which a bit in the middle of the largest pack has flipped."""
        copy = self.database.parent / "damaged"
        shutil.copytree(self.environment["COLDHOUSE_REPO"], copy)
        pack = max((copy / "packs").glob("*/*"), key=lambda path: (path.stat().st_size, path.name))
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 1
        pack.write_bytes(content)
        self.environment["COLDHOUSE_REPO"] = str(copy)

    def sql(self, *statements: str) -> str:
        """Run SQL in an engine of its own process: a data directory serves one process at a time."""
        child = (
            "import sys; from chdb.session import Session\n"
            "session = Session(sys.argv[1])\n"
            "for text in sys.argv[2:]: result = session.query(text, 'TabSeparated')\n"
            "print(result, end='')\n"
        )
        command = [sys.executable, "-c", child, str(self.database), *statements]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def script(self, text: str) -> None:
        """Run statements that end with semicolons."""
        self.sql(*(statement for statement in text.split(";") if statement.strip()))


def say(text: str) -> None:
    """Print a heading between two steps."""
    print(f"\n── {text} ", flush=True)


def main() -> None:
    """Run the whole story; any difference after the restore ends it with an error."""
    with tempfile.TemporaryDirectory(prefix="coldhouse-demo-") as folder:
        demo = Demo(Path(folder))
        say(f"a database: {ROWS:,} orders of mixed columns, a log, a summing table, views")
        demo.script(CREATE + INSERT.format(first=0, first_day=0, days=181, rows=ROWS))
        first = demo.sql(HASHES)
        print(first, end="")

        say("the first snapshot holds everything")
        demo.coldhouse("init")
        demo.coldhouse("backup", "--tag", "demo=first")

        say("the data changes: new orders, corrected orders, a longer log")
        demo.script(CHANGES)
        second = demo.sql(HASHES)
        print(second, end="")

        say("the second snapshot is just as complete, and costs what changed")
        demo.coldhouse("backup", "--tag", "demo=second")

        say("nothing changed: nothing is sent")
        demo.coldhouse("backup", "--tag", "demo=third")
        demo.coldhouse("snapshots")

        say("the database is lost, and restored")
        demo.script("DROP DATABASE shop SYNC")
        demo.coldhouse("restore", "latest")
        after = demo.sql(HASHES)
        print(after, end="")
        verdict(second, after)

        say("and once more, as it was before the changes")
        demo.coldhouse("snapshots", "--tag", "demo=first")
        first_id = json_first(demo)
        demo.script("DROP DATABASE shop SYNC")
        demo.coldhouse("restore", first_id)
        prove(demo, first_id)
        verdict(first, demo.sql(HASHES))


def prove(demo: Demo, first_id: str) -> None:
    """What is proven of the first and the last snapshot, what SQL reads of them, and what finds damage."""
    say("each snapshot is proven by restoring it into a scratch engine")
    demo.coldhouse("verify", first_id, "--level", "drill")
    demo.coldhouse("verify", "latest", "--level", "drill")

    say("SQL on the encrypted snapshots, in place: a count, one order, and what two snapshots differ in")
    demo.coldhouse("sql", "latest", "SELECT count(), sum(price) FROM shop.orders")
    one = "SELECT id, day, price FROM shop.orders WHERE customer = 'customer 77' AND day = '2026-03-01'"
    demo.coldhouse("sql", "latest", one)
    both = "shop.orders t FULL JOIN first__shop.orders f USING (id)"
    differing = f"SELECT count() FROM {both} WHERE t.note IS DISTINCT FROM f.note"
    demo.coldhouse("sql", "latest", "--attach", f"first={first_id}", differing)

    say("one bit flips in a copy of the repository: each level says what it promises")
    demo.flip_a_bit()
    for level in ("structure", "data", "drill"):
        demo.coldhouse("verify", first_id, "--level", level, status=0 if level == "structure" else 20)
    demo.coldhouse("verify", "--level", "data", status=20)


def json_first(demo: Demo) -> str:
    """The id of the first snapshot, as a script would ask for it."""
    import json

    command = [sys.executable, "-m", "coldhouse", "snapshots", "--tag", "demo=first", "--json"]
    answer = subprocess.run(command, env=demo.environment, check=True, capture_output=True, text=True).stdout
    snapshot_id = json.loads(answer)[0]["snapshot"]
    assert isinstance(snapshot_id, str)
    return snapshot_id


def verdict(expected: str, found: str) -> None:
    """Compare the content hashes of all tables."""
    if expected != found:
        raise SystemExit(f"DIFFERENT\nexpected\n{expected}\nfound\n{found}")
    print("\nequal: every row of every table has the content that it had", flush=True)


if __name__ == "__main__":
    main()
