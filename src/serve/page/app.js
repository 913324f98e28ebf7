// The page: what is shown belongs to the server, and is asked for again whenever it may have changed.
import { $, number, setText, wait } from "/page/dom.js";
import { ApiError, Unreachable, call, configure, follow } from "/page/api.js";
import { CacheView } from "/page/cache.js";
import { Transcript, isThought, messageOf } from "/page/messages.js";
import { StreamList, titleOf } from "/page/streams.js";
import { settings, startControls } from "/page/controls.js";

const kItems = 60; // asked for at a time
const kMostEvents = 4000; // of a response that was begun before the page was opened
const kQuick = 700; // milliseconds between looks at a stream at work
const kSlow = 4000;

const cache = new CacheView();
const transcript = new Transcript();
const list = new StreamList();
let model = null;
let current = null; // the conversation that is shown; null: a draft
let oldest = null; // the first item that is shown, where there are more before it
let answer = null; // that is being written: {id, entry, abort, isToStop}
let isFeeding = false;
let isForking = false;

// ---- Telling

function say(text) {
  setText($("announcer"), text);
}

let toastTimer = 0;
function toast(text) {
  $("toast").hidden = false;
  setText($("toast"), text);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").hidden = true), 6000);
}

function tell(error) {
  if (error.name === "AbortError" || error instanceof Unreachable) return; // the banner says so
  const later = error.retryAfter > 0 ? ` Try again in ${error.retryAfter} s.` : "";
  toast(error instanceof ApiError ? error.message + later : `The page failed: ${error.message}`);
  if (!(error instanceof ApiError)) console.error(error);
}

function reached(isReached) {
  if ($("banner").hidden === isReached) return;
  $("banner").hidden = isReached;
  setText($("banner"), isReached ? "" : "The server does not answer. Trying again …");
}

async function askForKey() {
  $("key").value = "";
  const dialog = $("key-dialog");
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return { key: $("key").value.trim(), remember: $("key-remember").checked };
}

// ---- Controls that depend on what goes on

function updateControls() {
  const isWriting = answer !== null;
  const hasText = $("text").value.trim() !== "";
  const mode = settings.mode();
  $("stop").hidden = !isWriting;
  $("send").hidden = isWriting && !hasText;
  $("send").disabled = isFeeding || (!hasText && (mode === "feed" || (mode === "answer" && !isWriting && current === null)))
    || (!hasText && mode === "answer") || (isWriting && mode === "feed");
  $("send").setAttribute("aria-label", isWriting ? "Steer: it reads this and goes on" : mode === "feed" ? "Feed" : "Send");
  $("fork").disabled = current === null || isForking || isFeeding;
  $("delete").disabled = current === null;
  $("title").hidden = current === null;
  $("draft-title").hidden = current !== null;
  const hints = {
    answer: "Enter sends, Shift Enter begins a line.",
    feed: "What you feed is read and not answered.",
    endless: "It writes past every end until you stop it.",
  };
  setText($("hint"), isFeeding ? "Reading …" : isWriting
    ? (mode === "feed" ? "Stop it first, or steer it with Answer." : "Esc stops. What you send now steers it.") : hints[mode]);
}

// ---- Looking

async function look() {
  const id = current?.id;
  if (id === undefined || current.isGone) return;
  const seen = await call("GET", `/v1/streams/${id}/cache`);
  if (current?.id !== id) return;
  cache.contents(seen);
  transcript.forget(seen.runnel.horizon);
  const { state, writes_per_second: writes, reads_per_second: reads } = seen.runnel;
  setText($("speed"), state !== "working" ? "" : answer && writes > 0 ? `${writes.toFixed(1)} tokens/s`
    : reads > 0 ? `reads ${number(Math.round(reads))} tokens/s` : "");
  if (!answer && seen.runnel.response) attach(seen.runnel.response);
}

async function lookAtAll() {
  const [conversations, streams] = await Promise.all([
    call("GET", "/v1/conversations?limit=100"), call("GET", "/v1/streams?limit=100"),
  ]);
  list.show(conversations.data, streams.data.filter((stream) => stream.kind !== "conversation"), current?.id);
  cache.machine(streams.runnel);
}

