// What in a device's messages and media departs from the standard, and the test that looks for more.

import { h } from "./dom.js";
import { dateTime, number } from "./format.js";
import { find, language, onLanguage, say } from "./i18n.js";
import { outcome } from "./problems.js";

export class Conformance {
  #api;
  #parts;
  #device = null;
  #items = [];
  #steps = null;
  #running = false;

  constructor(api, parts) {
    this.#api = api;
    this.#parts = parts;
    parts.test.addEventListener("click", () => this.#test());
    parts.csv.addEventListener("click", () => this.#keep());
    onLanguage(() => this.#show());
  }

  open(device) {
    this.#device = device;
    this.#items = [];
    this.#steps = null;
    this.#say(null);
    this.#show();
  }

  get #path() {
    return `/api/v1/devices/${encodeURIComponent(this.#device)}`;
  }

  async refresh() {
    const device = this.#device;
    try {
      const { items } = await this.#api.get(`${this.#path}/conformance`);
      if (device !== this.#device) return;
      this.#items = items;
      this.#show();
    } catch {
      // read again with the next event
    }
  }

  #say(problem, key = null) {
    outcome(this.#parts.message, problem, key);
  }

  #show() {
    const p = this.#parts;
    const says = (item) => (language() === "en" ? item.says : item.says_zh);
    p.body.replaceChildren(...this.#items.map((item) => h("tr", { data: { testid: "finding", rule: item.rule } },
      h("td", {}, h("span", { class: "badge", data: { severity: item.severity } }, say(`severity.${item.severity}`))),
      h("td", { class: "wrap" }, h("span", {}, says(item)), h("span", { class: "id" }, item.sample)),
      h("td", { class: "id" }, item.clause),
      h("td", { class: "figure" }, number(item.count)),
      h("td", {}, dateTime(item.last)))));
    p.table.hidden = this.#items.length === 0;
    p.none.hidden = this.#items.length > 0;
    p.csv.disabled = this.#items.length === 0;
    p.test.disabled = this.#running;
    p.steps.hidden = this.#steps === null;
    p.steps.replaceChildren(...(this.#steps ?? []).map((step) => h("li", { class: "step", data: { ok: String(step.ok), testid: "selftest-step" } },
      h("span", { class: "dot" }), h("b", {}, find(`selftest.${step.name}`) ?? step.name),
      h("span", { class: step.ok ? "dim" : "bad" }, step.detail), h("span", { class: "figure dim" }, `${number(step.took_ms)} ms`))));
  }

  async #test() {
    const device = this.#device;
    this.#running = true;
    this.#steps = null;
    this.#say(null, "selftest.running");
    this.#show();
    try {
      const { steps } = await this.#api.send("POST", `${this.#path}/selftest`);
      if (device === this.#device) {
        this.#steps = steps;
        this.#say(null);
      }
    } catch (problem) {
      if (device === this.#device) this.#say(problem);
    }
    this.#running = false;
    this.#show();
    this.refresh();
  }

  async #keep() {
    try {
      await this.#api.keep(`${this.#path}/conformance.csv`, `conformance_${this.#device}.csv`);
    } catch (problem) {
      this.#say(problem);
    }
  }
}
