-- What is asked for every new animal is found by an index, however many there are.

CREATE INDEX observation_newest ON observation (decided_at) WHERE decision = 'new';
CREATE INDEX individual_by_own_name ON individual (own_name);
