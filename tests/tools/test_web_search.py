"""WebSearch against servers that speak each engine's documented JSON."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from claw_kernel._core import ToolInputError
from claw_kernel.errors import SettingsError
from claw_kernel.settings import load_settings
from claw_kernel.tool_settings import SearchSettings
from claw_kernel.tools.web_search import MAX_RESULTS, SNIPPET_CHARS, WebSearch

RESULTS = [
    {"title": "One", "url": "https://docs.example.org/one", "text": "first   snippet"},
    {"title": "Two", "url": "https://evil-example.org/two", "text": "x" * 1000},
    {"title": "Three", "url": "https://example.org/three", "text": ""},
    {"title": "No address", "url": "javascript:alert(1)", "text": "no"},
]


def answer_of(engine: str, results: list[dict]) -> dict:
    """As the engines' own documentation shows it."""
    if engine == "searxng":
        items = [{"url": r["url"], "title": r["title"], "content": r["text"], "engine": "x"} for r in results]
        return {"query": "q", "number_of_results": 0, "results": items, "answers": [], "suggestions": []}
    if engine == "brave":
        items = [
            {"type": "search_result", "title": r["title"], "url": r["url"], "description": r["text"]} for r in results
        ]
        return {"type": "search", "query": {"original": "q"}, "web": {"type": "search", "results": items}}
    items = [{"title": r["title"], "url": r["url"], "content": r["text"], "score": 0.9} for r in results]
    return {"query": "q", "answer": None, "images": [], "results": items, "response_time": 1.0}


PATHS = {"searxng": "/search", "brave": "/res/v1/web/search", "tavily": "/search"}


def offer(bench, web, engine: str, results=RESULTS) -> None:
    web.add(PATHS[engine], json.dumps(answer_of(engine, results)), "application/json")
    url = web.url if engine == "searxng" else web.url + PATHS[engine]
    bench.offer(WebSearch(SearchSettings(engine, url, "key-of-the-user", "SOME_API_KEY")))


@pytest.mark.parametrize("engine", PATHS)
def test_each_engine_is_asked_as_it_wants_and_read_as_it_answers(bench, web, engine):
    offer(bench, web, engine)
    got = bench.call("WebSearch", query="why is the sky")
    assert not got.is_error
    assert "1. One\n   https://docs.example.org/one\n   first snippet" in got.text
    assert "3. Three\n   https://example.org/three" in got.text
    assert "javascript" not in got.text
    assert max(map(len, got.text.split("\n"))) <= SNIPPET_CHARS + 3
    (request,) = web.seen
    asked = parse_qs(urlsplit(request.path).query)
    if engine == "searxng":
        assert asked == {"q": ["why is the sky"], "format": ["json"]}
        assert "key-of-the-user" not in str(request.headers)
    elif engine == "brave":
        assert asked["q"] == ["why is the sky"]
        assert request.headers["x-subscription-token"] == "key-of-the-user"
    else:
        assert json.loads(request.body)["query"] == "why is the sky"
        assert request.headers["authorization"] == "Bearer key-of-the-user"


@pytest.mark.parametrize("engine", PATHS)
def test_domains_are_filtered_by_whole_labels(bench, web, engine):
    offer(bench, web, engine)
    only = bench.call("WebSearch", query="sky", allowed_domains=["Example.org"]).text
    assert "docs.example.org" in only
    assert "evil-example.org" not in only
    without = bench.call("WebSearch", query="sky", blocked_domains=["*.example.org"]).text
    assert "evil-example.org" in without
    assert "docs.example.org" not in without


def test_results_are_limited_and_nothing_found_is_said(bench, web):
    offer(bench, web, "searxng", [{"title": f"T{n}", "url": f"https://e{n}.example/", "text": ""} for n in range(50)])
    got = bench.call("WebSearch", query="sky").text
    assert got.count("https://") == MAX_RESULTS
    offer(bench, web, "searxng", [])
    assert "Nothing was found" in bench.call("WebSearch", query="sky").text


