// API page: call a route and show the response as text.
import { find, findAll, wordsOf } from "./util.js";

const MAX_SHOWN = 20_000;

function addressOf(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  for (const field of findAll("[data-in]", form)) {
    if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(field.value || `{${field.name}}`));
    else if (field.dataset.in === "query" && field.value !== "") query.set(field.name, field.value);
  }
  return path + (query.size ? `?${query}` : "");
}

function showSnippets(form) {
  const address = location.origin + addressOf(form);
  find("[data-curl]", form).textContent = `curl -s '${address}'`;
  find("[data-python]", form).textContent = `from app.client import Client

with Client("${location.origin}") as client:
    answer = client.get(${JSON.stringify(addressOf(form))})`;
}

function readable(text, type) {
  if (!type.includes("json")) return text;
  try { return JSON.stringify(JSON.parse(text), null, 1); } catch { return text; }
}

async function call(form) {
  const status = find("[role=status]", form);
  const answer = find(".answer", form);
  const startTime = performance.now();
  const reply = await fetch(addressOf(form));
  const type = reply.headers.get("content-type") ?? "";
  const isText = /json|text|csv/.test(type);
  const text = isText ? readable(await reply.text(), type) : `${(await reply.blob()).size} bytes of ${type}`;
  const cut = text.length > MAX_SHOWN ? `\n… ${text.length - MAX_SHOWN} characters more` : "";
  status.textContent = `${reply.status} ${reply.statusText}, ${Math.round(performance.now() - startTime)} ms`;
  answer.textContent = text.slice(0, MAX_SHOWN) + cut;
  answer.hidden = false;
}

function startForm(form) {
  find("button", form).disabled = false;
  form.addEventListener("input", () => showSnippets(form));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    call(form).catch((error) => { find("[role=status]", form).textContent = wordsOf(error); });
  });
}

/** Start the forms of the page. */
export function start() {
  for (const form of findAll('.try[data-method="GET"]')) startForm(form);
  const target = document.getElementById(location.hash.slice(1));
  if (target) target.open = true;
}
