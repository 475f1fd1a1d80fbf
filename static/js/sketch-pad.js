// Sketch pad: a curve over the log axis drawn with a pointer, keys or numbers; at most 16 knots.
// A knot is [u, nats] with u in 0..1 along the logarithm of the axis.
import { startStroke, thin } from "./sketch-stroke.js";
import { find, findAll, make, say } from "./util.js";

const MAX_KNOTS = 16;
const GAP = 0.004; // least distance of knots, which keeps their order
const DOUBLE_CLICK_MS = 800;
const SVG = "http://www.w3.org/2000/svg";

let pad, form, axis, knots, current, onChange, addedAt = 0;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const toX = (u) => Number((axis.x[0] * (axis.x.at(-1) / axis.x[0]) ** u).toPrecision(4));
const toU = (x) => clamp(Math.log(x / axis.x[0]) / Math.log(axis.x.at(-1) / axis.x[0]), 0, 1);
const toNats = (nats) => Number(clamp(nats, 0, axis.top).toFixed(2));
const left = (u) => axis.box[0] + u * (axis.box[2] - axis.box[0]);
const top = (nats) => axis.box[3] - (nats / axis.top) * (axis.box[3] - axis.box[1]);
const axisText = (x) => (x >= 1e6 ? `${Number((x / 1e6).toPrecision(3))}M` : x >= 1e4 ? `${Number((x / 1e3).toPrecision(3))}k` : String(x));
const knotText = ([u, nats]) => `${nats} nats at ${axis.name} ${axisText(toX(u))}`;

const pointsOf = (list) => list.map(([u, nats]) => `${left(u).toFixed(1)},${top(nats).toFixed(1)}`).join(" ");

/** The polyline of the knots, flat outside of them like the server's curve. */
function line() {
  return knots.length ? [[0, knots[0][1]], ...knots, [1, knots.at(-1)[1]]] : [];
}

/** The curve as the query parameter `sketch`; a single knot is a flat curve. */
function sketchText() {
  const list = knots.length === 1 ? [[0, knots[0][1]], [1, knots[0][1]]] : knots;
  return list.map(([u, nats]) => `${toX(u)}:${nats}`).join(",");
}

function knotMark(i) {
  const mark = document.createElementNS(SVG, "g");
  mark.setAttribute("class", "knot");
  mark.setAttribute("role", "slider");
  mark.setAttribute("aria-orientation", "vertical");
  mark.setAttribute("aria-valuemin", "0");
  mark.dataset.knot = i;
  // The outer circle is the touch target, the inner one is visible.
  for (const [radius, name] of [[16, "knot-target"], [5, "knot-dot"]]) {
    const circle = document.createElementNS(SVG, "circle");
    circle.setAttribute("r", radius);
    circle.setAttribute("class", name);
    mark.append(circle);
  }
  mark.addEventListener("focus", () => { current = i; drawKnots(); });
  return mark;
}

function drawKnots() {
  const group = find(".pad-knots", pad);
  while (group.children.length > knots.length) group.lastChild.remove();
  while (group.children.length < knots.length) group.append(knotMark(group.children.length));
  knots.forEach((knot, i) => {
    const mark = group.children[i];
    mark.setAttribute("transform", `translate(${left(knot[0]).toFixed(1)} ${top(knot[1]).toFixed(1)})`);
    mark.setAttribute("aria-label", `Knot ${i + 1} of ${knots.length}`);
    mark.setAttribute("aria-valuemax", axis.top);
    mark.setAttribute("aria-valuenow", knot[1]);
    mark.setAttribute("aria-valuetext", knotText(knot));
    mark.setAttribute("tabindex", i === current ? "0" : "-1");
  });
  // One tab stop: a knot, or the empty pad.
  pad.setAttribute("tabindex", knots.length ? "-1" : "0");
}

function drawNumbers() {
  const body = find("[data-knots]", form);
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  while (body.children.length > knots.length) body.lastChild.remove();
  while (body.children.length < knots.length) body.append(numberRow(body.children.length));
  knots.forEach(([u, nats], i) => {
    const [x, y] = findAll("input", body.children[i]);
    if (x !== focused) x.value = toX(u);
    if (y !== focused) y.value = nats;
  });
  find('[data-action="add-knot"]', form).disabled = knots.length >= MAX_KNOTS;
}

