-- What is told of usage within a part: which model, and with which key and by whom where that is known ('' where not).
CREATE TABLE cells (
    id             INTEGER PRIMARY KEY,
    model          TEXT NOT NULL,
    api_key        TEXT NOT NULL DEFAULT '',
    user           TEXT NOT NULL DEFAULT '',
    is_apportioned INTEGER NOT NULL DEFAULT 0 CHECK (is_apportioned IN (0, 1)),
    UNIQUE (model, api_key, user, is_apportioned)
) STRICT;
INSERT INTO cells (id, model) SELECT id, name FROM models;

-- Beside the spend: which part of it is an estimate, what it costs before discounts, what its tokens cost by the price table,
-- and what caching saved, each as whole USD and the 10^-12 USD above them; tokens without a known price, and those of the
-- Priority Tier. A 0 takes no room in a row.
CREATE TABLE usage_by_cell (
    part_id        INTEGER NOT NULL REFERENCES parts (id),
    kind           INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2),
    hour           INTEGER NOT NULL,
    cell_id        INTEGER NOT NULL REFERENCES cells (id),
    usd            INTEGER NOT NULL,
    pico           INTEGER NOT NULL CHECK (pico BETWEEN 0 AND 999999999999),
    estimated_usd  INTEGER NOT NULL,
    estimated_pico INTEGER NOT NULL CHECK (estimated_pico BETWEEN 0 AND 999999999999),
    list_usd       INTEGER NOT NULL,
    list_pico      INTEGER NOT NULL CHECK (list_pico BETWEEN 0 AND 999999999999),
    priced_usd     INTEGER NOT NULL,
    priced_pico    INTEGER NOT NULL CHECK (priced_pico BETWEEN 0 AND 999999999999),
    saved_usd      INTEGER NOT NULL,
    saved_pico     INTEGER NOT NULL CHECK (saved_pico BETWEEN 0 AND 999999999999),
    input          INTEGER NOT NULL,
    output         INTEGER NOT NULL,
    cache_read     INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    unpriced       INTEGER NOT NULL,
    by_contract    INTEGER NOT NULL,
    requests       INTEGER NOT NULL,
    PRIMARY KEY (part_id, kind, hour, cell_id)
) STRICT, WITHOUT ROWID;
INSERT INTO usage_by_cell
SELECT part_id, kind, hour, model_id, usd, pico, 0, 0, 0, 0, 0, 0, 0, 0,
       input, output, cache_read, cache_write_5m, cache_write_1h, 0, 0, requests
FROM usage;
DROP TABLE usage;
ALTER TABLE usage_by_cell RENAME TO usage;

CREATE TABLE recorded_by_cell (
    part_id        INTEGER NOT NULL REFERENCES parts (id),
    cell_id        INTEGER NOT NULL REFERENCES cells (id),
    usd            INTEGER NOT NULL,
    pico           INTEGER NOT NULL CHECK (pico BETWEEN 0 AND 999999999999),
    estimated_usd  INTEGER NOT NULL,
    estimated_pico INTEGER NOT NULL CHECK (estimated_pico BETWEEN 0 AND 999999999999),
    list_usd       INTEGER NOT NULL,
    list_pico      INTEGER NOT NULL CHECK (list_pico BETWEEN 0 AND 999999999999),
    priced_usd     INTEGER NOT NULL,
    priced_pico    INTEGER NOT NULL CHECK (priced_pico BETWEEN 0 AND 999999999999),
    saved_usd      INTEGER NOT NULL,
    saved_pico     INTEGER NOT NULL CHECK (saved_pico BETWEEN 0 AND 999999999999),
    input          INTEGER NOT NULL,
    output         INTEGER NOT NULL,
    cache_read     INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    unpriced       INTEGER NOT NULL,
    by_contract    INTEGER NOT NULL,
    requests       INTEGER NOT NULL,
    PRIMARY KEY (part_id, cell_id)
) STRICT, WITHOUT ROWID;
INSERT INTO recorded_by_cell
SELECT part_id, model_id, usd, pico, 0, 0, 0, 0, 0, 0, 0, 0,
       input, output, cache_read, cache_write_5m, cache_write_1h, 0, 0, requests
FROM recorded;
DROP TABLE recorded;
ALTER TABLE recorded_by_cell RENAME TO recorded;
DROP TABLE models;

-- Since when a workspace exists, and its tags (JSON); which dialect asked last, up to when it has told what is billed, and
-- the real id of the default workspace.
ALTER TABLE workspaces ADD COLUMN created_at TEXT;
ALTER TABLE workspaces ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';
ALTER TABLE organizations ADD COLUMN billed_until TEXT;
ALTER TABLE organizations ADD COLUMN default_workspace TEXT;

-- Names for ids, as the service last listed them.
CREATE TABLE api_keys (
    organization_id INTEGER NOT NULL REFERENCES organizations (id),
    api_key_id      TEXT NOT NULL,
    name            TEXT NOT NULL,
    PRIMARY KEY (organization_id, api_key_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE users (
    organization_id INTEGER NOT NULL REFERENCES organizations (id),
    user_id         TEXT NOT NULL,
    email           TEXT NOT NULL,
    name            TEXT NOT NULL,
    PRIMARY KEY (organization_id, user_id)
) STRICT, WITHOUT ROWID;
