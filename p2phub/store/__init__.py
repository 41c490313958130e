"""What is on this disk: write-once blobs, resumable partials, the SQLite index, snapshots, keys."""
