// Map of curves on canvas 2D: matches in colour and shape, all others grey; lasso, zoom, keys.
import { all, fetchJson, keepInAddress, make, one, say } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { readPoints } from "./map-data.js";

const MOST_CORNERS = 24;
const REACH = 14; // pixels within which a pointer finds a point
const DETAIL_MS = 120;
const MOST_ZOOM = 200;
const SVG = "http://www.w3.org/2000/svg";
const details = new Map();

let box, canvas, ink, points, shapes, colours, view, mode, corners, at, wanted, ring, timer;

const width = () => canvas.clientWidth;
const height = () => canvas.clientHeight;
const margin = 14;
// Map coordinates to pixels: the whole map fills the box at scale 1.
const px = (x) => ((x - view.x) * view.scale + 0.5) * (width() - 2 * margin) + margin;
const py = (y) => ((view.y - y) * view.scale + 0.5) * (height() - 2 * margin) + margin;
const unit = (value, low, high) => (high > low ? (value - low) / (high - low) : 0.5);
const toX = (left) => ((left - margin) / (width() - 2 * margin) - 0.5) / view.scale + view.x;
const toY = (top) => view.y - ((top - margin) / (height() - 2 * margin) - 0.5) / view.scale;

function readColours() {
  const of = (element) => getComputedStyle(element).color;
  colours = { rest: of(one("[data-rest]", box)), mark: of(box), classes: all("[data-class]", box).map(of) };
}

function drawPoint(i, size) {
  ink.setTransform(size * devicePixelRatio, 0, 0, size * devicePixelRatio, px(points.u[i]) * devicePixelRatio, py(points.v[i]) * devicePixelRatio);
  ink.fill(shapes[points.kind[i]] ?? shapes.at(-1));
}

function drawPolygon(list, isClosed) {
  if (!list.length) return;
  ink.beginPath();
  for (const [u, v] of list) ink.lineTo(px(u), py(v));
  if (isClosed) ink.closePath();
  ink.lineWidth = 2;
  ink.strokeStyle = colours.mark;
  ink.setLineDash([5, 3]);
  ink.stroke();
  ink.setLineDash([]);
}

function drawRing(i, radius) {
  ink.beginPath();
  ink.arc(px(points.u[i]), py(points.v[i]), radius, 0, 7);
  ink.lineWidth = 2;
  ink.strokeStyle = colours.mark;
  ink.stroke();
}

function draw() {
  const ratio = devicePixelRatio;
  if (canvas.width !== Math.round(width() * ratio)) canvas.width = Math.round(width() * ratio);
  if (canvas.height !== Math.round(height() * ratio)) canvas.height = Math.round(height() * ratio);
  ink.setTransform(1, 0, 0, 1, 0, 0);
  ink.clearRect(0, 0, canvas.width, canvas.height);
  if (!points) return;
  const size = Math.min(1, 0.3 + 0.12 * view.scale + 150 / (points.nMatching + 400));
  ink.fillStyle = colours.rest;
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  for (let i = 0; i < points.n; i += 1) {
    if (!points.matching[i]) ink.fillRect(px(points.u[i]) - 1, py(points.v[i]) - 1, 2, 2);
  }
  colours.classes.forEach((colour, kind) => {
    ink.fillStyle = colour;
    for (let i = 0; i < points.n; i += 1) if (points.matching[i] && points.kind[i] === kind) drawPoint(i, size);
  });
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  drawPolygon(corners.length ? corners : wanted, !corners.length);
  if (ring !== null) drawRing(ring, 9);
  if (at !== null) drawRing(at, 7);
}

let isDrawing = false;
/** Draw before the next frame, once. */
function redraw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => { isDrawing = false; draw(); });
}

