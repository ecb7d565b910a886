"""The one place that holds the version of the distribution."""

from typing import Final

VERSION: Final = "0.1.0"
