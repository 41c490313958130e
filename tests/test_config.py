"""node.toml: every mistake is named where it stands, and the example file is the code's own."""

import re
from dataclasses import fields
from pathlib import Path, PurePosixPath

import pytest

from p2phub.config import TABLES, Config, Endpoint, example, load
from p2phub.errors import ConfigError
from p2phub.kinds import read_size

ROOT = Path(__file__).parent.parent
PEER = "/ip4/127.0.0.1/tcp/4042/p2p/12D3KooWEQGiSPQXcz5V9M7rScLpuKAd1JkVZ8cKdSKWVKpXVXLo"


def mistake(text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, environ or {})
    assert caught.value.exit == 2
    assert "node.toml.example" in caught.value.remedy
    return caught.value.message


def test_nothing_said_gives_the_names_and_values_that_stay():
    config = load("", {})
    assert config == Config()
    assert config.gateway.listen == Endpoint("127.0.0.1", 8642)
    assert config.network.listen == ("/ip4/0.0.0.0/tcp/4042",)
    assert config.network.data_listen == Endpoint("0.0.0.0", 4043)
    assert config.network.bootstrap == ()
    assert config.network.mdns is True


def test_every_layer_has_a_table():
    tables = [each.name for each in fields(Config)]
    assert " ".join(tables) == "node store network swarm trust mirror gateway inference airgap"
    load("\n".join(f"[{table}]" for table in tables), {})


def test_what_is_said_is_what_is_read():
    config = load(
        f"""
        node.log = "debug"
        store = {{ path = "/srv/models", quota = "64G" }}
        [network]
        listen = ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"]
        data_listen = "[::1]:0"
        bootstrap = ["{PEER}"]
        mdns = false
        psk_file = "swarm.key"
        name = "lab-7"
        [swarm]
        connections = 4
        [trust]
        policy = "warn"
        stale = "refuse"
        [gateway]
        listen = "localhost:80"
        token = "0123456789abcdef"
        """,
        {},
    )
    assert config.node.log == "debug"
    assert config.store.path == PurePosixPath("/srv/models")
    assert config.store.quota == 64 << 30
    assert config.network.listen == ("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0")
    assert config.network.data_listen == Endpoint("::1", 0)
    assert config.network.bootstrap == (PEER,)
    assert config.network.mdns is False
    assert config.network.psk_file == PurePosixPath("swarm.key")
    assert config.network.name == "lab-7"
    assert config.swarm.connections == 4
    assert (config.trust.policy, config.trust.stale) == ("warn", "refuse")
    assert config.gateway.listen == Endpoint("localhost", 80)
    assert config.gateway.token == "0123456789abcdef"


class TestTheExampleFile:
    def test_is_what_the_code_says(self):
        assert (ROOT / "node.toml.example").read_text() == example(), (
            "write what example() of p2phub/config.py returns to node.toml.example"
        )

    def test_changes_nothing_as_it_stands(self):
        assert load(example(), {}) == Config()

    def test_gives_the_defaults_with_every_setting_switched_on(self):
        lines = example().splitlines()
        on = [line[1:] if line[:1] == "#" and line[:2] != "# " else line for line in lines]
        assert load("\n".join(on), {}) == Config()
        assert sum(line != before for line, before in zip(on, lines, strict=True)) == sum(
            len(settings) for settings in TABLES.values()
        )

    def test_has_a_sentence_for_every_setting(self):
        for settings in TABLES.values():
            for each in settings.values():
                assert each.sentence[0].isupper()
                assert each.sentence[-1] == "."


