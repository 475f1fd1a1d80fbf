// Pages of experiments: follow an open run; the map of phases.
import { find, findAll, say, wordsOf } from "./util.js";
import { newerPage, rememberParts, swapParts } from "./parts.js";
import { clearFault, showFault } from "./fault.js";
import { watch } from "./plot.js";

const POLL_MS = 1500;
// An unfinished run without a job may be resumed elsewhere.
const SLOW_MS = 6000;
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

async function refresh() {
  for (const part of swapParts(await newerPage())) watch(part);
  startMap();
}

/** Refresh the page while the run is unfinished and the page is visible. */
async function follow(section) {
  while (find("[data-open], [data-unfinished]", section)) {
    await wait(find("[data-open]", section) ? POLL_MS : SLOW_MS);
    if (document.hidden) continue;
    try {
      await refresh();
      clearFault(section);
    } catch (error) {
      showFault(section, error, "The page shows the previous state.", () => clearFault(section));
    }
  }
}

const cellRows = (map) => findAll("tbody tr:not(.ticks)", map).map((row) => findAll(".ph", row));

function placeOf(rows, cell) {
  const row = rows.findIndex((cells) => cells.includes(cell));
  return [row, rows[row]?.indexOf(cell) ?? -1];
}

/** Mark a rectangle, and fill in the form for a finer grid with its ends. */
function selectRectangle(map, from, to) {
  const rows = cellRows(map);
  const [[a, b], [c, d]] = [placeOf(rows, from), placeOf(rows, to)];
  const inside = (i, j) => i >= Math.min(a, c) && i <= Math.max(a, c) && j >= Math.min(b, d) && j <= Math.max(b, d);
  rows.forEach((row, i) => row.forEach((cell, j) => cell.classList.toggle("picked", inside(i, j))));
  const form = find("[data-finer]");
  if (!form) return;
  for (const axis of ["x", "y"]) {
    const ends = [from, to].map((cell) => Number(cell.dataset[axis])).sort((a, b) => a - b);
    [form.elements[`${axis}_low`].value, form.elements[`${axis}_high`].value] = ends.map((end) => Number(end.toPrecision(4)));
  }
}

/** Show another cell without reloading the page. */
async function showCell(link) {
  history.pushState(null, "", link.href);
  try {
    await refresh();
    say(link.title);
  } catch (error) {
    say(wordsOf(error));
    location.assign(link.href);
  }
}

function startDrag(map) {
  let from = null, isDrag = false;
  const cellAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest?.("a[data-cell]");
  map.addEventListener("pointerdown", (event) => {
    from = event.pointerType === "mouse" && event.button === 0 ? event.target.closest("a[data-cell]") : null;
    isDrag = false;
  });
  for (const end of ["pointerup", "pointercancel"]) map.addEventListener(end, () => { from = null; });
  map.addEventListener("dragstart", (event) => event.preventDefault());
  map.addEventListener("pointermove", (event) => {
    if (!event.buttons) from = null; // the button was released outside
    const to = from && cellAt(event);
    if (!to || (to === from && !isDrag)) return;
    isDrag = true;
    selectRectangle(map, from, to);
  });
  map.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-cell]");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    if (!isDrag) showCell(link);
    isDrag = false;
  });
}

function startMapKeys(map) {
  let corner = null;
  const links = findAll("a[data-cell]", map);
  const tabStop = find("a[aria-current]", map) ?? links[0];
  for (const link of links) link.tabIndex = link === tabStop ? 0 : -1;
  map.addEventListener("keydown", (event) => {
    const [move, here] = [MOVES[event.key], event.target.closest("a[data-cell]")];
    if (!move || !here || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const rows = cellRows(map);
    const [i, j] = placeOf(rows, here);
    const next = rows[i + move[0]]?.[j + move[1]];
    if (!next?.matches("a")) return;
    corner = event.shiftKey ? corner ?? here : null;
    if (corner) selectRectangle(map, corner, next);
    here.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

function startMap() {
  const map = find("[data-map]:not([data-state])");
  if (!map) return;
  map.dataset.state = "ready";
  startDrag(map);
  startMapKeys(map);
}

/** Start the page. */
export function start() {
  rememberParts();
  startMap();
  addEventListener("popstate", () => refresh().catch(() => location.reload()));
  follow(find("[data-experiment]"));
}
