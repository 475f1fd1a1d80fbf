// Parts of a page that a newer page of the same address replaces, where the server changed them.
import { all, ask, one } from "./util.js";

const known = new Map();

/** Note the parts as the server sent them, before a person opens or ticks anything in them. */
export function rememberParts(root = document) {
  for (const part of all("[data-part]", root)) known.set(part.dataset.part, part.outerHTML);
}

/**
 * Put in what changed; what a person opened in other parts stays, and so does the place of the focus.
 * Returns the new parts.
 */
export function swapParts(page) {
  const swapped = [];
  for (const part of all("[data-part]")) {
    const newer = one(`[data-part="${CSS.escape(part.dataset.part)}"]`, page);
    if (!newer || known.get(part.dataset.part) === newer.outerHTML) continue;
    known.set(part.dataset.part, newer.outerHTML);
    const hadFocus = part.contains(document.activeElement);
    part.replaceWith(document.adoptNode(newer));
    if (hadFocus) one("a, button, summary, input", newer)?.focus();
    swapped.push(newer);
  }
  return swapped;
}

/** The page of this address as it is now. */
export async function newerPage() {
  const reply = await ask(location.pathname + location.search);
  return new DOMParser().parseFromString(await reply.text(), "text/html");
}
