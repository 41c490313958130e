"""What the two planes are told from the configuration."""

from p2phub import config
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.node.planes import network_settings


def test_a_network_of_another_name_has_a_dht_and_gossip_of_its_own(tmp_path):
    lab = network_settings(config.load('[network]\nname = "lab"\n', {}), tmp_path)
    assert (lab.kad_protocol, lab.gossip_topic) == ("/lab/kad/1.0.0", "/lab/news/1.0.0")


def test_the_name_that_everybody_has_is_the_one_that_is_built_in(tmp_path):
    usual, built_in = network_settings(config.load("", {}), tmp_path), NetworkSettings(listen=())
    assert usual.kad_protocol == built_in.kad_protocol
    assert usual.gossip_topic == built_in.gossip_topic
