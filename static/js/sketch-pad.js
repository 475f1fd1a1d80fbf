// Sketch pad: a curve over the log axis drawn with a pointer, keys or numbers; at most 16 knots.
// A knot is [u, nats] with u in 0..1 along the logarithm of the axis.
import { all, make, one, say } from "./util.js";

const MOST = 16;
const COLUMNS = 160;
const LEAST_AREA = 0.0012; // of the pad; smaller triangles are the hand's tremble
const GAP = 0.004; // least distance of knots, so that their order stays
const SVG = "http://www.w3.org/2000/svg";

let pad, form, axis, knots, at, changed, born = 0;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const toX = (u) => Number((axis.x[0] * (axis.x.at(-1) / axis.x[0]) ** u).toPrecision(4));
const toU = (x) => clamp(Math.log(x / axis.x[0]) / Math.log(axis.x.at(-1) / axis.x[0]), 0, 1);
const tidy = (nats) => Number(clamp(nats, 0, axis.top).toFixed(2));
const left = (u) => axis.box[0] + u * (axis.box[2] - axis.box[0]);
const top = (nats) => axis.box[3] - (nats / axis.top) * (axis.box[3] - axis.box[1]);
const shown = (x) => (x >= 1e6 ? `${Number((x / 1e6).toPrecision(3))}M` : x >= 1e4 ? `${Number((x / 1e3).toPrecision(3))}k` : String(x));
const words = ([u, nats]) => `${nats} nats at ${axis.name} ${shown(toX(u))}`;

/** Keep at most `most` points: the one that changes the line least goes first. */
function thin(points, most) {
  const kept = [...points];
  const area = (i) => {
    const [a, b, c] = [kept[i - 1], kept[i], kept[i + 1]];
    return Math.abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2 / axis.top;
  };
  while (kept.length > 2) {
    let least = 1;
    for (let i = 2; i < kept.length - 1; i += 1) if (area(i) < area(least)) least = i;
    if (kept.length <= most && area(least) > LEAST_AREA) break;
    kept.splice(least, 1);
  }
  return kept;
}

const pointsOf = (list) => list.map(([u, nats]) => `${left(u).toFixed(1)},${top(nats).toFixed(1)}`).join(" ");

/** The line of the knots; flat outside of them, as the server reads it. */
function line() {
  return knots.length ? [[0, knots[0][1]], ...knots, [1, knots.at(-1)[1]]] : [];
}

/** The curve as the address carries it; a single knot is a flat curve. */
function written() {
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
  // The outer circle is the target for fingers, the inner one what is seen.
  for (const [radius, name] of [[16, "knot-target"], [5, "knot-dot"]]) {
    const circle = document.createElementNS(SVG, "circle");
    circle.setAttribute("r", radius);
    circle.setAttribute("class", name);
    mark.append(circle);
  }
  mark.addEventListener("focus", () => { at = i; drawKnots(); });
  return mark;
}

function drawKnots() {
  const group = one(".pad-knots", pad);
  while (group.children.length > knots.length) group.lastChild.remove();
  while (group.children.length < knots.length) group.append(knotMark(group.children.length));
  knots.forEach((knot, i) => {
    const mark = group.children[i];
    mark.setAttribute("transform", `translate(${left(knot[0]).toFixed(1)} ${top(knot[1]).toFixed(1)})`);
    mark.setAttribute("aria-label", `Knot ${i + 1} of ${knots.length}`);
    mark.setAttribute("aria-valuemax", axis.top);
    mark.setAttribute("aria-valuenow", knot[1]);
    mark.setAttribute("aria-valuetext", words(knot));
    mark.setAttribute("tabindex", i === at ? "0" : "-1");
  });
  // One tab stop: a knot, or the empty pad.
  pad.setAttribute("tabindex", knots.length ? "-1" : "0");
}

function drawNumbers() {
  const body = one("[data-knots]", form);
  const typing = body.contains(document.activeElement) ? document.activeElement : null;
  while (body.children.length > knots.length) body.lastChild.remove();
  while (body.children.length < knots.length) body.append(numberRow(body.children.length));
  knots.forEach(([u, nats], i) => {
    const [x, y] = all("input", body.children[i]);
    if (x !== typing) x.value = toX(u);
    if (y !== typing) y.value = nats;
  });
  one('[data-action="add-knot"]', form).disabled = knots.length >= MOST;
}

