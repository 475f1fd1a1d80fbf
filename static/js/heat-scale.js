// The colour scale of a heat page: legend, histogram with a range brush, a stored scale for each measure.
import { find, findAll, make, measured } from "./util.js";

const BINS = 40;
let form, redraw;

const field = (name) => form.elements.namedItem(name);
const bound = (name) => Number(form.dataset[name === "lo" ? "low" : "high"]);
const isLog = () => "log" in form.dataset;

function valueAt(bin) {
  const [low, high] = [bound("lo"), bound("hi")];
  const part = bin / BINS;
  return isLog() ? low * (high / low) ** part : low + (high - low) * part;
}

function binOf(value) {
  const [low, high] = [bound("lo"), bound("hi")];
  const part = isLog() ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  return Math.min(BINS, Math.max(0, BINS * part));
}

const rounded = (value) => String(Number(value.toPrecision(3)));

/** Draw a frame's scale: ends of the legend, histogram, shades and sliders. */
export function drawScale(page, frame) {
  form = page;
  frame.scale.forEach((end, i) => { find(`[data-scale-end="${i}"]`).textContent = measured(end, 3); });
  const largest = Math.max(...frame.histogram, 1);
  const names = ["x", "y", "width", "height"];
  const draw = document.createElementNS.bind(document, "http://www.w3.org/2000/svg");
  find("[data-brush] g").replaceChildren(...frame.histogram.map((count, i) => {
    const height = 100 * Math.sqrt(count / largest);
    const bar = draw("rect");
    [i + 0.06, 100 - height, 0.88, height].forEach((value, k) => bar.setAttribute(names[k], value));
    return bar;
  }));
  find("[data-counts]").replaceChildren(...frame.histogram.flatMap((count, i) => (
    count ? [make("tr", {}, ...[measured(valueAt(i)), measured(valueAt(i + 1)), String(count)]
      .map((text) => make("td", { className: "n" }, text)))] : []
  )));
  showEnds(...frame.scale.map(binOf));
}

function showEnds(low, high) {
  const shade = (name, x, width) => {
    const rect = find(`[data-shade="${name}"]`);
    rect.setAttribute("x", x);
    rect.setAttribute("width", Math.max(0, width));
  };
  shade("lo", 0, low);
  shade("hi", high, BINS - high);
  for (const [name, bin] of [["lo", low], ["hi", high]]) {
    const range = find(`[data-end="${name}"]`);
    range.value = Math.round(bin);
    range.setAttribute("aria-valuetext", rounded(valueAt(bin)));
  }
}

/** Note the origin of the scale: shared, set by the reader, or fitted to this frame. */
export function noteScale(page) {
  form = page;
  const note = find("[data-scale-note]");
  const isOwn = field("lo").value !== "" || field("hi").value !== "";
  note.textContent = JSON.parse(note.dataset.notes)[isOwn ? "own" : field("lock").checked ? "fitted" : "shared"];
}

const storageKey = (measure) => `quanta-scale-${measure}${field("log")?.checked ? "-log" : ""}`;

/** Store the ends of this measure. */
function storeEnds() {
  try {
    localStorage.setItem(storageKey(field("measure").value), JSON.stringify([field("lo").value, field("hi").value]));
  } catch { /* private windows may refuse storage */ }
}

function storedEnds(measure) {
  try {
    const ends = JSON.parse(localStorage.getItem(storageKey(measure)) ?? "[]");
    return Array.isArray(ends) ? ends : [];
  } catch { return []; }
}

function setEnd(name, bin) {
  const other = name === "lo" ? "hi" : "lo";
  const limit = binOf(Number(field(other).value || bound(other)));
  const inside = name === "lo" ? Math.min(bin, Math.ceil(limit) - 1) : Math.max(bin, Math.floor(limit) + 1);
  const end = name === "lo" ? 0 : BINS;
  field(name).value = inside === end ? "" : rounded(valueAt(inside));
  changed();
}

function changed() {
  storeEnds();
  redraw();
}

function binUnder(event) {
  const box = find("[data-brush]").getBoundingClientRect();
  return Math.round(Math.min(BINS, Math.max(0, BINS * (event.clientX - box.left) / box.width)));
}

function startBrush() {
  const brush = find("[data-brush]");
  let dragged;
  brush.addEventListener("pointerdown", (event) => {
    const bin = binUnder(event);
    const [low, high] = ["lo", "hi"].map((name) => binOf(Number(field(name).value || bound(name))));
    dragged = Math.abs(bin - low) <= Math.abs(bin - high) ? "lo" : "hi";
    brush.setPointerCapture(event.pointerId);
    setEnd(dragged, bin);
  });
  brush.addEventListener("pointermove", (event) => { if (dragged) setEnd(dragged, binUnder(event)); });
  for (const end of ["pointerup", "pointercancel"]) brush.addEventListener(end, () => { dragged = undefined; });
  for (const range of findAll("[data-end]")) {
    range.addEventListener("input", (event) => {
      event.stopPropagation();
      setEnd(range.dataset.end, Number(range.value));
    });
  }
}

/** Reload the page with the stored scale of the new measure. */
function changeMeasure() {
  if (field("log")) field("log").checked &&= field("measure").value.startsWith("p");
  const [low = "", high = ""] = storedEnds(field("measure").value);
  field("lo").value = low;
  field("hi").value = high;
  for (const name of ["other_model", "other_step"]) if (field(name)) field(name).disabled = true;
  form.requestSubmit();
}

/** Reload the page with the stored ends of a log or linear scale. */
function changeLog() {
  [field("lo").value = "", field("hi").value = ""] = storedEnds(field("measure").value);
  form.requestSubmit();
}

/** Start the controls of the scale; `show` fetches and paints the frame again. */
export function startScale(page, show) {
  form = page;
  redraw = show;
  const ends = ["lo", "hi"].map((name) => binOf(Number(field(name).value || bound(name))));
  showEnds(...ends);
  startBrush();
  for (const name of ["lo", "hi"]) field(name).addEventListener("change", changed);
  field("lock").addEventListener("change", () => redraw());
  field("measure").addEventListener("change", changeMeasure);
  field("log")?.addEventListener("change", changeLog);
  find('[data-action="scale-off"]', form).addEventListener("click", () => {
    field("lo").value = field("hi").value = "";
    field("lock").checked = false;
    changed();
  });
}
