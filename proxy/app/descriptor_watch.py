"""Tells when a process has no file descriptor left; the event loop closes such connections without a word."""

from __future__ import annotations

import errno
import logging
import os
import resource

logger = logging.getLogger("proxy.app.descriptor_watch")


class DescriptorWatch:
    """One line when descriptors run out, one when there are some again. `check` costs two system calls."""

    def __init__(self) -> None:
        self._exhausted = False

    def check(self) -> None:
        """Look whether a descriptor is to be had."""
        try:
            os.close(os.dup(2))
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE} and not self._exhausted:
                self._exhausted = True
                logger.error(
                    "no file descriptor is left (limit %d): new connections are closed at once; raise the limit "
                    "(`ulimit -n`, LimitNOFILE= of systemd) or limit connections with the runtime key "
                    "overload.global_downstream_max_connections",
                    resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                )
            return
        if self._exhausted:
            self._exhausted = False
            logger.warning("file descriptors are available again")