function numberRow(i) {
  const field = (name) => make("input", { type: "number", min: 0, step: "any", ariaLabel: `Knot ${i + 1}, ${name}` });
  const [x, y] = [field(axis.name), field("nats")];
  const read = () => {
    if (!(Number(x.value) > 0) || y.value === "") return;
    const low = knots[i - 1] ? knots[i - 1][0] + GAP : 0;
    const high = knots[i + 1] ? knots[i + 1][0] - GAP : 1;
    knots[i] = [clamp(toU(Number(x.value)), low, high), tidy(Number(y.value))];
    update();
  };
  for (const input of [x, y]) {
    // Of no form: what is asked for is in the field of the whole curve, and nothing here can hold up
    // a search.
    input.setAttribute("form", "");
    input.addEventListener("input", read);
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") form.requestSubmit(); });
    // The field that is typed in keeps what was typed; once it is left it shows what was understood.
    input.addEventListener("focusout", () => queueMicrotask(draw));
  }
  const remove = make("button", { type: "button", className: "quiet", ariaLabel: `Remove knot ${i + 1}` }, "✕");
  remove.addEventListener("click", () => { removeKnot(i); });
  return make("tr", {}, make("td", {}, x), make("td", {}, y), make("td", {}, remove));
}

function draw() {
  at = clamp(at, 0, Math.max(knots.length - 1, 0));
  one(".pad-curve", pad).setAttribute("points", pointsOf(line()));
  one(".pad-hint", pad).toggleAttribute("hidden", knots.length > 0);
  drawKnots();
  drawNumbers();
}

/** Show the knots and tell the page; `isFinal` is false while a pointer still moves. */
function update(isFinal = true) {
  draw();
  changed(knots.length ? written() : "", isFinal);
}

function focusKnot(i) {
  at = clamp(i, 0, knots.length - 1);
  drawKnots();
  (all(".knot", pad)[at] ?? pad).focus({ preventScroll: true });
}

/** Where the next knot goes: behind this one, or into the widest gap if there is no room. */
function freePlace() {
  if (!knots.length) return [0, tidy(axis.top / 2)];
  if (knots.length === 1) return [knots[0][0] < 0.5 ? 1 : 0, knots[0][1]];
  const gap = (i) => knots[i + 1][0] - knots[i][0];
  const gaps = knots.slice(1).map((_, i) => gap(i));
  let i = Math.min(at, gaps.length - 1);
  if (gap(i) < 4 * GAP) i = gaps.indexOf(Math.max(...gaps));
  return [(knots[i][0] + knots[i + 1][0]) / 2, tidy((knots[i][1] + knots[i + 1][1]) / 2)];
}

/** Put a knot at u, or at the free place. */
function addKnot(u = null, nats = null) {
  if (knots.length >= MOST) return say(`${MOST} knots are the most`);
  if (u === null) [u, nats] = freePlace();
  const near = knots.findIndex((knot) => Math.abs(knot[0] - u) < GAP);
  if (near >= 0) knots[near] = [knots[near][0], nats];
  else knots = [...knots, [u, nats]].sort((a, b) => a[0] - b[0]);
  update();
  focusKnot(near >= 0 ? near : knots.findIndex((knot) => knot[0] === u));
  say(`knot ${at + 1} of ${knots.length}, ${words(knots[at])}`);
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
  knots[i] = [clamp(u, low, high), tidy(nats)];
  update(isFinal);
}

/** Move a knot along the axis: by a fiftieth, or to the next point of the axis. */
function slideKnot(by, isFar) {
  const u = knots[at][0];
  const points = axis.x.map(toU);
  const next = by > 0 ? points.find((p) => p > u + 1e-3) : points.findLast((p) => p < u - 1e-3);
  moveKnot(at, isFar ? next ?? u : u + by / 50, knots[at][1]);
}

const KEYS = {
  ArrowUp: (far) => moveKnot(at, knots[at][0], knots[at][1] + (far ? 1 : 0.1)),
  ArrowDown: (far) => moveKnot(at, knots[at][0], knots[at][1] - (far ? 1 : 0.1)),
  ArrowRight: (far) => slideKnot(1, far),
  ArrowLeft: (far) => slideKnot(-1, far),
  PageDown: () => focusKnot(at + 1),
  PageUp: () => focusKnot(at - 1),
  Home: () => focusKnot(0),
  End: () => focusKnot(knots.length - 1),
  Delete: removeHere,
  "-": removeHere,
};

