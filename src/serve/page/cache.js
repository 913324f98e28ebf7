// What the stream still sees: the ribbon above the conversation, and the details beside it.
import { $, bytes, count, el, number, setText } from "/page/dom.js";
import { Chart } from "/page/chart.js";

const kStates = {
  idle: "waiting for you",
  working: "at work",
  waking: "waking up",
  parked: "parked on disk",
};

export class CacheView {
  constructor() {
    this.likelihood = new Chart($("likelihood-chart"));
    this.read = new Chart($("read-chart"));
    this.memory = new Chart($("memory-chart"), { low: 0 });
    this.parts = []; // what was said, by position: {from, to, kind}
    this.clear();
  }

  clear() {
    this.parts = [];
    this.position = -1;
    this.likelihood.show([]);
    this.read.show([]);
    for (const element of document.querySelectorAll("[data-stat]")) setText(element, "–");
    for (const id of ["pinned-text", "left-text", "oldest-text", "newest-text"]) $(id).replaceChildren();
    setText($("read-note"), "");
    $("ribbon").hidden = true;
    $("details-empty").hidden = false;
    $("details-body").hidden = true;
  }

  // `kind`: "user", "assistant", "fed", "system".
  addPart(from, to, kind) {
    if (to > from) this.parts.push({ from, to, kind });
  }

  // Of what was fed: a number for each token, or means of equal runs.
  showRead(likelihood) {
    this.read.show(likelihood.points);
    setText($("read-note"), `${number(likelihood.tokens)} tokens read, at ${(-likelihood.log_probability).toFixed(2)} nats each`);
  }

  place(runnel) {
    $("ribbon").hidden = false;
    $("details-empty").hidden = true;
    $("details-body").hidden = false;
    this.drawRibbon(runnel);
    this.stat("position", number(runnel.position));
    this.stat("evicted", number(runnel.evicted));
    this.stat("horizon", number(runnel.horizon));
    this.stat("pinned", number(runnel.pinned));
    this.stat("window", number(runnel.window));
  }

  stat(name, text) {
    setText(document.querySelector(`[data-stat="${name}"]`), text);
  }

  drawRibbon({ position, evicted, horizon, pinned, window }) {
    const nPinned = Math.min(position, pinned);
    const begin = Math.max(pinned, horizon);
    const inWindow = Math.max(0, position - begin);
    $("ribbon-pinned").style.flexGrow = Math.max(pinned, (pinned + window) / 60);
    $("ribbon-window").style.flexGrow = Math.max(window, 1);
    $("ribbon-pinned-fill").style.width = pinned > 0 ? `${(100 * nPinned) / pinned}%` : "0";
    $("ribbon-fill").style.width = window > 0 ? `${Math.min(100, (100 * inWindow) / window)}%` : "100%";
    $("ribbon-gap").hidden = evicted === 0;
    // Ten times as much forgotten makes the gap a bit wider.
    $("ribbon-gap").style.flexBasis = `${3.5 + 1.1 * Math.log10(1 + evicted)}rem`;
    setText($("ribbon-gap-text"), `${number(evicted)}`);
    setText($("ribbon-pinned-label"), nPinned < pinned ? `sinks ${nPinned} of ${pinned}` : `pinned ${number(pinned)}`);
    setText($("ribbon-window-label"), `window ${number(inWindow)} of ${number(window)}`);
    setText($("ribbon-gap-label"), evicted > 0 ? "forgotten" : "");
    setText($("ribbon-position-label"), `position ${number(position)}`);
    this.drawParts(begin, position);
    if (position !== this.position) {
      this.position = position;
      $("ribbon").setAttribute("aria-label", `The cache: ${number(nPinned)} tokens pinned, ${number(evicted)} forgotten, ` +
        `${number(inWindow)} of ${number(window)} in the window, at position ${number(position)}`);
    }
  }

