"""``python -m hubpkg``."""

import sys

from hubpkg.cli import main

sys.exit(main())