function removeHere() {
  removeKnot(at);
  focusKnot(at);
}

/** Forget the curve. */
export function clearSketch() {
  const had = knots.length > 0;
  const isHere = pad.contains(document.activeElement);
  knots = [];
  update();
  if (isHere) pad.focus({ preventScroll: true });
  if (had) say("curve cleared");
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
  return [clamp(u, 0, 1), tidy(nats)];
}

/** A stroke is one value a column, so a hand that goes back draws over. */
function startStroke([u, nats]) {
  const values = new Array(COLUMNS + 1);
  let last = [Math.round(u * COLUMNS), nats];
  values[last[0]] = nats;
  return {
    to([nextU, nextNats]) {
      const column = Math.round(nextU * COLUMNS);
      const by = Math.sign(column - last[0]);
      for (let i = last[0]; by && i !== column; i += by) {
        const share = (i + by - last[0]) / (column - last[0]);
        values[i + by] = last[1] + share * (nextNats - last[1]);
      }
      values[column] = nextNats;
      last = [column, nextNats];
    },
    points: () => values.flatMap((value, i) => (value === undefined ? [] : [[i / COLUMNS, tidy(value)]])),
  };
}

function endStroke(points) {
  const [from, to] = [points[0][0], points.at(-1)[0]];
  const outside = knots.filter(([u]) => u < from - GAP || u > to + GAP);
  const stroke = thin(points, MOST);
  knots = [...outside, ...stroke].sort((a, b) => a[0] - b[0]);
  if (knots.length > MOST) knots = thin(knots, MOST);
  at = 0;
  update();
  say(`curve of ${knots.length} knots, from ${words(knots[0])} to ${words(knots.at(-1))}`);
}

function onPointerDown(event) {
  if (event.button !== 0 || !event.isPrimary) return;
  event.preventDefault();
  const held = event.target.closest(".knot");
  const start = place(event);
  const stroke = held ? null : startStroke(start);
  const draft = one(".pad-draft", pad);
  let moved = 0;
  pad.setPointerCapture(event.pointerId);
  if (held) focusKnot(Number(held.dataset.knot));
  const onMove = (next) => {
    moved = Math.max(moved, Math.abs(next.clientX - event.clientX) + Math.abs(next.clientY - event.clientY));
    for (const one of next.getCoalescedEvents?.() ?? []) stroke?.to(place(one));
    stroke?.to(place(next));
    if (stroke) draft.setAttribute("points", pointsOf(stroke.points()));
    else if (moved > 3) moveKnot(at, ...place(next), false);
  };
  const onEnd = (last) => {
    for (const name of ["pointermove", "pointerup", "pointercancel"]) pad.removeEventListener(name, name === "pointermove" ? onMove : onEnd);
    draft.setAttribute("points", "");
    if (last.type === "pointercancel") return;
    if (held) update();
    else if (moved > 6 && stroke.points().length > 2) endStroke(stroke.points());
    else {
      addKnot(...start);
      born = last.timeStamp;
    }
  };
  pad.addEventListener("pointermove", onMove);
  pad.addEventListener("pointerup", onEnd);
  pad.addEventListener("pointercancel", onEnd);
}

/** Bring the pad to life; `tell(sketch, isFinal)` hears of every change. */
export function startSketch(root, tell) {
  form = root;
  pad = one(".pad", form);
  axis = JSON.parse(pad.dataset.axis);
  knots = axis.knots.map(([x, nats]) => [toU(x), nats]);
  knots = knots.filter(([u], i) => !i || u - knots[i - 1][0] >= GAP);
  if (knots.length > MOST) knots = thin(knots, MOST);
  [at, changed] = [0, tell];
  pad.addEventListener("pointerdown", onPointerDown);
  pad.addEventListener("keydown", onKey);
  pad.addEventListener("dblclick", (event) => {
    const mark = event.target.closest(".knot");
    // The first click of a double click on the empty pad made this knot.
    if (mark && event.timeStamp - born > 800) removeKnot(Number(mark.dataset.knot));
  });
  one('[data-action="add-knot"]', form).addEventListener("click", () => addKnot());
  one('[data-action="clear-sketch"]', form).addEventListener("click", clearSketch);
  draw();
}

/** Move focus into the pad. */
export function focusPad() {
  pad.scrollIntoView({ block: "nearest" });
  if (knots.length) focusKnot(at);
  else pad.focus();
}
