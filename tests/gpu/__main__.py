"""`python -m tests.gpu`."""

import sys

from tests.gpu.check import main

if __name__ == "__main__":
    sys.exit(main())
