-- The inputs of service flight_delay, written from what they mean, without the project's generators.
-- $1: a JSON array of instances; $2: the moment all of them are as of.
WITH instance AS (
    SELECT n, i->>'carrier' AS carrier, (i->>'flight')::bigint AS flight, i->>'origin' AS origin, i->>'dest' AS dest,
           i->>'tailnum' AS tailnum, (i->>'prediction_time')::timestamptz AS predicted, $2::timestamptz AS t
    FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS e(i, n)
), delay AS NOT MATERIALIZED (
    SELECT *, least(300, greatest(-60, arr_delay))::float8 AS clipped FROM flights.flight_arrived
)
SELECT jsonb_build_object(
    'origin_ops__dep_delay_1h', o.delay_1h, 'origin_ops__dep_delay_3h', o.delay_3h, 'origin_ops__dep_delay_24h', o.delay_24h,
    'origin_ops__departures_1h', o.left_1h, 'origin_ops__departures_3h', o.left_3h, 'origin_ops__departures_24h', o.left_24h,
    'origin_ops__cancel_rate_6h', o.cancelled_6h,
    'origin_weather__temp', w.temp, 'origin_weather__dewp', w.dewp, 'origin_weather__humid', w.humid,
    'origin_weather__wind_dir', w.wind_dir, 'origin_weather__wind_speed', w.wind_speed, 'origin_weather__wind_gust', w.wind_gust,
    'origin_weather__precip', w.precip, 'origin_weather__pressure', w.pressure, 'origin_weather__visib', w.visib,
    'carrier_ops__late_rate_3h', c.late_3h, 'carrier_ops__late_rate_24h', c.late_24h, 'carrier_ops__late_rate_7d', c.late_7d,
    'carrier_ops__arrivals_3h', c.n_3h, 'carrier_ops__arrivals_24h', c.n_24h, 'carrier_ops__arrivals_7d', c.n_7d,
    'late_trend', c.late_3h - c.late_7d,
    'dest_ops__late_rate_6h', d.late_6h, 'dest_ops__late_rate_7d', d.late_7d, 'dest_ops__arrivals_6h', d.n_6h,
    'dest_ops__arrivals_7d', d.n_7d, 'dest_ops__arr_delay_24h', d.delay_24h,
    'route_hist__late_rate_28d', r.late, 'route_hist__arrivals_28d', r.n, 'route_hist__arr_delay_28d', r.delay,
    'flight_hist__late_rate_28d', f.late, 'flight_hist__arrivals_28d', f.n, 'flight_hist__arr_delay_28d', f.delay,
    'tail_state__arr_delay_36h', a.last_delay, 'hours_since_arrival', extract(epoch FROM predicted - a.last_arrival)::float8 / 3600,
    'tail_state__late_rate_7d', a.late_7d, 'tail_state__arrivals_7d', a.n_7d,
    'plane__built_year', p.built_year, 'plane__seats', p.seats
) AS inputs
FROM instance
LEFT JOIN LATERAL (
    SELECT avg(delay) FILTER (WHERE at > t - interval '1 hour') AS delay_1h,
           avg(delay) FILTER (WHERE at > t - interval '3 hours') AS delay_3h,
           avg(delay) AS delay_24h,
           count(delay) FILTER (WHERE at > t - interval '1 hour') AS left_1h,
           count(delay) FILTER (WHERE at > t - interval '3 hours') AS left_3h,
           count(delay) AS left_24h,
           avg(cancelled) FILTER (WHERE at > t - interval '6 hours') AS cancelled_6h
    FROM (
        SELECT event_ts AS at, least(300, greatest(-30, dep_delay))::float8 AS delay, 0::float8 AS cancelled
        FROM flights.flight_departed WHERE flight_departed.origin = instance.origin
        UNION ALL
        SELECT event_ts, NULL, 1 FROM flights.flight_cancelled WHERE flight_cancelled.origin = instance.origin
    ) AS movement
    WHERE at > t - interval '24 hours' AND at <= t
    HAVING count(*) > 0
) AS o ON true
LEFT JOIN LATERAL (
    SELECT * FROM flights.weather
    WHERE weather.origin = instance.origin AND event_ts > t - interval '3 hours' AND event_ts <= t
    ORDER BY event_ts DESC LIMIT 1
) AS w ON true
LEFT JOIN LATERAL (
    SELECT avg(late15::int::float8) FILTER (WHERE event_ts > t - interval '3 hours') AS late_3h,
           avg(late15::int::float8) FILTER (WHERE event_ts > t - interval '24 hours') AS late_24h,
           avg(late15::int::float8) AS late_7d,
           count(*) FILTER (WHERE event_ts > t - interval '3 hours') AS n_3h,
           count(*) FILTER (WHERE event_ts > t - interval '24 hours') AS n_24h,
           count(*) AS n_7d
    FROM delay WHERE delay.carrier = instance.carrier AND event_ts > t - interval '168 hours' AND event_ts <= t
    HAVING count(*) > 0
) AS c ON true
LEFT JOIN LATERAL (
    SELECT avg(late15::int::float8) FILTER (WHERE event_ts > t - interval '6 hours') AS late_6h,
           avg(late15::int::float8) AS late_7d,
           count(*) FILTER (WHERE event_ts > t - interval '6 hours') AS n_6h,
           count(*) AS n_7d,
           avg(clipped) FILTER (WHERE event_ts > t - interval '24 hours') AS delay_24h
    FROM delay WHERE delay.dest = instance.dest AND event_ts > t - interval '168 hours' AND event_ts <= t
    HAVING count(*) > 0
) AS d ON true
LEFT JOIN LATERAL (
    SELECT avg(late15::int::float8) AS late, count(*) AS n, avg(clipped) AS delay
    FROM delay
    WHERE delay.carrier = instance.carrier AND delay.origin = instance.origin AND delay.dest = instance.dest
      AND event_ts > t - interval '672 hours' AND event_ts <= t
    HAVING count(*) > 0
) AS r ON true
LEFT JOIN LATERAL (
    SELECT avg(late15::int::float8) AS late, count(*) AS n, avg(clipped) AS delay
    FROM delay
    WHERE delay.carrier = instance.carrier AND delay.flight = instance.flight AND delay.origin = instance.origin
      AND delay.dest = instance.dest AND event_ts > t - interval '672 hours' AND event_ts <= t
    HAVING count(*) > 0
) AS f ON true
LEFT JOIN LATERAL (
    SELECT (SELECT clipped FROM delay AS l WHERE l.tailnum = instance.tailnum AND l.event_ts > t - interval '36 hours'
            AND l.event_ts <= t ORDER BY l.event_ts DESC, l.ingested_at DESC, clipped DESC LIMIT 1) AS last_delay,
           max(arrived_at) FILTER (WHERE event_ts > t - interval '36 hours') AS last_arrival,
           avg(late15::int::float8) AS late_7d, count(*) AS n_7d
    FROM delay WHERE delay.tailnum = instance.tailnum AND event_ts > t - interval '168 hours' AND event_ts <= t
    HAVING count(*) > 0
) AS a ON true
LEFT JOIN flights.plane AS p ON p.tailnum = instance.tailnum AND p.registered_at <= t
ORDER BY instance.n
