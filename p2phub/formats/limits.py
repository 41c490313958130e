"""Every numeric limit on what comes from outside, with its unit. One table, so that it can be read
in one sitting.

A length from outside meets its limit here before memory is spent on it. Sizes are bytes unless a
line says otherwise; a text is measured in bytes of UTF-8. Raising a number is a change of format:
an older p2phub refuses what it allows. Limits of time and rate are the network's
(`p2phub.network.limits`).

>>> MAX_ROOTS * MAX_ROOT < MAX_HEAD
True
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# Fixed lengths
DIGEST: Final = 32
GIT_DIGEST: Final = 20
KEY: Final = 32
OMS_KEY: Final = 33
"""A compressed point of P-256."""
SIGNATURE: Final = 64

# Numbers
MAX_INTEGER: Final = 2**53 - 1
"""The largest integer in a document: what SQLite, JSON and JavaScript all hold exactly."""
MAX_TIME: Final = 253_402_300_799
"""Unix seconds: the end of the year 9999."""

# Canonical msgpack
MAX_DEPTH: Final = 16
"""Maps and lists inside one another."""
MAX_ITEMS: Final = 4_000_000
"""List items and map pairs of one document, all together."""
MAX_LIST: Final = 1_000_000
"""Items of one list, pairs of one map."""

# Files and pieces
MAX_PIECE: Final = 1 * MIB
"""Also the size up to which a file is one piece and has no table."""
MAX_FILE: Final = 1024 * GIB
MAX_TABLE: Final = 256 * MIB
MIN_BIG_FILE: Final = 16 * MIB
"""A file over this gets a provider record of its own."""
MAX_HEADER: Final = 100_000_000
"""Of a safetensors or GGUF file."""

# Pieces and the weights files they are cut from
MIN_CUT: Final = 64 * KIB
"""The shortest piece that content-defined cuts make; a tensor of this size starts a piece."""
AVERAGE_CUT: Final = 256 * KIB
MANY_PIECES: Final = 4096
"""Pieces that a file may always have, however small it is."""
MAX_TENSORS: Final = 262_144
"""Tensors in one file; a file with more is cut like any other file."""
MIN_TENSOR_INFO: Final = 24
"""Bytes that a tensor takes in a header, at the very least."""
MAX_TENSOR_NAME: Final = 64 * KIB - 1
MAX_DIMENSIONS: Final = 64
"""Dimensions of one tensor."""
MAX_TENSOR_ELEMENTS: Final = 2**53
"""The length of one dimension of a tensor: elements."""
MAX_HEADER_ITEMS: Final = 16 * MAX_TENSORS
"""Commas in a safetensors header."""
MAX_METADATA: Final = 65_536
"""Key-value pairs in a GGUF header."""
MAX_ARRAY_DEPTH: Final = 4
"""GGUF arrays inside one another."""
MAX_ALIGNMENT: Final = 1 * MIB
"""Of the tensors in a GGUF file."""

# Documents: the payload, without its signatures
MAX_ROOT: Final = 1 * KIB
MAX_DELEGATION: Final = 1536
MAX_HEAD: Final = 10 * KIB
"""The whole DHT record: payload and signature."""
MAX_HEAD_PAYLOAD: Final = MAX_HEAD - 256
MAX_INDEX: Final = 32 * KIB
MAX_PAGE: Final = 64 * KIB
MAX_RELEASE: Final = 32 * MIB
MAX_REVOCATION: Final = 2 * KIB
MAX_WITHDRAWAL: Final = 2 * KIB
MAX_APPROVAL: Final = 4 * KIB
MAX_FORK: Final = 72 * KIB
"""Two indexes with their signatures, and what holds them together."""

# Envelopes
MAX_SIGNATURES: Final = 16
"""Signatures on one document."""
MAX_ENVELOPE_OVERHEAD: Final = 3 * KIB
"""What an envelope may add to its payload."""

# Parcels: documents that travel by hand
MAX_PARCEL: Final = 64 * MIB
"""The largest release and everything it takes to judge it."""
MAX_PARCEL_DOCUMENTS: Final = 256

# Bundles: what crosses an air gap on a stick
MAX_PACK: Final = 1 * GIB
"""Bytes of one pack, a quarter of what FAT32 takes."""
MAX_PACK_ROWS: Final = 1 << 20
"""Pieces or documents in one pack."""
MAX_PACKS: Final = 9999
"""Packs of one kind on a medium."""
MAX_CONTENTS: Final = 64 * MIB
MAX_BUNDLE_HEADS: Final = 10_000
MAX_BUNDLE_NOTICES: Final = 100_000
MAX_BUNDLE_RELEASES: Final = 100_000
MAX_PARTS: Final = 9999
"""Media that one export is split over."""
MAX_SITES: Final = 64
"""Sites that one bundle is for, or that leave notes on one medium."""
MAX_INVENTORY: Final = 640 * KIB
MAX_INVENTORY_RELEASES: Final = 65_536
"""Releases that a site can say it has."""
MAX_INVENTORY_WANTS: Final = 1024
MAX_RECEIPT: Final = 640 * KIB
MAX_RECEIPT_RELEASES: Final = 16_384
MAX_INVENTORY_CODES: Final = 64
"""QR codes that one inventory is printed as."""

# Lists in documents: entries
MAX_ROLE_KEYS: Final = 5
MAX_ROOTS: Final = 8
"""Roots (3 of 5 keys, 5 recovery keys) that a head has room for; more are fine if they fit."""
MAX_ROOT_CHAIN: Final = 64
MAX_RELEASE_KEYS: Final = 16
MAX_OMS_KEYS: Final = 2
"""Keys of one publisher that sign as OpenSSF Model Signing does."""
MAX_KEY_REPOS: Final = 16
"""Repos one release key is limited to."""
MAX_PARENTS: Final = 8
MAX_PROFILE: Final = 16
MAX_REFS: Final = 128
"""Refs of one repo in an index."""
MAX_FAN_OUT: Final = 1024
"""Repos or child pages on one page."""
MAX_PAGE_LEVEL: Final = 8
MAX_FILES: Final = 100_000
"""Files of one release."""
MAX_SEEDS: Final = 8
"""Web seeds of one file."""
MAX_LINEAGE: Final = 16
MAX_LANGUAGES: Final = 256
MAX_TAGS: Final = 128
MAX_BASES: Final = 16
MAX_DATASETS: Final = 64
MAX_REQUIRES: Final = 16

# Texts in documents
MAX_NAME: Final = 96
"""A repo's name."""
MAX_ALIAS: Final = 39
MAX_REF: Final = 100
MAX_REASON: Final = 1 * KIB
"""Why something was revoked or withdrawn."""
MAX_MESSAGE_TEXT: Final = 4 * KIB
"""What a publisher says about a release."""
MAX_PROFILE_NAME: Final = 64
MAX_PROFILE_TEXT: Final = 1 * KIB
MAX_SEED: Final = 1 * KIB
"""A web seed's URL."""
MAX_ENDPOINT: Final = 256
MAX_REVISION: Final = 100
MAX_WORD: Final = 96
"""A licence, a task, a library, a tag, a relation, the name of a requirement."""
MAX_LANGUAGE: Final = 32
MAX_FOREIGN_NAME: Final = 160
"""A model or dataset of another hub."""

