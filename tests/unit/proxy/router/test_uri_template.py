from __future__ import annotations

import pytest

from proxy.router.uri_template import TemplateError, compile_rewrite, compile_template, expand, parse_rewrite


@pytest.mark.parametrize(
    ("template", "yes", "no"),
    [
        ("/a/{b}", ["/a/x", "/a/%41"], ["/a/", "/a/x/y", "/a"]),
        ("/*", ["/a", "/a*b", "/a=b"], ["/", "/a/b"]),
        ("/a/**", ["/a/", "/a/b/c"], ["/a"]),
        ("/{x=foo/*}/y", ["/foo/1/y"], ["/foo/y", "/foo/1/2/y"]),
        ("/{a}.json", ["/x.json", "/x.y.json"], ["/xjson"]),
        ("/v{a}/x", ["/v1/x"], ["/v/x"]),
        ("/a-{b}-c", ["/a-1-c"], ["/a--c"]),
        ("/{a}/", ["/x/"], ["/x"]),
        ("/**.js", ["/a/b.js", "/.js"], ["/a/b.css"]),
        ("/{a}x/y", ["/1x/y"], ["/1/y"]),
        ("/", ["/"], [""]),
    ],
)
def test_templates(template: str, yes: list[str], no: list[str]) -> None:
    regex = compile_template(template).regex
    assert [path for path in yes + no if regex.full_match(path)] == yes


# Each is refused by Envoy 1.40 too.
@pytest.mark.parametrize(
    "template",
    ["", "a", "/{a}/{a}", "/**/*", "/{a=**}/{b}", "/{a=}", "/{a", "/{1a}", "/{aaaaaaaaaaaaaaaaa}", "/{a}{b}",
     "/a//b", "/a b", "/a?b", "/*.js/b", "/x{a}y{b}", "/*{a}", "/{a=*x}", "/{a}/{b}/{c}/{d}/{e}/{f}", "/a{",
     "/{a=**/b/*}", "/***"],
)  # fmt: skip
def test_broken_templates_are_refused(template: str) -> None:
    with pytest.raises(TemplateError):
        compile_template(template)


@pytest.mark.parametrize("rewrite", ["", "x", "{a}", "//", "/{a}//", "/{a", "/a b", "/a?b", "/{1}"])
def test_broken_rewrites_are_refused(rewrite: str) -> None:
    with pytest.raises(TemplateError):
        parse_rewrite(rewrite)


def test_a_rewrite_uses_the_variables_of_the_match() -> None:
    template = compile_template("/{a}/{b=x/**}")
    pieces = compile_rewrite("/n/{b}/{a}!", template.names)
    assert expand(template, pieces, "/1/x/2/3") == "/n/x/2/3/1!"
    assert expand(template, pieces, "/1/y") is None
    with pytest.raises(TemplateError, match="Nonexisting variable name"):
        compile_rewrite("/{c}", template.names)
