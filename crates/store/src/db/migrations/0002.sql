-- How many attempts may have arrived although nothing said so: chat hooks show a repeat, so these are counted.
ALTER TABLE outbox ADD COLUMN n_ambiguous INTEGER NOT NULL DEFAULT 0;

-- A parked receiver that said it wants no probes gets none.
ALTER TABLE notifiers ADD COLUMN parked_is_probed INTEGER NOT NULL DEFAULT 1;

-- Tells whether the settings are still those of the last start; see `notify::mark`.
ALTER TABLE notifiers ADD COLUMN settings_mark TEXT;
