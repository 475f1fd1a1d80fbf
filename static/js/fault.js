// An error strip above a part of the page that could not be updated, with a button to retry.
import { make } from "./util.js";

const strips = new WeakMap();

/** Remove the strip: the part is up to date again. */
export function clearFault(part) {
  strips.get(part)?.remove();
  strips.delete(part);
  part.removeAttribute("data-stale");
}

/**
 * Put the strip before `part`, and mark the part as stale.
 *
 * `note` says what the part still shows; `retry` tries again.
 */
export function showFault(part, error, note, retry) {
  clearFault(part);
  const button = make("button", { type: "button", textContent: "Retry" });
  const words = make("p", {}, make("b", {}, `${error.message.replace(/\.$/, "")}.`), note ? ` ${note}` : "");
  if (error.requestId) words.append(" Request id ", make("code", {}, error.requestId));
  const strip = make("div", { className: "fault", role: "alert" }, words, button);
  button.addEventListener("click", () => {
    button.disabled = true;
    retry();
  });
  part.before(strip);
  part.toggleAttribute("data-stale", true);
  strips.set(part, strip);
}
