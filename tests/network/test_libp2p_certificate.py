"""A certificate proves one peer id or none: every way to forge the binding is tried."""

import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import GarbageError
from p2phub.network import libp2p_certificate as door
from p2phub.network.libp2p_certificate import make_certificate, peer_of_certificate
from p2phub.network.libp2p_identity import ED25519_PROTOBUF, peer_id_of_seed

SEED, OTHER = b"a" * 32, b"b" * 32


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def forged(
    extension: bytes | None,
    *,
    tls_key=None,
    signer=None,
    digest=None,
    critical: bool = False,
    extra: bool = False,
) -> bytes:
    tls_key = tls_key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "libp2p")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(tls_key.public_key())
        .serial_number(7)
        .not_valid_before(door._FIRST_DAY)
        .not_valid_after(door._NO_END)
    )
    if extension is not None:
        value = x509.UnrecognizedExtension(door.EXTENSION, extension)
        builder = builder.add_extension(value, critical=critical)
    if extra:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.53594.9.9"), b"?")
        builder = builder.add_extension(unknown, critical=True)
    certificate = builder.sign(signer or tls_key, digest or hashes.SHA256())
    return certificate.public_bytes(Encoding.DER)


def binding(
    seed: bytes, tls_key, *, public: bytes | None = None, prefix: bytes | None = None
) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    info = tls_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign((door.SIGNED_PREFIX if prefix is None else prefix) + info)
    public = public or ED25519_PROTOBUF + key.public_key().public_bytes_raw()
    body = door._octets(public) + door._octets(signature)
    return bytes([0x30, len(body)]) + body


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def test_our_certificate_proves_our_peer_id():
    assert peer_of_certificate(der_of(make_certificate(SEED)[0])) == peer_id_of_seed(SEED)


def test_two_certificates_of_one_node_have_different_keys():
    assert make_certificate(SEED)[1] != make_certificate(SEED)[1]


def test_libp2p_itself_accepts_our_certificate():
    from libp2p.peer.id import ID
    from libp2p.security.tls.certificate import verify_certificate_chain

    certificate = x509.load_pem_x509_certificate(make_certificate(SEED)[0])
    assert ID.from_pubkey(verify_certificate_chain([certificate])).to_string() == peer_id_of_seed(
        SEED
    )


def test_we_accept_a_certificate_made_by_libp2p():
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.security.tls.certificate import create_cert_template, generate_certificate

    pem, _ = generate_certificate(create_new_key_pair(SEED).private_key, create_cert_template())
    assert peer_of_certificate(der_of(pem.encode())) == peer_id_of_seed(SEED)


def test_a_tls_socket_can_use_it(tmp_path):
    certificate, key = make_certificate(SEED)
    path = tmp_path / "both.pem"
    path.write_bytes(certificate + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert peer_of_certificate(ours.getpeercert(binary_form=True)) == peer_id_of_seed(SEED)


def test_a_certificate_without_the_extension_is_refused():
    with pytest.raises(GarbageError, match="lacks the libp2p extension"):
        peer_of_certificate(forged(None))


def test_the_binding_of_another_certificate_is_refused():
    with pytest.raises(GarbageError):
        peer_of_certificate(forged(binding(SEED, new_key())))


def test_another_peers_name_under_our_signature_is_refused():
    key = new_key()
    public = (
        ED25519_PROTOBUF
        + Ed25519PrivateKey.from_private_bytes(OTHER).public_key().public_bytes_raw()
    )
    with pytest.raises(GarbageError):
        peer_of_certificate(forged(binding(SEED, key, public=public), tls_key=key))


def test_a_signature_made_for_another_purpose_is_refused():
    key = new_key()
    with pytest.raises(GarbageError):
        peer_of_certificate(forged(binding(SEED, key, prefix=b""), tls_key=key))


def test_a_copied_certificate_signed_by_another_key_is_refused():
    key = new_key()
    with pytest.raises(GarbageError):
        peer_of_certificate(forged(binding(SEED, key), tls_key=key, signer=new_key()))


def test_a_peer_key_of_another_kind_is_refused():
    key = new_key()
    with pytest.raises(GarbageError, match="not an Ed25519 key"):
        peer_of_certificate(
            forged(binding(SEED, key, public=b"\x08\x02\x12\x20" + b"k" * 32), tls_key=key)
        )


def test_an_rsa_certificate_is_refused():
    key = rsa.generate_private_key(65537, 2048)
    with pytest.raises(GarbageError, match="elliptic curve"):
        peer_of_certificate(forged(binding(SEED, key), tls_key=key))


def test_a_critical_extension_nobody_knows_is_refused():
    key = new_key()
    with pytest.raises(GarbageError, match="critical"):
        peer_of_certificate(forged(binding(SEED, key), tls_key=key, extra=True))


def test_a_critical_libp2p_extension_is_fine():
    key = new_key()
    der = forged(binding(SEED, key), tls_key=key, critical=True)
    assert peer_of_certificate(der) == peer_id_of_seed(SEED)


@pytest.mark.parametrize(
    "extension", [b"", b"\x30", b"\x30\x02\x04", b"\x30\x80" * 40, b"\x04" * 106]
)
def test_a_malformed_extension_is_refused(extension):
    with pytest.raises(GarbageError):
        peer_of_certificate(forged(extension))


def test_bytes_after_the_binding_are_refused():
    key = new_key()
    with pytest.raises(GarbageError):
        peer_of_certificate(forged(binding(SEED, key) + b"\0", tls_key=key))


def test_a_certificate_of_a_megabyte_is_refused_unread():
    with pytest.raises(GarbageError, match="1048576 bytes"):
        peer_of_certificate(bytes(1 << 20))


OURS = der_of(make_certificate(SEED)[0])


@given(st.integers(0, len(OURS) - 1), st.integers(1, 255))
def test_a_changed_byte_never_proves_anything(position, change):
    damaged = bytearray(OURS)
    damaged[position] ^= change
    with pytest.raises(GarbageError):
        peer_of_certificate(bytes(damaged))


@given(st.binary(max_size=600))
def test_garbage_is_refused_in_our_own_words(data):
    with pytest.raises(GarbageError):
        peer_of_certificate(data)
