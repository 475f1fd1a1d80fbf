// Map of curves: pointer and keys on its canvas, lasso, table and status.
import { find, findAll, keepInAddress, say } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { readPoints } from "./map-data.js";
import { hideTip, showTip } from "./map-tip.js";
import { MapView } from "./map-view.js";

const MAX_CORNERS = 24;
const DETAIL_MS = 120;

// `corners` is the lasso that is being drawn, `lasso` the one of the address.
let box, canvas, view, mode, corners, lasso, timer;

function readColours() {
  const colour = (element) => getComputedStyle(element).color;
  return { rest: colour(find("[data-rest]", box)), mark: colour(box), classes: findAll("[data-class]", box).map(colour) };
}

function className(i) {
  return findAll("[data-class]", box)[view.points.curveClass[i]]?.textContent.trim() ?? "undefined";
}

function setCorners(list) {
  corners = list;
  [view.polygon, view.isClosed] = corners.length ? [corners, false] : [lasso, true];
  view.redraw();
}

/** Move the focus to a point, null for none; its tip follows after a moment. */
function goTo(i, isSpoken = false) {
  if (i === view.current) return;
  view.current = i;
  clearTimeout(timer);
  hideTip(box);
  if (i !== null) timer = setTimeout(() => showTip(box, view, i, className(i), isSpoken), DETAIL_MS);
  view.redraw();
}

function open(i) {
  location.assign(box.dataset.page.replace("INDEX", view.points.index[i]));
}

/** Write the zoom into the address and into the form, for the next search. */
function storeZoom() {
  keepInAddress({ zoom: view.zoomText });
  find("[data-search] [name=zoom]").value = view.zoomText;
  hideTip(box);
}

function zoom(...place) {
  view.zoom(...place);
  storeZoom();
}

function pan(dx, dy) {
  view.pan(dx, dy);
  storeZoom();
}

/** Thin out a lasso drawn by hand, to keep its address short. */
function thinned(list) {
  const step = Math.max(1, Math.ceil(list.length / MAX_CORNERS));
  return list.filter((_, i) => i % step === 0);
}

/** Load the page with the predictions inside a lasso; with a new page the history works. */
function select(list) {
  const url = new URL(location.href);
  for (const name of ["cursor", "lasso", "lasso_of"]) url.searchParams.delete(name);
  if (list.length > 2) {
    const [x0, x1, y0, y1] = view.points.bounds;
    const number = (value) => Number(value.toPrecision(4));
    url.searchParams.set("lasso", list.map(([u, v]) => `${number(x0 + u * (x1 - x0))}:${number(y0 + v * (y1 - y0))}`).join(","));
    url.searchParams.set("lasso_of", view.points.curves);
  }
  location.assign(url);
}

function setMode(name) {
  mode = name;
  for (const button of findAll("[data-mode]", box)) button.ariaPressed = String(button.dataset.mode === mode);
  canvas.classList.toggle("grabs", Boolean(mode));
  canvas.classList.toggle("moves", mode === "move");
}

function onPointerDown(event) {
  if (event.button !== 0 || !event.isPrimary || !mode || !view.points) return;
  canvas.setPointerCapture(event.pointerId);
  const isMove = mode === "move" || event.shiftKey;
  const corner = (left, top) => [view.toU(left), view.toV(top)];
  const start = [event.offsetX, event.offsetY];
  let last = start;
  let length = 0;
  const onMove = (next) => {
    const step = [next.offsetX - last[0], next.offsetY - last[1]];
    if (Math.hypot(...step) < 4) return;
    length += Math.hypot(...step);
    last = [next.offsetX, next.offsetY];
    if (isMove) return pan(...step);
    setCorners([...(corners.length ? corners : [corner(...start)]), corner(...last)]);
  };
  const onEnd = (end) => {
    canvas.removeEventListener("pointermove", onMove);
    const drawn = corners;
    setCorners([]);
    if (end.type === "pointerup" && length < 6) return tap(end);
    if (!isMove && end.type === "pointerup" && drawn.length > 4) select(thinned(drawn));
  };
  canvas.addEventListener("pointermove", onMove);
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, onEnd, { once: true });
}

/** A click opens the page of a point; a first tap shows its tip, a second one opens its page. */
function tap(event) {
  const point = view.nearest(event.offsetX, event.offsetY);
  if (point !== null && (point === view.current || event.pointerType === "mouse")) open(point);
  else goTo(point);
}

const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

function onArrow(event) {
  const [dx, dy] = ARROWS[event.key];
  if (event.shiftKey) return pan(-40 * dx, -40 * dy);
  const next = view.current === null ? view.points.matching.indexOf(1) : view.nextMatch(view.current, dx, dy);
  if (next === null || next < 0) say("no match further that way");
  else goTo(next, true);
}

