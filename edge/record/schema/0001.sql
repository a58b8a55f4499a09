-- All tables of the state database. Words follow Camtrap DP where it has one.
-- Times: captured_at is the camera's own clock (no time zone), ISO 8601; every other *_at is UTC.
-- Boxes are fractions of the picture: left-top corner and size.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE deployment (
    deployment_id TEXT PRIMARY KEY,           -- the first-level folder, as text
    created_at    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One picture, known by its bytes. A file that is still being written has no identity yet: only
-- what was read whole gets a row, so 'seen' and 'waiting' are for media that wait for a person or
-- a detector after that.
CREATE TABLE media (
    sha256           TEXT PRIMARY KEY,
    deployment_id    TEXT NOT NULL REFERENCES deployment,
    state            TEXT NOT NULL
                     CHECK (state IN ('seen', 'waiting', 'claimed', 'done', 'quarantined')),
    attempts         INTEGER NOT NULL,        -- times decoding began; committed before it begins
    num_bytes        INTEGER NOT NULL,
    width            INTEGER,                 -- pixels
    height           INTEGER,
    captured_at      TEXT,
    time_source      TEXT CHECK (time_source IN ('exif', 'mtime')),
    observation_type TEXT
                     CHECK (observation_type IN
                            ('animal', 'human', 'vehicle', 'blank', 'unclassified')),
    reason           TEXT,                    -- why quarantined
    seen_at          TEXT NOT NULL,
    done_at          TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX media_by_state ON media (state);

-- Where a medium was found; the same bytes under two names are two rows.
CREATE TABLE media_path (
    path        BLOB NOT NULL,                -- absolute, the file system's own bytes
    sha256      TEXT NOT NULL REFERENCES media,
    display     TEXT NOT NULL,                -- the same, odd bytes escaped
    num_bytes   INTEGER NOT NULL,
    mtime_ns    INTEGER NOT NULL,
    note        TEXT,                         -- 'name-not-utf8'
    disposed_to TEXT,                         -- NULL: left there; 'deleted'; or the file in STATE
    seen_at     TEXT NOT NULL,
    PRIMARY KEY (path, sha256)
) STRICT, WITHOUT ROWID;

CREATE INDEX media_path_by_sha256 ON media_path (sha256);

-- Files that could not be used, with the reason; sha256 is NULL where not even reading worked.
CREATE TABLE quarantine (
    path           BLOB NOT NULL,
    num_bytes      INTEGER NOT NULL,          -- 0 for what is not a file
    mtime_ns       INTEGER NOT NULL,          -- 0 for what is not a file
    sha256         TEXT,
    display        TEXT NOT NULL,
    deployment_id  TEXT NOT NULL,
    reason         TEXT NOT NULL,
    detail         TEXT NOT NULL,
    note           TEXT,
    quarantined_at TEXT NOT NULL,
    PRIMARY KEY (path, num_bytes, mtime_ns)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    event_id      TEXT PRIMARY KEY,
    deployment_id TEXT NOT NULL REFERENCES deployment,
    start_at      TEXT NOT NULL,              -- capture time of the first and the last frame
    end_at        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX event_by_time ON event (deployment_id, start_at, end_at);

CREATE TABLE individual (
    individual_id TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    provisional   INTEGER NOT NULL CHECK (provisional IN (0, 1)),
    created_at    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE exemplar (
    exemplar_id   TEXT PRIMARY KEY,
    individual_id TEXT NOT NULL REFERENCES individual,
    sha256        TEXT NOT NULL,              -- of the picture's bytes
    display       TEXT NOT NULL,              -- where the picture was
    x             REAL NOT NULL,
    y             REAL NOT NULL,
    width         REAL NOT NULL,
    height        REAL NOT NULL,
    flank         TEXT NOT NULL CHECK (flank IN ('left', 'right', 'unknown')),
    encounter     TEXT,                       -- as the user's table names it
    captured_at   TEXT,
    embedding     BLOB NOT NULL,              -- float16, little-endian
    encoder_id    TEXT NOT NULL,
    crop          TEXT NOT NULL,              -- STATE/crops/<crop>.jpg
    created_at    TEXT NOT NULL,
    UNIQUE (individual_id, sha256, x, y, width, height)
) STRICT, WITHOUT ROWID;

CREATE INDEX exemplar_by_sha256 ON exemplar (sha256);

-- What the machine suggests for one animal in one event.
CREATE TABLE observation (
    observation_id       TEXT PRIMARY KEY,
    event_id             TEXT NOT NULL REFERENCES event,
    decision             TEXT NOT NULL
                         CHECK (decision IN ('match', 'new', 'review', 'unidentifiable')),
    num_frames           INTEGER NOT NULL,
    num_usable           INTEGER NOT NULL,
    best_individual_id   TEXT REFERENCES individual,
    best_similarity      REAL,
    runner_up_id         TEXT REFERENCES individual,
    runner_up_similarity REAL,
    probability          REAL,                -- NULL: not calibrated
    statistic            TEXT,                -- of the thresholds in force; NULL: none known
    statistic_value      REAL,
    match_threshold      REAL,
    new_threshold        REAL,
    threshold_source     TEXT,
    model                TEXT NOT NULL,
    encoder_id           TEXT NOT NULL,
    decided_at           TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX observation_by_event ON observation (event_id);

CREATE TABLE detection (
    detection_id         TEXT PRIMARY KEY,
    sha256               TEXT NOT NULL REFERENCES media,
    event_id             TEXT REFERENCES event,
    observation_id       TEXT REFERENCES observation,
    observation_type     TEXT NOT NULL
                         CHECK (observation_type IN
                                ('animal', 'human', 'vehicle', 'unclassified')),
    x                    REAL NOT NULL,
    y                    REAL NOT NULL,
    width                REAL NOT NULL,
    height               REAL NOT NULL,
    confidence           REAL,                -- the detector's; NULL for the whole frame
    quality              REAL,                -- NULL: not measured
    usable               INTEGER NOT NULL CHECK (usable IN (0, 1)),
    flank                TEXT NOT NULL CHECK (flank IN ('left', 'right', 'unknown')),
    embedding            BLOB,                -- float16, little-endian; only of usable animals
    encoder_id           TEXT,
    crop                 TEXT,                -- only of animals
    best_individual_id   TEXT REFERENCES individual,
    best_similarity      REAL,
    runner_up_id         TEXT REFERENCES individual,
    runner_up_similarity REAL
) STRICT, WITHOUT ROWID;

CREATE INDEX detection_by_sha256 ON detection (sha256);
CREATE INDEX detection_by_event ON detection (event_id);
CREATE INDEX detection_by_observation ON detection (observation_id);

-- What a person said. Append-only.
CREATE TABLE review (
    review_id      TEXT PRIMARY KEY,
    observation_id TEXT NOT NULL REFERENCES observation,
    verdict        TEXT NOT NULL,
    individual_id  TEXT REFERENCES individual,
    reviewer       TEXT,
    comment        TEXT,
    reviewed_at    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX review_by_observation ON review (observation_id);

-- How the gallery came to be. Append-only.
CREATE TABLE gallery_log (
    entry_id      TEXT PRIMARY KEY,
    action        TEXT NOT NULL,
    individual_id TEXT NOT NULL,
    details       TEXT NOT NULL,              -- JSON
    logged_at     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER review_is_not_changed BEFORE UPDATE ON review
BEGIN SELECT raise(ABORT, 'review is append-only'); END;
CREATE TRIGGER review_is_not_deleted BEFORE DELETE ON review
BEGIN SELECT raise(ABORT, 'review is append-only'); END;
CREATE TRIGGER gallery_log_is_not_changed BEFORE UPDATE ON gallery_log
BEGIN SELECT raise(ABORT, 'gallery_log is append-only'); END;
CREATE TRIGGER gallery_log_is_not_deleted BEFORE DELETE ON gallery_log
BEGIN SELECT raise(ABORT, 'gallery_log is append-only'); END;
