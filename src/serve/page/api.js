// The server's own interface, as any client may use it.
import { wait } from "/page/dom.js";

const kKeyName = "runnel.key";

export class ApiError extends Error {
  constructor(status, message, code = "", retryAfter = 0) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

// The server did not answer at all.
export class Unreachable extends Error {}

let key = sessionStorage.getItem(kKeyName) ?? localStorage.getItem(kKeyName);
let asked = null; // a question for the key that is open
let askForKey = async () => null;
let noteReached = () => {};

// `ask` shows a question and gives {key, remember}; `reached` hears whether the server answers.
export function configure({ ask, reached }) {
  askForKey = ask;
  noteReached = reached;
}

async function newKey() {
  asked ??= askForKey().then((given) => {
    asked = null;
    key = given.key;
    sessionStorage.setItem(kKeyName, key);
    if (given.remember) localStorage.setItem(kKeyName, key);
    else localStorage.removeItem(kKeyName);
  });
  await asked;
}

async function faultOf(response) {
  const body = await response.json().catch(() => null);
  const error = body?.error ?? {};
  return new ApiError(response.status, error.message ?? `${response.status} ${response.statusText}`,
    error.code ?? "", Number(response.headers.get("retry-after") ?? 0));
}

async function ask(method, path, body, signal) {
  for (;;) {
    const used = key;
    const headers = {};
    if (used) headers.authorization = `Bearer ${used}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    let response;
    try {
      response = await fetch(path, {
        method, headers, signal, cache: "no-store",
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      noteReached(false);
      throw new Unreachable("The server does not answer.");
    }
    noteReached(true);
    if (response.ok) return response;
    if (response.status !== 401) throw await faultOf(response);
    if (used === key) await newKey(); // else somebody has given another one meanwhile
  }
}

export async function call(method, path, body, signal) {
  const response = await ask(method, path, body, signal);
  return response.json();
}

// The events of one reply, each an object.
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const data = text.slice(0, end).split("\n").filter((line) => line.startsWith("data:"));
      if (data.length > 0) yield JSON.parse(data.map((line) => line.slice(5)).join("\n"));
    }
  }
}

const kLast = new Set(["response.completed", "response.incomplete", "response.failed", "error"]);

// Follows a response to its end, over as many connections as that takes. `request`: {method, path,
// body} of the first one. `on`: event(event), and lost(isLost) while there is no connection.
export async function follow(request, on, signal) {
  let { method, path, body } = request;
  let id = request.id ?? null;
  let number = request.after ?? -1;
  for (let pause = 500; ; pause = Math.min(2 * pause, 8000)) {
    try {
      const response = await ask(method, path, body, signal);
      on.lost(false);
      for await (const event of eventsOf(response)) {
        pause = 500;
        if (event.response?.id) id = event.response.id;
        number = event.sequence_number ?? number;
        on.event(event);
        if (kLast.has(event.type)) return;
      }
    } catch (error) {
      if (error instanceof ApiError || error.name === "AbortError") throw error;
      if (id === null) throw error; // nothing was begun, as far as anybody knows
    }
    if (id === null) throw new Unreachable("The connection ended before the answer began.");
    on.lost(true);
    await wait(pause);
    method = "GET";
    path = `/v1/responses/${id}?stream=true` + (number >= 0 ? `&starting_after=${number}` : "");
    body = undefined;
  }
}
