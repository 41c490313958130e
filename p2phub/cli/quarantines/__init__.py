"""The commands below `p2phub quarantine`: one file each, like those in `commands`."""
