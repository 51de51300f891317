"""`python -m ksi_tui` is `ksi-tui`; what is here comes before everything else in either."""

from ksi_tui import starting

starting.end_by_signals()

import sys  # noqa: E402 - a signal may come from here on

from ksi_tui import cli  # noqa: E402 - likewise


def main() -> int:
    """Run the command line and return its exit code; from then on a signal only hastens the end."""
    code = cli.main()
    starting.end_with(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
