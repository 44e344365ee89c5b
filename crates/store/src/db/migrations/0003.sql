-- The newest poll that was complete for any part. A part that is current is known up to it; only one that is behind has a time
-- of its own, so that a poll that changed nothing writes one row.
ALTER TABLE organizations ADD COLUMN polled_at TEXT;
ALTER TABLE parts ADD COLUMN is_current INTEGER NOT NULL DEFAULT 0 CHECK (is_current IN (0, 1));