function onKey(event) {
  const { current, points } = view;
  if (event.ctrlKey || event.metaKey || event.altKey || !points) return;
  if (ARROWS[event.key]) onArrow(event);
  else if (event.key === "+") zoom(1.5);
  else if (event.key === "-") zoom(1 / 1.5);
  else if (event.key === "0") zoom(0);
  else if (event.key === " " && current !== null) {
    setCorners([...corners, [points.u[current], points.v[current]]]);
    say(`corner ${corners.length}${corners.length > 2 ? "; Enter selects what is inside" : ""}`);
  } else if (event.key === "Enter" && corners.length > 2) select(corners);
  else if (event.key === "Enter" && current !== null) open(current);
  else if (event.key === "Escape" && (corners.length || current !== null)) {
    setCorners([]);
    goTo(null);
  } else return;
  event.preventDefault();
}

function listen() {
  canvas.addEventListener("pointerdown", onPointerDown);
  canvas.addEventListener("pointermove", (event) => {
    if (view.points && !event.buttons && event.pointerType === "mouse") goTo(view.nearest(event.offsetX, event.offsetY));
  });
  canvas.addEventListener("click", (event) => { if (!mode && view.points) tap(event); });
  canvas.addEventListener("pointerleave", () => { if (document.activeElement !== canvas) goTo(null); });
  canvas.addEventListener("blur", () => goTo(null));
  // Without focus only with Ctrl, so that the page scrolls past the map.
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", onKey);
  for (const button of findAll("[data-mode]", box)) button.addEventListener("click", () => setMode(mode === button.dataset.mode ? "" : button.dataset.mode));
  for (const button of findAll("[data-zoom]", box)) button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
  find('[data-action="map-table"]', box).addEventListener("click", (event) => toggleTable(event.currentTarget));
  new ResizeObserver(() => view.redraw()).observe(canvas);
  const updateColours = () => view.updateColours();
  new MutationObserver(updateColours).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", updateColours);
  for (const name of ["focusin", "pointerover"]) document.addEventListener(name, markRow);
}

/** Mark the point of the row in focus or under the pointer. */
function markRow(event) {
  const row = event.target.closest?.("[data-index]");
  const i = row && view.points ? view.points.index.indexOf(Number(row.dataset.index)) : -1;
  const marked = i < 0 ? null : i;
  if (marked === view.marked) return;
  view.marked = marked;
  view.redraw();
}

function toggleTable(button) {
  const isShown = button.ariaPressed !== "true";
  button.ariaPressed = String(isShown);
  find(".map-table", box).hidden = !isShown;
}

function countClasses() {
  const { points } = view;
  const counts = new Map();
  for (let i = 0; i < points.n; i += 1) {
    const [match, total] = counts.get(points.curveClass[i]) ?? [0, 0];
    counts.set(points.curveClass[i], [match + points.matching[i], total + 1]);
  }
  for (const row of findAll(".map-table [data-class-code]", box)) {
    const cells = counts.get(Number(row.dataset.classCode)) ?? [0, 0];
    findAll("td", row).forEach((cell, i) => { cell.textContent = cells[i]; });
  }
}

/** The lasso of the address as [u, v]; none if it was drawn on another map. */
function addressLasso() {
  const [x0, x1, y0, y1] = view.points.bounds;
  const share = (value, low, high) => (high > low ? (value - low) / (high - low) : 0.5);
  const query = new URLSearchParams(location.search);
  const text = view.points.curves.startsWith(query.get("lasso_of") ?? "") ? query.get("lasso") : "";
  return (text ?? "").split(",").filter(Boolean).map((corner) => {
    const [x, y] = corner.split(":").map(Number);
    return [share(x, x0, x1), share(y, y0, y1)];
  });
}

/** Put focus on the map. */
export function focusMap() {
  canvas.scrollIntoView({ block: "nearest" });
  canvas.focus();
}

/** Draw the map and listen. */
export async function startMap(root) {
  box = root;
  canvas = find("canvas", box);
  const zoomed = (new URLSearchParams(location.search).get("zoom") ?? "").split(":").map(Number);
  view = new MapView(canvas, JSON.parse(box.dataset.shapes), readColours, zoomed);
  [corners, lasso] = [[], []];
  setMode(matchMedia("(pointer: coarse)").matches ? "" : "lasso");
  listen();
  await load();
}

async function load() {
  const status = find("[data-map-status]", box);
  const frame = find(".map-box", box);
  try {
    const points = await readPoints(box.dataset.src);
    view.points = points;
    clearFault(frame);
    lasso = addressLasso();
    setCorners(corners);
    countClasses();
    const sample = points.n < points.total ? `, a fixed sample of ${points.total}` : "";
    status.textContent = `${points.nMatching} of ${points.n} curves on the map match${sample}.`;
    box.dataset.state = "drawn";
    view.draw();
  } catch (error) {
    showFault(frame, error, "There is no map.", load);
    box.dataset.state = "failed";
  }
}
