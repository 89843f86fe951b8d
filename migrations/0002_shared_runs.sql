-- Runs that several processes share, that are continued after a crash, cancelled or kept from beginning; entities
-- forgotten.

-- What one process does of a run: all of it, or one of its shards.
CREATE TABLE larder.run_shards (
    run          uuid NOT NULL REFERENCES larder.materialization_runs (id) ON DELETE CASCADE,
    -- From 1 to the run's shards.
    shard        integer NOT NULL,
    outcome      text NOT NULL DEFAULT 'running' CHECK (outcome IN ('running', 'done', 'failed')),
    error        text,
    -- Up to where it has read the source: on a replica that lags, its replay time.
    watermark    timestamptz NOT NULL,
    -- In a backfill, the end of the last step that is done.
    step         timestamptz,
    -- Join keys of an entity: it and all before it, in the order of the keys, are written. Of the step under way.
    checkpoint   text[],
    -- On this database's clock. updated_at: when its process last showed that it was there.
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Rows that came from the source, also those that came again after a crash.
    rows_read    bigint NOT NULL DEFAULT 0,
    rows_written bigint NOT NULL DEFAULT 0,
    -- Not written because a newer value was online already.
    rows_older   bigint NOT NULL DEFAULT 0,
    bytes        bigint NOT NULL DEFAULT 0,
    -- The latest event timestamp among the rows read, if there were any.
    newest_row   timestamptz,
    -- What the data was expected to be and was not, where it is only warned of.
    warnings     text,
    host         text NOT NULL,
    pid          integer NOT NULL,
    PRIMARY KEY (run, shard)
);

INSERT INTO larder.run_shards
    (run, shard, outcome, error, watermark, started_at, updated_at, rows_read, rows_written, rows_older, bytes,
     newest_row, host, pid)
SELECT id, 1, CASE outcome WHEN 'done' THEN 'done' ELSE 'failed' END, error, as_of, started_at,
       COALESCE(finished_at, started_at), rows_read, rows_written, rows_older, bytes, newest_row, host, pid
FROM larder.materialization_runs;

ALTER TABLE larder.materialization_runs
    DROP COLUMN rows_read,
    DROP COLUMN rows_written,
    DROP COLUMN rows_older,
    DROP COLUMN bytes,
    DROP COLUMN newest_row,
    DROP COLUMN host,
    DROP COLUMN pid,
    -- replace: everything, whatever stands online. backfill: the rows of a range of event times, step by step.
    DROP CONSTRAINT materialization_runs_kind_check,
    ADD CONSTRAINT materialization_runs_kind_check CHECK (kind IN ('full', 'incremental', 'replace', 'backfill')),
    DROP CONSTRAINT materialization_runs_outcome_check,
    ADD CONSTRAINT materialization_runs_outcome_check
        CHECK (outcome IN ('running', 'done', 'failed', 'interrupted', 'cancelled')),
    ADD COLUMN shards integer NOT NULL DEFAULT 1,
    -- The step of a backfill, in microseconds.
    ADD COLUMN every bigint,
    -- The Redis process that took the run's first write: another one may have lost it.
    ADD COLUMN redis_process text,
    ADD COLUMN cancel_requested boolean NOT NULL DEFAULT false;

-- Views whose schedule is stopped.
CREATE TABLE larder.paused_views (
    project text NOT NULL,
    view    text NOT NULL,
    since   timestamptz NOT NULL DEFAULT clock_timestamp(),
    host    text NOT NULL,
    PRIMARY KEY (project, view)
);

-- Entities whose values were removed on demand. Who it was is kept as a hash only: this table must not remember whom it
-- was told to forget.
CREATE TABLE larder.forgotten (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project       text NOT NULL,
    -- SHA-256, in hexadecimal, of the entity as Redis keys spell it: carrier=UA,origin=JFK
    entity_sha256 text NOT NULL,
    -- The views that had a value.
    views         text[] NOT NULL,
    forgotten_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    host          text NOT NULL
);
