"""age v1: opened by another program and the other way round; anything changed is refused."""

import os
from base64 import b64encode

import pytest

from p2phub.errors import MalformedError, UsageError
from p2phub.formats.bech32 import encode
from p2phub.trust.age import (
    CHUNK,
    PAYLOAD_NONCE,
    TAG,
    Identity,
    Payload,
    chunks_of,
    opened,
    plain_size,
    read_header,
    read_identities,
    read_recipient,
    recipient_text,
    sealed_header,
)

KEY, NONCE = bytes(range(16)), bytes(range(16, 32))
ANN, BOB = Identity(b"a" * 32), Identity(b"b" * 32)
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]


def secret_text(secret):
    return encode("age-secret-key-", secret).upper()


def header(*recipients, mark=b""):
    shares = [bytes([9 + at] * 32) for at in range(len(recipients))]
    return sealed_header(KEY, [each.recipient for each in recipients], shares, mark)


def sealed(data, *recipients, mark=b""):
    payload, count = Payload(KEY, NONCE), chunks_of(len(data))
    chunks = [
        payload.seal(at, data[at * CHUNK : (at + 1) * CHUNK], last=at == count - 1)
        for at in range(count)
    ]
    return header(*recipients, mark=mark) + NONCE + b"".join(chunks)


def unsealed(data, *identities):
    head = read_header(data)
    key = opened(head, identities)
    body = data[head.size + PAYLOAD_NONCE :]
    payload = Payload(key, data[head.size : head.size + PAYLOAD_NONCE])
    size = plain_size(len(body))
    count, step = chunks_of(size), CHUNK + TAG
    found = [
        payload.open(at, body[at * step : (at + 1) * step], last=at == count - 1)
        for at in range(count)
    ]
    return b"".join(found)


class TestAnotherProgram:
    """pyrage is rage, an age in Rust."""

    @pytest.fixture
    def pyrage(self):
        return pytest.importorskip("pyrage")

    @pytest.mark.parametrize("size", SIZES)
    def test_opens_what_is_sealed_here(self, pyrage, size):
        data = os.urandom(size)
        made = sealed(data, BOB, ANN, mark=bytes(16))
        identity = pyrage.x25519.Identity.from_str(secret_text(b"a" * 32))
        assert pyrage.decrypt(made, [identity]) == data
        assert str(identity.to_public()) == recipient_text(ANN.recipient)

    @pytest.mark.parametrize("size", SIZES)
    def test_seals_what_is_opened_here(self, pyrage, size):
        data = os.urandom(size)
        theirs = pyrage.x25519.Recipient.from_str(recipient_text(ANN.recipient))
        assert unsealed(pyrage.encrypt(data, [theirs]), BOB, ANN) == data


@pytest.mark.parametrize("size", SIZES)
def test_each_recipient_opens_it(size):
    data = os.urandom(size)
    made = sealed(data, ANN, BOB)
    assert unsealed(made, ANN) == unsealed(made, BOB) == data
    assert plain_size(len(made) - len(header(ANN, BOB)) - PAYLOAD_NONCE) == size


def test_nobody_else_does():
    assert opened(read_header(header(ANN)), [BOB]) is None


def test_any_byte_of_a_header_that_changes_is_refused():
    made = header(ANN, mark=b"m" * 16)
    for at in range(len(made)):
        changed = made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :]
        try:
            key = opened(read_header(changed), [ANN])
        except MalformedError:
            continue
        assert key is None  # the stanza that was ours is not any more


def test_a_mark_that_is_taken_out_is_refused():
    made = header(ANN, mark=b"m" * 16)
    line = f"-> p2phub-set {b64encode(b'm' * 16).decode().rstrip('=')}\n\n".encode()
    assert line in made
    with pytest.raises(MalformedError, match="changed"):
        opened(read_header(made.replace(line, b"")), [ANN])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"age-encryption.org/v2\n",
        b"age-encryption.org/v1\n",
        b"age-encryption.org/v1\n---\n",
        b"age-encryption.org/v1\n--- " + b"A" * 43 + b"\n",
        header(ANN)[:-1],
        header(ANN)[:-10] + b"\n",
        header(ANN).replace(b"\n---", b"=\n---"),
        header(ANN).replace(b"-> X", b"->  X"),
        header(ANN).replace(b"X25519 ", b"X25519 a "),
        b"age-encryption.org/v1\n" + b"-> x\n\n" * 5000,
        b"age-encryption.org/v1\n-> x\n" + b"A" * 100_000,
    ],
)
def test_what_is_no_header_is_refused(data):
    with pytest.raises(MalformedError):
        opened(read_header(data), [ANN])


