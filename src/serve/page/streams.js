// The list of streams at the side.
import { $, el, number, setText } from "/page/dom.js";

const kUntitled = "Untitled";

export const titleOf = (conversation) => conversation.metadata?.title || kUntitled;

export class StreamList {
  // `select`: called with the id of the conversation that somebody wants to see.
  constructor(select) {
    this.select = select;
    this.rows = new Map();
    this.conversations = [];
  }

  show(conversations, others, current) {
    this.conversations = conversations;
    const rows = conversations.map((conversation) => this.row(conversation, conversation.id === current));
    const known = new Set(conversations.map((conversation) => conversation.id));
    for (const id of this.rows.keys()) {
      if (!known.has(id)) this.rows.delete(id);
    }
    const list = $("stream-list");
    const isSame = rows.length === list.childElementCount && rows.every((row, i) => row === list.children[i]);
    if (!isSame) list.replaceChildren(...rows);
    $("no-streams").hidden = rows.length > 0;
    this.showOthers(others);
  }

  row(conversation, isCurrent) {
    let row = this.rows.get(conversation.id);
    if (!row) {
      const link = el("a", { href: `#${conversation.id}` },
        el("span", { class: "dot", "aria-hidden": "true" }),
        el("span", { class: "label" }, el("span", { class: "title" }), el("span", { class: "meta" })));
      row = el("li", {}, link);
      this.rows.set(conversation.id, row);
    }
    const link = row.firstElementChild;
    const { runnel } = conversation;
    setText(link.querySelector(".title"), titleOf(conversation));
    setText(link.querySelector(".meta"), (conversation.metadata?.forked_from ? "fork · " : "") +
      (runnel ? `${number(runnel.position)} tokens · ${runnel.state}` : "its stream is gone"));
    link.dataset.state = runnel?.state ?? "gone";
    if (isCurrent) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    return row;
  }

  // Those that other clients have: chains of responses, and histories of stateless requests.
  showOthers(others) {
    $("others").hidden = others.length === 0;
    setText($("others-count"), number(others.length));
    $("other-list").replaceChildren(...others.map((stream) => el("li", {},
      el("span", { class: "dot", "data-state": stream.runnel.state }),
      el("span", { class: "label" },
        el("span", { class: "title" }, stream.kind === "chain" ? "Chain of responses" : "Stateless history"),
        el("span", { class: "meta" }, `${number(stream.runnel.position)} tokens · ${stream.runnel.state}`)))));
  }

  // The one before (-1) or behind (1) this one.
  neighbour(current, step) {
    const at = this.conversations.findIndex((conversation) => conversation.id === current);
    const next = at < 0 ? 0 : at + step;
    return this.conversations[next]?.id ?? null;
  }
}
