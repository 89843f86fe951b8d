from datetime import timedelta

from feast import Aggregation, FeatureView, Field, StreamFeatureView
from feast.stream_feature_view import stream_feature_view
from feast.types import Float64, Int64

from entities import rider
from sources import trip_stream, trips

rider_spend = FeatureView(
    name="rider_spend",
    entities=[rider],
    ttl=timedelta(days=30, hours=12),
    schema=[Field(name="fare", dtype=Float64), Field(name="surge", dtype=Float64)],
    source=trip_stream,
)

rider_windows = StreamFeatureView(
    name="rider_windows",
    entities=[rider],
    ttl=timedelta(days=1),
    schema=[Field(name="fare", dtype=Float64)],
    timestamp_field="started_at",
    aggregations=[Aggregation(column="fare", function="sum", time_window=timedelta(hours=3))],
    source=trip_stream,
)


@stream_feature_view(
    entities=[rider],
    ttl=timedelta(days=1),
    schema=[Field(name="detour", dtype=Float64)],
    source=trip_stream,
)
def rider_detours(df):
    return df
