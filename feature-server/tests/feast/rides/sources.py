from datetime import timedelta

from feast import FileSource, KafkaSource, PushSource
from feast.data_format import JsonFormat
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import (
    PostgreSQLSource as Postgres,
)

from settings import ENVIRONMENT, SCHEMA

driver_daily = Postgres(
    table="driver_daily",
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
    field_mapping={"trips_total": "trips", "driver": "driver_id", "day_end": "event_timestamp"},
    description="One row a driver and day",
    tags={"dbt": "driver_daily"},
)

trips = Postgres(
    name="trips",
    query=f"""
        SELECT t.rider_uuid, t.driver_id, t.fare, t.started_at,
               t.pickup_point, t.surge
        FROM {SCHEMA}.trips t
        WHERE t.state = 'finished';
    """,
    timestamp_field="started_at",
)

quoted = Postgres(name="quoted", table='"Legacy"."City Stats"', timestamp_field="ts")

by_environment = Postgres(name="by_environment", table=f"scores_{ENVIRONMENT}", timestamp_field="ts")

no_time = Postgres(name="no_time", table="snapshots")

weather_file = FileSource(name="weather_file", path="data/weather.parquet", timestamp_field="ts")

driver_push = PushSource(name="driver_push", batch_source=driver_daily)
trips_push = PushSource(name="trips_push", batch_source=trips)

trip_stream = KafkaSource(
    name="trip_stream",
    kafka_bootstrap_servers="kafka:9092",
    topic="trips",
    timestamp_field="started_at",
    batch_source=trips,
    message_format=JsonFormat(schema_json="rider_uuid string, fare double"),
    watermark_delay_threshold=timedelta(minutes=5),
)
