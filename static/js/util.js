// Small helpers that every module shares.

export const one = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Tell a screen reader; the live region is in base.html. */
export function say(text) {
  one("#said").textContent = text;
}

/** Make an element with properties and children; strings become text, never markup. */
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Act on a single key of one page; keys.js hears it and knows when keys are off. */
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

/** Fetch JSON; an error carries the problem document's words. */
export async function fetchJson(address, options) {
  const reply = await fetch(address, options);
  const body = await reply.json().catch(() => ({}));
  if (reply.ok) return body;
  const words = [body.detail ?? reply.statusText, body.remedy].filter(Boolean).join(". ");
  const id = body.request_id ? ` (request ${body.request_id})` : "";
  throw Object.assign(new Error(words + id), { status: reply.status });
}

/** A measured value as the server's `measured` writes it: significant digits, no trailing zeros. */
export function measured(value, digits = 4) {
  const size = Math.abs(value);
  const text = size && size < 1e-4
    ? size.toExponential(digits - 1).replace(/\.?0+e/, "e")
    : String(Number.isInteger(size) ? size : Number(size.toPrecision(digits)));
  return value < 0 ? `−${text}` : text;
}

/** Name the API call of a view that changed without a new page. */
export function nameApiCall(path) {
  const box = one(".api-call");
  if (!box) return;
  for (const pre of all("pre", box)) pre.textContent = pre.textContent.replace(box.dataset.api, () => path);
  box.dataset.api = path;
}
