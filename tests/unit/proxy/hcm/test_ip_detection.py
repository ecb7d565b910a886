from __future__ import annotations

from typing import Any

import pytest

from proxy.hcm.ip_detection import HeaderDetection, XffDetection
from tests.support.hcm_messages import manager

PREFIX = "type.googleapis.com/envoy.extensions.http.original_ip_detection."


def extensions(*configs: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": f"one{index}", "typed_config": config} for index, config in enumerate(configs)]


def by_header(**fields: Any) -> dict[str, Any]:
    return {"@type": f"{PREFIX}custom_header.v3.CustomHeaderConfig", "header_name": "X-Real", **fields}


def by_xff(**fields: Any) -> dict[str, Any]:
    return {"@type": f"{PREFIX}xff.v3.XffConfig", **fields}


def problems(**fields: Any) -> list[str]:
    _, found = manager(**fields)
    return [str(problem) for problem in found]


def test_extensions_keep_their_order() -> None:
    config, found = manager(
        original_ip_detection_extensions=extensions(
            by_header(allow_extension_to_set_address_as_trusted=True), by_xff(xff_num_trusted_hops=2)
        )
    )
    assert not found
    assert config.ip_detections == (HeaderDetection("x-real", True, 0), XffDetection(2, None, True))


@pytest.mark.parametrize(
    ("code", "status"),
    [("NotFound", 404), ("NetworkAuthenticationRequired", 511), ("Continue", 403), ("OK", 403)],
)
def test_a_status_that_is_no_error_is_403(code: str, status: int) -> None:
    config, _ = manager(
        original_ip_detection_extensions=extensions(by_header(reject_with_status={"code": code}))
    )
    assert config.ip_detections == (HeaderDetection("x-real", False, status),)


def test_what_envoy_refuses() -> None:
    both = by_xff(xff_num_trusted_hops=1, xff_trusted_cidrs={"cidrs": [{"address_prefix": "1.1.1.1"}]})
    mixed = "Original IP detection extensions and "
    assert (
        mixed + "use_remote_address may not be mixed"
        in problems(original_ip_detection_extensions=extensions(by_header()), use_remote_address=True)[0]
    )
    assert (
        mixed + "xff_num_trusted_hops may not be mixed"
        in problems(original_ip_detection_extensions=extensions(by_header()), xff_num_trusted_hops=1)[0]
    )
    said = problems(original_ip_detection_extensions=extensions(by_header(), both))
    assert len(said) == 1
    assert "extensions[1]" in said[0]
    assert "Cannot set both xff_num_trusted_hops and xff_trusted_cidrs" in said[0]
