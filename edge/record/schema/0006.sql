-- Where a camera hangs and how its clock goes, as the deployments table says; what the camera's
-- clock said before that was put right.

ALTER TABLE deployment ADD COLUMN location_id TEXT;
ALTER TABLE deployment ADD COLUMN location_name TEXT;
ALTER TABLE deployment ADD COLUMN latitude REAL;             -- degrees, WGS 84
ALTER TABLE deployment ADD COLUMN longitude REAL;
ALTER TABLE deployment ADD COLUMN deployment_start TEXT;     -- ISO 8601, as the table has it
ALTER TABLE deployment ADD COLUMN deployment_end TEXT;

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
    captured_at        TEXT,                  -- with the clock's shift put right
    camera_time        TEXT,                  -- without; NULL: nothing but the file's time is known
    time_source        TEXT CHECK (time_source IN ('exif', 'container', 'name', 'mtime')),
    utc_offset_minutes INTEGER,               -- of captured_at, where camera or table tell it
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
    num_frames, duration_seconds, captured_at, camera_time, time_source, utc_offset_minutes,
    latitude, longitude, camera, observation_type, damage, reason, seq, boot_id, clock_trusted,
    seen_at, done_at)
SELECT sha256, deployment_id, state, attempts, num_bytes, kind, width, height,
    num_frames, duration_seconds, captured_at, iif(time_source = 'mtime', NULL, captured_at),
    time_source, utc_offset_minutes, latitude, longitude, camera, observation_type, damage, reason,
    seq, boot_id, clock_trusted, seen_at, done_at
FROM media;

DROP TABLE media;
ALTER TABLE media_new RENAME TO media;
CREATE UNIQUE INDEX media_by_seq ON media (seq);
