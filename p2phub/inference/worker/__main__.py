"""`python -m p2phub.inference.worker FD PARENT`: one loaded model. Started by `worker_engine`."""

import sys

from p2phub.inference.worker.main import main

if __name__ == "__main__":
    main(sys.argv[1:])
