-- What each camera sees when nothing is there, as the motion detector has learned it.

CREATE TABLE motion_background (
    deployment_id TEXT NOT NULL REFERENCES deployment,
    light         TEXT NOT NULL,              -- day or infrared, and the size of the look
    state         BLOB NOT NULL,
    updated_seq   INTEGER NOT NULL,           -- times it was saved
    PRIMARY KEY (deployment_id, light)
) STRICT, WITHOUT ROWID;
