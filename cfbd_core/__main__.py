"""``python -m cfbd_core`` is ``cfbd``."""

import sys

from cfbd_core.cli import main

sys.exit(main())
