"""`python -m p2phub`: the command line."""

import sys

from p2phub.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
