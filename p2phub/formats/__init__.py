"""The bytes p2phub reads and writes: ids, digests, documents, piece tables, messages. Pure."""
