// Heat of a document: sliders for size and step, play, and jobs for values that are not computed.
import { fetchJson, find, findAll, keepInAddress, make, measured, nameApiCall, say, tellError, wantsCalm } from "./util.js";
import { drawScale, noteScale, startScale } from "./heat-scale.js";
import { clearFault, showFault } from "./fault.js";
import { submitJob } from "./jobs.js";
import { about } from "./tokens.js";

const PLAY_MS = 700;
const frames = new Map();
let form, models, text, tokens, timer, requested, paintedState;

const field = (name) => form.elements.namedItem(name);
const slider = (name) => find(`[data-slide="${name}"]`, form);
const address = (state) => `${form.dataset.heat}?${new URLSearchParams(state)}`;
const OPTIONAL = ["target", "other_model", "other_step", "lo", "hi"];

const NUMBERS = ["step", "other_step", "lo", "hi"];

/** The view as a call of the Python client, in the format of the server. */
function pythonOf(state) {
  const [, corpus, d] = form.dataset.heat.match(/corpora\/([^/]+)\/documents\/(\d+)/);
  const words = Object.entries(state).map(([name, value]) => {
    if (name === "lock" || name === "log") return `${name}=${value === "1" ? "True" : "False"}`;
    return `${name}=${NUMBERS.includes(name) ? value : JSON.stringify(value)}`;
  });
  return `client.heat(${[JSON.stringify(decodeURIComponent(corpus)), d, ...words].join(", ")})`;
}

function currentState() {
  const state = Object.fromEntries(["suite", "model", "step", "measure"].map((name) => [name, field(name).value]));
  for (const name of OPTIONAL) if (field(name)?.value) state[name] = field(name).value;
  if (field("lock").checked) state.lock = "0";
  if (field("log")?.checked) state.log = "1";
  return state;
}

function frameOf(state) {
  const from = address(state);
  if (!frames.has(from)) {
    const pending = fetchJson(from);
    frames.set(from, pending);
    pending.catch(() => frames.delete(from));
  }
  return frames.get(from);
}

function colour(token, level, value, unit) {
  const words = about(token);
  const rest = words.slice(words.indexOf(" · "));
  const name = level === null ? "" : ` ${form.dataset.colours}${level}`;
  token.className = token.className.replace(/ ?\b[hd]\d+\b/, "") + name;
  token.dataset.about = (value === null ? "no prediction" : `${measured(value)} ${unit}`) + rest;
}

function paint(frame, state) {
  const unit = form.dataset.unit;
  tokens.forEach((token, i) => colour(token, frame.classes[i], frame.values[i], unit));
  const mean = frame.mean === null ? "–" : measured(frame.mean);
  find("#heat-mean").textContent = `mean ${mean} ${unit}`;
  const at = tokens.find((token) => token === document.activeElement);
  if (at) find("#heat-value").textContent = about(at);
  drawScale(form, frame);
  say(`${state.model}, step ${state.step}: mean ${mean} ${unit}`);
}

/** Update the links to neighbours and tokens and the API call. */
function updateLinks(state) {
  const query = new URLSearchParams(state);
  for (const link of findAll('[rel="prev"], [rel="next"]')) link.href = `${link.href.split("?")[0]}?${query}`;
  for (const link of findAll("[data-target]")) {
    const own = new URLSearchParams(query);
    own.set("target", link.dataset.target);
    link.href = `?${own}`;
  }
  nameApiCall(address(state), pythonOf(state));
}

async function show() {
  const state = currentState();
  requested = address(state);
  const requestedHere = requested;
  updateLinks(state);
  noteScale(form);
  const unset = Object.fromEntries([...OPTIONAL, "lock", "log"].map((name) => [name, null]));
  keepInAddress({ ...unset, ...state, measure: state.measure === "loss" ? null : state.measure });
  try {
    const frame = await frameOf(state);
    if (requestedHere !== requested) return;
    find("[data-pending]").hidden = true;
    clearFault(text);
    paint(frame, state);
    paintedState = state;
    prefetch(state);
  } catch (error) {
    if (requestedHere !== requested) return;
    if (error.status === 409) return offerComputing(error, state);
    showFault(text, error, `The colours are those of ${paintedState.model}, step ${paintedState.step}.`, show);
  }
}

