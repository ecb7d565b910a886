"""What an engine says of a connection or a request, and how that is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.regex import wire_text
from proxy.base.stream_info import StreamInfo

ALLOW: Final = 0
LOG: Final = 2

#: The metadata that tells access logs whether rules with the action LOG matched.
COMMON_NAMESPACE: Final = "envoy.common"
HINT: Final = "access_log_hint"

_SPACE: Final = re.compile(r"[ \t\n\v\f\r]")


class Verdict(Struct, frozen=True, eq=False):
    """One of those that an engine was made with, compared by identity.

    `policy` is the name of the policy that decided, "" if none matched; `hint` that for access logs, if any.
    """

    allowed: bool
    policy: str
    hint: bool | None = None

    @property
    def label(self) -> str:
        """What a refusal is called after: the policy, without spaces."""
        return _SPACE.sub("_", self.policy) or "none"

    @property
    def result(self) -> str:
        """The word for it in metadata."""
        return "allowed" if self.allowed else "denied"

    def told(self, prefix: str, kind: str) -> dict[str, Any]:
        """The metadata of an engine of that kind ("shadow", "enforced"), whose keys begin with `prefix`."""
        values = {f"{prefix}{kind}_engine_result": self.result}
        if self.policy:
            values[f"{prefix}{kind}_effective_policy_id"] = self.policy
        return values


#: Judges a stream: a request, or a connection (whose `request` is None).
Judge = Callable[[StreamInfo], Verdict]


def verdict_of(action: int, name: str, *, logs: bool) -> Verdict:
    """That of a policy which matched; with `logs` some policy beside it may have the action LOG."""
    return Verdict(action in {ALLOW, LOG}, wire_text(name), action == LOG if logs else None)


def unmatched(action: int) -> Verdict:
    """That of rules of which none matched."""
    return Verdict(action != ALLOW, "", False if action == LOG else None)
