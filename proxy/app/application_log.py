"""`Bootstrap.application_log_config`: the format of the application log, where the command line gives none.

Source: envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig and Envoy's `logger.cc`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from google.protobuf import json_format

from proxy.config.context import CompileContext

_PATH: Final = "application_log_config.log_format"
_UNESCAPED: Final = re.compile("%[-=]?[0-9]*!?[v_]")


def compile_log_format(bootstrap: Any, given: bool, context: CompileContext) -> str:
    """The format in spdlog's pattern syntax, "" if the bootstrap has none. `given`: the command line has one.

    A JSON format is one pattern, too: its message is `%j`, which escapes.
    """
    if not bootstrap.HasField("application_log_config"):
        return ""
    if given:
        context.problem(
            "application_log_config",
            "Only one of application_log_format or CLI option --log-format can be specified.",
        )
    log_format = bootstrap.application_log_config.log_format
    if log_format.WhichOneof("log_format") != "json_format":
        text: str = log_format.text_format
        return text
    text = json.dumps(json_format.MessageToDict(log_format.json_format), sort_keys=True, ensure_ascii=False)
    if _UNESCAPED.search(text):
        context.problem(f"{_PATH}.json_format", "Usage of %v and %_ is unavailable for JSON log formats")
    return text
