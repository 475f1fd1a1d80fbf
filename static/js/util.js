// Helpers of all modules.

export const find = (selector, root = document) => root.querySelector(selector);
export const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Announce to screen readers; the live region is in base.html. */
export function say(text) {
  find("#said").textContent = text;
}

/** Make an element with properties and children; strings become text, never markup. */
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Act on a single key of one page; keys.js dispatches it unless keys are off. */
export function onKey(key, act) {
  document.addEventListener(`quanta-key-${key}`, (event) => {
    event.preventDefault();
    act();
  });
}

export const wantsCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Put parameters into the address without a new history entry; null removes one. */
export function keepInAddress(parameters) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  history.replaceState(history.state, "", url);
}

/** Offer `content` as a file. */
export function download(name, content, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** The error of a response: from a problem document, or from an error page. */
async function responseError(reply) {
  const text = await reply.text().catch(() => "");
  let [words, id, page] = [[reply.statusText || `The server answered ${reply.status}`]];
  if (/json/.test(reply.headers.get("Content-Type"))) {
    const problem = JSON.parse(text);
    [words, id] = [[problem.detail, problem.remedy], problem.request_id];
  } else {
    page = new DOMParser().parseFromString(text, "text/html");
    const sentences = findAll(".banner > p:not([class])", page).map((paragraph) => paragraph.textContent.replace(/\.$/, ""));
    if (sentences.length) [words, id] = [sentences, find(".banner code", page)?.textContent];
  }
  return Object.assign(new Error(words.filter(Boolean).join(". ")), { status: reply.status, requestId: id, page });
}

/** An error in one line, with the id of its request. */
export const wordsOf = (error) => error.message + (error.requestId ? ` (request ${error.requestId})` : "");

/** Show an error in an element, with a link to log in if a token is missing. */
export function tellError(node, error) {
  node.textContent = wordsOf(error);
  if (error.status !== 401) return;
  const back = encodeURIComponent(location.pathname + location.search);
  node.append(" ", make("a", { href: `/login?next=${back}`, textContent: "Log in" }));
}

/** Fetch; throws an error with the server's message and the id of the request. */
export async function ask(address, options) {
  const reply = await fetch(address, options).catch((error) => {
    throw new Error("The server cannot be reached", { cause: error });
  });
  if (!reply.ok) throw await responseError(reply);
  return reply;
}

/** Fetch JSON. */
export async function fetchJson(address, options) {
  return (await ask(address, options)).json();
}

/** Format a value as the server's `measured` does: significant digits, no trailing zeros. */
export function measured(value, digits = 4) {
  const size = Math.abs(value);
  const text = size && size < 1e-4
    ? size.toExponential(digits - 1).replace(/\.?0+e/, "e")
    : String(Number.isInteger(size) ? size : Number(size.toPrecision(digits)));
  return value < 0 ? `−${text}` : text;
}

/** Update the API call of a view that changed without a new page; `call` is its line of Python. */
export function nameApiCall(path, call) {
  const box = find(".api-call");
  if (!box) return;
  for (const pre of findAll("pre", box)) pre.textContent = pre.textContent.replace(box.dataset.api, () => path);
  const python = find("[data-python]", box);
  python.textContent = python.textContent.replace(/client\..*$/, () => call);
  box.dataset.api = path;
}
