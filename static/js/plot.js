// Draws figures when they are near the viewport; tables, exports and maximising.
import { download, fetchJson, find, findAll, make, say, wordsOf } from "./util.js";
import { paint, palette } from "./palette.js";
import { csv, tableRows } from "./plot-table.js";

const CONFIG = { displayModeBar: false, responsive: false, showTips: false, doubleClick: "reset" };
const MAX_TABLE_ROWS = 400;
const fetched = new Map();
const drawn = new Map();
let library;

/**
 * The content security policy (app/web/security.py) forbids style attributes, which Plotly sets on
 * SVG; set the same declarations through the CSSOM instead.
 */
function allowStyleThroughCssom() {
  const original = SVGElement.prototype.setAttribute;
  SVGElement.prototype.setAttribute = function setAttribute(name, value) {
    if (name === "style") this.style.cssText = value;
    else original.call(this, name, value);
  };
}

function loadLibrary() {
  library ??= new Promise((resolve, reject) => {
    allowStyleThroughCssom();
    const script = make("script", { src: document.body.dataset.plotly });
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("The plot library did not load"));
    document.head.append(script);
  });
  return library;
}

function figureOf(element) {
  const { src, key } = element.dataset;
  if (!fetched.has(src)) {
    const pending = fetchJson(src);
    fetched.set(src, pending);
    pending.catch(() => fetched.delete(src));
  }
  return fetched.get(src).then((figures) => figures[key]);
}

function showFailure(element, error) {
  const wait = find(".plot-wait", element) ?? make("p", { className: "plot-wait" });
  const retry = make("button", { type: "button", textContent: "Retry" });
  retry.addEventListener("click", () => { wait.textContent = "…"; draw(element); });
  wait.replaceChildren(make("span", { role: "alert" }, wordsOf(error)), retry);
  find(".plot-box", element).append(wait);
}

async function draw(element) {
  try {
    let src;
    do {
      ({ src } = element.dataset);
      const [plotly, figure] = await Promise.all([loadLibrary(), figureOf(element)]);
      if (!figure) throw new Error("There is nothing to draw here");
      await show(plotly, element, figure);
    } while (src !== element.dataset.src); // repeat if a slider changed the source
  } catch (error) {
    showFailure(element, error);
  }
}

function nameTarget(target, element) {
  target.ariaLabel = `${find("h3", element).textContent}. ${find("figcaption", element).innerText}`;
}

async function show(plotly, element, figure) {
  const box = find(".plot-box", element);
  const target = make("div", { className: "plot-target" });
  target.role = "img";
  nameTarget(target, element);
  target.style.height = "100%";
  box.replaceChildren(target);
  const { data, layout } = paint(figure, palette());
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
  await plotly.newPlot(target, data, layout, CONFIG);
  drawn.set(element, { plotly, target, figure });
  element.dataset.state = "drawn";
  find(".plot-tools", element).hidden = false;
  new ResizeObserver(() => { if (target.clientWidth) plotly.Plots.resize(target); }).observe(box);
  element.dispatchEvent(new CustomEvent("drawn", { detail: { target } }));
}

function repaint() {
  const colours = palette();
  for (const { plotly, target, figure } of drawn.values()) {
    const { data, layout } = paint(figure, colours);
    plotly.react(target, data, layout, CONFIG);
  }
}

const fileName = (element) => `${location.pathname.slice(1).replaceAll("/", "-") || "overview"}-${element.id}`;

async function exportImage(element, format) {
  const { plotly, target, figure } = drawn.get(element);
  const colours = palette();
  const { data, layout } = paint(figure, colours, colours.panel);
  const size = { width: target.clientWidth, height: target.clientHeight };
  const address = await plotly.toImage({ data, layout }, { format, scale: format === "png" ? 2 : 1, ...size });
  make("a", { href: address, download: `${fileName(element)}.${format}` }).click();
}

function tableOf(element, figure) {
  const { columns, rows } = tableRows(figure);
  const filter = element.dataset.filter;
  const cell = (value, row, i) => {
    if (i === 0 && filter && row.id !== undefined) {
      return make("th", { scope: "row" }, make("a", { href: `?${filter}=${row.id}` }, String(value)));
    }
    return make(i ? "td" : "th", { className: typeof value === "number" ? "n" : "" }, format(value));
  };
  const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, name)));
  const body = rows.slice(0, MAX_TABLE_ROWS).map((row) => (
    make("tr", {}, ...row.cells.map((value, i) => cell(value, row, i)))
  ));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  if (rows.length <= MAX_TABLE_ROWS) return [table];
  const note = `The first ${MAX_TABLE_ROWS} of ${rows.length} rows; the CSV has all.`;
  return [make("p", { className: "note" }, note), table];
}

function format(value) {
  if (typeof value !== "number") return String(value ?? "–");
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toPrecision(4);
}

/** Redraw all plots of the page, or of a part of it, from new figures of `src`. */
export function redraw(src, figures, root = document) {
  if (root === document) fetched.clear();
  fetched.set(src, Promise.resolve(figures));
  for (const element of findAll(".plot", root)) element.dataset.src = src;
  for (const [element, entry] of drawn) {
    if (!root.contains(element)) continue;
    entry.figure = figures[element.dataset.key];
    nameTarget(entry.target, element);
    const table = find(".plot-table", element);
    if (!table.hidden) table.replaceChildren(...tableOf(element, entry.figure));
  }
  repaint();
}

function toggleTable(element, button) {
  const table = find(".plot-table", element);
  const isShown = button.ariaPressed !== "true";
  button.ariaPressed = String(isShown);
  if (isShown) table.replaceChildren(...tableOf(element, drawn.get(element).figure));
  table.hidden = !isShown;
  find(".plot-box", element).hidden = isShown;
}

function toggleMaximised(element, button) {
  const isMaximised = element.classList.toggle("max");
  button.ariaPressed = String(isMaximised);
  say(isMaximised ? "maximised, Escape restores" : "restored");
}

function act(element, button) {
  const action = button.dataset.plot;
  if (action === "table") return toggleTable(element, button);
  if (action === "max") return toggleMaximised(element, button);
  if (action === "csv") {
    return download(`${fileName(element)}.csv`, csv(drawn.get(element).figure), "text/csv");
  }
  return exportImage(element, action).catch((error) => say(wordsOf(error)));
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((candidate) => candidate.isIntersecting)) {
    watcher.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "200px" });

/** Watch the figures of a page, or of a part that was added later. */
export function watch(root = document) {
  for (const element of drawn.keys()) if (!element.isConnected) drawn.delete(element);
  for (const element of findAll(".plot:not([data-state])", root)) {
    element.dataset.state = "watched";
    find(".plot-wait", element).textContent = "";
    watcher.observe(element);
    element.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-plot]");
      if (button) act(element, button);
    });
  }
}

/** Watch all figures of the page. */
export function start() {
  watch();
  new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
}
