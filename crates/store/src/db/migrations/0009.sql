-- Before each message it is asked whether one is too old: not a question to all that wait.
CREATE INDEX outbox_by_expiry ON outbox (expires) WHERE state = 'waiting';
