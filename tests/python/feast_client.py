"""Feast's SDK, unmodified, as a puppet: a call a line of JSON comes in, what the SDK says goes out, a line each.

Usage: feast_client.py URL FOLDER. The repository that an SDK needs is made in FOLDER; its online store is at URL.
"""

import json
import logging
import sys
import time
import warnings
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import requests

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig, ValueType
from feast.data_source import PushMode
from feast.permissions.client.http_auth_requests_wrapper import HttpSessionManager
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.types import Array, Bool, Float32, Float64, Int64, String, UnixTimestamp

warnings.simplefilter("ignore")
# It logs an error that it raises, too.
logging.disable(logging.ERROR)


def repository(url, folder):
    """A store with the objects that the test's definitions have, too, as `feast apply` makes it."""
    folder = Path(folder)
    config = RepoConfig(
        project="clients",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "remote", "path": url},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    batch = folder / "stats.parquet"
    pd.DataFrame({"driver_id": [1], "event_timestamp": [datetime(2026, 1, 1)]}).to_parquet(batch)
    file = FileSource(name="stats_file", path=str(batch), timestamp_field="event_timestamp", created_timestamp_column="created")
    stats = PushSource(name="stats", batch_source=file)
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
    place = Entity(name="place", join_keys=["dest"], value_type=ValueType.STRING)
    fields = [
        Field(name="conv_rate", dtype=Float64),
        Field(name="acc_rate", dtype=Float32),
        Field(name="trips", dtype=Int64),
        Field(name="tag", dtype=String),
        Field(name="ok", dtype=Bool),
        Field(name="last", dtype=UnixTimestamp),
        Field(name="vec", dtype=Array(Float32)),
    ]
    view = FeatureView(name="driver_stats", entities=[driver], schema=fields, source=stats, ttl=timedelta(days=2))
    rides = FeatureView(
        name="driver_rides", entities=[driver], schema=[Field(name="rides_1h", dtype=Int64)], source=file, ttl=timedelta(days=1)
    )
    routes = FeatureView(
        name="route_delay", entities=[carrier, place], schema=[Field(name="delay", dtype=Float64)], source=file
    )
    store.apply([driver, carrier, place, stats, view, rides, routes, FeatureService(name="trip", features=[view, rides])])
    return store


def read(store, features=None, service=None, rows=None, full=False):
    asked = store.get_feature_service(service) if service else features
    answer = store.get_online_features(features=asked, entity_rows=rows, full_feature_names=full)
    names = answer.proto.metadata.feature_names.val
    statuses = [[FieldStatus.Name(status) for status in vector.statuses] for vector in answer.proto.results]
    return {"values": answer.to_dict(), "statuses": dict(zip(names, statuses))}


def online_read(store, view, rows, features):
    """What SDKs before 0.64 read with."""
    keys = [EntityKey(join_keys=list(row), entity_values=[python_values_to_proto_values([v])[0] for v in row.values()]) for row in rows]
    table = store.get_feature_view(view)
    found = store._get_provider().online_read(store.config, table, keys, features)
    plain = lambda values: {name: feast_value_type_to_python_type(value) for name, value in values.items()}
    return [plain(values) for _, values in found]


def frame(columns):
    times = ("event_timestamp", "created", "last")
    return pd.DataFrame({name: pd.to_datetime(v) if name in times else v for name, v in columns.items()})


def write(store, view, df):
    store.write_to_online_store(view, df=frame(df))


def push(store, source, df, to):
    store.push(source, frame(df), to=PushMode[to])


def materialize(store, start, end, views=None, run_async=False):
    store.materialize(datetime.fromisoformat(start), datetime.fromisoformat(end), views, run_async=run_async)


def incremental(store, end, views=None, run_async=False):
    store.materialize_incremental(datetime.fromisoformat(end), views, run_async=run_async)


def post(store, path, body):
    """What clients without the SDK do, as Feast's documentation shows it."""
    answer = requests.post(store.config.online_store.path + path, json=body)
    return {"status": answer.status_code, "body": answer.json()}


def requests_sent(store):
    """How many requests the SDK has sent for reads and writes."""
    session = HttpSessionManager.get_session(store.config.auth_config, 50, 300, 3)
    pools = session.get_adapter(store.config.online_store.path).poolmanager.pools
    return sum(pools[key].num_requests for key in pools.keys())


CALLS = {f.__name__: f for f in (read, online_read, write, push, materialize, incremental, post, requests_sent)}


def main():
    store = repository(*sys.argv[1:])
    print(json.dumps({"said": "ready"}), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        started = time.monotonic()
        try:
            answer = {"said": CALLS[call.pop("call")](store, **call)}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        answer["seconds"] = time.monotonic() - started
        print(json.dumps(answer, default=lambda v: v.isoformat()), flush=True)


main()
