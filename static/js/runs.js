// The page of runs: rows that follow their jobs, what a job would cost, two of them compared.
import { all, fetchJson, make, one, onKey, say, wordsOf } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { newerPage, rememberParts, swapParts } from "./parts.js";

const POLL_MS = 2000;
const PAUSE_MS = 600;
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const idsOf = (root) => all("[data-job-row]", root).map((row) => row.dataset.jobRow);

/** Rows of other jobs, or in another order: all are replaced; ticks and focus stay. */
function replaceRows(page) {
  const [old, newer] = [one(".runs tbody"), one(".runs tbody", page)];
  const ticked = all("input:checked", old).map((box) => box.value);
  const at = document.activeElement?.closest?.("[data-job-row]")?.dataset.jobRow;
  rememberParts(newer);
  old.replaceWith(document.adoptNode(newer));
  for (const box of all("input", newer)) box.checked = ticked.includes(box.value);
  if (at) one(`[data-job-row="${CSS.escape(at)}"] [data-row]`, newer)?.focus();
}

async function bringUpToDate(list) {
  const open = all("[data-open]", list).length;
  const page = await newerPage();
  if (!one(".runs tbody", page)) return; // a filter that nothing passes any more: the rows stay
  if (idsOf(document).join() !== idsOf(page).join()) replaceRows(page);
  swapParts(page);
  const left = all("[data-open]", list).length;
  if (left < open) say(left ? `${left} jobs are open` : "no job is open");
}

/** Look again every two seconds while a job is open and somebody looks. */
async function follow(list) {
  for (;;) {
    await wait(POLL_MS);
    if (document.hidden || !one("[data-open]", list)) continue;
    try {
      await bringUpToDate(list);
      clearFault(list);
    } catch (error) {
      showFault(list, error, "The list is the one from before.", () => clearFault(list));
    }
  }
}

function startComparing(form) {
  const button = one("[data-compare-button]", form);
  const ticked = () => all("input[name=cmp]:checked", form).map((box) => box.value);
  const allow = () => { button.disabled = ticked().length !== 2; };
  form.addEventListener("change", allow);
  form.addEventListener("formdata", ({ formData }) => {
    const pair = formData.getAll("cmp");
    formData.set("cmp", pair.join());
  });
  allow();
}

/** What the form asks for, as the API takes it; empty fields are left out. */
function parametersOf(form) {
  const found = {};
  for (const field of form.elements) {
    if (!field.id?.startsWith("p-") || field.name === "requires" || !field.value) continue;
    const parts = field.value.split(",").map((part) => part.trim()).filter(Boolean);
    found[field.name] = "list" in field.dataset ? parts : field.value;
  }
  return found;
}

/** A time as the server writes it. */
function duration(seconds) {
  for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds < 1.5 * size) continue;
    const value = seconds / size;
    return `${value >= 10 ? Math.round(value) : Number(value.toPrecision(2))} ${name}`;
  }
  return `${seconds >= 10 ? Math.round(seconds) : Number(seconds.toPrecision(2))} s`;
}

function si(value) {
  for (const [factor, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= factor) return `${Number((value / factor).toPrecision(3))}${name}`;
  }
  return String(Number(value.toPrecision(3)));
}

/** What a job would cost, in the words of the server's own page. */
function costWords(cost) {
  const words = [];
  if (cost.units !== null) words.push(`${cost.units.toLocaleString("en").replaceAll(",", "\u202f")} ${cost.unit}`);
  if (cost.work_unit !== "units") words.push(si(cost.work) + (cost.work_unit === "FLOP" ? "FLOP" : "B"));
  const jobs = cost.past_jobs === 1 ? "the last finished job" : `${cost.past_jobs} past jobs`;
  words.push(cost.seconds === null
    ? "no job of this kind has finished here yet, so its time is not known"
    : `${duration(cost.seconds)} of one worker at the pace of ${jobs}`);
  return words.join(" · ");
}

function showCost(output, cost) {
  output.textContent = costWords(cost);
  if (!cost.equal) return;
  const textContent = cost.equal.state === "finished" ? "cached result" : `the same job, ${cost.equal.state}`;
  output.append(". Equal config → ", make("a", { href: `/jobs/${encodeURIComponent(cost.equal.id)}`, textContent }));
}

function startForm(form) {
  const output = one("[data-estimate]", form);
  let timer, turn = 0;
  const estimate = async () => {
    const mine = ++turn;
    try {
      const cost = await fetchJson("/api/v1/jobs/estimate", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ kind: form.dataset.jobForm, parameters: parametersOf(form) }),
      });
      if (mine === turn) showCost(output, cost);
    } catch (error) {
      if (mine === turn) output.textContent = wordsOf(error);
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    turn += 1; // an answer for what was typed before says nothing any more
    output.textContent = "";
    if (form.matches(":valid")) timer = setTimeout(estimate, PAUSE_MS);
  });
}

function focusForm(details) {
  details.open = true;
  const first = one(".fields select, .fields input", details);
  first.focus();
  first.scrollIntoView({ block: "center" });
}

/** Bring the page to life. */
export function start() {
  const [list, details, comparing] = [one("[data-jobs]"), one("[data-ask]"), one("[data-compare]")];
  rememberParts();
  startForm(one("form", details));
  if (comparing) startComparing(comparing);
  onKey("n", () => focusForm(details));
  details.dataset.state = "ready";
  follow(list);
}
