// Jobs: ask, poll, say how far; the page of a job; pasted text.
import { fetchJson, make, one, say, tellError } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { newerPage, rememberParts, swapParts } from "./parts.js";

const ENDED = { failed: true, cancelled: true };
const FIRST_MS = 300;
const LONGEST_MS = 2000;
const LINES_SHOWN = 500;
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** How long is left, in words; nothing while that is not known. */
function left(job) {
  if (job.seconds_left === null) return "";
  const s = Math.round(job.seconds_left);
  return s < 90 ? `, ${s} s left` : `, ${Math.round(s / 60)} min left`;
}

function tell(job, words, bar) {
  const texts = { queued: "Waiting for the worker…", cancelling: "Stopping…" };
  const text = texts[job.state] ?? `Computing… ${job.done} of ${job.total} ${job.unit} done${left(job)}`;
  if (words.textContent !== text) words.textContent = text;
  if (!bar) return;
  bar.hidden = false;
  if (job.fraction !== null) [bar.max, bar.value] = [1, job.fraction];
}

/** The job once it has finished, nothing while it has not; throws with its own words if it never will. */
function ended(job) {
  if (job.state === "finished") return job;
  if (job.state in ENDED) throw new Error(job.problem ? `${job.problem}. ${job.remedy}` : "The job was cancelled");
  return null;
}

/** Poll a job until it is finished, and return it; throws with its own words if it failed. */
export async function follow(address, words, bar) {
  for (let pause = FIRST_MS; ; pause = Math.min(LONGEST_MS, pause * 1.3)) {
    const job = await fetchJson(address);
    if (ended(job)) return job;
    tell(job, words, bar);
    await wait(pause);
  }
}

/** Ask for a job and follow it to its end. */
export async function submitJob(kind, parameters, words, bar) {
  words.textContent = "Asking…";
  const job = await fetchJson("/api/v1/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ kind, parameters }),
  });
  return follow(`/api/v1/jobs/${job.id}`, words, bar);
}

function startPaste(form) {
  const words = one("[data-paste-words]", form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const corpus = form.getAttribute("action").split("/")[2];
    const parameters = { corpus, text: form.elements.text.value, checkpoints: event.submitter?.value ?? "final" };
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    try {
      const job = await submitJob("paste", parameters, words);
      location.assign(job.page);
    } catch (error) {
      tellError(words, error);
    } finally {
      for (const button of form.querySelectorAll("button")) button.disabled = false;
    }
  });
}

const isOpen = (job) => !["finished", "failed", "cancelled"].includes(job.state);

/** Put new lines under the log; it stays at its end if it was there. */
function addLines(log, page) {
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 8;
  for (const line of page.lines) {
    if (line.id <= Number(log.dataset.cursor)) continue;
    const time = make("time", { dateTime: line.at, textContent: line.at.slice(11, 19) });
    log.append(make("p", {}, time, " ", make("bdi", { textContent: line.text })));
  }
  log.dataset.cursor = page.next_cursor;
  while (log.children.length > LINES_SHOWN) log.firstElementChild.remove();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

/** Poll a job and its log where events do not come through. */
async function pollPage(address, log, tellJob) {
  for (let isAlive = true; isAlive; await wait(LONGEST_MS)) {
    const job = await fetchJson(address);
    addLines(log, await fetchJson(`${address}/log?cursor=${log.dataset.cursor}`));
    tellJob(job);
    isAlive = isOpen(job);
  }
}

/** Hear of changes and new lines as the server tells of them. */
function listen(address, log, tellJob, failed) {
  const source = new EventSource(`${address}/events?cursor=${log.dataset.cursor}`);
  source.addEventListener("log", (event) => addLines(log, JSON.parse(event.data)));
  source.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    if (!isOpen(job)) source.close();
    tellJob(job);
  });
  source.addEventListener("error", () => {
    // A stream that ended is opened again by the browser; one that was refused is not.
    if (source.readyState === EventSource.CLOSED) failed();
  });
}

/** One refresh at a time, a second apart; what changes meanwhile is in the next one. */
function refresher(section) {
  let [isBusy, isStale] = [false, false];
  return async function refresh() {
    isStale = true;
    if (isBusy) return;
    isBusy = true;
    while (isStale) {
      isStale = false;
      try {
        swapParts(await newerPage());
        clearFault(section);
      } catch (error) {
        showFault(section, error, "The page is the one from before.", refresh);
      }
      await wait(1000);
    }
    isBusy = false;
  };
}

/** Tell a screen reader of states and quarters, not of every unit. */
function teller(state) {
  let before = state;
  return (job) => {
    const share = job.fraction === null ? 0 : Math.floor(job.fraction * 4) * 25;
    const now = isOpen(job) && share ? `${job.state}, ${share} per cent` : job.state;
    if (now !== before) say(now);
    before = now;
  };
}

function startPage(section) {
  const [log, address] = [one("[data-log]", section), section.dataset.job];
  log.scrollTop = log.scrollHeight;
  if (!isOpen(section.dataset)) return;
  rememberParts();
  const [refresh, tellStates] = [refresher(section), teller(section.dataset.state)];
  const tellJob = (job) => {
    section.dataset.state = job.state;
    tellStates(job);
    refresh();
  };
  const poll = () => pollPage(address, log, tellJob)
    .catch((error) => showFault(section, error, "The page is the one from before.", poll));
  listen(address, log, tellJob, poll);
}

/** Bring forms and the page of a job to life. */
export function start() {
  const [paste, page] = [one("[data-paste]"), one("[data-job]")];
  if (paste) startPaste(paste);
  if (page) startPage(page);
}
