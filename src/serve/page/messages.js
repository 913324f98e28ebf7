// The conversation as it is read: what was said, by whom, and what of it is forgotten.
import { $, count, el, setText } from "/page/dom.js";
import { GrowingText, blocks } from "/page/markdown.js";

const kThoughts = new Set(["response.reasoning_text.delta", "response.reasoning_summary_text.delta"]);
export const isThought = (event) => kThoughts.has(event.type);

const kNames = { user: "You", assistant: "Model", system: "System prompt", fed: "Fed", thinking: "Thoughts" };

function textOf(content) {
  if (typeof content === "string") return content;
  return (content ?? []).map((part) => part.text ?? "").join("");
}

// An item of the interface as a message of the page.
export function messageOf(item) {
  if (item.type === "reasoning") {
    return { id: item.id, kind: "thinking", text: textOf(item.content) || textOf(item.summary) };
  }
  if (item.type !== "message") {
    return { id: item.id, kind: "other", name: (item.type ?? "item").replaceAll("_", " "), text: JSON.stringify(item, null, 2) };
  }
  const range = item.runnel ?? {};
  const kind = item.role === "developer" ? "system"
    : item.role === "user" && range.log_probability !== undefined ? "fed" : item.role;
  return {
    id: item.id, kind, text: textOf(item.content), from: range.from, to: range.to,
    likelihood: range.log_probability, isPart: item.status === "incomplete",
  };
}

export class Transcript {
  constructor() {
    this.list = $("messages");
    this.scroller = $("scroller");
    this.shown = []; // {message, element, note}
    this.follows = true;
    this.scroller.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.scroller;
      this.follows = scrollHeight - scrollTop - clientHeight < 80;
      $("to-end").hidden = this.follows;
    }, { passive: true });
    $("to-end").addEventListener("click", () => this.toEnd(true));
  }

  clear() {
    this.list.replaceChildren();
    this.shown = [];
    this.follows = true;
    $("to-end").hidden = true;
  }

  add(message, before = null) {
    const name = message.name ?? kNames[message.kind] ?? message.kind;
    const note = el("span", { class: "note" });
    const body = el("div", { class: "text" });
    if (message.kind === "assistant") body.append(...blocks(message.text));
    else if (message.kind === "thinking") {
      body.append(el("details", { class: "thinking" }, el("summary", {}, "Thoughts"),
        el("p", { class: "thoughts" }, message.text)));
    } else if (message.kind === "other") body.append(el("pre", { tabindex: "0" }, message.text));
    else body.textContent = message.text;
    const element = el("li", { class: `message ${message.kind}`, "data-item": message.id },
      el("div", { class: "head" }, el("span", { class: "name" }, name), note), body);
    const entry = { message, element, note, body };
    const at = before === null ? -1 : this.shown.indexOf(before);
    if (at >= 0) {
      before.element.before(element);
      this.shown.splice(at, 0, entry);
    } else {
      this.list.append(element);
      this.shown.push(entry);
    }
    this.label(entry);
    this.toEnd();
    return entry;
  }

  label({ message, note }) {
    const parts = [];
    if (message.kind === "system") parts.push("pinned, never forgotten");
    if (message.to > message.from) parts.push(count(message.to - message.from, "token", "tokens"));
    if (message.likelihood !== undefined) parts.push(`${(-message.likelihood).toFixed(2)} nats a token`);
    if (message.isPart) parts.push("stopped");
    if (message.hint) parts.push(message.hint);
    setText(note, parts.join(" · "));
  }

  // An answer that is being written.
  begin() {
    const entry = this.add({ kind: "assistant", text: "" });
    entry.growing = new GrowingText(entry.body);
    entry.element.classList.add("writing");
    entry.waiting = "";
    return entry;
  }

  // What a model says to itself stands before the answer, folded.
  think(entry, text) {
    if (!entry.thoughts) {
      entry.thoughts = el("p", { class: "thoughts" });
      entry.body.before(el("details", { class: "thinking" }, el("summary", {}, "Thoughts"), entry.thoughts));
    }
    entry.thoughts.append(text);
    this.toEnd();
  }

  write(entry, text) {
    if (entry.waiting === "") {
      requestAnimationFrame(() => {
        entry.growing.add(entry.waiting);
        entry.waiting = "";
        this.toEnd();
      });
    }
    entry.waiting += text;
    entry.message.text += text;
  }

  end(entry, hint) {
    if (entry.waiting !== "") {
      entry.growing.add(entry.waiting);
      entry.waiting = "";
    }
    entry.element.classList.remove("writing");
    if (hint) entry.message.hint = hint;
    this.label(entry);
    this.toEnd();
  }

  remove(entry) {
    entry.element.remove();
    this.shown = this.shown.filter((other) => other !== entry);
  }

  notice(text, kind = "") {
    this.list.append(el("li", { class: `notice ${kind}` }, text));
    this.toEnd();
  }

  // What ends before the horizon is no longer seen. A message without a place of its own lies
  // before the next one that has one.
  forget(horizon) {
    let end = Infinity;
    let last = null;
    for (let i = this.shown.length - 1; i >= 0; --i) {
      const { message, element } = this.shown[i];
      const stop = message.to ?? end;
      if (message.from !== undefined) end = message.from;
      const isForgotten = message.kind !== "system" && stop <= horizon;
      element.classList.toggle("forgotten", isForgotten);
      if (isForgotten && last === null) last = element;
    }
    if (last === this.border) return;
    this.line?.remove();
    this.border = last;
    if (last === null) return;
    this.line = el("li", { class: "horizon" }, "forgotten above this line");
    last.after(this.line);
  }

  toEnd(always = false) {
    if (!this.follows && !always) return;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }
}

