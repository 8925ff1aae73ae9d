// What is said of a failure.

import { find, language, say } from "./i18n.js";

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
