-- Instants are text with nine decimals in UTC, so that they sort by time and lose nothing. Hours and days are whole
-- counts since 1970. Money is whole USD, rounded down, and the 10^-12 USD above them (0 to 10^12 - 1).

CREATE TABLE organizations (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    store_began  TEXT NOT NULL,
    last_at      TEXT,
    observed     INTEGER NOT NULL DEFAULT 0,
    last_cycle   TEXT,
    dialect      TEXT,
    listed_at    TEXT,
    info         TEXT
) STRICT;

CREATE TABLE rules_began (
    organization_id INTEGER NOT NULL REFERENCES organizations (id),
    rule            TEXT NOT NULL,
    began_at        TEXT NOT NULL,
    PRIMARY KEY (organization_id, rule)
) STRICT, WITHOUT ROWID;

CREATE TABLE workspaces (
    organization_id     INTEGER NOT NULL REFERENCES organizations (id),
    workspace_id        TEXT NOT NULL,
    name                TEXT NOT NULL,
    monthly_limit       TEXT,
    requests_per_minute TEXT,
    presence            TEXT NOT NULL CHECK (presence IN ('listed', 'missing', 'gone')),
    missing_since       TEXT,
    n_answers           INTEGER,
    PRIMARY KEY (organization_id, workspace_id)
) STRICT, WITHOUT ROWID;

-- A part of the organization, with its coverage.
CREATE TABLE parts (
    id              INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL REFERENCES organizations (id),
    kind            TEXT NOT NULL CHECK (kind IN ('workspace', 'unattributed', 'whole')),
    workspace_id    TEXT NOT NULL,
    first_seen      TEXT NOT NULL,
    as_of           TEXT,
    hours_from      INTEGER,
    days_start      INTEGER,
    days_end        INTEGER,
    corrected_at    TEXT,
    recheck         TEXT NOT NULL,
    UNIQUE (organization_id, kind, workspace_id)
) STRICT;

CREATE TABLE models (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- kind: 0 an hour, 1 what a day has beyond its hours (at its last hour), 2 a day (at its first hour).
CREATE TABLE usage (
    part_id        INTEGER NOT NULL REFERENCES parts (id),
    kind           INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2),
    hour           INTEGER NOT NULL,
    model_id       INTEGER NOT NULL REFERENCES models (id),
    usd            INTEGER NOT NULL,
    pico           INTEGER NOT NULL CHECK (pico BETWEEN 0 AND 999999999999),
    input          INTEGER NOT NULL,
    output         INTEGER NOT NULL,
    cache_read     INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    requests       INTEGER NOT NULL,
    PRIMARY KEY (part_id, kind, hour, model_id)
) STRICT, WITHOUT ROWID;

-- Everything that was ever counted; retention does not lower it.
CREATE TABLE recorded (
    part_id        INTEGER NOT NULL REFERENCES parts (id),
    model_id       INTEGER NOT NULL REFERENCES models (id),
    usd            INTEGER NOT NULL,
    pico           INTEGER NOT NULL CHECK (pico BETWEEN 0 AND 999999999999),
    input          INTEGER NOT NULL,
    output         INTEGER NOT NULL,
    cache_read     INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    requests       INTEGER NOT NULL,
    PRIMARY KEY (part_id, model_id)
) STRICT, WITHOUT ROWID;

-- granularity: 0 hour, 1 day.
CREATE TABLE doubts (
    part_id     INTEGER NOT NULL REFERENCES parts (id),
    granularity INTEGER NOT NULL CHECK (granularity IN (0, 1)),
    hour        INTEGER NOT NULL,
    since       TEXT NOT NULL,
    n_answers   INTEGER NOT NULL,
    PRIMARY KEY (part_id, granularity, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE due_remainders (
    organization_id INTEGER NOT NULL REFERENCES organizations (id),
    granularity     INTEGER NOT NULL CHECK (granularity IN (0, 1)),
    hour            INTEGER NOT NULL,
    PRIMARY KEY (organization_id, granularity, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    fingerprint     TEXT PRIMARY KEY,
    organization_id INTEGER NOT NULL REFERENCES organizations (id),
    rule            TEXT NOT NULL,
    phase           TEXT NOT NULL CHECK (phase IN ('pending', 'firing', 'resolved')),
    period_end      TEXT NOT NULL,
    ended_at        TEXT,
    changed_at      TEXT NOT NULL,
    sequence        INTEGER NOT NULL,
    alert           TEXT NOT NULL
) STRICT;
CREATE INDEX alerts_by_phase ON alerts (organization_id, phase, period_end);

CREATE TABLE alert_changes (
    id          INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL REFERENCES alerts (fingerprint) ON DELETE CASCADE,
    at          TEXT NOT NULL,
    change      TEXT NOT NULL
) STRICT;
CREATE INDEX alert_changes_by_alert ON alert_changes (fingerprint, id);

CREATE TABLE outbox (
    position        INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    organization_id INTEGER NOT NULL REFERENCES organizations (id),
    notifier        TEXT NOT NULL,
    recipient       TEXT,
    state           TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead', 'folded')),
    facts           TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    next_attempt    TEXT NOT NULL,
    expires         TEXT NOT NULL,
    n_attempts      INTEGER NOT NULL DEFAULT 0,
    is_replay       INTEGER NOT NULL DEFAULT 0,
    last_error      TEXT,
    finished_at     TEXT,
    folded_into     TEXT
) STRICT;
CREATE INDEX outbox_by_state ON outbox (state, notifier, position);

CREATE TABLE outbox_alerts (
    position    INTEGER NOT NULL REFERENCES outbox (position) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (position, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE TABLE notifiers (
    name              TEXT PRIMARY KEY,
    parked_since      TEXT,
    parked_reason     TEXT,
    failures_in_row   INTEGER NOT NULL,
    paused_until      TEXT,
    last_delivered_at TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE schedules (
    name     TEXT PRIMARY KEY,
    last_run TEXT NOT NULL
) STRICT, WITHOUT ROWID;
