// Document heat: size and step sliders over one locked scale.
import { all, fetchJson, keepInAddress, make, one, say, wantsCalm } from "./util.js";
import { about } from "./tokens.js";

const PLAY_MS = 700;
const frames = new Map();
let form, models, tokens, timer, wanted;

const field = (name) => form.elements.namedItem(name);
const slider = (name) => one(`[data-slide="${name}"]`, form);
const address = (state) => `${form.dataset.heat}?${new URLSearchParams(state)}`;

function currentState() {
  return Object.fromEntries(["suite", "model", "step", "measure"].map((name) => [name, field(name).value]));
}

function frameOf(state) {
  const from = address(state);
  if (!frames.has(from)) {
    const coming = fetchJson(from);
    frames.set(from, coming);
    coming.catch(() => frames.delete(from));
  }
  return frames.get(from);
}

function colour(token, level, value, unit) {
  const words = about(token);
  const rest = words.slice(words.indexOf(" · "));
  token.className = token.className.replace(/ ?\bh\d+\b/, "") + (level === null ? "" : ` h${level}`);
  token.dataset.about = (value === null ? "no prediction" : `${value.toFixed(3)} ${unit}`) + rest;
}

async function show() {
  const state = currentState();
  wanted = address(state);
  const mine = wanted;
  keepInAddress({ ...state, measure: state.measure === "loss" ? null : state.measure });
  try {
    const frame = await frameOf(state);
    if (mine !== wanted) return;
    const unit = form.dataset.unit;
    tokens.forEach((token, i) => colour(token, frame.classes[i], frame.values[i], unit));
    const mean = frame.mean === null ? "–" : frame.mean.toFixed(3);
    one("#heat-mean").textContent = `mean ${mean} ${unit}`;
    const at = tokens.find((token) => token === document.activeElement);
    if (at) one("#heat-value").textContent = about(at);
    say(`${state.model}, step ${state.step}: mean ${mean} ${unit}`);
    prefetch(state);
  } catch (error) {
    one("#heat-value").textContent = error.message;
  }
}

function prefetch(state) {
  const steps = models[state.model];
  const next = steps[steps.indexOf(Number(state.step)) + 1];
  if (next !== undefined) frameOf({ ...state, step: next }).catch(() => undefined);
}

function syncSlider(name) {
  const range = slider(name);
  const choice = field(name);
  range.max = choice.options.length - 1;
  range.disabled = choice.options.length < 2;
  range.value = choice.selectedIndex;
  range.setAttribute("aria-valuetext", choice.selectedOptions[0]?.textContent ?? "");
}

/** Offer the model's steps, keeping the step that is nearest to the one shown. */
function offerSteps() {
  const steps = models[field("model").value];
  const before = Number(field("step").value);
  const distance = (step) => Math.abs(Math.log((step + 1) / (before + 1)));
  const nearest = steps.reduce((best, step) => (distance(step) < distance(best) ? step : best));
  field("step").replaceChildren(...steps.map((step) => (
    make("option", { value: step, selected: step === nearest }, String(step))
  )));
}

function changed(name) {
  if (name === "model") offerSteps();
  syncSlider("model");
  syncSlider("step");
  show();
}

function move(name, by) {
  const choice = field(name);
  const next = choice.selectedIndex + by;
  if (next < 0 || next >= choice.options.length) return false;
  choice.selectedIndex = next;
  changed(name);
  return true;
}

function stop() {
  clearInterval(timer);
  timer = undefined;
  one('[data-action="play"]', form).ariaPressed = "false";
}

function play() {
  if (timer) return stop();
  if (wantsCalm()) return say("Play is off because your system asks for reduced motion");
  const choice = field("step");
  if (choice.selectedIndex === choice.options.length - 1) { choice.selectedIndex = 0; changed("step"); }
  one('[data-action="play"]', form).ariaPressed = "true";
  timer = setInterval(() => { if (!move("step", 1)) stop(); }, PLAY_MS);
}

function hideColour(button) {
  const hidden = one(".document").classList.toggle("heat-off");
  button.ariaPressed = String(hidden);
}

const KEYS = { "[": ["model", -1], "]": ["model", 1], ",": ["step", -1], ".": ["step", 1], "{": ["step", -1], "}": ["step", 1] };

function listen() {
  for (const name of ["model", "step"]) {
    syncSlider(name);
    slider(name).addEventListener("input", (event) => {
      event.stopPropagation();
      field(name).selectedIndex = Number(slider(name).value);
      changed(name);
    });
    field(name).addEventListener("change", () => changed(name));
  }
  // Another measure has another scale: the page comes anew with its legend.
  for (const name of ["measure", "suite"]) {
    field(name).addEventListener("change", () => form.requestSubmit());
  }
  one('[data-action="play"]', form).addEventListener("click", play);
  one('[data-action="heat-off"]', form).addEventListener("click", (event) => hideColour(event.currentTarget));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]")) return;
    if (["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "range") return;
    if (KEYS[event.key]) move(...KEYS[event.key]);
  });
}

/** Bring the sliders of the page to life. */
export function start() {
  form = one("[data-heat]");
  models = JSON.parse(form.dataset.models);
  tokens = all(".document .t");
  listen();
}