/** Report that a frame is not computed, and offer to compute it if possible. */
function offerComputing(error, state) {
  clearFault(text);
  tokens.forEach((token) => colour(token, null, null, ""));
  find("#heat-mean").textContent = "";
  const section = find("[data-pending]");
  section.hidden = false;
  tellError(find("[data-pending-words]", section), error);
  const compute = find("[data-compute]");
  if (!compute) return;
  for (const name of ["suite", "model", "step", "target"]) compute.elements[name].value = state[name];
}

async function compute(event) {
  event.preventDefault();
  const { form: fields, submitter } = { form: event.target, submitter: event.submitter };
  const [, corpus, index] = form.dataset.heat.match(/corpora\/([^/]+)\/documents\/(\d+)/);
  const parameters = { corpus, document: Number(index), checkpoints: submitter?.value ?? "final" };
  for (const name of ["target", "suite", "model"]) parameters[name] = fields.elements[name].value;
  parameters.step = Number(fields.elements.step.value);
  const buttons = findAll("button", fields);
  const words = find("[data-pending-words]");
  for (const button of buttons) button.disabled = true;
  try {
    await submitJob("measure", parameters, words, find("progress", fields));
    frames.clear();
    await show();
  } catch (error) {
    tellError(words, error);
  } finally {
    for (const button of buttons) button.disabled = false;
    find("progress", fields).hidden = true;
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

/** Fill the steps of a model and select the one nearest to the current step. */
function fillSteps(prefix = "") {
  const steps = models[field(`${prefix}model`).value];
  const before = Number(field(`${prefix}step`).value);
  const distance = (step) => Math.abs(Math.log((step + 1) / (before + 1)));
  const nearest = steps.reduce((best, step) => (distance(step) < distance(best) ? step : best));
  field(`${prefix}step`).replaceChildren(...steps.map((step) => (
    make("option", { value: step, selected: step === nearest }, String(step))
  )));
}

function changed(name) {
  if (name === "model") fillSteps();
  syncSlider("model");
  syncSlider("step");
  show();
}

function changedOther(name) {
  if (name === "other_model") fillSteps("other_");
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
  find('[data-action="play"]', form).ariaPressed = "false";
}

function play() {
  if (timer) return stop();
  if (wantsCalm()) return say("Play is off because your system asks for reduced motion");
  const choice = field("step");
  if (choice.selectedIndex === choice.options.length - 1) { choice.selectedIndex = 0; changed("step"); }
  find('[data-action="play"]', form).ariaPressed = "true";
  timer = setInterval(() => { if (!move("step", 1)) stop(); }, PLAY_MS);
}

function hideColour(button) {
  const hidden = find(".document").classList.toggle("heat-off");
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
  for (const name of ["other_model", "other_step"]) {
    field(name)?.addEventListener("change", () => changedOther(name));
  }
  startScale(form, show);
  find("[data-compute]")?.addEventListener("submit", compute);
  field("suite").addEventListener("change", () => form.requestSubmit());
  find('[data-action="play"]', form).addEventListener("click", play);
  find('[data-action="heat-off"]', form).addEventListener("click", (event) => hideColour(event.currentTarget));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || find("dialog[open]")) return;
    if (["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "range") return;
    if (KEYS[event.key]) move(...KEYS[event.key]);
  });
}

/** Apply choices that were made before this script loaded. */
function applyEarlyChoices() {
  const changedSelects = findAll("select", form).filter((choice) => !choice.selectedOptions[0]?.defaultSelected);
  for (const choice of changedSelects) choice.dispatchEvent(new Event("change", { bubbles: true }));
}

/** Start the controls of the page. */
export function start() {
  form = find("[data-heat]");
  models = JSON.parse(form.dataset.models);
  text = find(".document");
  tokens = findAll(".t", text);
  paintedState = currentState();
  listen();
  applyEarlyChoices();
  form.dataset.state = "ready";
}
