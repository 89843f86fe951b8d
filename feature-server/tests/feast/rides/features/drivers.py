from datetime import timedelta

import feast
from feast import BatchFeatureView, FeatureView, Field
from feast.types import Array, Bool, Float32, Float64, Int32, Json, String, UnixTimestamp

from entities import cell, city, driver, zone
from settings import DAY, OWNER
from sources import *

COMMON = [
    Field(name="trips", dtype=Int32),
    Field(name="rating", dtype=Float32),
]

driver_quality = FeatureView(
    name="driver_quality",
    entities=[driver],
    ttl=timedelta(seconds=7 * DAY),
    schema=[
        *COMMON,
        Field(name="is_gold", dtype=Bool),
        Field(name="joined_at", dtype=UnixTimestamp),
        Field(name="languages", dtype=Array(String)),
        Field(name="embedding", dtype=Array(Float64)),
        Field(name="profile", dtype=Json),
        Field(name="last__shift", dtype=String),
    ],
    source=driver_push,
    description="How a driver does",
    owner=OWNER,
    tags={"tier": "1", "team": "supply"},
)

driver_city = feast.FeatureView(
    name="driver_city",
    entities=[driver, city],
    ttl=timedelta(0),
    schema=COMMON + [Field(name="city", dtype=String)],
    source=driver_daily,
    online=False,
)

zone_demand = BatchFeatureView(
    name="zone_demand",
    mode="python",
    entities=[zone],
    schema=[Field(name="requests", dtype=Float64)],
    source=quoted,
    online=True,
)

cell_demand = FeatureView(name="cell_demand", entities=[cell], schema=COMMON, source=quoted)

everything = FeatureView(name="everything", schema=COMMON, source=driver_daily)

inferred = FeatureView(name="inferred", entities=[driver], source=driver_daily)

weather = FeatureView(name="weather", entities=[city], schema=COMMON, source=weather_file)

scores = FeatureView(name="scores", entities=[driver], schema=COMMON, source=by_environment)


def windowed(days):
    return FeatureView(
        name=f"driver_{days}d",
        entities=[driver],
        ttl=timedelta(days=days),
        schema=COMMON,
        source=driver_daily,
    )


driver_7d, driver_30d = windowed(7), windowed(30)

for name in ["gold", "silver"]:
    globals()[name] = FeatureView(name=name, entities=[driver], schema=COMMON, source=driver_daily)
