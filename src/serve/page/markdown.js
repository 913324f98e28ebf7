// Markdown as a model writes it, made into elements one by one. Text of a model never passes a
// parser of HTML, and a link is one only where it leads to http or https.
import { el } from "/page/dom.js";

const kInline = new RegExp([
  "(?<code>`+)(?<coded>[^`]|[^`][\\s\\S]*?[^`])\\k<code>(?!`)",
  "\\*\\*(?<bold>(?=\\S)[\\s\\S]*?\\S)\\*\\*(?!\\*)",
  "__(?<bold2>(?=\\S)[\\s\\S]*?\\S)__(?!\\w)",
  "\\*(?<italic>(?=[^\\s*])[\\s\\S]*?[^\\s*])\\*(?!\\*)",
  "(?<![\\w_])_(?<italic2>(?=[^\\s_])[^_]*?[^\\s_])_(?!\\w)",
  "~~(?<gone>(?=\\S)[\\s\\S]*?\\S)~~",
  "\\[(?<label>[^\\]\\n]+)\\]\\((?<target>[^)\\s]+)\\)",
  "(?<bare>https?:\\/\\/[^\\s<>\"')\\]]*[^\\s<>\"')\\].,;:!?])",
  "\\\\(?<escaped>[\\\\`*_{}\\[\\]()#+.!~>|-])",
].join("|"), "u");

function link(target, children) {
  let address = null;
  try {
    address = new URL(target);
  } catch {
    // not an address
  }
  if (address === null || !["http:", "https:"].includes(address.protocol)) return null;
  return el("a", { href: address.href, target: "_blank", rel: "noopener noreferrer" }, ...children);
}

function withBreaks(text) {
  const nodes = [];
  text.split("\n").forEach((line, index) => {
    if (index > 0) nodes.push(el("br"));
    if (line) nodes.push(document.createTextNode(line));
  });
  return nodes;
}

// Nested no deeper than a few levels: what stands deeper stays as it was written.
function inline(text, depth = 0) {
  const nodes = [];
  while (text) {
    const found = depth < 4 ? kInline.exec(text) : null;
    if (!found) return nodes.concat(withBreaks(text));
    nodes.push(...withBreaks(text.slice(0, found.index)));
    text = text.slice(found.index + found[0].length);
    const g = found.groups;
    const inside = (value) => inline(value, depth + 1);
    const bold = g.bold ?? g.bold2;
    const italic = g.italic ?? g.italic2;
    if (g.coded !== undefined) nodes.push(el("code", {}, g.coded));
    else if (bold !== undefined) nodes.push(el("strong", {}, ...inside(bold)));
    else if (italic !== undefined) nodes.push(el("em", {}, ...inside(italic)));
    else if (g.gone !== undefined) nodes.push(el("s", {}, ...inside(g.gone)));
    else if (g.escaped !== undefined) nodes.push(document.createTextNode(g.escaped));
    else if (g.bare !== undefined) nodes.push(link(g.bare, [g.bare]) ?? g.bare);
    else nodes.push(link(g.target, inside(g.label)) ?? document.createTextNode(found[0]));
  }
  return nodes;
}

const kFence = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)\s*$/;
const kHeading = /^(#{1,6})\s+(.*?)\s*#*$/;
const kRule = /^ {0,3}([-*_])( *\1){2,}\s*$/;
const kItem = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const kRow = /^\s*\|.*\|\s*$/;
const kDivider = /^\s*\|?(\s*:?-+:?\s*\|)+\s*:?-*:?\s*$/;

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
}

