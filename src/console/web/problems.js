// What is said of a failure.

import { write } from "./dom.js";
import { find, language, say, sayIn } from "./i18n.js";

/**
 * The words for a failure: the known ones by code, else what the gateway said. The gateway's hint is of
 * this one case (it knows the device's answer) but English only.
 */
export function explain(problem, facts) {
  const key = `error.${problem.code}`;
  const known = find(key) !== null;
  const said = known && problem.hint && language() === "en";
  return {
    title: find(key) ?? (problem.title || say("error.other")),
    step: known ? find(`${key}.step`) : problem.step,
    hint: known && !said ? find(`${key}.hint`, facts) : problem.hint,
    detail: problem.detail,
  };
}

/** The same in one line, for a form or a table. */
export function inOneLine(problem) {
  const { title, detail, hint } = explain(problem, {});
  const field = problem.field ? `${problem.field}: ` : "";
  return [title, detail && `${field}${detail}`, hint].filter(Boolean).join(" · ");
}

/** Says in a form's message what came of it: the failure, or the words of `key`; nothing hides it. */
export function outcome(message, problem, key = null, values = {}) {
  message.hidden = problem === null && key === null;
  message.classList.toggle("bad", problem !== null);
  if (problem) {
    delete message.dataset.say;
    write(message, inOneLine(problem));
  } else if (key) sayIn(message, key, values);
}
