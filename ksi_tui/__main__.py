"""`python -m ksi_tui` is `ksi-tui`."""

import sys

from ksi_tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
