-- The part of what tokens cost by the price table that the table cannot determine with certainty.
ALTER TABLE usage ADD COLUMN uncertain_usd INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN uncertain_pico INTEGER NOT NULL DEFAULT 0 CHECK (uncertain_pico BETWEEN 0 AND 999999999999);
ALTER TABLE recorded ADD COLUMN uncertain_usd INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recorded ADD COLUMN uncertain_pico INTEGER NOT NULL DEFAULT 0 CHECK (uncertain_pico BETWEEN 0 AND 999999999999);
