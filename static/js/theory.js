// The theory simulator: sliders beside number fields; plots, table and address follow.
import { all, fetchJson, keepInAddress, nameApiCall, one, say } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { newerPage, rememberParts, swapParts } from "./parts.js";
import { redraw } from "./plot.js";

const PAUSE_MS = 80;
let form, fields, plots, timer, turn = 0;

const slider = (field) => one(`[data-slide="${field.name}"]`, form);
const isLog = (field) => field.dataset.scale === "log";

function valueAt(field, part) {
  const [low, high] = [Number(field.min), Number(field.max)];
  const value = isLog(field) ? low * (high / low) ** part : low + (high - low) * part;
  const rounded = isLog(field) ? Number(value.toPrecision(value < 100 && field.step === "1" ? 3 : 2)) : Number(value.toFixed(2));
  const whole = field.step === "1" ? Math.round(rounded) : rounded;
  return part === 1 ? high : Math.min(high, Math.max(low, whole));
}

function partOf(field) {
  const [low, high, value] = [field.min, field.max, field.value].map(Number);
  return isLog(field) ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

function syncSlider(field) {
  const range = slider(field);
  range.value = Math.round(range.max * partOf(field));
  range.setAttribute("aria-valuetext", field.value);
}

/** No more quanta can be learned than there are. */
function keepLearned() {
  const [m, n] = [form.elements.m, form.elements.n];
  n.max = m.value;
  if (Number(n.value) > Number(m.value)) n.value = m.value;
  syncSlider(n);
}

/** What differs from the defaults; null takes a parameter out of the address. */
function state() {
  return Object.fromEntries(fields.map((field) => (
    [field.name, Number(field.value) === Number(field.dataset.default) ? null : field.value]
  )));
}

async function update() {
  const mine = ++turn;
  keepInAddress(state());
  const source = `/figures/theory${location.search}`;
  try {
    const [page, figures] = await Promise.all([newerPage(), fetchJson(source)]);
    if (mine !== turn) return;
    clearFault(plots);
    swapParts(page);
    redraw(source, figures);
    const call = one(".api-call", page);
    nameApiCall(call.dataset.api, one("[data-python]", call).textContent.match(/client\..*$/)[0]);
    say(one("[data-part=exponents] p").textContent);
  } catch (error) {
    if (mine === turn) showFault(plots, error, "The plots are those from before.", update);
  }
}

function changed(field) {
  if (field.name === "m") keepLearned();
  clearTimeout(timer);
  if (form.checkValidity()) timer = setTimeout(update, PAUSE_MS);
}

function onInput({ target }) {
  const field = target.dataset.slide ? form.elements[target.dataset.slide] : target;
  if (!field.validity.valid && field === target) return;
  if (field === target) syncSlider(field);
  else {
    field.value = valueAt(field, target.value / target.max);
    target.setAttribute("aria-valuetext", field.value);
  }
  changed(field);
}

/** Bring the sliders to life. */
export function start() {
  form = one("[data-theory]");
  fields = all("input[name]", form);
  plots = one("[data-plots]");
  rememberParts();
  fields.forEach(syncSlider);
  form.addEventListener("input", onInput);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    update();
  });
  form.dataset.state = "ready";
}
