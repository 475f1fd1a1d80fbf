// Jobs: ask, poll, say how far; the page of a job; pasted text.
import { fetchJson, one, say, tellError, wordsOf } from "./util.js";

const FIRST_MS = 300;
const LONGEST_MS = 2000;
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

function tell(job, words, bar) {
  const text = job.state === "queued"
    ? "Waiting for the worker…"
    : `Computing… ${job.done} of ${job.total} done`;
  if (words.textContent !== text) words.textContent = text;
  if (!bar) return;
  bar.hidden = false;
  if (job.total) [bar.max, bar.value] = [job.total, job.done];
}

/** Poll a job until it is finished, and return it; throws with its own words if it failed. */
export async function follow(address, words, bar) {
  for (let pause = FIRST_MS; ; pause = Math.min(LONGEST_MS, pause * 1.3)) {
    const job = await fetchJson(address);
    if (job.state === "finished") return job;
    if (job.state === "failed") throw new Error(`${job.problem}. ${job.remedy}`);
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

async function startPage(section) {
  if (["finished", "failed"].includes(section.dataset.state)) return;
  const words = one("[data-job-words]", section);
  try {
    const job = await follow(section.dataset.job, words, one("progress", section));
    location.replace(job.page);
  } catch (error) {
    words.textContent = wordsOf(error);
    say(wordsOf(error));
  }
}

/** Bring forms and the page of a job to life. */
export function start() {
  const [paste, page] = [one("[data-paste]"), one("[data-job]")];
  if (paste) startPaste(paste);
  if (page) startPage(page);
}
