// Single keys. Ignored while typing, with modifiers, and when switched off.
import { find, findAll, say } from "./util.js";
import { stepToken } from "./tokens.js";

const OFF = "quanta-keys-off";
const PAGES = { o: "/", c: "/clusterings", d: "/documents", s: "/scaling", e: "/grokking", t: "/predictions", j: "/jobs", r: "/jobs" }; // r: the former name, Runs
let isGoing = false;

function storedOff() {
  try { return localStorage.getItem(OFF) === "1"; } catch { return false; }
}

function startSwitch() {
  const box = find('[data-action="keys-off"]');
  box.checked = storedOff();
  box.addEventListener("change", () => {
    try { localStorage.setItem(OFF, box.checked ? "1" : "0"); } catch { say("not stored"); }
  });
}

function isTyping(target) {
  if (target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName)) return true;
  return target.tagName === "INPUT" && !["checkbox", "range"].includes(target.type);
}

function follow(direction) {
  const link = find(`a[rel="${direction}"]`) ?? find(`link[rel="${direction}"]`);
  if (link) location.assign(link.href);
  else say(direction === "next" ? "this is the last one" : "this is the first one");
  return true;
}

function stepRow(by) {
  const rows = findAll("[data-row]");
  const contexts = findAll(".context");
  if (contexts.length) return stepContext(contexts, by);
  if (!rows.length) return false;
  const at = rows.indexOf(document.activeElement);
  rows[Math.min(Math.max(at + by, 0), rows.length - 1)].focus();
  return true;
}

function stepContext(contexts, by) {
  const at = contexts.findIndex((context) => context.contains(document.activeElement));
  const next = contexts[Math.min(Math.max(at + by, 0), contexts.length - 1)];
  const stop = find('.t[tabindex="0"]', next);
  stop?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "center" });
  return true;
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    say("link copied");
  } catch {
    say(location.href);
  }
  return true;
}

function press(selector) {
  const button = find(selector);
  button?.click();
  return Boolean(button);
}

function hideColour() {
  const texts = findAll(".context-list, .document");
  if (press('[data-action="heat-off"]')) return true;
  for (const text of texts) text.classList.toggle("heat-off");
  return texts.length > 0;
}

function nearestPlot() {
  const middle = innerHeight / 2;
  const distance = (plot) => {
    const box = plot.getBoundingClientRect();
    return Math.abs((box.top + box.bottom) / 2 - middle);
  };
  return findAll(".plot").sort((a, b) => distance(a) - distance(b))[0];
}

function maximise() {
  if (find(".plot.max")) return press('.plot.max [data-plot="max"]');
  const nearest = nearestPlot();
  find('[data-plot="max"]', nearest)?.click();
  return Boolean(nearest);
}

/** Focus the files of a list, or download the plot in view as CSV. */
function exportView() {
  const files = find("[data-exports] a");
  const button = find('.plot-tools:not([hidden]) [data-plot="csv"]', find(".plot.max") ?? nearestPlot());
  files?.focus();
  if (!files) button?.click();
  return Boolean(files ?? button);
}

function tables() {
  const buttons = findAll('[data-plot="table"]');
  const showTables = buttons.some((button) => button.ariaPressed !== "true");
  for (const button of buttons) if ((button.ariaPressed === "true") !== showTables) button.click();
  return buttons.length > 0;
}

function leave() {
  const stop = find('[data-action="play"][aria-pressed="true"]');
  if (stop) { stop.click(); return true; }
  if (find(".plot.max")) return maximise();
  document.activeElement?.blur();
  return false;
}

/** Open the prediction of the focused context; links open by themselves. */
function openContext() {
  const context = document.activeElement?.matches?.("bdi.t") && document.activeElement.closest(".context");
  if (context) find("a", context).click();
  return Boolean(context);
}

/** Dispatch a key to the module of the page; false if no module handles it. */
const dispatchKey = (key) => !document.dispatchEvent(new CustomEvent(`quanta-key-${key}`, { cancelable: true }));

const isList = () => Boolean(find("[data-rows]"));
const KEYS = {
  "?": () => { find("#help").showModal(); return true; },
  j: () => (isList() ? stepRow(1) : follow("next")),
  k: () => (isList() ? stepRow(-1) : follow("prev")),
  ArrowRight: () => stepToken(1) || (!isList() && follow("next")),
  ArrowLeft: () => stepToken(-1) || (!isList() && follow("prev")),
  ArrowDown: () => stepToken(0, 1) || stepRow(1),
  ArrowUp: () => stepToken(0, -1) || stepRow(-1),
  t: tables,
  m: maximise,
  c: copyLink,
  e: exportView,
  h: hideColour,
  p: () => press('[data-action="play"]'),
  n: () => dispatchKey("n"),
  s: () => dispatchKey("s"),
  u: () => dispatchKey("u"),
  Enter: openContext,
  Escape: leave,
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (isTyping(event.target) || find("dialog[open]")) return;
  if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
  if (storedOff() && event.key.length === 1 && event.key !== "?") return;
  if (isGoing) {
    isGoing = false;
    if (PAGES[event.key]) location.assign(PAGES[event.key]);
    return;
  }
  if (event.key === "g") {
    isGoing = true;
    setTimeout(() => { isGoing = false; }, 1500);
    return;
  }
  if (KEYS[event.key]?.()) event.preventDefault();
}

/** Listen to keys. */
export function startKeys() {
  startSwitch();
  addEventListener("keydown", onKey);
}