// One at a time, more often while something goes on, not at all while nobody looks.
async function lookForEver() {
  for (let last = 0; ; await wait(answer || isFeeding ? kQuick : kSlow)) {
    if (document.hidden) continue;
    try {
      await look();
      if (Date.now() - last >= kSlow - 100) {
        last = Date.now();
        await lookAtAll();
      }
    } catch (error) {
      if (error.status === 404 && current) {
        current.isGone = true;
        toast("The stream of this conversation is gone.");
      } else {
        tell(error);
      }
    }
  }
}

const lookSoon = () => Promise.all([look(), lookAtAll()]).catch(tell);

// ---- Conversations

function leave() {
  answer?.abort.abort();
  answer = null;
  isFeeding = false;
  transcript.clear();
  cache.clear();
  oldest = null;
  $("earlier").hidden = true;
  $("loading").hidden = true;
  setText($("speed"), "");
}

function showDraft() {
  leave();
  current = null;
  document.title = "runnel";
  $("draft").hidden = false;
  $("system").value = "";
  updateControls();
}

function addMessage(item, before = null) {
  const message = messageOf(item);
  if (message.from !== undefined && message.to !== undefined) cache.addPart(message.from, message.to, message.kind);
  return transcript.add(message, before);
}

async function showConversation(id) {
  leave();
  current = { id };
  $("draft").hidden = true;
  $("loading").hidden = false;
  updateControls();
  const [conversation, items] = await Promise.all([
    call("GET", `/v1/conversations/${id}`),
    call("GET", `/v1/conversations/${id}/items?order=desc&limit=${kItems}`),
  ]);
  if (current?.id !== id) return;
  $("loading").hidden = true;
  current = conversation;
  $("title").value = titleOf(conversation);
  document.title = `${titleOf(conversation)} · runnel`;
  for (const item of items.data.reverse()) addMessage(item);
  oldest = items.has_more ? items.data[0].id : null;
  $("earlier").hidden = oldest === null;
  updateControls();
  transcript.toEnd(true);
  await lookSoon();
}

async function showEarlier() {
  const items = await call("GET", `/v1/conversations/${current.id}/items?order=desc&limit=${kItems}&after=${oldest}`);
  const first = transcript.shown[0];
  const height = $("scroller").scrollHeight;
  for (const item of items.data.reverse()) addMessage(item, first);
  $("scroller").scrollTop += $("scroller").scrollHeight - height;
  oldest = items.has_more ? items.data[0].id : null;
  $("earlier").hidden = oldest === null;
}

// The address names the conversation, so that it is found again.
function goTo(id) {
  const hash = id ? `#${id}` : "#";
  if (location.hash !== hash && !(id === null && location.hash === "")) location.hash = hash;
  else followAddress();
}

function followAddress() {
  closeSide();
  const id = location.hash.slice(1);
  if (!id.startsWith("conv_")) return showDraft();
  if (current?.id === id) return;
  showConversation(id).catch((error) => {
    tell(error.status === 404 ? new ApiError(404, "There is no such conversation any more.") : error);
    if (error.status === 404) goTo(null);
  });
}

const titleFrom = (text) => {
  const line = text.trim().split("\n")[0];
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}…` : line || "Endless";
};

async function openConversation(text) {
  const system = $("system").value.trim();
  const items = system ? [{ type: "message", role: "system", content: system }] : [];
  const made = await call("POST", "/v1/conversations", { items, metadata: { title: titleFrom(text) } });
  current = made;
  $("draft").hidden = true;
  history.replaceState(null, "", `#${made.id}`);
  $("title").value = titleOf(made);
  document.title = `${titleOf(made)} · runnel`;
  const stored = await call("GET", `/v1/conversations/${made.id}/items?order=asc`);
  for (const item of stored.data) addMessage(item);
  updateControls();
}