function table(lines) {
  const head = el("tr", {}, ...cells(lines[0]).map((cell) => el("th", {}, ...inline(cell))));
  const rows = lines.slice(2).map((line) =>
    el("tr", {}, ...cells(line).map((cell) => el("td", {}, ...inline(cell)))));
  return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" },
    el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

// Lines from `at` on that belong to one list, and the place behind them.
function list(lines, at) {
  const [, indent, mark] = kItem.exec(lines[at]);
  const isOrdered = /\d/.test(mark);
  const items = el(isOrdered ? "ol" : "ul", isOrdered ? { start: parseInt(mark, 10) } : {});
  let last = null;
  while (at < lines.length) {
    const found = kItem.exec(lines[at]);
    if (!found) {
      if (!last || !lines[at].trim()) break;
      last.append(el("br"), ...inline(lines[at].trim()));
      ++at;
    } else if (found[1].length > indent.length + 1 && last) {
      const [inner, next] = list(lines, at);
      last.append(inner);
      at = next;
    } else if (found[1].length < indent.length || /\d/.test(found[2]) !== isOrdered) {
      break;
    } else {
      last = el("li", {}, ...inline(found[3]));
      items.append(last);
      ++at;
    }
  }
  return [items, at];
}

const isBlockBegin = (line) =>
  kFence.test(line) || kHeading.test(line) || kRule.test(line) || kItem.test(line) || line.startsWith(">");

// The elements of a text.
export function blocks(text) {
  const lines = text.split("\n");
  const found = [];
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    if (!line.trim()) {
      ++at;
      continue;
    }
    const fence = kFence.exec(line);
    const heading = kHeading.exec(line);
    if (fence) {
      const begin = ++at;
      while (at < lines.length && lines[at].trim() !== fence[1]) ++at;
      found.push(el("pre", { tabindex: "0" }, el("code", {}, lines.slice(begin, at).join("\n"))));
      ++at;
    } else if (heading) {
      found.push(el(`h${Math.min(6, heading[1].length + 2)}`, {}, ...inline(heading[2])));
      ++at;
    } else if (kRule.test(line)) {
      found.push(el("hr"));
      ++at;
    } else if (line.startsWith(">")) {
      const quoted = [];
      while (at < lines.length && lines[at].startsWith(">")) quoted.push(lines[at++].replace(/^> ?/, ""));
      found.push(el("blockquote", {}, ...blocks(quoted.join("\n"))));
    } else if (kItem.test(line)) {
      const [items, next] = list(lines, at);
      found.push(items);
      at = next;
    } else if (kRow.test(line) && kDivider.test(lines[at + 1] ?? "")) {
      const begin = at;
      while (at < lines.length && kRow.test(lines[at])) ++at;
      found.push(table(lines.slice(begin, at)));
    } else {
      const begin = at++;
      while (at < lines.length && lines[at].trim() && !isBlockBegin(lines[at])) ++at;
      found.push(el("p", {}, ...inline(lines.slice(begin, at).join("\n"))));
    }
  }
  return found;
}

// A text that grows at its end. What is whole stays as it is, and the last blocks alone are made
// anew, so that an endless text costs no more a token than a short one.
export class GrowingText {
  static kMostBlocks = 400;

  constructor(element) {
    this.element = element;
    this.rest = ""; // the text of the last elements
    this.last = [];
  }

  add(text) {
    this.rest += text;
    const end = this.settled();
    if (end > 0) {
      this.replaceLast(blocks(this.rest.slice(0, end)));
      this.last = [];
      this.rest = this.rest.slice(end);
    }
    this.replaceLast(blocks(this.rest));
    this.dropFirst();
  }

  // Where the last blank line outside of code is.
  settled() {
    let end = 0;
    let fence = null;
    let at = 0;
    for (const line of this.rest.split("\n")) {
      const found = kFence.exec(line);
      if (fence === null && found) fence = found[1];
      else if (fence !== null && line.trim() === fence) fence = null;
      at += line.length + 1;
      if (fence === null && !line.trim() && at < this.rest.length) end = at;
    }
    return end;
  }

  noteMissing() {
    if (this.note) return;
    this.note = el("p", { class: "earlier" }, "What was written before is not shown here.");
    this.element.prepend(this.note);
  }

  replaceLast(elements) {
    for (const element of this.last) element.remove();
    this.element.append(...elements);
    this.last = elements;
  }

  dropFirst() {
    if (this.element.childElementCount <= GrowingText.kMostBlocks) return;
    this.noteMissing();
    while (this.element.childElementCount > GrowingText.kMostBlocks) this.note.nextElementSibling.remove();
  }
}