function nearest(left, top) {
  let [best, least] = [null, REACH ** 2];
  for (let i = 0; i < points.n; i += 1) {
    const distance = (px(points.u[i]) - left) ** 2 + (py(points.v[i]) - top) ** 2 - (points.matching[i] ? 16 : 0);
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

/** The next match in a direction: little way to the side counts for less than way ahead. */
function beyond(from, dx, dy) {
  let [best, least] = [null, Infinity];
  for (let i = 0; i < points.n; i += 1) {
    if (!points.matching[i] || i === from) continue;
    const x = px(points.u[i]) - px(points.u[from]);
    const y = py(points.v[i]) - py(points.v[from]);
    const ahead = x * dx + y * dy;
    const score = ahead + 3 * Math.abs(x * dy - y * dx);
    if (ahead > 2 && score < least) [best, least] = [i, score];
  }
  return best;
}

function spark(curve) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "polyline");
  const [first, last] = [Math.log(curve.x[0]), Math.log(curve.x.at(-1))];
  const most = Math.max(1, ...curve.loss_nats);
  const spot = (nats, i) => `${(2 + 106 * unit(Math.log(curve.x[i]), first, last)).toFixed(1)},${(34 - 32 * (nats / most)).toFixed(1)}`;
  path.setAttribute("points", curve.loss_nats.map(spot).join(" "));
  path.setAttribute("class", "match-line");
  svg.setAttribute("viewBox", "0 0 110 36");
  svg.setAttribute("class", "map-spark");
  svg.append(path);
  return svg;
}

function detail(index) {
  if (!details.has(index)) {
    const coming = fetchJson(box.dataset.prediction.replace("INDEX", index));
    details.set(index, coming);
    coming.catch(() => details.delete(index));
  }
  return details.get(index);
}

function className(i) {
  return all("[data-class]", box)[points.kind[i]]?.textContent.trim() ?? "undefined";
}

