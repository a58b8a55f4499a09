-- By what light a crop was taken: it follows from the crop, as embeddings do, and is kept at hand.

CREATE TABLE crop_light (
    crop     TEXT PRIMARY KEY,                -- STATE/crops/<crop>.jpg
    infrared INTEGER NOT NULL CHECK (infrared IN (0, 1))
) STRICT, WITHOUT ROWID;
