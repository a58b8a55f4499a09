-- The newest sightings of animals nobody was like, which every such animal is compared with.

CREATE INDEX observation_newest ON observation (decided_at) WHERE decision = 'new';