async function tell(i, isSpoken) {
  const index = points.index[i];
  const tip = one(".map-tip", box);
  tip.replaceChildren(`prediction ${index}, ${className(i)}`);
  tip.hidden = false;
  const fit = () => {
    const left = Math.min(Math.max(px(points.u[i]) + 12, 4), width() - tip.offsetWidth - 4);
    const above = py(points.v[i]) - tip.offsetHeight - 10;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 0 ? above : py(points.v[i]) + 14}px`;
  };
  fit();
  try {
    const found = await detail(index);
    if (at !== i) return;
    const curve = found.curves.find((one) => one.axis === box.dataset.axis && (one.model ?? "") === box.dataset.model);
    const token = make("bdi", { className: "tok" }, found.token.shown.replaceAll("\n", "⏎").replaceAll("\t", "⇥"));
    tip.replaceChildren(token, ` ${className(i)}`, ...(curve ? [spark(curve)] : []));
    fit();
    if (isSpoken) say(`${found.token.text}, prediction ${index}, ${className(i)}`);
  } catch (error) {
    if (at === i) tip.replaceChildren(error.message);
  }
}

function goTo(i, isSpoken = false) {
  if (i === at) return;
  at = i;
  clearTimeout(timer);
  one(".map-tip", box).hidden = true;
  if (i !== null) timer = setTimeout(() => tell(i, isSpoken), DETAIL_MS);
  redraw();
}

function open(i) {
  location.assign(box.dataset.page.replace("INDEX", points.index[i]));
}

function zoom(by, left = width() / 2, top = height() / 2) {
  const [u, v] = [toX(left), toY(top)];
  view.scale = Math.min(Math.max(view.scale * by, 1), MOST_ZOOM);
  view.x += u - toX(left);
  view.y += v - toY(top);
  settle();
}

function pan(dx, dy) {
  view.x -= dx / view.scale / (width() - 2 * margin);
  view.y += dy / view.scale / (height() - 2 * margin);
  settle();
}

function settle() {
  view.x = Math.min(Math.max(view.x, 0), 1);
  view.y = Math.min(Math.max(view.y, 0), 1);
  if (view.scale === 1) [view.x, view.y] = [0.5, 0.5];
  const words = [view.x, view.y, view.scale].map((value) => Number(value.toPrecision(4))).join(":");
  const zoomed = view.scale === 1 ? "" : words;
  keepInAddress({ zoom: zoomed });
  one("[data-search] [name=zoom]").value = zoomed; // the next search keeps it
  one(".map-tip", box).hidden = true;
  redraw();
}

/** Keep every few corners: a lasso is drawn by hand, its address should be short. */
function fewer(list) {
  const by = Math.max(1, Math.ceil(list.length / MOST_CORNERS));
  return list.filter((_, i) => i % by === 0);
}

/** Ask for the predictions inside; the page comes anew and so keeps its place in the history. */
function select(list) {
  const url = new URL(location.href);
  for (const name of ["cursor", "lasso", "lasso_of"]) url.searchParams.delete(name);
  if (list.length > 2) {
    const [x0, x1, y0, y1] = points.bounds;
    const number = (value) => Number(value.toPrecision(4));
    url.searchParams.set("lasso", list.map(([u, v]) => `${number(x0 + u * (x1 - x0))}:${number(y0 + v * (y1 - y0))}`).join(","));
    url.searchParams.set("lasso_of", points.curves);
  }
  location.assign(url);
}

function setMode(name) {
  mode = name;
  for (const button of all("[data-mode]", box)) button.ariaPressed = String(button.dataset.mode === mode);
  canvas.classList.toggle("grabs", Boolean(mode));
  canvas.classList.toggle("moves", mode === "move");
}

function onPointerDown(event) {
  if (event.button !== 0 || !event.isPrimary || !mode || !points) return;
  canvas.setPointerCapture(event.pointerId);
  const isMove = mode === "move" || event.shiftKey;
  const start = [event.offsetX, event.offsetY];
  let last = start;
  let length = 0;
  const onMove = (next) => {
    const step = [next.offsetX - last[0], next.offsetY - last[1]];
    if (Math.hypot(...step) < 4) return;
    length += Math.hypot(...step);
    last = [next.offsetX, next.offsetY];
    if (isMove) return pan(...step);
    if (!corners.length) corners = [[toX(start[0]), toY(start[1])]];
    corners.push([toX(last[0]), toY(last[1])]);
    redraw();
  };
  const onEnd = (end) => {
    canvas.removeEventListener("pointermove", onMove);
    const drawn = corners;
    corners = [];
    if (end.type === "pointerup" && length < 6) return tap(end);
    if (!isMove && end.type === "pointerup" && drawn.length > 4) select(fewer(drawn));
    redraw();
  };
  canvas.addEventListener("pointermove", onMove);
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, onEnd, { once: true });
}

/** A first tap shows a point, a second one on it opens its page. */
function tap(event) {
  const found = nearest(event.offsetX, event.offsetY);
  if (found !== null && (found === at || event.pointerType === "mouse")) open(found);
  else goTo(found);
}

const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

function onArrow(event) {
  const [dx, dy] = ARROWS[event.key];
  if (event.shiftKey) return pan(-40 * dx, -40 * dy);
  const first = points.matching.indexOf(1);
  const next = at === null ? first : beyond(at, dx, dy);
  if (next === null || next < 0) say("no match further that way");
  else goTo(next, true);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !points) return;
  if (ARROWS[event.key]) onArrow(event);
  else if (event.key === "+") zoom(1.5);
  else if (event.key === "-") zoom(1 / 1.5);
  else if (event.key === "0") zoom(0);
  else if (event.key === " " && at !== null) {
    corners = [...corners, [points.u[at], points.v[at]]];
    say(`corner ${corners.length}${corners.length > 2 ? "; Enter selects what is inside" : ""}`);
    redraw();
  } else if (event.key === "Enter" && corners.length > 2) select(corners);
  else if (event.key === "Enter" && at !== null) open(at);
  else if (event.key === "Escape" && (corners.length || at !== null)) {
    corners = [];
    goTo(null);
  } else return;
  event.preventDefault();
}

function listen() {
  canvas.addEventListener("pointerdown", onPointerDown);
  canvas.addEventListener("pointermove", (event) => {
    if (points && !event.buttons && event.pointerType === "mouse") goTo(nearest(event.offsetX, event.offsetY));
  });
  canvas.addEventListener("click", (event) => { if (!mode && points) tap(event); });
  canvas.addEventListener("pointerleave", () => { if (document.activeElement !== canvas) goTo(null); });
  canvas.addEventListener("blur", () => goTo(null));
  // With Ctrl only: a page that is scrolled past should not stop here.
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", onKey);
  for (const button of all("[data-mode]", box)) button.addEventListener("click", () => setMode(mode === button.dataset.mode ? "" : button.dataset.mode));
  for (const button of all("[data-zoom]", box)) button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
  one('[data-action="map-table"]', box).addEventListener("click", (event) => showTable(event.currentTarget));
  new ResizeObserver(redraw).observe(canvas);
  const repaint = () => { readColours(); redraw(); };
  new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  listenToRows();
}

/** A row of the list that is pointed at or focused is ringed on the map. */
function listenToRows() {
  const show = (event) => {
    const row = event.target.closest?.("[data-index]");
    const next = row && points ? points.index.indexOf(Number(row.dataset.index)) : -1;
    if ((next < 0 ? null : next) === ring) return;
    ring = next < 0 ? null : next;
    redraw();
  };
  for (const name of ["focusin", "pointerover"]) document.addEventListener(name, show);
}

function showTable(button) {
  const table = one(".map-table", box);
  const isShown = button.ariaPressed !== "true";
  button.ariaPressed = String(isShown);
  table.hidden = !isShown;
}

function countClasses() {
  const counts = new Map();
  for (let i = 0; i < points.n; i += 1) {
    const [match, total] = counts.get(points.kind[i]) ?? [0, 0];
    counts.set(points.kind[i], [match + points.matching[i], total + 1]);
  }
  for (const row of all(".map-table [data-kind]", box)) {
    const cells = counts.get(Number(row.dataset.classCode)) ?? [0, 0];
    all("td", row).forEach((cell, i) => { cell.textContent = cells[i]; });
  }
}

/** The lasso of the address, in units of the map. */
function drawnLasso() {
  const [x0, x1, y0, y1] = points.bounds;
  const query = new URLSearchParams(location.search);
  const text = points.curves.startsWith(query.get("lasso_of") ?? "") ? query.get("lasso") : "";
  return (text ?? "").split(",").filter(Boolean).map((corner) => {
    const [x, y] = corner.split(":").map(Number);
    return [unit(x, x0, x1), unit(y, y0, y1)];
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
  canvas = one("canvas", box);
  ink = canvas.getContext("2d");
  shapes = JSON.parse(box.dataset.shapes).map((path) => new Path2D(path));
  [corners, wanted, at, ring] = [[], [], null, null];
  const zoomed = (new URLSearchParams(location.search).get("zoom") ?? "").split(":").map(Number);
  const [x, y, scale] = zoomed.length === 3 && zoomed.every(Number.isFinite) ? zoomed : [0.5, 0.5, 1];
  view = { x, y, scale: Math.min(Math.max(scale, 1), MOST_ZOOM) };
  setMode(matchMedia("(pointer: coarse)").matches ? "" : "lasso");
  readColours();
  listen();
  await load();
}

async function load() {
  const status = one("[data-map-status]", box);
  const frame = one(".map-box", box);
  try {
    points = await readPoints(box.dataset.src);
    clearFault(frame);
    wanted = drawnLasso();
    countClasses();
    const rest = points.n < points.total ? `, a fixed sample of ${points.total}` : "";
    status.textContent = `${points.nMatching} of ${points.n} curves on the map match${rest}.`;
    box.dataset.state = "drawn";
    draw();
  } catch (error) {
    showFault(frame, error, "There is no map.", load);
    box.dataset.state = "failed";
  }
}
