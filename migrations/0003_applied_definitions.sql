-- Which definitions hold: what `apply` was told, one row each time, kept for good. Of each project the newest row counts.
-- Without any, whoever has definitions writes by them.
CREATE TABLE larder.applied_definitions (
    -- Applies of a project come one after another, in this order.
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project     text NOT NULL,
    -- On this database's clock.
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    host        text NOT NULL,
    -- Entities, sources, views and services, described so that `plan` can say what differs.
    definitions jsonb NOT NULL,
    -- The digest of each view, {"carrier_ops": "0123456789abcdef"}: every run asks whether its own is there, and soon.
    digests     jsonb NOT NULL
);

-- "What holds now?"
CREATE INDEX ON larder.applied_definitions (project, id DESC);

-- Views whose values were removed because they are retired. What their runs before then wrote is gone, or going: none of
-- them is continued, or taken for done.
CREATE TABLE larder.pruned_views (
    project   text NOT NULL,
    view      text NOT NULL,
    -- When the removal last began.
    pruned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (project, view)
);

-- Since when rows are in the source that a push could not put online, and that an incremental run would not look for, because
-- they came late. The next run that begins later is a full one, and takes it back.
ALTER TABLE larder.views ADD COLUMN missed_at timestamptz;
