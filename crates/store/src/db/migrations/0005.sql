-- Silences: what they match stands in words, as it was given.
CREATE TABLE silences (
    id          TEXT PRIMARY KEY,
    starts_at   TEXT NOT NULL,
    ends_at     TEXT NOT NULL,
    matchers    TEXT NOT NULL,
    author      TEXT NOT NULL,
    comment     TEXT NOT NULL,
    created_at  TEXT NOT NULL
) STRICT;
CREATE INDEX silences_by_end ON silences (ends_at);

-- Who has taken up an alert, and at which line it stood then.
CREATE TABLE acknowledgements (
    fingerprint TEXT PRIMARY KEY REFERENCES alerts (fingerprint) ON DELETE CASCADE,
    at          TEXT NOT NULL,
    author      TEXT NOT NULL,
    comment     TEXT NOT NULL,
    line        TEXT NOT NULL
) STRICT;
