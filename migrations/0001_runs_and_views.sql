-- What the feature server remembers of its work. The values themselves are in Redis, the sources wherever they are:
-- losing these tables costs a full materialization of each view, nothing else.

-- One row a run, kept for good: who computed what, as of when, and how it ended.
CREATE TABLE larder.materialization_runs (
    id           uuid PRIMARY KEY,
    project      text NOT NULL,
    view         text NOT NULL,
    -- full: everything as of a moment; incremental: what may have changed since the run before.
    kind         text NOT NULL CHECK (kind IN ('full', 'incremental')),
    -- Why a full run, where an incremental one was asked for.
    reason       text,
    -- The moment whose values were computed. On the source database's clock, as range_start and range_end are.
    as_of        timestamptz NOT NULL,
    -- The event times read again by an incremental run: (range_start, range_end]. A full run has no start.
    range_start  timestamptz,
    range_end    timestamptz NOT NULL,
    -- The view's definition, as a digest: values of another definition do not count as current.
    digest       text NOT NULL,
    -- On this database's clock, as finished_at is.
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    -- interrupted: its process died. A process holds an advisory lock while it runs, so a running row without it is dead.
    outcome      text NOT NULL DEFAULT 'running' CHECK (outcome IN ('running', 'done', 'failed', 'interrupted')),
    error        text,
    rows_read    bigint NOT NULL DEFAULT 0,
    rows_written bigint NOT NULL DEFAULT 0,
    -- Not written because a newer value was online already.
    rows_older   bigint NOT NULL DEFAULT 0,
    bytes        bigint NOT NULL DEFAULT 0,
    -- The latest event timestamp among the rows read, if there were any.
    newest_row   timestamptz,
    host         text NOT NULL,
    pid          integer NOT NULL
);

-- "The last runs of this view" and "the last runs of the project" are what people ask.
CREATE INDEX ON larder.materialization_runs (project, view, started_at DESC);
CREATE INDEX ON larder.materialization_runs (project, started_at DESC);

-- One row a view: its last finished run. Only finished runs change it, in the transaction that marks them done.
CREATE TABLE larder.views (
    project    text NOT NULL,
    view       text NOT NULL,
    -- The run whose marker stands in Redis. Another marker, or none, means that Redis lost or rolled back its data.
    run        uuid NOT NULL REFERENCES larder.materialization_runs (id),
    as_of      timestamptz NOT NULL,
    -- Up to where the source has been read, whether or not a row came. It is as_of, but on a replica that lags, its
    -- replay time. Never moves back.
    watermark  timestamptz NOT NULL,
    full_as_of timestamptz NOT NULL,
    -- The latest event timestamp ever read.
    newest_row timestamptz,
    -- Rows of the last full run: about how many entities have a value.
    entities   bigint NOT NULL,
    digest     text NOT NULL,
    PRIMARY KEY (project, view)
);
