from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.app.command_line import available_cpus, component_levels, level_name, parse, usage
from proxy.base.errors import UsageError


def refusal(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(arguments)
    return str(caught.value)


def test_the_command_lines_of_istio_and_traffic_director_are_accepted() -> None:
    istio = (
        "-c etc/istio/proxy/envoy-rev.json --drain-time-s 45 --drain-strategy immediate "
        "--local-address-ip-version v4 --file-flush-interval-msec 1000 --disable-hot-restart "
        "--allow-unknown-static-fields -l warning --component-log-level misc:error --skip-deprecated-logs "
        "--concurrency 2"
    )
    options = parse(istio.split())
    assert options.drain_time_s == 45
    assert options.drain_strategy == "immediate"
    assert options.component_levels == {"misc": "error"}
    assert options.allow_unknown_static_fields
    assert options.concurrency == 2
    director = "--config-path b.yaml --log-level off --allow-unknown-fields --bootstrap-version 3"
    options = parse(director.split())
    assert options.config_path == "b.yaml"
    assert options.log_level == "off"
    assert options.allow_unknown_static_fields


def test_defaults_are_those_of_envoy() -> None:
    options = parse(["-c", "x.yaml"])
    assert options.mode == "serve"
    assert options.log_level == "info"
    assert options.drain_time_s == 600
    assert options.parent_shutdown_time_s == 900
    assert options.file_flush_interval_msec == 10_000
    assert options.local_address_ip_version == "v4"
    assert 1 <= options.concurrency <= len(os.sched_getaffinity(0))


def test_values_may_follow_an_equals_sign() -> None:
    assert parse(["--mode=validate", "--config-path=a=b.yaml"]).config_path == "a=b.yaml"


def test_words_after_a_double_dash_are_ignored() -> None:
    assert parse(["-c", "x", "--", "--whatever"]).config_path == "x"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--foo"], "Couldn't find match for argument"),
        (["extra"], "Couldn't find match for argument"),
        (["-c"], "Missing a value for this argument!"),
        (["-c", "a", "-c", "b"], "Argument already set!"),
        (["--concurrency", "two"], "Couldn't read argument value from string 'two'"),
        (["--concurrency", "-1"], "Couldn't read argument value from string '-1'"),
        (["--drain-time-s", "4294967296"], "Couldn't read argument value"),
        (["--disable-hot-restart=yes"], "without a value"),
        (["--mode", "foo"], "error: unknown mode 'foo'"),
        (["--drain-strategy", "foo"], "unknown drain-strategy 'foo'"),
        (["--local-address-ip-version", "v5"], "error: unknown IP address version 'v5'"),
        (["-l", "loud"], "error: invalid log level specified 'loud'"),
        (["--component-log-level", "upstream:bar"], "error: invalid log level specified 'bar'"),
        (["--component-log-level", "upstream"], "component log level not correctly specified"),
        (["--stats-tag", "foo"], "error: misformatted stats-tag 'foo'"),
        (["--stats-tag", "a:b", "--stats-tag", "a:c"], "stats-tag 'a' is given twice"),
        (["--restart-epoch", "1", "--use-dynamic-base-id"], "cannot use --restart-epoch=1 with"),
        (["--disable-extensions", "a/b"], "--disable-extensions is not supported"),
        (["--bootstrap-version", "1"], "unknown bootstrap-version 1"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_reason(arguments: list[str], reason: str) -> None:
    assert reason in refusal(*arguments)


def test_a_misspelt_flag_is_refused_with_a_suggestion() -> None:
    assert "Did you mean --concurrency?" in refusal("--concurency", "2")


def test_who_gives_a_flag_of_hot_restart_asks_for_it() -> None:
    assert not parse(["--drain-time-s", "3"]).asks_for_hot_restart
    for flags in (["--restart-epoch", "0"], ["--base-id", "0"], ["--use-dynamic-base-id"]):
        assert parse(flags).asks_for_hot_restart


def test_stats_tags_may_be_repeated() -> None:
    assert parse(["--stats-tag", "a:b", "--stats-tag", "c:d:e"]).stats_tag == ["a:b", "c:d:e"]


def test_the_socket_mode_is_octal() -> None:
    assert parse(["--socket-mode", "0644"]).socket_mode == 0o644


def test_a_concurrency_of_zero_means_one() -> None:
    assert parse(["--concurrency", "0"]).concurrency == 1


def test_help_and_version_need_nothing_else() -> None:
    assert parse(["--help"]).help
    assert parse(["--version", "--mode", "nonsense"]).version
    assert "--config-path <string>" in usage()


def test_levels_by_component() -> None:
    assert component_levels("upstream:debug,config:warn") == {"upstream": "debug", "config": "warning"}
    assert level_name("warn") == "warning"


@pytest.mark.parametrize(
    ("quota", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)]
)
def test_the_quota_of_the_cgroup_bounds_the_default_concurrency(
    tmp_path: Path, quota: str, expected: int | None
) -> None:
    (tmp_path / "pod" / "container").mkdir(parents=True)
    (tmp_path / "pod" / "cpu.max").write_text(quota)
    membership = tmp_path / "cgroup"
    membership.write_text("0::/pod/container\n")
    cpus = available_cpus(str(tmp_path), str(membership))
    assert cpus == (expected or len(os.sched_getaffinity(0)))


def test_the_quota_of_a_version_1_cgroup_is_respected(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(str(tmp_path), str(tmp_path / "none")) == 1


def test_what_is_kept_over_restarts_is_said_by_flags() -> None:
    options = parse(["-c", "x"])
    assert (options.state_dir, options.no_state, options.state_key_file) == ("", False, "")
    assert options.state_max_age == 86400
    options = parse(
        ["-c", "x", "--state-dir", "/d", "--no-state", "--state-max-age=60", "--state-key-file", "/k"]
    )
    assert (options.state_dir, options.no_state, options.state_key_file) == ("/d", True, "/k")
    assert options.state_max_age == 60
