"""Errors carry what the operator needs."""

from proxy.base.errors import ConfigError, OutriderError, Problem, ProtocolError, UsageError


def test_a_config_error_names_every_problem() -> None:
    error = ConfigError([Problem("a.b", "is bad", 3, 7, "envoy.yaml"), Problem("c", "is missing")])
    assert str(error) == "envoy.yaml:3:7: a.b: is bad\nc: is missing"
    assert [problem.path for problem in error.problems] == ["a.b", "c"]


def test_a_text_alone_is_one_problem() -> None:
    assert str(ConfigError("no listeners")) == "no listeners"


def test_a_protocol_error_knows_the_reply() -> None:
    error = ProtocolError("http1.headers_too_large", 431)
    assert (error.details, error.status) == ("http1.headers_too_large", 431)


def test_all_errors_are_one_tree() -> None:
    assert all(issubclass(kind, OutriderError) for kind in (ConfigError, UsageError, ProtocolError))
