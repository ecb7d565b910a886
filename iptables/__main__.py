"""`python -m iptables`: the command without the proxy."""

from __future__ import annotations

import sys

from iptables.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
