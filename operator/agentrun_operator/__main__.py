"""``python -m agentrun_operator`` is the ``agentrun`` command."""

import sys

from agentrun_operator import cli

if __name__ == "__main__":
    sys.exit(cli.main())