@pytest.mark.parametrize(
    ("engine", "status", "body", "content_type", "remedy"),
    [
        ("brave", 401, "{}", "application/json", "SOME_API_KEY"),
        ("tavily", 401, "{}", "application/json", "SOME_API_KEY"),
        ("brave", 429, "{}", "application/json", "limit is used up"),
        ("tavily", 432, "{}", "application/json", "limit is used up"),
        ("searxng", 403, "forbidden", "text/html", "settings.yml"),
        ("searxng", 200, "<html>", "text/html", "settings.yml"),
        ("searxng", 200, "[1]", "application/json", "not JSON"),
        ("searxng", 200, '{"results": 5}', "application/json", "Nothing was found"),
        ("brave", 500, "", "text/plain", "Try again later"),
        ("brave", 302, "", "text/plain", "web.search.url"),
        ("searxng", 200, "x" * 3_000_000, "application/json", "more than"),
    ],
)
def test_what_goes_wrong_is_named_with_its_remedy(bench, web, engine, status, body, content_type, remedy):
    offer(bench, web, engine)
    web.add(PATHS[engine], body, content_type, status)
    assert remedy in bench.call("WebSearch", query="sky").text


def test_without_an_engine_the_tool_says_how_to_choose_one(bench):
    bench.offer(WebSearch(None))
    got = bench.call("WebSearch", query="sky")
    assert got.is_error
    assert "web" in got.text
    assert "searxng" in got.text


def test_a_search_asks_for_the_engines_host_and_offers_a_rule_for_the_tool(bench, web):
    offer(bench, web, "searxng")
    bench.allow()
    prepared = bench.prepare("WebSearch", query="sky").prepared
    assert prepared.decision == "ask"
    assert prepared.suggested_rules == ["WebSearch"]
    assert "127.0.0.1" in prepared.effects


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"query": "x"}, "at least 2"),
        ({"query": "x" * 500}, "at most 400"),
        ({"query": "sky", "allowed_domains": ["no domain"]}, "not a domain"),
        ({"query": "sky", "allowed_domains": ["a.org"], "blocked_domains": ["b.org"]}, "not both"),
        ({"query": "sky", "count": 5}, "takes: query"),
    ],
)
def test_bad_input_is_one_sentence(bench, arguments, why):
    bench.offer(WebSearch(None))
    with pytest.raises(ToolInputError, match=why):
        bench.prepare("WebSearch", **arguments)


# --- the settings ---


def settings(tmp_path, content: dict, project: dict | None = None, **env: str):
    home, root = tmp_path / "home", tmp_path / "project"
    for folder, text in ((home, content), (root / ".claw", project)):
        folder.mkdir(parents=True)
        if text is not None:
            (folder / "settings.json").write_text(json.dumps(text))
    return load_settings(str(root), {"CLAW_HOME": str(home), **env})


def test_the_engine_and_its_key_come_from_the_user(tmp_path):
    web = {"web": {"search": {"engine": "brave"}, "allow_private_hosts": ["wiki.lan"]}}
    found = settings(
        tmp_path, web, {"web": {"search": {"engine": "searxng", "url": "http://evil.example"}}}, BRAVE_API_KEY="k" * 20
    )
    assert found.search == SearchSettings("brave", None, "k" * 20, "BRAVE_API_KEY")
    assert found.private_hosts == ("wiki.lan",)
    assert "k" * 20 not in repr(found)
    assert any("web" in notice for notice in found.notices)  # the project's own is ignored, and that is said


def test_a_key_in_the_settings_is_a_secret(tmp_path):
    found = settings(tmp_path, {"web": {"search": {"engine": "tavily", "key": "tvly-0123456789"}}})
    assert "tvly-0123456789" in found.secrets()


@pytest.mark.parametrize(
    ("web", "why"),
    [
        ({"search": {"engine": "google"}}, "engine"),
        ({"search": {"engine": "searxng"}}, "needs the url"),
        ({"search": {"engine": "brave"}}, "needs a key"),
        ({"search": {"engine": "searxng", "url": "ftp://x"}}, "url"),
        ({"serach": {}}, "unknown setting"),
    ],
)
def test_settings_that_make_no_sense_are_named(tmp_path, web, why):
    with pytest.raises(SettingsError, match=why):
        settings(tmp_path, {"web": web})
