-- Nobody asks for media by their state alone, and every picture changed this index twice.
DROP INDEX media_by_state;