class TestTheEnvironmentWins:
    def test_over_the_file_for_every_kind_of_value(self):
        config = load(
            '[network]\nmdns = true\n[gateway]\nlisten = "127.0.0.1:1"',
            {
                "P2PHUB_NETWORK_MDNS": "false",
                "P2PHUB_NETWORK_BOOTSTRAP": f" {PEER}, {PEER} ,",
                "P2PHUB_GATEWAY_LISTEN": "127.0.0.1:0",
                "P2PHUB_STORE_QUOTA": "1.5G",
                "P2PHUB_SWARM_CONNECTIONS": "8",
                "P2PHUB_STORE_PATH": "elsewhere",
            },
        )
        assert config.network.mdns is False
        assert config.network.bootstrap == (PEER, PEER)
        assert config.gateway.listen.port == 0
        assert config.store.quota == 3 << 29
        assert config.swarm.connections == 8
        assert config.store.path == PurePosixPath("elsewhere")

    def test_an_empty_list_can_be_said(self):
        text = f'[network]\nbootstrap = ["{PEER}"]'
        assert load(text, {"P2PHUB_NETWORK_BOOTSTRAP": ""}).network.bootstrap == ()

    def test_what_is_not_ours_is_let_be(self):
        environ = {"P2PHUB_HOME": "/x", "P2PHUB_PYTHON": "python3", "NETWORK_MDNS": "maybe"}
        assert load("", environ) == Config()

    def test_a_misspelt_setting_is_not_lost_in_silence(self):
        said = mistake("", {"P2PHUB_NETWORK_MDSN": "false"})
        assert "P2PHUB_NETWORK_MDSN is no setting; did you mean P2PHUB_NETWORK_MDNS?" in said

    def test_a_misspelt_table_is_not_lost_in_silence(self):
        assert "P2PHUB_NETWORK_LISTEN?" in mistake("", {"P2PHUB_NETWROK_LISTEN": "x"})

    def test_a_setting_of_a_table_that_has_none(self):
        assert "nothing has that name" in mistake("", {"P2PHUB_MIRROR_COPIES": "3"})

    def test_a_wrong_value_names_the_variable(self):
        said = mistake("", {"P2PHUB_NETWORK_MDNS": "maybe"})
        expected = "environment variable P2PHUB_NETWORK_MDNS must be true or false, not 'maybe'"
        assert said == expected

    def test_a_number_that_is_none(self):
        assert "from 1 to 16, not 'many'" in mistake("", {"P2PHUB_SWARM_CONNECTIONS": "many"})


