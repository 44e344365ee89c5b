-- Alertmanager is told in each interval which alerts ended lately.
CREATE INDEX alerts_by_end ON alerts (organization_id, ended_at) WHERE phase = 'resolved';

-- A spend limit that the service had and has no more. An empty id is the organization's.
CREATE TABLE limits_removed (
    organization_id INTEGER NOT NULL REFERENCES organizations (id),
    workspace_id    TEXT NOT NULL,
    removed_at      TEXT NOT NULL,
    PRIMARY KEY (organization_id, workspace_id)
) STRICT, WITHOUT ROWID;
