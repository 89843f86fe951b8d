"""Feast as a peer in benchmarks: its repository, its materialization and how its feature server is started.

Usage:
    bench_feast.py prepare --database URL --redis HOST:PORT --folder DIR --views N
    bench_feast.py materialize --folder DIR

Each prints a line of JSON. The features are those of the Postgres table `events`: user_id int8, happened_at and created_at
timestamptz, f0 to f29 float4, split evenly among the views. Then

    feast -c DIR serve -h 127.0.0.1 -p PORT -w WORKERS --no-access-log --max-requests 0 --registry_ttl_sec 3600

By default a worker ends after 1000 requests, and each request is logged: neither is part of what is compared. WORKERS: Feast
advises twice the cores and one. A request is `POST /get-online-features` with

    {"features": [...], "entities": {"user_id": [1]}}

its features the list that `prepare` prints. The feature service `all` has the same ones, but a request by its name,
`{"feature_service": "all", ...}`, costs the server about two and a half times the CPU: it reads the service's definition anew each time.
"""

import argparse
import contextlib
import json
import resource
import sys
import time
import warnings
from datetime import datetime, timedelta, timezone
from pathlib import Path

import yaml
from psycopg import conninfo

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.infra.utils.postgres.connection_utils import _get_conn
from feast.types import Float32

warnings.simplefilter("ignore")

FEATURES = 30
# The whole table in one batch is the default: it takes five times the memory and no less time.
BATCH = 1_000


def prepare(database, redis, folder, views):
    url = conninfo.conninfo_to_dict(database)
    config = {
        "project": "bench",
        "provider": "local",
        "registry": {"path": str(folder / "registry.db"), "cache_ttl_seconds": 3600, "cache_mode": "thread"},
        # As Feast advises for bulk loads: the check for newer values that are there already costs a read a row.
        "online_store": {"type": "redis", "connection_string": redis, "skip_dedup": True},
        "offline_store": {
            "type": "postgres",
            "host": url.get("host", "127.0.0.1"),
            "port": int(url.get("port", 5432)),
            "database": url.get("dbname", "postgres"),
            "user": url.get("user", "postgres"),
            "password": url.get("password", ""),
            "sslmode": url.get("sslmode", "prefer"),
        },
        "entity_key_serialization_version": 3,
        "materialization": {"online_write_batch_size": BATCH},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    store = FeatureStore(repo_path=str(folder))
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    events = PostgreSQLSource(
        name="events", table="events", timestamp_field="happened_at", created_timestamp_column="created_at"
    )
    each = FEATURES // views
    made = [
        FeatureView(
            name=f"view{view}",
            entities=[user],
            schema=[Field(name=f"f{feature}", dtype=Float32) for feature in range(view * each, (view + 1) * each)],
            source=events,
            ttl=timedelta(0),
        )
        for view in range(views)
    ]
    service = FeatureService(name="all", features=made)
    store.apply([user, events, *made, service])
    return {"views": views, "features": [f"{view.name}:{field.name}" for view in made for field in view.features]}


def materialize(folder):
    store = FeatureStore(repo_path=str(folder))
    with _get_conn(store.config.offline_store) as connection:
        users, last = connection.execute("SELECT count(DISTINCT user_id), max(user_id) FROM events").fetchone()
    end = datetime.now(timezone.utc)
    before, began = cpu_seconds(), time.perf_counter()
    store.materialize(end - timedelta(days=1), end)
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - before
    answer = store.get_online_features(store.get_feature_service("all"), [{"user_id": last}]).to_dict()
    missing = [name for name, values in answer.items() if values[0] is None]
    if missing:
        sys.exit(f"Feast materialized no {', '.join(missing)} of user {last}: see what it says above")
    return {
        "rows": users * len(store.list_feature_views()),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "max_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def cpu_seconds():
    """Of this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare", help="write a feature repository and apply it")
    command.add_argument("--database", required=True, help="postgres://USER:PASSWORD@HOST:PORT/DATABASE with the table events")
    command.add_argument("--redis", required=True, help="HOST:PORT of the online store")
    command.add_argument("--folder", required=True, type=Path, help="where the repository is written")
    command.add_argument("--views", required=True, type=int, choices=[1, 3, 5, 15], help="among how many views to split")
    command = commands.add_parser("materialize", help="bring all of the table into the online store")
    command.add_argument("--folder", required=True, type=Path, help="a prepared repository")
    asked = vars(parser.parse_args())
    run = {"prepare": prepare, "materialize": materialize}[asked.pop("command")]
    # Feast tells of its progress on stdout.
    with contextlib.redirect_stdout(sys.stderr):
        said = run(**asked)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
