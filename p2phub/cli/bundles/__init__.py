"""The commands below `p2phub bundle`: one file each, like those in `commands`."""
