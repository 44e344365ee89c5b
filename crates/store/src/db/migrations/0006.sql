-- Where a chat receiver shows the first message about an alert: what follows is told below it. An alert that fires anew
-- has another start, and begins anew.
CREATE TABLE threads (
    notifier    TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    started_at  TEXT NOT NULL,
    channel     TEXT NOT NULL,
    ts          TEXT NOT NULL,
    began_at    TEXT NOT NULL,
    PRIMARY KEY (notifier, fingerprint)
) STRICT, WITHOUT ROWID;
