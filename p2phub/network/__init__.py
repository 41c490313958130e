"""Talking to peers: the libp2p host, the DHT, the control protocol and the data plane."""
