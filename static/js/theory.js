// The theory simulator: sliders beside number fields; they update plots, table and address.
import { fetchJson, find, findAll, keepInAddress, nameApiCall, say } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { newerPage, rememberParts, swapParts } from "./parts.js";
import { redraw } from "./plot.js";

const PAUSE_MS = 80;
let form, fields, plots, timer, lastUpdate = 0;

const slider = (field) => find(`[data-slide="${field.name}"]`, form);
const isLog = (field) => field.dataset.scale === "log";

function valueAt(field, share) {
  const [low, high] = [Number(field.min), Number(field.max)];
  const value = isLog(field) ? low * (high / low) ** share : low + (high - low) * share;
  const rounded = isLog(field) ? Number(value.toPrecision(value < 100 && field.step === "1" ? 3 : 2)) : Number(value.toFixed(2));
  const whole = field.step === "1" ? Math.round(rounded) : rounded;
  return share === 1 ? high : Math.min(high, Math.max(low, whole));
}

function shareOf(field) {
  const [low, high, value] = [field.min, field.max, field.value].map(Number);
  return isLog(field) ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

function syncSlider(field) {
  const range = slider(field);
  range.value = Math.round(range.max * shareOf(field));
  range.setAttribute("aria-valuetext", field.value);
}

/** Limit the learned quanta to the quanta of the sum. */
function limitLearned() {
  const [m, n] = [form.elements.m, form.elements.n];
  n.max = m.value;
  if (Number(n.value) > Number(m.value)) n.value = m.value;
  syncSlider(n);
}

/** Values that differ from the defaults; null removes a parameter from the address. */
function changedValues() {
  return Object.fromEntries(fields.map((field) => (
    [field.name, Number(field.value) === Number(field.dataset.default) ? null : field.value]
  )));
}

async function update() {
  const thisUpdate = ++lastUpdate;
  keepInAddress(changedValues());
  const source = `/figures/theory${location.search}`;
  try {
    const [page, figures] = await Promise.all([newerPage(), fetchJson(source)]);
    if (thisUpdate !== lastUpdate) return;
    clearFault(plots);
    swapParts(page);
    redraw(source, figures);
    const call = find(".api-call", page);
    nameApiCall(call.dataset.api, find("[data-python]", call).textContent.match(/client\..*$/)[0]);
    say(find("[data-part=exponents] p").textContent);
  } catch (error) {
    if (thisUpdate === lastUpdate) showFault(plots, error, "The plots show the previous values.", update);
  }
}

function scheduleUpdate(field) {
  if (field.name === "m") limitLearned();
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
  scheduleUpdate(field);
}

/** Start the sliders. */
export function start() {
  form = find("[data-theory]");
  fields = findAll("input[name]", form);
  plots = find("[data-plots]");
  rememberParts();
  fields.forEach(syncSlider);
  form.addEventListener("input", onInput);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    update();
  });
  form.dataset.state = "ready";
}
