// Jobs: submit, poll, report progress; the page of a job; pasted text.
import { fetchJson, find, make, say, tellError } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { newerPage, rememberParts, swapParts } from "./parts.js";

const ENDED = { failed: true, cancelled: true };
const FIRST_MS = 300;
const LONGEST_MS = 2000;
const LINES_SHOWN = 500;
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** The remaining time as text, empty while it is unknown. */
function remainingTime(job) {
  if (job.seconds_left === null) return "";
  const s = Math.round(job.seconds_left);
  return s < 90 ? `, ${s} s left` : `, ${Math.round(s / 60)} min left`;
}

function showProgress(job, output, bar) {
  const texts = { queued: "Waiting for a worker…", cancelling: "Cancelling…" };
  const text = texts[job.state] ?? `Computing… ${job.done} of ${job.total} ${job.unit} completed${remainingTime(job)}`;
  if (output.textContent !== text) output.textContent = text;
  if (!bar) return;
  bar.hidden = false;
  if (job.fraction !== null) [bar.max, bar.value] = [1, job.fraction];
}

/** The job if it has finished, null while it is open; throws its problem if it failed. */
function finished(job) {
  if (job.state === "finished") return job;
  if (job.state in ENDED) throw new Error(job.problem ? `${job.problem}. ${job.remedy}` : "The job was cancelled");
  return null;
}

/** Poll a job until it has finished, and return it; throws its problem if it failed. */
export async function follow(address, output, bar) {
  for (let pause = FIRST_MS; ; pause = Math.min(LONGEST_MS, pause * 1.3)) {
    const job = await fetchJson(address);
    if (finished(job)) return job;
    showProgress(job, output, bar);
    await wait(pause);
  }
}

/** Submit a job and follow it to its end. */
export async function submitJob(kind, parameters, output, bar) {
  output.textContent = "Submitting…";
  const job = await fetchJson("/api/v1/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ kind, parameters }),
  });
  return follow(`/api/v1/jobs/${job.id}`, output, bar);
}

function startPaste(form) {
  const output = find("[data-paste-words]", form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const corpus = form.getAttribute("action").split("/")[2];
    const parameters = { corpus, text: form.elements.text.value, checkpoints: event.submitter?.value ?? "final" };
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    try {
      const job = await submitJob("paste", parameters, output);
      location.assign(job.page);
    } catch (error) {
      tellError(output, error);
    } finally {
      for (const button of form.querySelectorAll("button")) button.disabled = false;
    }
  });
}

const isOpen = (job) => !["finished", "failed", "cancelled"].includes(job.state);

/** Append lines to the log; keep it scrolled to its end. */
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

/** Poll a job and its log where events do not arrive. */
async function pollPage(address, log, onJob) {
  for (let isRunning = true; isRunning; await wait(LONGEST_MS)) {
    const job = await fetchJson(address);
    addLines(log, await fetchJson(`${address}/log?cursor=${log.dataset.cursor}`));
    onJob(job);
    isRunning = isOpen(job);
  }
}

/** Listen to the server's events of a job and its log. */
function listen(address, log, onJob, onClosed) {
  const source = new EventSource(`${address}/events?cursor=${log.dataset.cursor}`);
  source.addEventListener("log", (event) => addLines(log, JSON.parse(event.data)));
  source.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    if (!isOpen(job)) source.close();
    onJob(job);
  });
  source.addEventListener("error", () => {
    // The browser reopens a stream that ended, but not one that was refused.
    if (source.readyState === EventSource.CLOSED) onClosed();
  });
}

/** Refresh the page at most once a second; changes in between are in the next refresh. */
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
        showFault(section, error, "The page may be out of date.", refresh);
      }
      await wait(1000);
    }
    isBusy = false;
  };
}

/** Announce states and quarters to screen readers, not every unit. */
function announcer(state) {
  let announced = state;
  return (job) => {
    const share = job.fraction === null ? 0 : Math.floor(job.fraction * 4) * 25;
    const now = isOpen(job) && share ? `${job.state}, ${share} per cent` : job.state;
    if (now !== announced) say(now);
    announced = now;
  };
}

function startPage(section) {
  const [log, address] = [find("[data-log]", section), section.dataset.job];
  log.scrollTop = log.scrollHeight;
  if (!isOpen(section.dataset)) return;
  rememberParts();
  const [refresh, announce] = [refresher(section), announcer(section.dataset.state)];
  const onJob = (job) => {
    section.dataset.state = job.state;
    announce(job);
    refresh();
  };
  const poll = () => pollPage(address, log, onJob)
    .catch((error) => showFault(section, error, "The page may be out of date.", poll));
  listen(address, log, onJob, poll);
}

/** Start the scripts of forms and of the page of a job. */
export function start() {
  const [paste, page] = [find("[data-paste]"), find("[data-job]")];
  if (paste) startPaste(paste);
  if (page) startPage(page);
}
