// Cluster page: more contexts, filters from bars, colours and annotations.
import { fetchJson, find, findAll, keepInAddress, say, tellError, wordsOf } from "./util.js";
import { startTexts } from "./tokens.js";

function startBars() {
  for (const [id, parameter] of [["answers", "answer"], ["last", "last"]]) {
    const figure = document.getElementById(id);
    if (!figure) continue;
    figure.dataset.filter = parameter;
    figure.addEventListener("drawn", ({ detail }) => {
      detail.target.on("plotly_click", ({ points }) => {
        const url = new URL(location.href);
        for (const name of ["answer", "last", "cursor"]) url.searchParams.delete(name);
        url.searchParams.set(parameter, points[0].customdata[0]);
        url.hash = "contexts";
        location.assign(url);
      });
    });
  }
}

/** Append the contexts of the next page as the server's HTML: only the server renders corpus text. */
async function appendMore(link) {
  const reply = await fetch(link.href);
  if (!reply.ok) throw new Error(`The server answered ${reply.status}`);
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  const list = find(link.dataset.more);
  const added = findAll(`${link.dataset.more} > .context`, page);
  for (const context of added) list.append(document.adoptNode(context));
  for (const context of added) startTexts(context);
  const next = find("a[data-more]", page);
  if (next) link.href = next.getAttribute("href");
  else link.remove();
  say(`${added.length} more contexts`);
}

function startMore() {
  const link = find("a[data-more]");
  link?.addEventListener("click", (event) => {
    event.preventDefault();
    appendMore(link).catch((error) => { say(wordsOf(error)); location.assign(link.href); });
  });
}

function startColour() {
  const choice = find('select[name="colour"]');
  choice.addEventListener("change", (event) => {
    event.stopPropagation();
    find("#context-list").classList.toggle("heat-off", choice.value === "none");
    keepInAddress({ colour: choice.value === "none" ? null : choice.value });
  });
}

function annotationJson(form) {
  const tags = form.elements.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean);
  return JSON.stringify({ label: form.elements.label.value.trim(), note: form.elements.note.value, tags });
}

async function save(form) {
  const status = find("[role=status]", form);
  const headers = { "Content-Type": "application/json" };
  status.textContent = "Saving…";
  try {
    await fetchJson(form.dataset.annotation, { method: "PUT", headers, body: annotationJson(form) });
    status.textContent = "Saved";
  } catch (error) {
    tellError(status, error);
  }
}

function startNotes() {
  const form = find("[data-annotation]");
  find("button", form).disabled = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save(form);
  });
}

/** Start the controls of the page. */
export function start() {
  startBars();
  startMore();
  startColour();
  startNotes();
}
