"""The commands below `p2phub audit`: one file each, like those in `commands`."""
