-- What a device in the field must remember of a medium: in which order it came, how far the clock
-- could be believed, what its camera wrote into it, whether it is damaged; and clips.

CREATE TABLE media_new (
    sha256             TEXT PRIMARY KEY,
    deployment_id      TEXT NOT NULL REFERENCES deployment,
    state              TEXT NOT NULL
                       CHECK (state IN ('seen', 'waiting', 'claimed', 'done', 'quarantined')),
    attempts           INTEGER NOT NULL,      -- times decoding began; committed before it begins
    num_bytes          INTEGER NOT NULL,
    kind               TEXT CHECK (kind IN ('image', 'video')),   -- NULL: not decoded yet
    width              INTEGER,               -- pixels, upright
    height             INTEGER,
    num_frames         INTEGER,               -- of a clip: frames looked at
    duration_seconds   REAL,                  -- of a clip
    captured_at        TEXT,
    time_source        TEXT CHECK (time_source IN ('exif', 'container', 'mtime')),
    utc_offset_minutes INTEGER,               -- of captured_at, where the camera wrote it
    latitude           REAL,                  -- degrees, WGS 84, where the camera wrote them
    longitude          REAL,
    camera             TEXT,                  -- its serial number, else its model
    observation_type   TEXT
                       CHECK (observation_type IN
                              ('animal', 'human', 'vehicle', 'blank', 'unclassified')),
    damage             TEXT,                  -- what is broken in a picture that decodes; NULL: nothing
    reason             TEXT,                  -- why quarantined
    seq                INTEGER NOT NULL,      -- order of arrival, whatever the clock says
    boot_id            TEXT,                  -- of the start of the system it arrived in
    clock_trusted      INTEGER CHECK (clock_trusted IN (0, 1)),   -- of seen_at
    seen_at            TEXT NOT NULL,
    done_at            TEXT
) STRICT, WITHOUT ROWID;

INSERT INTO media_new (sha256, deployment_id, state, attempts, num_bytes, kind, width, height,
    captured_at, time_source, observation_type, reason, seq, seen_at, done_at)
SELECT sha256, deployment_id, state, attempts, num_bytes, iif(width IS NULL, NULL, 'image'), width,
    height, captured_at, time_source, observation_type, reason,
    row_number() OVER (ORDER BY seen_at, sha256), seen_at, done_at
FROM media;

DROP TABLE media;
ALTER TABLE media_new RENAME TO media;
CREATE INDEX media_by_state ON media (state);
CREATE UNIQUE INDEX media_by_seq ON media (seq);

-- When in a clip the frame was, from its start; NULL: a still picture.
ALTER TABLE detection ADD COLUMN frame_ms INTEGER;

-- The files that lie in the archive: few, where old ones go.
CREATE INDEX media_path_archived ON media_path (sha256) WHERE disposed_to <> 'deleted';