async function fork() {
  if (current === null || isForking) return;
  isForking = true;
  updateControls();
  try {
    if (answer) await stop();
    const made = await call("POST", `/v1/conversations/${current.id}/fork`,
      { metadata: { ...current.metadata, forked_from: current.id } });
    say("Forked. This is the new conversation.");
    toast("This is the fork. It goes on exactly as the other one would.");
    goTo(made.id);
  } finally {
    isForking = false;
    updateControls();
  }
}

async function remove() {
  if (current === null) return;
  const { id } = current;
  const dialog = $("delete-dialog");
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue !== "yes") return;
  await call("DELETE", `/v1/conversations/${id}`);
  say("Deleted.");
  goTo(null);
  await lookAtAll();
}

async function rename() {
  const title = $("title").value.trim() || titleOf(current);
  $("title").value = title;
  if (title === titleOf(current)) return;
  current = { ...current, ...await call("POST", `/v1/conversations/${current.id}`, { metadata: { ...current.metadata, title } }) };
  document.title = `${title} · runnel`;
  await lookAtAll();
}

// ---- Answers

const kEndings = {
  cancelled: "stopped",
  max_output_tokens: "cut at the longest",
  steered: "steered",
  loop: "stopped by the guard: it repeated itself",
  likelihood: "stopped by the guard: what it wrote had become unlikely",
  entropy: "stopped by the guard: its entropy had left its bounds",
  sinks: "stopped by the guard: the sinks got too little attention",
};

// Where a question and its answer stand.
function addRanges(entry, { from, to }) {
  cache.addPart(from, to, "assistant");
  if (entry.asked === undefined || entry.begin === undefined) return;
  Object.assign(entry.asked.message, { from: entry.begin, to: from });
  transcript.label(entry.asked);
  cache.addPart(entry.begin, from, "user");
}

function hear(event, entry) {
  if (event.runnel) cache.place(event.runnel);
  if (event.type === "response.output_text.delta") transcript.write(entry, event.delta);
  if (isThought(event)) transcript.think(entry, event.delta);
  if (event.type === "runnel.evicted") transcript.forget(event.runnel.horizon);
  if (event.type === "runnel.guard") cache.guard(event.guard, true);
  if (event.type === "runnel.notice") {
    transcript.notice(`Guard: ${event.message}`, "guard");
    say(`Guard: ${event.message}`);
  }
  if (event.type === "error") toast(event.message);
  if (event.type === "response.in_progress") entry.begin = event.runnel.position;
  const response = event.response;
  if (!response || !["completed", "incomplete", "cancelled", "failed"].includes(response.status)) return;
  const item = response.output?.find((output) => output.type === "message");
  if (item) {
    Object.assign(entry.message, { id: item.id, from: item.runnel?.from, to: item.runnel?.to });
    entry.element.dataset.item = item.id;
    addRanges(entry, item.runnel ?? {});
  }
  const reason = response.incomplete_details?.reason;
  entry.hint = response.status === "failed" ? response.error?.message : reason ? kEndings[reason] ?? reason : "";
}

// Shows an answer while it is written; `request` as follow() wants it.
async function showAnswer(request, asked) {
  const entry = transcript.begin();
  entry.asked = asked;
  if ((request.after ?? -1) >= 0) entry.growing.noteMissing();
  const mine = { id: request.id ?? null, entry, abort: new AbortController() };
  answer = mine;
  updateControls();
  $("log").setAttribute("aria-busy", "true");
  try {
    await follow(request, {
      event: (event) => {
        mine.id = event.response?.id ?? mine.id;
        if (mine.isToStop && mine.id && answer === mine) stop().catch(tell);
        hear(event, entry);
      },
      lost: (isLost) => entry.element.classList.toggle("lost", isLost),
    }, mine.abort.signal);
    say(`The model has answered: ${entry.message.text.slice(-300)}`);
  } finally {
    $("log").setAttribute("aria-busy", "false");
    entry.element.classList.remove("lost");
    transcript.end(entry, entry.hint);
    if (entry.message.text === "") transcript.remove(entry);
    if (answer === mine) answer = null;
    updateControls();
  }
  lookSoon();
}

// One that was under way when the page was opened.
function attach(response) {
  const after = Math.max(-1, response.n_events - kMostEvents);
  const path = `/v1/responses/${response.id}?stream=true` + (after >= 0 ? `&starting_after=${after}` : "");
  showAnswer({ method: "GET", path, id: response.id, after }).catch(tell);
}

