-- A message may go out in several posts: how many of them were answered, and why one of these was refused for good.
ALTER TABLE outbox ADD COLUMN n_posted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN refused TEXT;

-- A dead letter is sent to the notifier's fallback once. The copy names the notifier that could not deliver it. Dead letters
-- of earlier versions stay where they are.
ALTER TABLE outbox ADD COLUMN is_passed_on INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN in_place_of TEXT;
CREATE INDEX outbox_copies ON outbox (position) WHERE in_place_of IS NOT NULL;
UPDATE outbox SET is_passed_on = 1 WHERE state = 'dead';
CREATE INDEX outbox_to_pass_on ON outbox (notifier, position) WHERE state = 'dead' AND is_passed_on = 0;

-- When its refusal first parked the notifier. Where other messages are delivered later, it is the message that is refused.
ALTER TABLE outbox ADD COLUMN parked_at TEXT;
CREATE INDEX outbox_parked ON outbox (notifier, recipient, parked_at) WHERE state = 'waiting' AND parked_at IS NOT NULL;
