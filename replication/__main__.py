"""``python -m replication``: the same as the command ``replication``."""

import sys

from replication.cli import main

sys.exit(main())
