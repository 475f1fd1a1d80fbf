// The list of jobs: rows that follow their jobs, the estimated cost of a job, comparison of two.
import { fetchJson, find, findAll, make, onKey, say, wordsOf } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { newerPage, rememberParts, swapParts } from "./parts.js";

const POLL_MS = 2000;
const PAUSE_MS = 600;
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const idsOf = (root) => findAll("[data-job-row]", root).map((row) => row.dataset.jobRow);

/** Replace all rows if their jobs or their order changed; ticks and focus stay. */
function replaceRows(page) {
  const [before, after] = [find(".job-list tbody"), find(".job-list tbody", page)];
  const checked = findAll("input:checked", before).map((box) => box.value);
  const focused = document.activeElement?.closest?.("[data-job-row]")?.dataset.jobRow;
  rememberParts(after);
  before.replaceWith(document.adoptNode(after));
  for (const box of findAll("input", after)) box.checked = checked.includes(box.value);
  if (focused) find(`[data-job-row="${CSS.escape(focused)}"] [data-row]`, after)?.focus();
}

async function refreshList(list) {
  const open = findAll("[data-open]", list).length;
  const page = await newerPage();
  if (!find(".job-list tbody", page)) return; // no job matches the filter any more: keep the rows
  if (idsOf(document).join() !== idsOf(page).join()) replaceRows(page);
  swapParts(page);
  const stillOpen = findAll("[data-open]", list).length;
  if (stillOpen < open) say(stillOpen ? `${stillOpen} jobs are open` : "no job is open");
}

/** Poll every two seconds while a job is open and the page is visible. */
async function follow(list) {
  for (;;) {
    await wait(POLL_MS);
    if (document.hidden || !find("[data-open]", list)) continue;
    try {
      await refreshList(list);
      clearFault(list);
    } catch (error) {
      showFault(list, error, "The list may be out of date.", () => clearFault(list));
    }
  }
}

function startComparing(form) {
  const button = find("[data-compare-button]", form);
  const checked = () => findAll("input[name=cmp]:checked", form).map((box) => box.value);
  const update = () => { button.disabled = checked().length !== 2; };
  form.addEventListener("change", update);
  form.addEventListener("formdata", ({ formData }) => {
    const pair = formData.getAll("cmp");
    formData.set("cmp", pair.join());
  });
  update();
}

/** Parameters of the form for the API; empty fields are left out. */
function parametersOf(form) {
  const parameters = {};
  for (const field of form.elements) {
    if (!field.id?.startsWith("p-") || field.name === "requires" || !field.value) continue;
    const parts = field.value.split(",").map((part) => part.trim()).filter(Boolean);
    parameters[field.name] = "list" in field.dataset ? parts : field.value;
  }
  return parameters;
}

/** A duration in the format of the server. */
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

/** The estimated cost of a job, in the words of the server's page. */
function costWords(cost) {
  const words = [];
  if (cost.units !== null) words.push(`${cost.units.toLocaleString("en").replaceAll(",", "\u202f")} ${cost.unit}`);
  if (cost.work_unit !== "units") words.push(si(cost.work) + (cost.work_unit === "FLOP" ? "FLOP" : "B"));
  const jobs = cost.past_jobs === 1 ? "the last finished job" : `${cost.past_jobs} past jobs`;
  words.push(cost.seconds === null
    ? "no job of this kind has finished here yet, so its time is unknown"
    : `${duration(cost.seconds)} of one worker at the rate of ${jobs}`);
  return words.join(" · ");
}

function showCost(output, cost) {
  output.textContent = costWords(cost);
  if (!cost.equal) return;
  const textContent = cost.equal.state === "finished" ? "cached result" : `the same job, ${cost.equal.state}`;
  output.append(". Equal config → ", make("a", { href: `/jobs/${encodeURIComponent(cost.equal.id)}`, textContent }));
}

function startForm(form) {
  const output = find("[data-estimate]", form);
  let timer, latest = 0;
  const estimate = async () => {
    const current = ++latest;
    try {
      const cost = await fetchJson("/api/v1/jobs/estimate", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ kind: form.dataset.jobForm, parameters: parametersOf(form) }),
      });
      if (current === latest) showCost(output, cost);
    } catch (error) {
      if (current === latest) output.textContent = wordsOf(error);
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    latest += 1; // ignore the response to an earlier input
    output.textContent = "";
    if (form.matches(":valid")) timer = setTimeout(estimate, PAUSE_MS);
  });
}

function focusForm(details) {
  details.open = true;
  const first = find(".fields select, .fields input", details);
  first.focus();
  first.scrollIntoView({ block: "center" });
}

/** Start the scripts of the page. */
export function start() {
  const [list, details, comparing] = [find("[data-jobs]"), find("[data-new-job]"), find("[data-compare]")];
  rememberParts();
  startForm(find("form", details));
  if (comparing) startComparing(comparing);
  onKey("n", () => focusForm(details));
  details.dataset.state = "ready";
  follow(list);
}
