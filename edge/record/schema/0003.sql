-- The gallery is its log. The tables individual, exemplar and said are what replaying the log
-- gives, kept at hand; embeddings lie beside them, one an encoder. What earlier releases enrolled
-- becomes entries of the log.

CREATE TABLE gallery_log_new (
    seq           INTEGER PRIMARY KEY,        -- the order, whatever the clock says
    entry_id      TEXT NOT NULL UNIQUE,
    action        TEXT NOT NULL,
    individual_id TEXT,                       -- whom it is about; NULL: an undo, an import
    details       TEXT NOT NULL,              -- JSON
    who           TEXT NOT NULL,
    logged_at     TEXT NOT NULL
) STRICT;

INSERT INTO gallery_log_new (entry_id, action, individual_id, details, who, logged_at)
SELECT entry_id, 'enrol', individual_id,
    iif(is_first,
        json_object('name', name, 'provisional', json(iif(provisional, 'true', 'false')),
                    'exemplars', json(exemplars)),
        json_object('exemplars', json(exemplars))),
    'an earlier release', logged_at
FROM (
    SELECT coalesce(min(exemplar_id), individual_id) AS entry_id, individual_id, name, provisional,
        coalesce(exemplar.created_at, individual.created_at) AS logged_at,
        json_group_array(json_object(
            'exemplar_id', exemplar_id, 'sha256', sha256, 'display', display,
            'box', json_array(json(printf('%!.17g', x)), json(printf('%!.17g', y)),
                              json(printf('%!.17g', width)), json(printf('%!.17g', height))),
            'flank', flank, 'encounter', encounter, 'captured_at', captured_at, 'crop', crop,
            'observation_id', NULL
        )) FILTER (WHERE exemplar_id IS NOT NULL) AS exemplars,
        row_number() OVER (
            PARTITION BY individual_id ORDER BY coalesce(exemplar.created_at, '')
        ) = 1 AS is_first
    FROM individual LEFT JOIN exemplar USING (individual_id)
    GROUP BY individual_id, exemplar.created_at
)
ORDER BY logged_at, entry_id;

CREATE TABLE exemplar_embedding (
    exemplar_id TEXT NOT NULL,                -- also of exemplars that an undo took away
    encoder_id  TEXT NOT NULL,
    embedding   BLOB NOT NULL,                -- float16, little-endian
    PRIMARY KEY (exemplar_id, encoder_id)
) STRICT, WITHOUT ROWID;

INSERT INTO exemplar_embedding SELECT exemplar_id, encoder_id, embedding FROM exemplar;

-- What another encoder makes of a detection than the one it was decided with.
CREATE TABLE detection_embedding (
    detection_id TEXT NOT NULL REFERENCES detection,
    encoder_id   TEXT NOT NULL,
    embedding    BLOB NOT NULL,               -- float16, little-endian
    PRIMARY KEY (detection_id, encoder_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE individual_new (
    individual_id TEXT PRIMARY KEY,           -- permanent; never given to another animal
    name          TEXT NOT NULL,              -- of the animal it stands for today
    own_name      TEXT NOT NULL,              -- the same, unless it was merged into another
    provisional   INTEGER NOT NULL CHECK (provisional IN (0, 1)),
    status        TEXT NOT NULL
                  CHECK (status IN ('living', 'retired', 'merged', 'undone')),
    merged_into   TEXT REFERENCES individual DEFERRABLE INITIALLY DEFERRED,
    current_id    TEXT NOT NULL REFERENCES individual DEFERRABLE INITIALLY DEFERRED,
    created_at    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO individual_new
SELECT individual_id, name, name, provisional, 'living', NULL, individual_id,
    coalesce((SELECT min(created_at) FROM exemplar
              WHERE exemplar.individual_id = individual.individual_id), created_at)
FROM individual;

CREATE TABLE exemplar_new (
    exemplar_id    TEXT PRIMARY KEY,
    individual_id  TEXT NOT NULL REFERENCES individual,
    sha256         TEXT NOT NULL,             -- of the picture's bytes
    display        TEXT NOT NULL,             -- where the picture was
    x              REAL NOT NULL,
    y              REAL NOT NULL,
    width          REAL NOT NULL,
    height         REAL NOT NULL,
    flank          TEXT NOT NULL CHECK (flank IN ('left', 'right', 'unknown')),
    encounter      TEXT,                      -- as the user's table names it, or the event's id
    captured_at    TEXT,
    crop           TEXT NOT NULL,             -- STATE/crops/<crop>.jpg
    observation_id TEXT,                      -- the sighting it comes from; NULL: enrolled
    created_at     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO exemplar_new
SELECT exemplar_id, individual_id, sha256, display, x, y, width, height, flank, encounter,
    captured_at, crop, NULL, created_at
FROM exemplar;

-- What a person's last word on a sighting is.
CREATE TABLE said (
    observation_id TEXT PRIMARY KEY,
    verdict        TEXT NOT NULL CHECK (verdict IN ('confirm', 'assign', 'reject')),
    individual_id  TEXT NOT NULL REFERENCES individual,   -- with 'reject': who it is not
    who            TEXT NOT NULL,
    said_at        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

DROP TABLE gallery_log;
DROP TABLE exemplar;
DROP TABLE individual;
ALTER TABLE gallery_log_new RENAME TO gallery_log;
ALTER TABLE individual_new RENAME TO individual;
ALTER TABLE exemplar_new RENAME TO exemplar;

CREATE UNIQUE INDEX individual_by_name ON individual (own_name) WHERE status = 'living';
CREATE INDEX exemplar_by_individual ON exemplar (individual_id);
CREATE INDEX exemplar_by_sha256 ON exemplar (sha256);

CREATE TRIGGER gallery_log_is_not_changed BEFORE UPDATE ON gallery_log
BEGIN SELECT raise(ABORT, 'gallery_log is append-only'); END;
CREATE TRIGGER gallery_log_is_not_deleted BEFORE DELETE ON gallery_log
BEGIN SELECT raise(ABORT, 'gallery_log is append-only'); END;
