// Words in two languages. A place that holds words remembers which, so that a switch rewrites it in place.

import { recall, remember } from "./prefs.js";
import { WORDS } from "./words.js";

const LANGUAGES = ["en", "zh-CN"];
const changed = new EventTarget();
let current = recall("language", LANGUAGES, navigator.language.toLowerCase().startsWith("zh") ? "zh-CN" : "en");

export function language() {
  return current;
}

export function setLanguage(next) {
  current = next;
  remember("language", next);
  translate(document);
  changed.dispatchEvent(new Event("change"));
}

export function toggleLanguage() {
  setLanguage(LANGUAGES[(LANGUAGES.indexOf(current) + 1) % LANGUAGES.length]);
}

export function onLanguage(handler) {
  changed.addEventListener("change", handler);
}

/** The words of `key`, with {name} replaced from `values`; null where there are none. */
export function find(key, values = {}) {
  const words = WORDS[key]?.[LANGUAGES.indexOf(current)];
  return words?.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "–") ?? null;
}

export function say(key, values) {
  return find(key, values) ?? key;
}

const values = new WeakMap();

/** Gives an element text by key; it follows the language from then on. */
export function sayIn(element, key, of = {}) {
  element.dataset.say = key;
  values.set(element, of);
  const text = say(key, of);
  if (element.textContent !== text) element.textContent = text;
  return element;
}

/** Gives an element its accessible name by key, and a control a tooltip too. */
export function nameBy(element, key) {
  element.dataset.name = key;
  element.setAttribute("aria-label", say(key));
  if (element.matches("button, a, select, [role=status]")) element.title = say(key);
  return element;
}

/** Rewrites all places below `root`. */
export function translate(root) {
  document.documentElement.lang = current;
  for (const element of root.querySelectorAll("[data-say]")) sayIn(element, element.dataset.say, values.get(element));
  for (const element of root.querySelectorAll("[data-name]")) nameBy(element, element.dataset.name);
  for (const element of root.querySelectorAll("[data-placeholder]")) element.placeholder = say(element.dataset.placeholder);
}
