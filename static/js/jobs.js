// Jobs: ask, poll, say how far; the page of a job; pasted text.
import { fetchJson, one, say, tellError, wordsOf } from "./util.js";

const ENDED = { failed: true, cancelled: true };
const FIRST_MS = 300;
const LONGEST_MS = 2000;
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

/** Hear of a job's changes as the server tells of them; polls where that does not work. */
function listen(address, words, bar) {
  const activity = one("[data-job-activity]");
  return new Promise((resolve, reject) => {
    const source = new EventSource(`${address}/events`);
    const close = (settle, value) => { source.close(); settle(value); };
    source.addEventListener("job", (event) => {
      const job = JSON.parse(event.data);
      try {
        if (ended(job)) return close(resolve, job);
      } catch (error) { return close(reject, error); }
      tell(job, words, bar);
      if (activity) activity.textContent = job.activity ?? "";
    });
    source.addEventListener("error", () => {
      // A stream that ended is opened again by the browser; one that was refused is not.
      if (source.readyState === EventSource.CLOSED) follow(address, words, bar).then(resolve, reject);
    });
  });
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

async function startPage(section) {
  if (["finished", "failed", "cancelled"].includes(section.dataset.state)) return;
  const words = one("[data-job-words]", section);
  try {
    const job = await listen(section.dataset.job, words, one("progress", section));
    location.replace(job.page);
  } catch (error) {
    say(wordsOf(error));
    location.reload(); // the server says why, and offers to resume
  }
}

/** Bring forms and the page of a job to life. */
export function start() {
  const [paste, page] = [one("[data-paste]"), one("[data-job]")];
  if (paste) startPaste(paste);
  if (page) startPage(page);
}
