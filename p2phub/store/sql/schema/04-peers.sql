-- Where peers were met, for the next start.

CREATE TABLE peers (
    peer_id TEXT PRIMARY KEY,
    addresses TEXT NOT NULL,
    seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX peers_by_seen ON peers (seen);