def test_a_share_of_low_order_is_refused():
    head = header(ANN)
    share = b64encode(bytes(32)).rstrip(b"=")
    line = head.split(b"\n")[1]
    with pytest.raises(MalformedError, match="nothing secret"):
        opened(read_header(head.replace(line, b"-> X25519 " + share)), [ANN])


def test_a_recipient_of_low_order_is_refused():
    with pytest.raises(UsageError, match="nothing secret"):
        sealed_header(KEY, [bytes(32)], [bytes([9] * 32)])


class TestPayload:
    def test_a_changed_bit_is_refused(self):
        made = Payload(KEY, NONCE).seal(0, b"hello", last=True)
        for at in range(len(made)):
            changed = made[:at] + bytes([made[at] ^ 128]) + made[at + 1 :]
            with pytest.raises(MalformedError):
                Payload(KEY, NONCE).open(0, changed, last=True)

    def test_a_chunk_elsewhere_or_one_that_is_not_the_last_is_refused(self):
        made = Payload(KEY, NONCE).seal(3, b"hello", last=False)
        for index, last in ((2, False), (3, True), (4, False)):
            with pytest.raises(MalformedError):
                Payload(KEY, NONCE).open(index, made, last=last)

    @pytest.mark.parametrize("cut", [1, 16, 17, CHUNK + TAG])
    def test_an_end_that_is_cut_off_is_refused(self, cut):
        made = sealed(bytes(CHUNK + 100), ANN)
        with pytest.raises(MalformedError):
            unsealed(made[:-cut], ANN)

    @pytest.mark.parametrize("size", [0, 15, CHUNK + TAG + 5, CHUNK + 2 * TAG])
    def test_a_size_that_no_payload_has_is_refused(self, size):
        with pytest.raises(MalformedError):
            plain_size(size)


class TestMark:
    def test_is_the_same_for_the_same_recipients_in_any_order(self):
        one, two = ANN.recipient, BOB.recipient
        assert ANN.mark([one, two]) == ANN.mark([two, one, one]) != ANN.mark([one])

    def test_is_another_for_another_maker(self):
        assert ANN.mark([ANN.recipient]) != BOB.mark([ANN.recipient])

    def test_comes_back(self):
        assert read_header(header(ANN, mark=b"m" * 16)).mark == b"m" * 16
        assert read_header(header(ANN)).mark == b""


class TestTexts:
    def test_of_a_recipient(self):
        assert read_recipient(recipient_text(ANN.recipient)) == ANN.recipient

    @pytest.mark.parametrize(
        "text",
        ["", "age1", "age1qqqsyqcy8erazp", secret_text(b"a" * 32), "AGE1", "ssh-ed25519 AAAA"],
    )
    def test_of_none_are_refused(self, text):
        with pytest.raises(UsageError):
            read_recipient(text)

    def test_a_secret_is_not_repeated_in_the_message(self):
        with pytest.raises(UsageError) as refused:
            read_recipient(secret_text(b"a" * 32))
        assert secret_text(b"a" * 32) not in refused.value.message

    def test_of_identities(self):
        text = f"# created: today\n# public key: x\n{secret_text(b'a' * 32)}\n\n"
        (found,) = read_identities(text)
        assert found.recipient == ANN.recipient

    @pytest.mark.parametrize("text", ["", "# only a remark\n", "AGE-SECRET-KEY-1ABC\n"])
    def test_of_no_identity_are_refused(self, text):
        with pytest.raises(UsageError):
            read_identities(text)

    def test_an_identity_does_not_show_its_secret(self):
        assert repr(ANN) == f"Identity({recipient_text(ANN.recipient)})"


def test_the_identity_of_a_node_is_always_the_same_and_not_its_seed():
    made = Identity.of_node(b"s" * 32)
    assert made.recipient == Identity.of_node(b"s" * 32).recipient
    assert made.recipient != Identity(b"s" * 32).recipient
    assert recipient_text(made.recipient) == (
        "age1y2kd68ukms6atmpjx8wyc7kyzvph8xjj7aularyfmkz8tfr6ffyst8tv6d"
    )
