// Login page: a one-time link carries its code after #, which never reaches a server's log.
import { one } from "./util.js";

const LINK = /^ql_[0-9a-f]{12}_[\w-]{43}$/;

/** Take the code out of the address and send it, as a form, once. */
export function start() {
  const form = one("[data-login]");
  const code = location.hash.slice(1);
  // Codes of this form only: an address must not log somebody in with a token of another's choice.
  if (!LINK.test(code)) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  form.elements.token.value = code;
  one("[data-login-words]", form).textContent = "Logging in…";
  form.requestSubmit();
}
