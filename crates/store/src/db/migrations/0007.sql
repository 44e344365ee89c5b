-- A message is about alerts, or is a digest: then it has no facts.
ALTER TABLE outbox ADD COLUMN digest TEXT;

-- The newest slot of each digest that was done, or from when on its slots count. Under another schedule they count anew.
CREATE TABLE digests (
    organization_id INTEGER NOT NULL REFERENCES organizations (id),
    name            TEXT NOT NULL,
    schedule        TEXT NOT NULL,
    last_slot       TEXT NOT NULL,
    PRIMARY KEY (organization_id, name)
) STRICT, WITHOUT ROWID;