class TestMistakes:
    def test_text_that_is_not_toml_is_told_with_its_line(self):
        said = mistake("[network]\nmdns = \n")
        assert said.startswith("node.toml is not TOML:")
        assert "line 2" in said

    def test_a_table_that_is_pasted_beside_the_one_that_is_there_is_told_where_to_go(self):
        with pytest.raises(ConfigError) as caught:
            load('[swarm]\n[swarm]\nup = "5MB"\n', {})
        assert "twice" in caught.value.message
        assert "below the table that is there" in caught.value.remedy

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("\n[network]\n\nlisten_on = []", 'line 4: [network] has no setting "listen_on"'),
            ("[network]\nbootstraps = []", 'did you mean "bootstrap"?'),
            ("[store]\npolicy = 1", "it belongs to [trust]"),
            ("[trust]\nxyzzy = 1", "its settings are: policy"),
            ("[mirror]\ncopies = 3", "line 2: [mirror] has no setting"),
            ("network.mnds = true", 'line 1: [network] has no setting "mnds"'),
            ('[ "network" ]\n"mnds" = true', 'line 2: [network] has no setting "mnds"'),
            ("[mirror]\ncopies = 3", "its settings are: none yet"),
        ],
    )
    def test_an_unknown_setting(self, text, said):
        assert said in mistake(text)

    def test_a_key_of_the_same_name_in_another_table_is_not_blamed(self):
        said = mistake('[gateway]\nlisten = "127.0.0.1:1"\n[network]\nlisten = 3')
        assert said.startswith("node.toml, line 4: [network] listen must be a list of addresses")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("\n[netwrok]", 'line 2: "netwrok" is no table of settings; did you mean [network]?'),
            ("listen = 3", '"listen" is no table of settings'),
            ("[xyzzy]", "the tables are node, store"),
            ("network = 3", "line 1: network is a table"),
            ("[[network]]", "network is a table"),
        ],
    )
    def test_an_unknown_table(self, text, said):
        assert said in mistake(text)

    @pytest.mark.parametrize(
        "text",
        [
            "node.log = 'loud'",
            "node.log = 3",
            "store.path = '~/models'",
            "store.path = 7",
            'store.path = "a\\u0000b"',
            "store.quota = -1",
            "store.quota = true",
            "store.quota = '64 parsecs'",
            "store.quota = 1.5",
            "network.listen = '/ip4/0.0.0.0/tcp/4042'",
            "network.listen = ['0.0.0.0:4042']",
            "network.listen = ['/ip4/0.0.0.0/udp/4042/quic-v1']",
            "network.listen = [4042]",
            "network.data_listen = '4043'",
            "network.data_listen = '0.0.0.0:65536'",
            "network.data_listen = '::1:4043'",
            "network.bootstrap = ['/ip4/127.0.0.1/tcp/4042']",
            "network.mdns = 'yes'",
            "network.mdns = 1",
            "network.name = ''",
            "network.name = 'a/b'",
            "swarm.connections = 0",
            "swarm.connections = 17",
            "swarm.connections = true",
            "swarm.uploads = '9'",
            "trust.policy = 'never'",
            "trust.stale = 'allow'",
            "gateway.listen = 'localhost'",
            "gateway.token = 'too short'",
        ],
    )
    def test_a_wrong_value_is_told_what_is_expected(self, text):
        table, key = text.split(" = ")[0].split(".")
        said = mistake(text)
        assert said.startswith(f"node.toml, line 1: [{table}] {key} must be ")
        assert TABLES[table][key].kind.expected in said

    def test_a_secret_is_not_repeated(self):
        assert "hunter2" not in mistake("[gateway]\ntoken = 'hunter2'")
        assert "hunter2" not in mistake("", {"P2PHUB_GATEWAY_TOKEN": "hunter2"})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("1B", 1),
        ("2K", 2048),
        ("2KiB", 2048),
        ("2 KB", 2000),
        ("1.5M", 3 << 19),
        ("1 T", 1 << 40),
        (17, 17),
    ],
)
def test_sizes(text, size):
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1e3", "1 P", "G", "1iB2", "1,5G", None, 1.0, -1, True])
def test_sizes_that_are_none(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the caller says what was expected
        read_size(text)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:65535", "localhost:8642"])
def test_endpoints_read_what_they_write(text):
    assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize("table", [table for table in TABLES if TABLES[table]])
def test_no_setting_is_accepted_and_then_ignored(table):
    modules = [path for path in (ROOT / "p2phub").rglob("*.py") if path.name != "config.py"]
    code = "\n".join(path.read_text() for path in modules)
    known_as = {table, *re.findall(rf"(\w+) = config\.{table}\b", code)}
    for key in TABLES[table]:
        assert any(re.search(rf"\b{name}\.{key}\b", code) for name in known_as), key


class TestHowModelsRun:
    def test_nothing_said_leaves_the_choice_to_the_device(self):
        inference = load("", {}).inference
        assert (inference.device, inference.engine, inference.quantize) == ("auto", "auto", "none")
        assert (inference.memory, inference.threads, inference.context) == (0, 0, 0)
        assert inference.compile is False

    def test_what_is_said_is_what_is_read(self):
        text = '[inference]\ndevice = "cuda:1"\nengine = "llamacpp"\nmemory = "8G"\nthreads = 2'
        inference = load(text, {"P2PHUB_INFERENCE_QUANTIZE": "int8"}).inference
        assert (inference.device, inference.engine) == ("cuda:1", "llamacpp")
        assert (inference.memory, inference.threads) == (8 << 30, 2)
        assert inference.quantize == "int8"

    def test_servers_are_named_by_their_address(self):
        text = '[inference]\nendpoints = ["http://127.0.0.1:8000/v1"]'
        assert load(text, {}).inference.endpoints == ("http://127.0.0.1:8000/v1",)
        for wrong in ("127.0.0.1:8000", "http://user@host/v1", "http://host/v1?key=x"):
            assert "endpoints" in mistake(f'[inference]\nendpoints = ["{wrong}"]')

    def test_several_gpus_that_share_a_model(self):
        for told in ("cuda:0,cuda:1", "cuda:0, cuda:1"):
            assert load(f'[inference]\ndevice = "{told}"', {}).inference.device == "cuda:0,cuda:1"

    @pytest.mark.parametrize(
        "device", ["cuda:1,cuda:1", "cuda:1,cuda:01", "cpu,cuda:0", "cuda,cuda:1"]
    )
    def test_what_cannot_share_a_model(self, device):
        assert '"cuda:0,cuda:1"' in mistake(f'[inference]\ndevice = "{device}"')

    @pytest.mark.parametrize("device", ["", "cuda:", "cuda:1000", "../x", "CPU", "cuda 1"])
    def test_what_is_no_device(self, device):
        assert "[inference] device" in mistake(f'[inference]\ndevice = "{device}"')

    def test_an_engine_that_does_not_exist(self):
        assert '"llamacpp"' in mistake('[inference]\nengine = "onnx"')

    def test_the_program_of_another_environment(self):
        text = "[inference]\nvllm = '\"/opt/my vllm/vllm\" --enforce-eager'"
        assert load(text, {}).inference.vllm == '"/opt/my vllm/vllm" --enforce-eager'
        for wrong in ("~/vllm", "'vllm", "a\\nb"):
            assert "[inference] vllm" in mistake(f'[inference]\nvllm = "{wrong}"')