function numberRow(i) {
  const field = (name) => make("input", { type: "number", min: 0, step: "any", ariaLabel: `Knot ${i + 1}, ${name}` });
  const [x, y] = [field(axis.name), field("nats")];
  const read = () => {
    if (!(Number(x.value) > 0) || y.value === "") return;
    const low = knots[i - 1] ? knots[i - 1][0] + GAP : 0;
    const high = knots[i + 1] ? knots[i + 1][0] - GAP : 1;
    knots[i] = [clamp(toU(Number(x.value)), low, high), toNats(Number(y.value))];
    update();
  };
  for (const input of [x, y]) {
    // Outside the form: only the field of the whole curve is sent, and an invalid number blocks no search.
    input.setAttribute("form", "");
    input.addEventListener("input", read);
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") form.requestSubmit(); });
    // A field keeps its text while it is typed in, and shows the parsed value afterwards.
    input.addEventListener("focusout", () => queueMicrotask(draw));
  }
  const remove = make("button", { type: "button", className: "quiet", ariaLabel: `Remove knot ${i + 1}` }, "✕");
  remove.addEventListener("click", () => { removeKnot(i); });
  return make("tr", {}, make("td", {}, x), make("td", {}, y), make("td", {}, remove));
}

function draw() {
  current = clamp(current, 0, Math.max(knots.length - 1, 0));
  find(".pad-curve", pad).setAttribute("points", pointsOf(line()));
  find(".pad-hint", pad).toggleAttribute("hidden", knots.length > 0);
  drawKnots();
  drawNumbers();
}

/** Draw the knots and notify the page; `isFinal` is false while a pointer still moves. */
function update(isFinal = true) {
  draw();
  onChange(knots.length ? sketchText() : "", isFinal);
}

function focusKnot(i) {
  current = clamp(i, 0, knots.length - 1);
  drawKnots();
  (findAll(".knot", pad)[current] ?? pad).focus({ preventScroll: true });
}

/** The position of the next knot: behind the current one, or in the widest gap if there is no room. */
function freePlace() {
  if (!knots.length) return [0, toNats(axis.top / 2)];
  if (knots.length === 1) return [knots[0][0] < 0.5 ? 1 : 0, knots[0][1]];
  const gap = (i) => knots[i + 1][0] - knots[i][0];
  const gaps = knots.slice(1).map((_, i) => gap(i));
  let i = Math.min(current, gaps.length - 1);
  if (gap(i) < 4 * GAP) i = gaps.indexOf(Math.max(...gaps));
  return [(knots[i][0] + knots[i + 1][0]) / 2, toNats((knots[i][1] + knots[i + 1][1]) / 2)];
}

/** Add a knot at u, or at the free place. */
function addKnot(u = null, nats = null) {
  if (knots.length >= MAX_KNOTS) return say(`${MAX_KNOTS} knots are the maximum`);
  if (u === null) [u, nats] = freePlace();
  const near = knots.findIndex((knot) => Math.abs(knot[0] - u) < GAP);
  if (near >= 0) knots[near] = [knots[near][0], nats];
  else knots = [...knots, [u, nats]].sort((a, b) => a[0] - b[0]);
  update();
  focusKnot(near >= 0 ? near : knots.findIndex((knot) => knot[0] === u));
  say(`knot ${current + 1} of ${knots.length}, ${knotText(knots[current])}`);
}

function removeKnot(i) {
  if (!knots.length) return;
  knots.splice(i, 1);
  update();
  say(`knot removed, ${knots.length} left`);
}

function moveKnot(i, u, nats, isFinal = true) {
  const low = i ? knots[i - 1][0] + GAP : 0;
  const high = i < knots.length - 1 ? knots[i + 1][0] - GAP : 1;
  knots[i] = [clamp(u, low, high), toNats(nats)];
  update(isFinal);
}

/** Move a knot along the axis: by a fiftieth, or to the next point of the axis. */
function slideKnot(by, isFar) {
  const u = knots[current][0];
  const points = axis.x.map(toU);
  const next = by > 0 ? points.find((p) => p > u + 1e-3) : points.findLast((p) => p < u - 1e-3);
  moveKnot(current, isFar ? next ?? u : u + by / 50, knots[current][1]);
}

const KEYS = {
  ArrowUp: (far) => moveKnot(current, knots[current][0], knots[current][1] + (far ? 1 : 0.1)),
  ArrowDown: (far) => moveKnot(current, knots[current][0], knots[current][1] - (far ? 1 : 0.1)),
  ArrowRight: (far) => slideKnot(1, far),
  ArrowLeft: (far) => slideKnot(-1, far),
  PageDown: () => focusKnot(current + 1),
  PageUp: () => focusKnot(current - 1),
  Home: () => focusKnot(0),
  End: () => focusKnot(knots.length - 1),
  Delete: removeHere,
  "-": removeHere,
};

function removeHere() {
  removeKnot(current);
  focusKnot(current);
}