  // Who said what is in the window.
  drawParts(begin, end) {
    this.parts = this.parts.filter((part) => part.to > begin);
    const fill = $("ribbon-fill");
    while (fill.childElementCount > this.parts.length) fill.lastElementChild.remove();
    while (fill.childElementCount < this.parts.length) fill.append(el("span"));
    this.parts.forEach((part, i) => {
      const from = Math.max(part.from, begin);
      const to = Math.min(part.to, end);
      const element = fill.children[i];
      element.className = `part ${part.kind}`;
      element.style.left = `${(100 * (from - begin)) / Math.max(1, end - begin)}%`;
      element.style.width = `${(100 * Math.max(0, to - from)) / Math.max(1, end - begin)}%`;
    });
  }

  state(runnel) {
    this.place(runnel);
    const { guard } = runnel;
    this.stat("state", kStates[runnel.state] ?? runnel.state);
    this.stat("bytes", bytes(runnel.bytes));
    const speeds = [];
    if (runnel.writes_per_second > 0) speeds.push(`writes ${runnel.writes_per_second.toFixed(1)}`);
    if (runnel.reads_per_second > 0) speeds.push(`reads ${runnel.reads_per_second.toFixed(0)}`);
    this.stat("speed", speeds.length > 0 ? `${speeds.join(" · ")} tokens/s` : "at rest");
    $("ribbon").classList.toggle("flows", runnel.state === "working");
    this.guard(guard, runnel.state === "working");
  }

  guard(guard, isWorking) {
    const nats = (value) => (value === 0 ? "–" : `${(-value).toFixed(2)} nats`);
    this.stat("written", nats(guard.log_probability));
    this.stat("read", nats(guard.read_log_probability));
    this.stat("entropy", guard.entropy === 0 ? "–" : `${guard.entropy.toFixed(2)} nats`);
    this.stat("sinks", guard.sink_share === 0 ? "–" : `${(100 * guard.sink_share).toFixed(0)} %`);
    $("sinks-meter").value = guard.sink_share;
    this.stat("loop", guard.loop > 0 ? `repeats ${count(guard.loop, "token", "tokens")}`
      : guard.loops > 0 ? `no; ${count(guard.loops, "time", "times")} before` : "no");
    if (isWorking && guard.log_probability !== 0) this.likelihood.add(guard.log_probability);
  }

  // Of GET /v1/streams/{id}/cache.
  contents(cache) {
    this.state(cache.runnel);
    const show = (id, run, otherwise) => {
      const text = run.tokens.join("");
      setText($(id), text || otherwise);
      if (id !== "oldest-text" && id !== "pinned-text") $(id).scrollTop = $(id).scrollHeight;
      $(id).classList.toggle("nothing", !text);
    };
    const isParked = cache.runnel.state === "parked";
    const asleep = "On disk. It comes back when you write.";
    show("pinned-text", cache.pinned, isParked ? asleep : "Nothing yet.");
    show("left-text", cache.left, isParked ? asleep : "Nothing has been forgotten.");
    show("oldest-text", cache.oldest, isParked ? asleep : "Nothing yet.");
    show("newest-text", cache.newest, isParked ? asleep : "All of the window is above.");
    setText($("left-range"), cache.left.tokens.length > 0
      ? `${number(cache.left.from)} – ${number(cache.left.from + cache.left.tokens.length - 1)}` : "");
    setText($("oldest-range"), cache.oldest.tokens.length > 0 ? `from ${number(cache.oldest.from)}` : "");
    setText($("newest-range"), cache.newest.tokens.length > 0
      ? `to ${number(cache.newest.from + cache.newest.tokens.length - 1)}` : "");
  }

  machine(all) {
    this.memory.add(all.resident_bytes);
    setText($("memory-text"), bytes(all.resident_bytes));
    setText($("machine-text"), `${count(all.streams, "stream", "streams")} in ${bytes(all.stream_bytes)} of ${bytes(all.stream_bytes_limit)}`);
  }
}
