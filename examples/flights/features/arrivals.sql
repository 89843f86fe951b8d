-- Flights that arrived, with their delay between -60 and 300 minutes and whether it was more than 15, and when that was by
-- the calendar of 2013.
SELECT carrier, flight, tailnum, origin, dest, event_ts, ingested_at,
       greatest(-60, least(300, arr_delay))::double precision AS arr_delay,
       late15::int::double precision AS late,
       arrived_at
FROM flights.flight_arrived
