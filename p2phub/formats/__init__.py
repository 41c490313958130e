"""The bytes p2phub reads and writes: ids, digests, signed documents, piece tables, messages. Pure."""
