"""The page at /, in a headless Chromium against a server in this process; and the routes that only it asks."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest

from genrec import stage
from genrec.commandline import Command
from genrec.errors import ArtifactError
from genrec.serving.held_out import read_held_out
from genrec.serving.web_page import FILES, HEADERS
from genrec.stages import analyze
from tests.serving.serving_model import ids_of, listening, make_catalogue, serving
from tests.small_model import DECODING
from tests.small_shop import small_config

CHROMIUM = Path("/usr/bin/chromium")
MODELS = ("rl", "sft", "item_knn")
KEY = "0123456789abcdef0123"
HOSTILE = {
    2: '<img src=x onerror="document.title=1">',
    3: "'\"><script>document.title=2</script>&amp;",
    4: "\u202eturned\x00\x1b[31m\nover\x7f",
}
SHOWN = "\ufffdturned\ufffd\ufffd[31m\ufffdover\ufffd"  # of the last


@pytest.fixture(scope="module")
def catalogue(served_run):
    """With titles that are markup and control characters."""
    made = make_catalogue(served_run[0], MODELS, decoding="frontier")
    for item, title in HOSTILE.items():
        made.current.words.title[item] = title
        made.current.words.folded[item] = title.lower()
    return made


@pytest.fixture(scope="module")
def analysed(served_run):
    """The analysis of rl."""
    directory, _ = served_run
    config = small_config(
        directory, evaluation={"normalization": "trie", **DECODING}, analysis={"model": "rl", "top_k": 2}
    )
    stage.run("analysis", Command(config, clean=False, dry_run=False), analyze.build, analyze.sources)
    return directory / "analysis" / "rl"


@pytest.fixture
def client(catalogue, tmp_path):
    with serving(None, tmp_path / "e.sqlite", catalogue=catalogue) as (client, _):
        yield client


# The routes


def test_the_files_of_the_page_need_no_key_and_bring_a_strict_policy(catalogue, tmp_path):
    with serving(None, tmp_path / "e.sqlite", catalogue=catalogue, keys=(KEY,)) as (client, _):
        assert {"/", "/page/page.js", "/page/page.css", "/page/style.css"} <= set(FILES)
        for path, (media, content) in FILES.items():
            answer = client.get(path)
            assert answer.status_code == 200 and answer.content == content
            assert answer.headers["content-type"].startswith(media)
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        for path in ("/users", "/history?user=u1", "/catalog/status", "/page/", "/page/../metrics", "/page/none.js"):
            assert client.get(path).status_code == 401
        assert client.post("/").status_code == 401
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "*" not in policy


def test_a_page_under_another_name_is_not_answered(client):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403


def test_nothing_of_the_page_is_fetched_from_elsewhere_or_made_of_markup():
    for path, (_, content) in FILES.items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w+\.\w+/|@import|url\(", text), path
        markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|localStorage"
        assert not re.search(markup, text), path


def test_users_are_found_by_a_part_of_their_id_and_forgotten_ones_are_not(client):
    def find(**query):
        return client.get("/users", params=query).json()["users"]

    assert find(limit=3) == ["u0", "u1", "u2"] and find(query="none of them") == []
    assert find(query="1", limit=100)[:3] == ["u1", "u10", "u11"]
    assert find(query="u2", limit=2) == ["u2", "u20"]
    client.delete("/users/u2")
    assert find(query="u2", limit=2) == ["u20", "u21"]
    assert client.get("/users", params={"limit": 101}).status_code == 422


def test_a_history_is_the_runs_and_the_events_since(client, catalogue):
    version = catalogue.current
    past = version.past("u3").tolist()
    before = client.get("/history", params={"user": "u3"}).json()
    assert [item["item"] for item in before["items"]] == past and before["events"] == len(past)
    client.post("/events", json={"user": "u3", "items": ["B001", "B005"]})
    after = client.get("/history", params={"user": "u3", "limit": 3}).json()
    assert after["events"] == len(past) + 2 and after["version"] == version.name
    assert ids_of(after) == [version.words.item_id[past[-1]], "B001", "B005"]
    client.delete("/users/u3")
    assert client.get("/history", params={"user": "u3"}).json()["items"] == []
    answer = client.get("/history", params={"user": "nobody"})
    assert answer.status_code == 422 and "nothing is known of user 'nobody'" in answer.json()["detail"]


def test_what_was_held_out_is_told_with_the_causes_of_the_analysis(client, analysed):
    lines = [json.loads(line) for line in (analysed / "eval_results.jsonl").read_text().splitlines()]
    missed, hit = (next(line for line in lines if line["bad_case"] == wanted) for wanted in (True, False))
    said = client.get("/missed", params={"user": missed["user"], "model": "rl"}).json()
    row = next(row for row in said["rows"] if row["item"]["item"] == missed["truth"])
    assert row["missed"] and row["rank"] == missed["rank"] and said["split"] == "test" and said["none_because"] is None
    assert [each["cause"] for each in row["causes"]] == missed["causes"] and all(each["says"] for each in row["causes"])
    rows = client.get("/missed", params={"user": hit["user"]}).json()["rows"]
    assert any(not row["missed"] and row["rank"] == hit["rank"] and row["causes"] == [] for row in rows)
    other = client.get("/missed", params={"user": hit["user"], "model": "sft"}).json()
    assert other["rows"] == [] and "'sft' is not analysed; run: genrec analyze" in other["none_because"]
    assert client.get("/missed", params={"user": "u1", "model": "sfd"}).status_code == 404
    client.delete(f"/users/{missed['user']}")
    assert client.get("/missed", params={"user": missed["user"]}).json()["rows"] == [], "a forgotten user"


def test_an_analysis_of_another_model_is_not_told(served_run, analysed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(served_run[0], run)
    path = run / "rl" / "manifest.json"
    path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(ArtifactError, match="what is analysed of 'rl' was scored by .* evaluate and analyse it anew"):
        read_held_out(run, "rl", "a version")


# The page


@pytest.fixture(scope="module")
def chromium():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}: apt-get install chromium")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def address(catalogue, tmp_path):
    with listening(catalogue, tmp_path / "e.sqlite") as address:
        yield address


@contextlib.contextmanager
def looking(chromium, address, allowed=None, **view):
    """A page whose console and requests are held: no error but the allowed, nothing from elsewhere."""
    context = chromium.new_context(**({"viewport": {"width": 1200, "height": 900}} | view))
    page = context.new_page()
    problems = []
    page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(address) else problems.append(asked.url))
    page.set_default_timeout(10_000)
    page.goto(address)
    yield page
    context.close()
    assert [problem for problem in problems if not (allowed and allowed in problem)] == []


def choose(page, label, text, name):
    """Type, wait for the list, take one by the mouse."""
    page.get_by_role("combobox", name=label).fill(text)
    page.get_by_role("option").filter(has_text=name).first.click()


def rows_of(page, model):
    return page.locator(f'.list[data-model="{model}"] .rows > li')


def listed(page, model):
    return [row.get_attribute("data-id") for row in rows_of(page, model).all()]


def is_wider_than_the_screen(page):
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


def test_a_users_list_is_shown_explained_and_set_beside_another_models(chromium, address, client, tmp_path):
    from playwright.sync_api import expect

    with looking(chromium, address) as page:
        choose(page, "User", "u7", "u7")
        expect(rows_of(page, "rl")).to_have_count(10)
        own = client.post("/recommend", json={"user": "u7"}).json()
        assert listed(page, "rl") == ids_of(own)
        history = client.get("/history", params={"user": "u7"}).json()
        expect(page.locator("#history li")).to_have_count(min(12, history["events"]))
        expect(page.locator(".list h2")).to_contain_text("exact")
        first = rows_of(page, "rl").first
        first.get_by_role("button", name="Why").click()
        explained = client.post("/explain", json={"user": "u7", "item": own["items"][0]["id"]}).json()
        expect(first.locator(".why li")).to_have_count(len(explained["levels"]))
        for shown, level in zip(first.locator(".why li").all(), explained["levels"], strict=True):
            expect(shown).to_contain_text(level["code"])
            expect(shown).to_contain_text(level["words"] or level["categories"])
            assert abs(float(shown.locator(".number").inner_text().strip("% \n")) / 100 - level["probability"]) < 1e-3
        page.get_by_label("beside").select_option("item_knn")
        expect(rows_of(page, "item_knn")).to_have_count(10)
        other = client.post("/recommend", json={"user": "u7", "model": "item_knn"}).json()
        check_moves(page, ids_of(own), ids_of(other))
        expect(page.locator("#curves svg")).to_have_count(2)
        page.screenshot(path=tmp_path / "light.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=tmp_path / "dark.png", full_page=True)


def test_why_held_out_events_were_missed_is_shown(chromium, address, analysed):
    from playwright.sync_api import expect

    lines = [json.loads(line) for line in (analysed / "eval_results.jsonl").read_text().splitlines()]
    user = next(line["user"] for line in lines if line["bad_case"] and line["causes"])
    with looking(chromium, address) as page:
        expect(page.locator("#held-out")).to_be_hidden()
        choose(page, "User", user, user)
        own = [line for line in lines if line["user"] == user]
        expect(page.locator(".missed > ol > li")).to_have_count(len(own))
        for shown, line in zip(page.locator(".missed > ol > li").all(), own, strict=True):
            expect(shown).to_contain_text("missed" if line["bad_case"] else "place")
            expect(shown.locator("ul li")).to_have_count(len(line["causes"]) if line["bad_case"] else 0)
        page.get_by_label("beside").select_option("item_knn")
        expect(page.locator("#held-out")).to_contain_text("'item_knn' is not analysed")


def check_moves(page, before, after):
    for rank, (row, item) in enumerate(zip(rows_of(page, "item_knn").all(), after, strict=True)):
        by = before.index(item) - rank if item in before else None
        said = "new" if by is None else "same place" if by == 0 else f"{'↑' if by > 0 else '↓'} {abs(by)}"
        assert row.locator(".moved").inner_text() == said


def test_hostile_titles_are_text(chromium, address, tmp_path, caplog):
    from playwright.sync_api import expect

    with looking(chromium, address) as page:
        for item, text in zip(HOSTILE, (HOSTILE[2], HOSTILE[3], SHOWN), strict=True):
            choose(page, "Add to the history", f"B{item:03d}", text)
            expect(page.locator("#history li bdi").last).to_have_text(text)
        page.get_by_label("leave out seen items").uncheck()
        page.get_by_label("Items", exact=True).fill("17")
        seen = page.locator(".rows > li", has=page.get_by_text("seen", exact=True))
        expect(seen).to_have_count(3)
        assert {row.get_attribute("data-id") for row in seen.all()} == {f"B{item:03d}" for item in HOSTILE}
        row = page.locator('.rows > li[data-id="B002"]')
        assert row.locator("bdi").inner_text() == HOSTILE[2]
        row.get_by_role("button", name="Why").click()
        expect(row.locator(".why li").first).to_be_visible()
        assert page.locator("img, #main script").count() == 0 and page.title() == "genrec"
        page.screenshot(path=tmp_path / "hostile.png", full_page=True)
    assert [line for line in caplog.records if line.name == "asyncio"] == []  # lists that the page gave up


def test_seen_and_denied_items_are_shown_where_their_scores_put_them(chromium, address, client):
    from playwright.sync_api import expect

    with looking(chromium, address) as page:
        choose(page, "User", "u7", "u7")
        expect(rows_of(page, "rl")).to_have_count(10)
        denied = listed(page, "rl")[0]
        rows_of(page, "rl").first.get_by_role("button", name="Deny").click()
        expect(page.locator("#denied li")).to_have_count(1)
        expect(rows_of(page, "rl").first).not_to_have_attribute("data-id", denied)
        page.get_by_label("show what is left out in its place").check()
        expect(page.locator("li.left-out").filter(has_text="denied")).to_have_attribute("data-id", denied)
        rules = {"user": "u7", "deny": [denied]}
        kept = ids_of(client.post("/recommend", json=rules).json())
        open_list = client.post("/recommend", json={"user": "u7", "exclude_seen": False}).json()["items"]
        expect(page.locator(".rows > li:not(.left-out)")).to_have_count(len(kept))
        scores = [float(text.split()[0]) for text in page.locator(".rows .score").all_inner_texts()]
        assert scores == sorted(scores, reverse=True)
        left = {item["id"] for item in open_list} - set(kept)
        assert {row.get_attribute("data-id") for row in page.locator("li.left-out").all()} <= left
        page.locator("#denied li button").click()
        expect(page.locator("#denied-part")).to_be_hidden()


def test_the_page_is_used_by_keys_alone(chromium, address):
    from playwright.sync_api import expect

    with looking(chromium, address) as page:
        expect(page.locator("#main")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_role("combobox", name="User")).to_be_focused()
        page.keyboard.type("u2")
        expect(page.get_by_role("option", name="u20")).to_be_visible()
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("option", name="u20")).to_have_attribute("aria-selected", "true")
        page.keyboard.press("Enter")
        expect(page.locator("#history-note")).to_contain_text("User u20")
        page.keyboard.press("Tab")
        page.keyboard.type("item")
        expect(page.get_by_role("option").first).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#item-found")).to_be_hidden()
        expect(rows_of(page, "rl").first).to_be_visible()
        why = rows_of(page, "rl").first.get_by_role("button", name="Why")
        why.focus()
        page.keyboard.press("Enter")
        expect(why).to_have_attribute("aria-expanded", "true")


def test_a_narrow_screen_needs_no_sideways_scrolling(chromium, address, tmp_path):
    from playwright.sync_api import expect

    with looking(chromium, address, viewport={"width": 360, "height": 720}) as page:
        choose(page, "Add to the history", "B003", "script")
        page.get_by_label("beside").select_option("sft")
        expect(rows_of(page, "sft").first).to_be_visible()
        rows_of(page, "rl").first.get_by_role("button", name="Why").click()
        expect(page.locator(".why li").first).to_be_visible()
        page.get_by_text("Requests of this server").click()
        expect(page.locator("#routes tr").filter(has_text="POST /recommend/batch")).to_be_visible()
        expect(page.locator("#curves svg")).to_have_count(2)
        page.screenshot(path=tmp_path / "narrow.png", full_page=True)
        assert not is_wider_than_the_screen(page)


def test_a_key_is_asked_for_and_kept_in_the_tab_only(chromium, catalogue, tmp_path):
    from playwright.sync_api import expect

    keyed = listening(catalogue, tmp_path / "keyed.sqlite", (KEY,))
    with keyed as address, looking(chromium, address, allowed="401 (Unauthorized)") as page:
        page.get_by_label("API key").fill("wrong-key-wrong-key")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("the API key is missing or wrong")
        page.screenshot(path=tmp_path / "key.png")
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        choose(page, "User", "u7", "u7")
        expect(rows_of(page, "rl")).to_have_count(10)
        expect(page.get_by_role("alert")).to_be_hidden()
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""] and KEY not in page.content()
        page.reload()
        expect(page.locator("#main")).to_be_visible()
        page.get_by_role("button", name="Forget the API key").click()
        expect(page.get_by_label("API key")).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0


def test_what_is_refused_is_said(chromium, address):
    from playwright.sync_api import expect

    with looking(chromium, address, allowed="422 (Unprocessable") as page:
        choose(page, "User", "nobody", "nobody")
        expect(page.get_by_role("alert")).to_contain_text("nothing is known of user 'nobody'")
        choose(page, "User", "u1", "u1")
        expect(page.get_by_role("alert")).to_be_hidden()
        page.get_by_label("Model").select_option("item_knn")
        rows_of(page, "item_knn").first.get_by_role("button", name="Why").click()
        expect(page.locator(".why")).to_contain_text("has no semantic IDs to explain")
        page.get_by_label("Items", exact=True).fill("99")
        expect(page.get_by_role("alert")).to_contain_text("k is 99, a list has at most")
