-- Who an observation is said to be: a match's individual, or a new one under a provisional name,
-- whose exemplars are the frames of its own observations.
ALTER TABLE observation ADD COLUMN individual_id TEXT REFERENCES individual;
UPDATE observation SET individual_id = best_individual_id WHERE decision = 'match';
CREATE INDEX observation_by_individual ON observation (individual_id);
CREATE INDEX observation_by_decision ON observation (decision);
