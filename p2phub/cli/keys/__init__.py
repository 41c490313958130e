"""The commands below `p2phub key`: one file each, like those in `commands`."""
