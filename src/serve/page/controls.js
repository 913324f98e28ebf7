// Buttons, keys, the theme and the settings: what needs no server.
import { $, setText } from "/page/dom.js";

const kThemes = ["system", "light", "dark"];
const kWide = matchMedia("(min-width: 1180px)");

function stored(name, otherwise) {
  return localStorage.getItem(`runnel.${name}`) ?? otherwise;
}
const store = (name, value) => localStorage.setItem(`runnel.${name}`, value);

export const settings = {
  mode: () => document.querySelector('input[name="mode"]:checked').value,
  temperature: () => Number($("temperature").value),
  onLoop: () => $("on-loop").value,
  longest: () => Math.max(1, Math.round(Number($("longest").value) || 512)),
};

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const name = { system: "System", light: "Light", dark: "Dark" }[theme];
  setText($("theme-text"), name);
  $("theme").setAttribute("aria-label", `Colours: ${name}`);
  store("theme", theme);
}

const nextTheme = () => setTheme(kThemes[(kThemes.indexOf(stored("theme", "system")) + 1) % kThemes.length]);

function showDetails(isShown) {
  document.body.classList.toggle("details-open", isShown);
  $("details-toggle").setAttribute("aria-expanded", String(isShown));
  if (kWide.matches) store("details", isShown ? "open" : "closed");
}
const toggleDetails = () => showDetails(!document.body.classList.contains("details-open"));

function openSide() {
  document.body.classList.add("side-open");
  $("veil").hidden = false;
  $("menu").setAttribute("aria-expanded", "true");
  $("side-close").focus();
}

function startSettings(changed) {
  $("temperature").value = stored("temperature", "0.8");
  $("longest").value = stored("longest", "512");
  const show = () => setText($("temperature-text"), settings.temperature().toFixed(2));
  show();
  $("temperature").addEventListener("input", () => {
    show();
    store("temperature", $("temperature").value);
  });
  $("longest").addEventListener("change", () => store("longest", settings.longest()));
  $("on-loop").value = stored("on-loop", "");
  $("on-loop").addEventListener("change", () => store("on-loop", settings.onLoop()));
  for (const radio of document.querySelectorAll('input[name="mode"]')) radio.addEventListener("change", changed);
  document.addEventListener("click", (event) => {
    if (!$("settings").contains(event.target)) $("settings").open = false;
  });
}

// The field is as high as its text, up to a bound that the style sets.
function startField(actions) {
  const field = $("text");
  field.addEventListener("input", () => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    actions.changed();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || event.shiftKey) return;
    event.preventDefault();
    actions.send(event.ctrlKey || event.metaKey ? "feed" : settings.mode());
  });
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    actions.send(settings.mode());
    field.focus();
  });
}

function escape(actions) {
  if (document.body.classList.contains("side-open")) {
    actions.closeSide();
    return $("menu").focus();
  }
  if ($("settings").open) return ($("settings").open = false);
  if (actions.isWriting()) return actions.stop();
  document.activeElement?.blur();
}

function startKeys(actions) {
  const keys = {
    n: () => actions.goTo(null),
    f: actions.fork,
    d: toggleDetails,
    t: nextTheme,
    j: () => move(1),
    k: () => move(-1),
    "/": () => $("text").focus(),
    "?": () => $("keys-dialog").showModal(),
  };
  const move = (step) => {
    const id = actions.neighbour(step);
    if (id) actions.goTo(id);
  };
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") return escape(actions);
    const isTyping = event.target.matches("input:not([type=radio]):not([type=range]), textarea, select");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
}

export function startControls(actions) {
  setTheme(stored("theme", "system"));
  showDetails(kWide.matches && stored("details", "open") === "open");
  startSettings(actions.changed);
  startField(actions);
  startKeys(actions);
  const on = (id, action) => $(id).addEventListener("click", action);
  on("new", () => {
    actions.goTo(null);
    $("text").focus();
  });
  on("fork", actions.fork);
  on("delete", actions.remove);
  on("stop", actions.stop);
  on("details-toggle", toggleDetails);
  on("details-close", () => {
    showDetails(false);
    $("details-toggle").focus();
  });
  on("theme", nextTheme);
  on("keys", () => $("keys-dialog").showModal());
  on("menu", openSide);
  on("side-close", () => {
    actions.closeSide();
    $("menu").focus();
  });
  on("veil", actions.closeSide);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address names a conversation, not a place in the page
    $("text").focus();
  });
  $("title").addEventListener("change", actions.rename);
  $("title").addEventListener("keydown", (event) => event.key === "Enter" && event.target.blur());
}
