from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from proxy.formatter.date_format import DateFormat
from proxy.formatter.parse import FormatError
from tests.support.streams import START


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


#: Seen in Envoy 1.40 for the same moment.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "2026-11-22T16:23:54.663Z"),
        ("%s", "1795364634"),
        ("%s.%3f", "1795364634.663"),
        ("%f", "663124000"),
        ("%1f", "6"),
        ("%6f", "663124"),
        ("%0f", "%0f"),
        ("%E3S", "54.663"),
        ("%E*S", "54.663124"),
        ("%E*f", "663124"),
        ("%E3f", "663"),
        ("%Q", "%Q"),
        ("%Y%%m", "2026%m"),
        ("%z", "+0000"),
        ("%Ez", "+00:00"),
        ("%Z", "UTC"),
        ("%a_%A_%b_%B_%c", "Sun_Sunday_Nov_November_Sun Nov 22 16:23:54 2026"),
        ("%C_%d_%D_%e_%F_%g_%G_%h", "20_22_11/22/26_22_2026-11-22_26_2026_Nov"),
        ("%H_%I_%j_%k_%l_%m_%M_%p_%P", "16_04_326_16_ 4_11_23_PM_pm"),
        ("%r_%R_%S_%T_%u_%U_%V_%w_%W", "04:23:54 PM_16:23_54_16:23:54_7_47_47_0_46"),
        ("%x_%X_%y_%Y", "11/22/26_16:23:54_26_2026"),
        ("%t|", "\t|"),
        ("%Ey_%Od_%E4Y_%ET", "26_22_2026_T"),
        ("abc", "abc"),
        ("%3fx%3f%s", "663x6631795364634"),
        ("%-d_%_d_%^a", "22_22_SUN"),
    ],
)
def test_specifiers(text: str, expected: str) -> None:
    assert DateFormat(text).render(START) == expected


def test_local_time_shows_its_offset(new_york: None) -> None:
    assert DateFormat("", local=True).render(START) == "2026-11-22T11:23:54.663-0500"
    assert DateFormat("%z_%Z_%H_%s", local=True).render(START) == "-0500_EST_11_1795364634"


def test_a_star_drops_trailing_zeros_only() -> None:
    assert DateFormat("%E*S").render(1795364634.5) == "54.5"
    assert DateFormat("%E*S").render(1795364634.0) == "54"


def test_the_next_second_and_the_next_millisecond_are_seen() -> None:
    default, micro = DateFormat(""), DateFormat("%S.%6f")
    assert [default.render(START + step)[-7:] for step in (0, 0.001, 1)] == [
        "54.663Z"[-7:],
        "54.664Z",
        "55.663Z",
    ]
    assert [micro.render(START + step) for step in (0, 0.000001, 1)] == [
        "54.663124",
        "54.663125",
        "55.663124",
    ]


@pytest.mark.parametrize("text", ["%n", "%En", "%-n", "a%3n"])
def test_a_newline_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="newline"):
        DateFormat(text)


def test_a_nul_is_as_good_as_any_character() -> None:
    assert DateFormat("%H\0%M\0").render(0.0) == "00\x0000\0"


def test_text_beyond_ascii_leaves_as_utf_8() -> None:
    assert DateFormat("%d día 年").render(0.0).encode("latin-1") == "01 día 年".encode()
