// The dialog that asks who somebody is, when the gateway wants to know.

import { sayIn } from "./i18n.js";
import { Problem } from "./api.js";

/** Resolves when the person has signed in. */
export function signIn(api, { dialog, form, error }) {
  return new Promise((resolve) => {
    const { username, password } = form.elements;
    const submit = form.querySelector("button");
    const keepOpen = (event) => event.preventDefault(); // there is nothing to do without
    const attempt = async (event) => {
      event.preventDefault();
      submit.disabled = true;
      error.hidden = true;
      try {
        await api.login(username.value, password.value);
      } catch (problem) {
        if (problem instanceof Problem && problem.status === 401) sayIn(error, "signin.wrong");
        else {
          delete error.dataset.say;
          error.textContent = problem.message;
        }
        error.hidden = false;
        password.select();
        return;
      } finally {
        submit.disabled = false;
      }
      password.value = "";
      form.removeEventListener("submit", attempt);
      dialog.removeEventListener("cancel", keepOpen);
      dialog.close();
      resolve();
    };
    form.addEventListener("submit", attempt);
    dialog.addEventListener("cancel", keepOpen);
    error.hidden = true;
    dialog.showModal();
    (username.value ? password : username).focus();
  });
}
