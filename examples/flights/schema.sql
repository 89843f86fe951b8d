-- What an airport's systems would write as flights happen. An outcome is a row of its own, at the moment it became known.
CREATE SCHEMA IF NOT EXISTS flights;

-- How far 2013 is moved in these tables: one number for all of them.
CREATE TABLE IF NOT EXISTS flights.replay (
    shift_minutes bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS flights.airline (
    carrier text PRIMARY KEY,
    name    text NOT NULL
);

CREATE TABLE IF NOT EXISTS flights.airport (
    airport   text PRIMARY KEY,
    name      text NOT NULL,
    lat       double precision NOT NULL,
    lon       double precision NOT NULL,
    time_zone text NOT NULL
);

CREATE TABLE IF NOT EXISTS flights.plane (
    tailnum       text PRIMARY KEY,
    built_year    bigint,
    manufacturer  text NOT NULL,
    model         text NOT NULL,
    engines       bigint NOT NULL,
    seats         bigint NOT NULL,
    registered_at timestamptz NOT NULL,
    ingested_at   timestamptz NOT NULL DEFAULT now()
);

-- The timetable, known long before. No feature reads it.
CREATE TABLE IF NOT EXISTS flights.flight_scheduled (
    flight_id   bigint PRIMARY KEY,
    carrier     text NOT NULL,
    flight      bigint NOT NULL,
    tailnum     text,
    origin      text NOT NULL,
    dest        text NOT NULL,
    distance    double precision NOT NULL, -- miles
    sched_dep   timestamptz NOT NULL,
    sched_arr   timestamptz NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS flights.flight_departed (
    flight_id   bigint PRIMARY KEY,
    carrier     text NOT NULL,
    flight      bigint NOT NULL,
    tailnum     text,
    origin      text NOT NULL,
    dest        text NOT NULL,
    event_ts    timestamptz NOT NULL,
    dep_delay   bigint NOT NULL,           -- minutes, negative if early
    ingested_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS flights.flight_arrived (
    flight_id   bigint PRIMARY KEY,
    carrier     text NOT NULL,
    flight      bigint NOT NULL,
    tailnum     text,
    origin      text NOT NULL,
    dest        text NOT NULL,
    event_ts    timestamptz NOT NULL,
    arr_delay   bigint NOT NULL,           -- minutes, negative if early
    late15      boolean NOT NULL,          -- more than 15 minutes late
    arrived_at  timestamptz NOT NULL,      -- event_ts by the calendar of 2013: a value, so it is not moved
    ingested_at timestamptz NOT NULL DEFAULT now()
);

-- Known at the scheduled departure: an assumption, the data does not say when.
CREATE TABLE IF NOT EXISTS flights.flight_cancelled (
    flight_id   bigint PRIMARY KEY,
    carrier     text NOT NULL,
    flight      bigint NOT NULL,
    tailnum     text,
    origin      text NOT NULL,
    dest        text NOT NULL,
    event_ts    timestamptz NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS flights.weather (
    origin      text NOT NULL,
    event_ts    timestamptz NOT NULL,
    temp        double precision,
    dewp        double precision,
    humid       double precision,
    wind_dir    double precision,
    wind_speed  double precision,
    wind_gust   double precision,
    precip      double precision,
    pressure    double precision,
    visib       double precision,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (origin, event_ts)
);
