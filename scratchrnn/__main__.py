"""`python -m scratchrnn`."""

import sys

from .cli.main import main

sys.exit(main())
