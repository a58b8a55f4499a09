"""The state folder: database, crops, archive and their copies."""
