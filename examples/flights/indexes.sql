-- What materialization and training sets look rows up by: an entity and event time; event time; time of insertion.
-- Made after the first load, which is faster than keeping them while it runs.
CREATE INDEX IF NOT EXISTS flight_departed_origin   ON flights.flight_departed (origin, event_ts);
CREATE INDEX IF NOT EXISTS flight_departed_event    ON flights.flight_departed (event_ts);
CREATE INDEX IF NOT EXISTS flight_departed_ingested ON flights.flight_departed (ingested_at);

CREATE INDEX IF NOT EXISTS flight_cancelled_origin   ON flights.flight_cancelled (origin, event_ts);
CREATE INDEX IF NOT EXISTS flight_cancelled_event    ON flights.flight_cancelled (event_ts);
CREATE INDEX IF NOT EXISTS flight_cancelled_ingested ON flights.flight_cancelled (ingested_at);

CREATE INDEX IF NOT EXISTS flight_arrived_carrier  ON flights.flight_arrived (carrier, event_ts);
CREATE INDEX IF NOT EXISTS flight_arrived_dest     ON flights.flight_arrived (dest, event_ts);
CREATE INDEX IF NOT EXISTS flight_arrived_tailnum  ON flights.flight_arrived (tailnum, event_ts);
CREATE INDEX IF NOT EXISTS flight_arrived_route    ON flights.flight_arrived (carrier, origin, dest, event_ts);
CREATE INDEX IF NOT EXISTS flight_arrived_flight   ON flights.flight_arrived (carrier, flight, origin, dest, event_ts);
CREATE INDEX IF NOT EXISTS flight_arrived_event    ON flights.flight_arrived (event_ts);
CREATE INDEX IF NOT EXISTS flight_arrived_ingested ON flights.flight_arrived (ingested_at);

CREATE INDEX IF NOT EXISTS weather_event    ON flights.weather (event_ts);
CREATE INDEX IF NOT EXISTS weather_ingested ON flights.weather (ingested_at);

CREATE INDEX IF NOT EXISTS plane_tailnum    ON flights.plane (tailnum, registered_at);
CREATE INDEX IF NOT EXISTS plane_registered ON flights.plane (registered_at);
CREATE INDEX IF NOT EXISTS plane_ingested   ON flights.plane (ingested_at);

CREATE INDEX IF NOT EXISTS flight_scheduled_departure ON flights.flight_scheduled (sched_dep);

ANALYZE flights.flight_scheduled, flights.flight_departed, flights.flight_arrived, flights.flight_cancelled, flights.weather, flights.plane;
