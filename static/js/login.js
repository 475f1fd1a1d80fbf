// Login page: a one-time link has its code after #, which is not sent to servers or logs.
import { find } from "./util.js";

const LINK = /^ql_[0-9a-f]{12}_[\w-]{43}$/;

/** Remove the code from the address and submit it in the form. */
export function start() {
  const form = find("[data-login]");
  const code = location.hash.slice(1);
  // Only one-time codes: an address must not log somebody in with a token chosen by another person.
  if (!LINK.test(code)) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  form.elements.token.value = code;
  find("[data-login-words]", form).textContent = "Logging in…";
  form.requestSubmit();
}