function answerOptions(isEndless) {
  return {
    stream: true,
    temperature: settings.temperature(),
    ...(settings.onLoop() && { guard: { on_loop: settings.onLoop() } }),
    ...(isEndless ? { ignore_eos: true, background: true } : { max_output_tokens: settings.longest() }),
  };
}

async function ask(text, isEndless) {
  if (current === null) await openConversation(text);
  const input = text ? [{ type: "message", role: "user", content: text }] : [];
  const asked = text ? transcript.add({ kind: "user", text }) : undefined;
  await showAnswer({
    method: "POST", path: "/v1/responses", body: { conversation: current.id, input, ...answerOptions(isEndless) },
  }, asked);
}

// What is being written ends, and goes on behind what is said now.
async function steer(text) {
  const { id, abort } = answer;
  abort.abort();
  await wait(0);
  const asked = transcript.add({ kind: "user", text, hint: "steers" });
  await showAnswer({ method: "POST", path: `/v1/responses/${id}/steer`, body: { input: text, stream: true } }, asked);
}

// An answer whose name has not come yet is stopped when it comes.
async function stop() {
  if (answer === null) return;
  answer.isToStop = answer.id === null;
  if (answer.id !== null) await call("POST", `/v1/responses/${answer.id}/cancel`);
}

async function feed(text) {
  if (current === null) await openConversation(text);
  const { id } = current;
  isFeeding = true;
  updateControls();
  const entry = transcript.add({ kind: "fed", text, hint: "reading" });
  entry.element.classList.add("reading");
  try {
    const fed = await call("POST", `/v1/conversations/${id}/items`,
      { items: [{ type: "message", role: "user", content: text }], score: true });
    const message = messageOf(fed.data[0]);
    Object.assign(entry.message, { ...message, hint: undefined });
    transcript.label(entry);
    if (current?.id !== id) return;
    cache.addPart(message.from, message.to, "fed");
    cache.showRead(fed.runnel.likelihood);
    say(`Read ${number(message.to - message.from)} tokens.`);
  } catch (error) {
    entry.message.hint = "not read";
    transcript.label(entry);
    throw error;
  } finally {
    entry.element.classList.remove("reading");
    isFeeding = false;
    updateControls();
  }
  await lookSoon();
}

async function send(mode) {
  const field = $("text");
  const text = field.value.trim();
  if (isFeeding || (answer && (mode === "feed" || !text))) return;
  if (!text && mode !== "endless") return;
  field.value = "";
  field.dispatchEvent(new Event("input"));
  try {
    if (answer) await steer(text);
    else if (mode === "feed") await feed(text);
    else await ask(text, mode === "endless");
  } catch (error) {
    if (field.value === "" && error.name !== "AbortError") {
      field.value = text; // nothing that was written is lost
      field.dispatchEvent(new Event("input"));
    }
    throw error;
  }
}

// ---- The beginning

function closeSide() {
  document.body.classList.remove("side-open");
  $("veil").hidden = true;
  $("menu").setAttribute("aria-expanded", "false");
}

async function start() {
  configure({ ask: askForKey, reached });
  startControls({
    send: (mode) => send(mode).catch(tell),
    stop: () => stop().catch(tell),
    fork: () => fork().catch(tell),
    remove: () => remove().catch(tell),
    rename: () => rename().catch(tell),
    goTo,
    neighbour: (step) => list.neighbour(current?.id, step),
    isWriting: () => answer !== null,
    changed: updateControls,
    closeSide,
  });
  $("earlier").addEventListener("click", () => showEarlier().catch(tell));
  addEventListener("hashchange", followAddress);
  document.addEventListener("visibilitychange", () => document.hidden || lookSoon());
  updateControls();
  for (; model === null; await wait(model === null ? 2000 : 0)) {
    model = await call("GET", "/v1/models").then((found) => found.data[0], tell) ?? null;
  }
  setText($("model-name"), model.id);
  followAddress();
  await lookForEver();
}

start();