# What domains say of publishers, and lists of whom to trust
MAX_DOMAIN: Final = 253
MAX_WELL_KNOWN: Final = 64 * KIB
"""The file by which a domain names its publishers."""
MAX_DOMAIN_PUBLISHERS: Final = 1024
"""Publishers that one domain names."""
MAX_TEXT_RECORDS: Final = 256
"""TXT records of one name."""
MAX_TRUST_LIST: Final = 4 * MIB
MAX_TRUST_ENTRIES: Final = 10_000

# Paths
MAX_PATH_PART: Final = 255
MAX_PATH_PARTS: Final = 32
"""Parts of one path."""
MAX_PATH: Final = 1000
"""All parts of a path and the slashes between them."""

# Model cards
MAX_README: Final = 8 * MIB
MAX_FRONT_MATTER: Final = 1 * MIB
MAX_FRONT_MATTER_EVENTS: Final = 500_000
"""YAML events: scalars, and beginnings and ends of lists and maps."""

# Model signatures (OpenSSF Model Signing)
MAX_OMS: Final = 32 * MIB
"""A model.sig."""
MAX_BUNDLE_ITEMS: Final = 4096
"""Members and items in the JSON of a model.sig, without its statement."""
MAX_OMS_RESOURCES: Final = MAX_FILES
"""Files or shards in one statement."""
MAX_OMS_ITEMS: Final = 8 * MAX_OMS_RESOURCES
"""Members and items in the JSON of a statement; a comma or a bracket in a name counts too."""
MAX_OMS_IGNORED: Final = 1024
"""Ignored paths in one statement."""
MAX_OMS_SIGNATURE: Final = 256
MAX_OMS_HINT: Final = 256
"""Characters that say which key has signed."""
MAX_OMS_PEM: Final = 64 * KIB
"""A file with a public key."""

# Control messages
MAX_MESSAGE: Final = 1 * MIB
MAX_MESSAGE_DIGESTS: Final = 1024
"""Digests or content ids in one request."""
MAX_MESSAGE_HEADS: Final = 64
"""Heads in one message; so many of the largest fit."""
MAX_TOLD: Final = 32
"""Heads and notices that one peer tells another unasked, in one message."""
MAX_TOLD_DOCUMENT: Final = MAX_FORK + MAX_ENVELOPE_OVERHEAD
"""The largest of them: a fork proof in its envelope."""
MAX_CATALOG: Final = 256
"""Publishers that one question of a catalog exchange names."""
MAX_CATALOG_DOCUMENTS: Final = 512
"""Heads and notices in one answer to it."""
MAX_CATALOG_SKIP: Final = 16_384
"""Documents of one answer, all parts of it together."""
MAX_GOSSIP: Final = 16 * KIB - 1
"""A message of gossip; larger documents are told to peers one by one."""
MAX_RANGES: Final = 8192
"""Byte ranges in one answer to `have`."""
MAX_EXCHANGED: Final = 64
"""Addresses of peers in one answer to `exchange`; a peer may have several."""
MAX_ADDRESSES: Final = 32
MAX_ADDRESS: Final = 256
MAX_TICKET: Final = 256
MAX_AGENT: Final = 128
MAX_CAPABILITIES: Final = 32
MAX_ERROR_TEXT: Final = 1 * KIB