/** Clear the curve. */
export function clearSketch() {
  const hadKnots = knots.length > 0;
  const hasFocus = pad.contains(document.activeElement);
  knots = [];
  update();
  if (hasFocus) pad.focus({ preventScroll: true });
  if (hadKnots) say("curve cleared");
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && knots.length) clearSketch();
  else if (event.key === "Insert" || event.key === "+" || (!knots.length && event.key === "Enter")) addKnot();
  else if (event.key === "Enter") form.requestSubmit();
  else if (knots.length && KEYS[event.key]) KEYS[event.key](event.shiftKey);
  else return;
  event.preventDefault();
}

function place(event) {
  const box = pad.getBoundingClientRect();
  const scale = pad.viewBox.baseVal.width / box.width;
  const [x0, y0, x1, y1] = axis.box;
  const u = ((event.clientX - box.left) * scale - x0) / (x1 - x0);
  const nats = ((y1 - (event.clientY - box.top) * scale) / (y1 - y0)) * axis.top;
  return [clamp(u, 0, 1), toNats(nats)];
}

function endStroke(points) {
  const [from, to] = [points[0][0], points.at(-1)[0]];
  const outside = knots.filter(([u]) => u < from - GAP || u > to + GAP);
  const stroke = thin(points, MAX_KNOTS, axis.top);
  knots = [...outside, ...stroke].sort((a, b) => a[0] - b[0]);
  if (knots.length > MAX_KNOTS) knots = thin(knots, MAX_KNOTS, axis.top);
  current = 0;
  update();
  say(`curve of ${knots.length} knots, from ${knotText(knots[0])} to ${knotText(knots.at(-1))}`);
}

function onPointerDown(event) {
  if (event.button !== 0 || !event.isPrimary) return;
  event.preventDefault();
  const grabbed = event.target.closest(".knot");
  const start = place(event);
  const stroke = grabbed ? null : startStroke(start);
  const strokePoints = () => stroke.points().map(([u, nats]) => [u, toNats(nats)]);
  const draft = find(".pad-draft", pad);
  let moved = 0;
  pad.setPointerCapture(event.pointerId);
  if (grabbed) focusKnot(Number(grabbed.dataset.knot));
  const onMove = (next) => {
    moved = Math.max(moved, Math.abs(next.clientX - event.clientX) + Math.abs(next.clientY - event.clientY));
    for (const sample of next.getCoalescedEvents?.() ?? []) stroke?.to(place(sample));
    stroke?.to(place(next));
    if (stroke) draft.setAttribute("points", pointsOf(strokePoints()));
    else if (moved > 3) moveKnot(current, ...place(next), false);
  };
  const onEnd = (last) => {
    for (const name of ["pointermove", "pointerup", "pointercancel"]) pad.removeEventListener(name, name === "pointermove" ? onMove : onEnd);
    draft.setAttribute("points", "");
    if (last.type === "pointercancel") return;
    if (grabbed) update();
    else if (moved > 6 && stroke.points().length > 2) endStroke(strokePoints());
    else {
      addKnot(...start);
      addedAt = last.timeStamp;
    }
  };
  pad.addEventListener("pointermove", onMove);
  pad.addEventListener("pointerup", onEnd);
  pad.addEventListener("pointercancel", onEnd);
}

/** Start the pad of a form; `onSketch(sketch, isFinal)` is called on every change. */
export function startSketch(root, onSketch) {
  form = root;
  pad = find(".pad", form);
  axis = JSON.parse(pad.dataset.axis);
  knots = axis.knots.map(([x, nats]) => [toU(x), nats]);
  knots = knots.filter(([u], i) => !i || u - knots[i - 1][0] >= GAP);
  if (knots.length > MAX_KNOTS) knots = thin(knots, MAX_KNOTS, axis.top);
  [current, onChange] = [0, onSketch];
  pad.addEventListener("pointerdown", onPointerDown);
  pad.addEventListener("keydown", onKey);
  pad.addEventListener("dblclick", (event) => {
    const mark = event.target.closest(".knot");
    // The first click of a double click on the empty pad made this knot.
    if (mark && event.timeStamp - addedAt > DOUBLE_CLICK_MS) removeKnot(Number(mark.dataset.knot));
  });
  find('[data-action="add-knot"]', form).addEventListener("click", () => addKnot());
  find('[data-action="clear-sketch"]', form).addEventListener("click", clearSketch);
  draw();
}

/** Move focus into the pad. */
export function focusPad() {
  pad.scrollIntoView({ block: "nearest" });
  if (knots.length) focusKnot(current);
  else pad.focus();
}
