// Replaces the parts of a page that changed on the server.
import { ask, find, findAll } from "./util.js";

const sentHtml = new Map();

/** Record the parts as the server sent them, before anyone opens or ticks anything in them. */
export function rememberParts(root = document) {
  for (const part of findAll("[data-part]", root)) sentHtml.set(part.dataset.part, part.outerHTML);
}

/**
 * Replace the parts that changed and keep the focus; other parts stay as they are.
 * Returns the new parts.
 */
export function swapParts(page) {
  const swapped = [];
  for (const part of findAll("[data-part]")) {
    const newer = find(`[data-part="${CSS.escape(part.dataset.part)}"]`, page);
    if (!newer || sentHtml.get(part.dataset.part) === newer.outerHTML) continue;
    sentHtml.set(part.dataset.part, newer.outerHTML);
    const hadFocus = part.contains(document.activeElement);
    part.replaceWith(document.adoptNode(newer));
    if (hadFocus) find("a, button, summary, input", newer)?.focus();
    swapped.push(newer);
  }
  return swapped;
}

/** Fetch the current page of this address. */
export async function newerPage() {
  const reply = await ask(location.pathname + location.search);
  return new DOMParser().parseFromString(await reply.text(), "text/html");
}
