-- Times are RFC 3339 texts or whole milliseconds since 1970; hours are whole hours since 1970-01-01T00:00Z.
CREATE TABLE organizations (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    engine    TEXT NOT NULL,  -- JSON: when it began, observed time, last slot, first evaluations
    directory TEXT NOT NULL   -- JSON: the organization's own data and when the list was read
) STRICT;

CREATE TABLE workspaces (
    organization INTEGER NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    workspace    TEXT NOT NULL,  -- JSON
    PRIMARY KEY (organization, id)
) STRICT, WITHOUT ROWID;

-- kind: 0 a workspace, 1 the remainder, 2 the whole
CREATE TABLE parts (
    id           INTEGER PRIMARY KEY,
    organization INTEGER NOT NULL REFERENCES organizations (id),
    kind         INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    hours_from   INTEGER,         -- first day (count) that is known by hours
    coverage     TEXT NOT NULL,   -- JSON
    UNIQUE (organization, kind, workspace_id)
) STRICT;

CREATE TABLE models (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- kind: 0 an hour, 1 what a settled day has beyond its hours, 2 a day
-- spend is spend_micros × 10⁻⁶ USD + spend_rest × 10⁻¹² USD, 0 ≤ spend_rest < 10⁶
CREATE TABLE buckets (
    part           INTEGER NOT NULL REFERENCES parts (id),
    kind           INTEGER NOT NULL,
    hour           INTEGER NOT NULL,
    model          INTEGER NOT NULL REFERENCES models (id),
    spend_micros   INTEGER NOT NULL,
    spend_rest     INTEGER NOT NULL,
    input          INTEGER NOT NULL,
    output         INTEGER NOT NULL,
    cache_read     INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    requests       INTEGER NOT NULL,
    PRIMARY KEY (part, kind, hour, model)
) STRICT, WITHOUT ROWID;

-- Everything that was ever recorded, so that retention never lowers it.
CREATE TABLE recorded (
    part           INTEGER NOT NULL REFERENCES parts (id),
    model          INTEGER NOT NULL REFERENCES models (id),
    spend_micros   INTEGER NOT NULL,
    spend_rest     INTEGER NOT NULL,
    input          INTEGER NOT NULL,
    output         INTEGER NOT NULL,
    cache_read     INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    requests       INTEGER NOT NULL,
    PRIMARY KEY (part, model)
) STRICT, WITHOUT ROWID;

-- granularity: 0 hour, 1 day
CREATE TABLE doubts (
    part        INTEGER NOT NULL REFERENCES parts (id),
    granularity INTEGER NOT NULL,
    hour        INTEGER NOT NULL,
    since       TEXT NOT NULL,
    n_answers   INTEGER NOT NULL,
    PRIMARY KEY (part, granularity, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE remainders_due (
    organization INTEGER NOT NULL REFERENCES organizations (id),
    granularity  INTEGER NOT NULL,
    hour         INTEGER NOT NULL,
    PRIMARY KEY (organization, granularity, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    fingerprint  TEXT PRIMARY KEY,
    organization INTEGER NOT NULL REFERENCES organizations (id),
    is_open      INTEGER NOT NULL,
    ends_ms      INTEGER NOT NULL,  -- the end of its period
    changed_ms   INTEGER NOT NULL,
    alert        TEXT NOT NULL      -- JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_open ON alerts (organization, is_open, ends_ms);

CREATE TABLE alert_history (
    fingerprint TEXT NOT NULL,
    sequence    INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    change      TEXT NOT NULL,  -- JSON: state, line, figure, limit, who was told what
    PRIMARY KEY (fingerprint, sequence, at_ms)
) STRICT, WITHOUT ROWID;

-- state: 0 waiting, 1 delivered, 2 dead, 3 folded into another
CREATE TABLE outbox (
    place       INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    notifier    TEXT NOT NULL,
    recipient   TEXT,
    state       INTEGER NOT NULL,
    created_ms  INTEGER NOT NULL,
    due_ms      INTEGER NOT NULL,
    expires_ms  INTEGER NOT NULL,
    n_attempts  INTEGER NOT NULL,
    n_ambiguous INTEGER NOT NULL,
    is_replay   INTEGER NOT NULL,
    error       TEXT,
    changed_ms  INTEGER NOT NULL,
    facts       TEXT NOT NULL   -- JSON; frozen at the first attempt
) STRICT;
CREATE INDEX outbox_waiting ON outbox (notifier, place) WHERE state = 0;
CREATE INDEX outbox_state ON outbox (state, changed_ms);

CREATE TABLE outbox_alerts (
    place       INTEGER NOT NULL REFERENCES outbox (place) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (place, fingerprint)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_alerts_by_alert ON outbox_alerts (fingerprint, place);

CREATE TABLE notifiers (
    name  TEXT PRIMARY KEY,
    state TEXT NOT NULL  -- JSON: parked, paused, failures
) STRICT, WITHOUT ROWID;
