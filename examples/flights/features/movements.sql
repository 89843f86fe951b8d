-- What an origin sees: flights that left, and flights known not to leave. Delays beyond five hours count as five, so that one
-- flight can't carry an hour's mean away.
SELECT origin, event_ts, ingested_at,
       greatest(-30, least(300, dep_delay))::double precision AS dep_delay,
       0.0::double precision AS cancelled
FROM flights.flight_departed
UNION ALL
SELECT origin, event_ts, ingested_at, NULL, 1.0
FROM flights.flight_cancelled
