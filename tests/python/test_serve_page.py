"""The page of the server, in headless Chromium, and what the interface has for it."""
import json
import os
import re
import urllib.error
import urllib.request

import pytest
from serve_program import Server, wait_for

WINDOW = 100
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SYSTEM = "Tell tales of the sea."
PAGE_FILES = ["api.js", "app.js", "cache.js", "chart.js", "controls.js", "dom.js", "icon.svg",
              "markdown.js", "messages.js", "page.css", "streams.js"]


@pytest.fixture(scope="module")
def server():
    with Server("--window", str(WINDOW)) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not there")
    if not os.path.exists(CHROMIUM):
        pytest.skip(f"no browser: {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def open_page(server, browser):
    """Opens the page in a browser that has never seen it; at the end, no request has left the origin
    and nothing has failed in it."""
    contexts, requests, faults = [], [], []

    def opened(address="/", on=server, **options):
        context = browser.new_context(**{"viewport": {"width": 1300, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20000)
        page.on("request", lambda request: requests.append((on.url, request.url)))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if "Security Policy" in line.text else None)
        page.goto(on.url + address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert requests
    assert [url for origin, url in requests if not url.startswith(origin + "/")] == []
    assert faults == []


def post(server, path, body):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def get(server, path):
    return json.loads(server.get(path))


def user(text):
    return [{"type": "message", "role": "user", "content": text}]


def stat(page, name):
    return page.locator(f'[data-stat="{name}"]').inner_text()


def number(text):
    return int(text.replace(",", ""))


def wait_until_written(page):
    page.locator(".message.writing").wait_for(state="detached")
    page.locator("#stop").wait_for(state="hidden")


def say(page, text):
    page.fill("#text", text)
    page.press("#text", "Enter")
    page.locator(".message.user", has_text=text).last.wait_for()
    wait_until_written(page)


def begin(page, tokens=90):
    """A conversation with a system prompt, whose answers have so many tokens."""
    page.click("#settings summary")
    page.fill("#longest", str(tokens))
    page.keyboard.press("Escape")
    page.fill("#system", SYSTEM)
    say(page, "Begin, please.")


# ---- What the interface has for the page

def test_the_page_needs_nothing_but_this_server(server):
    for path in ["", *(f"page/{name}" for name in PAGE_FILES)]:
        with urllib.request.urlopen(f"{server.url}/{path}", timeout=60) as answer:
            text = answer.read().decode()
            policy = answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        others = set(re.findall(r"https?://[\w.-]+", text)) - {"http://www.w3.org"}
        assert not others, path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), path
    page = server.get("/")
    assert "<style" not in page and " style=" not in page and not re.search(r"\son\w+=", page)


def test_the_cache_tells_what_is_seen_and_what_has_left(server):
    conversation = post(server, "/v1/conversations", {"items": [
        {"type": "message", "role": "system", "content": SYSTEM}]})["id"]
    text = " ".join(f"Wave number {n} came in." for n in range(60))
    fed = post(server, f"/v1/conversations/{conversation}/items", {"items": user(text)})
    cache = get(server, f"/v1/streams/{conversation}/cache")
    place = cache["runnel"]
    assert place["evicted"] > 64 and place["position"] == fed["runnel"]["position"]
    assert SYSTEM in "".join(cache["pinned"]["tokens"])
    assert len(cache["pinned"]["tokens"]) == place["pinned"]
    assert cache["left"]["from"] + len(cache["left"]["tokens"]) == place["horizon"] == cache["oldest"]["from"]
    assert cache["newest"]["from"] + len(cache["newest"]["tokens"]) == place["position"]
    assert len(cache["oldest"]["tokens"]) + len(cache["newest"]["tokens"]) == WINDOW
    row = "".join(cache["left"]["tokens"] + cache["oldest"]["tokens"] + cache["newest"]["tokens"])
    assert row.strip() and row.strip() in text.strip() + "\n\n" + text
    assert place["state"] == "idle" and place["response"] is None and place["bytes"] > 0
    item = get(server, f"/v1/conversations/{conversation}/items?order=desc")["data"][0]
    assert item["runnel"]["to"] == place["position"]
    listed = get(server, "/v1/streams")
    assert conversation in [stream["id"] for stream in listed["data"]]
    assert listed["runnel"]["resident_bytes"] > listed["runnel"]["stream_bytes"] > 0
    with pytest.raises(urllib.error.HTTPError):
        server.get("/v1/streams/conv_none/cache")


def test_what_is_fed_is_scored_and_nothing_else_changes(server):
    text = "The keeper of the lighthouse lit the lamp, as he did every night. " * 3
    answers, scores = [], []
    for is_scored in (True, False):
        conversation = post(server, "/v1/conversations", {})["id"]
        for _ in range(2):
            fed = post(server, f"/v1/conversations/{conversation}/items",
                       {"items": user(text), "score": is_scored})
            scores.append(fed["runnel"].get("likelihood"))
        answers.append(post(server, "/v1/responses", {
            "conversation": conversation, "input": [], "seed": 4, "max_output_tokens": 20})["output"])
    first, second, *unscored = scores
    assert unscored == [None, None]
    assert answers[0][0]["content"] == answers[1][0]["content"]
    assert len(first["points"]) == first["tokens"] // first["tokens_per_point"]
    assert first["log_probability"] == pytest.approx(sum(first["points"]) / len(first["points"]))
    assert first["log_probability"] < second["log_probability"] < 0  # it has seen it before


# ---- The page

def test_a_conversation_longer_than_the_window(open_page, server):
    page = open_page()
    begin(page)
    assert page.locator("#ribbon-gap").is_hidden()
    say(page, "And then?")
    say(page, "How did it end?")
    page.locator("#ribbon-gap").wait_for()
    wait_for(lambda: "at rest" in stat(page, "speed") or "tokens/s" in stat(page, "speed"))
    conversation = page.url.split("#")[1]
    wait_for(lambda: number(stat(page, "position")) ==
             get(server, f"/v1/conversations/{conversation}")["runnel"]["position"])
    assert number(stat(page, "evicted")) == number(page.inner_text("#ribbon-gap-text")) > 0
    assert number(stat(page, "window")) == WINDOW
    wait_for(lambda: len(page.inner_text("#left-text")) > 40)
    assert SYSTEM in page.inner_text("#pinned-text")
    assert "nats" in stat(page, "written") and stat(page, "loop").startswith(("no", "repeats"))
    # What is above the line is forgotten, and the system prompt never is.
    assert page.locator(".message.forgotten").count() >= 2
    assert page.locator(".message.system.forgotten").count() == 0
    assert page.locator(".message.forgotten").last.evaluate(
        "(element) => element.nextElementSibling.classList.contains('horizon')")

    messages = page.locator(".message .text").all_inner_texts()
    page.reload()
    page.locator(".message.assistant").nth(2).wait_for()
    assert page.locator(".message .text").all_inner_texts() == messages
    page.locator(".horizon").wait_for()

    page.click("#fork")
    page.locator("#stream-list li").nth(1).wait_for()
    wait_for(lambda: page.url.split("#")[1] != conversation)
    page.locator(".message.assistant").nth(2).wait_for()
    assert page.locator(".message .text").all_inner_texts() == messages
    fork = page.url.split("#")[1]
    positions = [get(server, f"/v1/conversations/{name}")["runnel"]["position"] for name in (conversation, fork)]
    assert positions[0] == positions[1]

    page.click("#delete")
    page.click("#delete-dialog .danger")
    page.locator("#draft").wait_for()
    assert fork not in [c["id"] for c in get(server, "/v1/conversations")["data"]]
    assert conversation in [c["id"] for c in get(server, "/v1/conversations")["data"]]


def test_endless_writing_outlives_a_reload_and_is_steered_and_stopped(open_page, server):
    page = open_page()
    page.check('input[value="endless"]', force=True)
    page.fill("#text", "It was a dark and stormy night.")
    page.press("#text", "Enter")
    written = page.locator(".message.writing .text")
    wait_for(lambda: written.count() == 1 and len(written.inner_text()) > 100)
    assert page.locator("#stop").is_visible()
    before = written.inner_text()[:80]
    page.reload()
    wait_for(lambda: written.count() == 1 and len(written.inner_text()) > len(before))
    shown = written.inner_text()
    assert shown.startswith(before) or shown.startswith("What was written before is not shown")
    page.locator("#stop").wait_for()
    page.fill("#text", "Now a tale of the desert.")
    page.press("#text", "Enter")
    page.locator(".message.user", has_text="desert").wait_for()
    wait_for(lambda: written.count() == 1 and len(written.inner_text()) > 40)
    page.press("#text", "Escape")
    wait_until_written(page)
    conversation = page.url.split("#")[1]
    wait_for(lambda: get(server, f"/v1/conversations/{conversation}")["runnel"]["state"] == "idle")
    assert "stopped" in page.locator(".message.assistant .note").last.inner_text()
    items = get(server, f"/v1/conversations/{conversation}/items?order=asc")["data"]
    assert [item["role"] for item in items] == ["user", "assistant", "user", "assistant"]


def test_feeding_shows_how_likely_it_was(open_page):
    page = open_page()
    page.fill("#text", "At nine o'clock the captain came on deck and looked at the sky.")
    page.press("#text", "Control+Enter")
    fed = page.locator(".message.fed")
    wait_for(lambda: "nats a token" in fed.locator(".note").inner_text())
    assert page.locator(".message.assistant").count() == 0
    assert re.search(r"\d+ tokens read, at \d+\.\d\d nats each", page.inner_text("#read-note"))
    assert len(page.locator("#read-chart polyline").get_attribute("points").split()) > 5
    page.reload()
    fed.wait_for()
    assert "nats a token" in fed.locator(".note").inner_text()


def test_keys_alone_are_enough(open_page):
    page = open_page()
    page.locator("#draft").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.press("Tab")  # to how it is answered: without end, so that it can be stopped
    page.keyboard.press("ArrowLeft")
    assert page.locator('input[value="endless"]').is_checked()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("One")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("Two")
    assert page.input_value("#text") == "One\nTwo"
    page.keyboard.press("Enter")
    page.locator("#stop").wait_for()
    page.keyboard.press("Escape")
    wait_until_written(page)
    page.keyboard.press("Escape")  # out of the field
    page.keyboard.press("?")
    assert page.locator("#keys-dialog").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#keys-dialog").is_hidden()
    page.keyboard.press("d")
    assert page.locator("#details").is_hidden()
    first = page.url
    page.locator("#stream-list li:first-child a[aria-current]").wait_for()  # the list knows of it
    page.keyboard.press("n")
    page.locator("#draft").wait_for()
    page.keyboard.press("j")
    page.locator(".message.user").first.wait_for()
    assert page.url == first  # the last used comes first


def test_a_phone_shows_all_of_it(open_page):
    page = open_page(viewport={"width": 360, "height": 720}, is_mobile=True, has_touch=True)
    begin(page, tokens=30)
    say(page, "A" + "h" * 200)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#side").is_hidden()
    page.tap("#menu")
    page.locator("#stream-list a[aria-current]").wait_for()
    page.tap("#side-close")
    page.locator("#side").wait_for(state="hidden")
    page.tap("#details-toggle")
    assert number(stat(page, "position")) > 60
    page.tap("#details-close")
    page.tap("#settings summary")
    box = page.locator(".settings-box").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    page.tap("#settings summary")
    small = page.evaluate("""() => [...document.querySelectorAll('button, summary, .modes label')]
        .filter((element) => element.checkVisibility())
        .map((element) => [element.id, element.getBoundingClientRect()])
        .filter(([, box]) => box.width > 0 && (box.width < 28 || box.height < 28)).map(([id]) => id)""")
    assert small == []


CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const colour = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const found = colour(getComputedStyle(element).backgroundColor);
      if (found[3] > 250) return found;
    }
    return [255, 255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest('.unseen, .skip, :disabled, .forgotten, noscript, .fill')) continue;
    const [a, b] = [light(colour(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) poor.push([walker.currentNode.data.trim().slice(0, 40), contrast.toFixed(2)]);
  }
  return poor;
}"""

UNNAMED = """() => {
  const named = (element) => {
    const labels = (element.getAttribute('aria-labelledby') ?? '').split(' ').filter(Boolean);
    return (element.getAttribute('aria-label') ?? '').trim() || labels.some((id) => document.getElementById(id))
      || [...(element.labels ?? [])].some((label) => label.textContent.trim())
      || (['BUTTON', 'A', 'SUMMARY'].includes(element.tagName) && element.textContent.trim());
  };
  const faults = [];
  for (const element of document.querySelectorAll('button, a, input, textarea, select, summary, dialog, meter, nav, aside, [role=log], [role=img], [role=region]'))
    if (!named(element)) faults.push(element.outerHTML.slice(0, 80));
  for (const element of document.querySelectorAll('svg'))
    if (!element.closest('[aria-hidden=true]')) faults.push('a drawing that is not hidden: ' + element.outerHTML.slice(0, 60));
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push('twice: ' + id);
  for (const element of document.querySelectorAll('[aria-controls], [for]')) {
    const id = element.getAttribute('aria-controls') ?? element.getAttribute('for');
    if (!document.getElementById(id)) faults.push('nothing named ' + id);
  }
  if (!document.documentElement.lang || document.querySelectorAll('main').length !== 1) faults.push('no language or main part');
  return faults;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_and_is_named(open_page, scheme):
    page = open_page(color_scheme=scheme)
    assert page.evaluate(CONTRASTS) == []
    begin(page, tokens=20)
    page.fill("#text", "The tide was high.")
    page.press("#text", "Control+Enter")
    page.locator(".message.fed:not(.reading)").wait_for()
    assert page.evaluate(CONTRASTS) == []
    assert page.evaluate(UNNAMED) == []
    ground = "getComputedStyle(document.body).backgroundColor"
    shown = page.evaluate(ground)
    lightness = sum(int(value) for value in re.findall(r"\d+", shown)[:3]) / 3
    assert (lightness < 60) == (scheme == "dark")
    for _ in range(2):  # the button goes from the system's to light, then dark
        page.click("#theme")
    if scheme == "light":
        assert page.evaluate(ground) != shown
    assert page.inner_text("#theme-text") == "Dark"


MARKDOWN = """async (text) => {
  const { blocks, GrowingText } = await import('/page/markdown.js');
  const whole = document.createElement('div');
  whole.append(...blocks(text));
  const grown = document.createElement('div');
  const growing = new GrowingText(grown);
  for (const character of text) growing.add(character);
  return [whole.innerHTML, grown.innerHTML];
}"""


TEXTS = [
    ("# One *two*", "<h3>One <em>two</em></h3>"),
    ("a **b** `c<d` ~~e~~\nf", "<p>a <strong>b</strong> <code>c&lt;d</code> <s>e</s><br>f</p>"),
    ("- a\n  - b\n- c", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
    ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    ("```c\n<b>\n\n*x*\n```", '<pre tabindex="0"><code>&lt;b&gt;\n\n*x*</code></pre>'),
    ("> a\n\nb", "<blockquote><p>a</p></blockquote><p>b</p>"),
    ("<img src=x onerror=alert(1)>", "<p>&lt;img src=x onerror=alert(1)&gt;</p>"),
    ("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>"),
    ("[a](https://a.example/b)",
     '<p><a href="https://a.example/b" target="_blank" rel="noopener noreferrer">a</a></p>'),
    ("snake_case_name 2 * 3 * 4", "<p>snake_case_name 2 * 3 * 4</p>"),
]


def test_text_of_a_model_is_text(open_page):
    page = open_page()
    for text, wanted in TEXTS:
        assert page.evaluate(MARKDOWN, text) == [wanted, wanted]


def test_it_asks_for_a_key_and_says_when_the_server_is_gone(open_page, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("open-sesame\n")
    with Server("--key-file", str(keys)) as guarded:
        page = open_page(on=guarded)
        dialog = page.locator("#key-dialog")
        for key in ("wrong", "open-sesame"):
            dialog.wait_for()
            page.fill("#key", key)
            page.press("#key", "Enter")
        page.locator("#draft").wait_for()
        assert dialog.is_hidden()
        assert page.inner_text("#model-name") != ""
        guarded.kill()
        page.locator("#banner").wait_for()
        assert "does not answer" in page.inner_text("#banner")
