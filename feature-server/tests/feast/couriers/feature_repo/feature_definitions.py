# One file, as a first repository has it: what `feast init -t postgres` lays out, here for couriers.

from datetime import timedelta

import pandas as pd

from feast import Entity, FeatureService, FeatureView, Field, PushSource, RequestSource
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import (
    PostgreSQLSource,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, Float64, Int64

# Its type is not said: Feast looks at the table.
courier = Entity(name="courier", join_keys=["courier_id"])

courier_hours = PostgreSQLSource(
    name="courier_hours",
    query="SELECT * FROM courier_hours",
    timestamp_field="hour_end",
    created_timestamp_column="loaded_at",
)

courier_activity = FeatureView(
    name="courier_activity",
    entities=[courier],
    ttl=timedelta(days=1),
    schema=[
        Field(name="accept_rate", dtype=Float32),
        Field(name="on_time_rate", dtype=Float32),
        Field(name="parcels", dtype=Int64),
    ],
    online=True,
    source=courier_hours,
    tags={"team": "dispatch"},
)

# What only the request knows.
parcel = RequestSource(
    name="parcel",
    schema=[
        Field(name="parcel_weight", dtype=Float64),
        Field(name="parcel_stops", dtype=Int64),
    ],
)


@on_demand_feature_view(
    sources=[courier_activity, parcel],
    schema=[
        Field(name="load_factor", dtype=Float64),
        Field(name="stop_factor", dtype=Float64),
    ],
)
def parcel_load(inputs: pd.DataFrame) -> pd.DataFrame:
    df = pd.DataFrame()
    df["load_factor"] = inputs["parcel_weight"] * inputs["accept_rate"]
    df["stop_factor"] = inputs["parcel_stops"] * inputs["on_time_rate"]
    return df


assign_v1 = FeatureService(
    name="assign_v1",
    features=[
        courier_activity[["accept_rate"]],
        parcel_load,
    ],
)
assign_v2 = FeatureService(name="assign_v2", features=[courier_activity, parcel_load])

courier_push = PushSource(name="courier_push", batch_source=courier_hours)

# The same view over what is pushed.
courier_activity_fresh = FeatureView(
    name="courier_activity_fresh",
    entities=[courier],
    ttl=timedelta(hours=1),
    schema=[
        Field(name="accept_rate", dtype=Float32),
        Field(name="on_time_rate", dtype=Float32),
        Field(name="parcels", dtype=Int64),
    ],
    online=True,
    source=courier_push,
    tags={"team": "dispatch"},
)

assign_v3 = FeatureService(name="assign_v3", features=[courier_activity_fresh])
