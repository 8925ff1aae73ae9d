// The page of one device: what it is, what it says of itself, its settings, what may be done with it.

import { Problem } from "./api.js";
import { ConfigForm } from "./config.js";
import { Conformance } from "./conformance.js";
import { h, icon, write } from "./dom.js";
import { dateTime, number } from "./format.js";
import { find, nameBy, onLanguage, say, sayIn } from "./i18n.js";
import { inOneLine, outcome } from "./problems.js";

const FACTS = [
  "id", "manufacturer", "model", "firmware", "user_agent", "edition", "charset", "transport", "media_transport", "profile", "address",
  "channel_count", "registered_at", "expires_at", "last_seen",
];
const TIMES = new Set(["registered_at", "expires_at", "last_seen"]);
const SUBSCRIPTIONS = ["catalog", "alarm", "position", "ptz_position"];
const SETTINGS = ["name", "media_transport", "edition", "charset", "profile", "redirect"];
/** Seconds between positions, where somebody wants them. */
const POSITION_S = 5;
/** Commands of a button each; those that interrupt what the device does are asked for twice. */
const COMMANDS = [
  ["record", { on: true }, "record.on"], ["record", { on: false }, "record.off"],
  ["guard", { on: true }, "guard.on"], ["guard", { on: false }, "guard.off"],
  ["alarm-reset", {}, "alarm-reset"], ["reboot", {}, "reboot"],
];
const SURE = new Set(["reboot"]);

/** What a device answered, as rows: nested members are indented by their path. */
export function rows(value, path = "") {
  if (Array.isArray(value)) return value.flatMap((each, at) => rows(each, `${path}${path ? " " : ""}${at + 1}`));
  if (value !== null && typeof value === "object") {
    return Object.entries(value).flatMap(([name, each]) => rows(each, path ? `${path} ${name}` : name));
  }
  if (value === null || value === undefined || value === "") return [];
  const words = path.replaceAll("_", " ");
  return [h("dt", {}, words), h("dd", {}, typeof value === "boolean" ? say(value ? "yes" : "no") : String(value))];
}

export class DevicePage {
  id = null;
  #api;
  #parts;
  #device = null;
  #answers = { info: null, status: null };
  #config;
  #conformance;
  #turn = 0;

  constructor(api, parts) {
    this.#api = api;
    this.#parts = parts;
    this.#config = new ConfigForm(api, parts.config);
    this.#conformance = new Conformance(api, parts.conformance);
    parts.ask.addEventListener("click", () => this.#ask());
    parts.sync.addEventListener("click", () => this.#sync());
    parts.settings.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
    for (const name of SUBSCRIPTIONS) {
      const box = h("input", { type: "checkbox", name, data: { testid: `subscribe-${name}` }, on: { change: () => this.#subscribe() } });
      const state = h("span", { class: "dim", data: { state: name } });
      parts.subscriptions.append(h("label", { class: "check" }, box, sayIn(h("span", {}), `subscribe.${name}`), state));
    }
    for (const [command, body, key] of COMMANDS) {
      const button = h("button", { class: "button", type: "button", data: { testid: `control-${key.replace(".", "-")}` }, on: { click: () => this.#control(command, body, key) } });
      parts.commands.append(sayIn(button, `control.${key}`));
    }
    onLanguage(() => this.#show());
  }

  /** Shows a device; an empty id shows the one before. */
  open(id) {
    if (id && id !== this.id) {
      this.id = id;
      this.#device = null;
      this.#answers = { info: null, status: null };
      this.#turn += 1;
      this.#message(null);
      this.#config.open(id);
      this.#conformance.open(id);
    }
    this.#show();
    this.refresh();
  }

  get #path() {
    return `/api/v1/devices/${encodeURIComponent(this.id)}`;
  }

  /** Reads what the gateway knows; the device is not asked. */
  async refresh() {
    if (!this.id) return;
    const turn = this.#turn;
    try {
      const device = await this.#api.get(this.#path);
      if (turn !== this.#turn) return;
      const first = this.#device === null;
      this.#device = device;
      this.#show();
      if (first) this.#fill();
    } catch (problem) {
      if (turn === this.#turn) this.#message(problem);
      return;
    }
    this.#conformance.refresh();
    this.#readSubscriptions(turn);
  }

  changed(id) {
    if (id === this.id) this.refresh();
  }

  #show() {
    const p = this.#parts;
    const device = this.#device;
    p.none.hidden = this.id !== null;
    p.all.hidden = this.id === null;
    if (!device) return;
    write(p.title, device.name || device.id);
    p.state.dataset.state = device.online ? "running" : "closing";
    write(p.state, say(device.online ? "state.online" : "state.offline"));
    p.facts.replaceChildren(...FACTS.flatMap((name) => {
      const value = device[name];
      if (value === null || value === undefined || value === "") return [];
      const text = TIMES.has(name) ? dateTime(value) : typeof value === "number" && name !== "edition" ? number(value) : String(value);
      return [h("dt", {}, find(`device.${name}`) ?? name), h("dd", {}, text)];
    }));
    for (const name of ["info", "status"]) {
      const answer = this.#answers[name];
      const box = p[name];
      box.parentElement.hidden = answer === null;
      if (answer instanceof Problem) box.replaceChildren(h("dt", {}, say("failed")), h("dd", { class: "bad" }, inOneLine(answer)));
      else if (answer) box.replaceChildren(...rows(answer));
    }
    for (const button of [p.ask, p.sync, ...p.commands.querySelectorAll("button")]) button.disabled = !device.online;
  }

  /** The form of the settings, once for each device that is opened. */
  #fill() {
    const { elements } = this.#parts.settings;
    elements.profile.value = this.#device.profile_set ?? "";
    for (const name of ["name", "redirect"]) elements[name].value = this.#device[name] ?? "";
    for (const name of ["charset", "edition", "media_transport"]) elements[name].value = String(this.#device[name] ?? "");
    elements.password.value = "";
    for (const name of SETTINGS) elements[name].dataset.shown = elements[name].value;
  }

  #message(problem, key = null, values = {}) {
    outcome(this.#parts.message, problem, key, values);
  }

  /** Runs something with the device and says what came of it. */
  async #run(work, key, values = () => ({})) {
    const turn = this.#turn;
    this.#message(null, "device.asking");
    try {
      const answer = await work();
      if (turn === this.#turn) this.#message(null, key, values(answer));
      return answer;
    } catch (problem) {
      if (turn === this.#turn) this.#message(problem);
      return null;
    }
  }

  async #ask() {
    const turn = this.#turn;
    const one = async (name) => {
      const answer = await this.#api.get(`${this.#path}/${name}`).catch((problem) => problem);
      if (turn !== this.#turn) return;
      this.#answers[name] = answer;
      this.#show();
    };
    this.#parts.ask.disabled = true;
    await Promise.all(["info", "status"].map(one));
    this.refresh();
  }

  #sync() {
    return this.#run(() => this.#api.send("POST", `${this.#path}/catalog`), "device.synced",
      ({ received, total }) => ({ received: number(received), total: number(total) }));
  }

  #control(command, body, key) {
    if (SURE.has(command) && !confirm(say(`control.${key}.sure`))) return undefined;
    return this.#run(() => this.#api.send("POST", `${this.#path}/control/${command}`, body), "device.done");
  }

  async #save() {
    const { elements } = this.#parts.settings;
    const settings = {};
    // What nobody touched stays as it is: shown is what is in force, which a profile may have set.
    for (const name of SETTINGS) {
      const value = elements[name].value.trim();
      if (value === elements[name].dataset.shown) continue;
      settings[name] = name === "edition" ? Number(value) : value || (name === "name" ? "" : null);
    }
    if (elements.password.value) settings.password = elements.password.value;
    const device = await this.#run(() => this.#api.send("PATCH", this.#path, settings), "device.saved");
    if (device) {
      this.#device = device;
      this.#fill();
    }
    this.refresh();
  }

  async #readSubscriptions(turn) {
    try {
      const { wanted, items } = await this.#api.get(`${this.#path}/subscriptions`);
      if (turn !== this.#turn) return;
      const { subscriptions } = this.#parts;
      for (const name of SUBSCRIPTIONS) {
        const box = subscriptions.querySelector(`input[name=${name}]`);
        box.checked = Boolean(wanted[name]);
        const item = items.find((each) => each.topic === name);
        write(subscriptions.querySelector(`[data-state=${name}]`), item ? find(`subscription.${item.state}`) ?? item.state : "");
      }
    } catch {
      // shown with the next refresh
    }
  }

  async #subscribe() {
    const box = (name) => this.#parts.subscriptions.querySelector(`input[name=${name}]`).checked;
    const wanted = { catalog: box("catalog"), alarm: box("alarm"), position: box("position") ? POSITION_S : null, ptz_position: box("ptz_position") };
    await this.#run(() => this.#api.send("PUT", `${this.#path}/subscriptions`, wanted), "device.saved");
    this.#readSubscriptions(this.#turn);
  }
}

/** The button that leads from a row of the tree to this page. */
export function linkTo(id) {
  const link = h("a", { class: "tool", href: `#device/${encodeURIComponent(id)}`, tabIndex: -1, data: { testid: "device-open" }, on: { click: (event) => event.stopPropagation() } }, icon("information"));
  nameBy(link, "device.open");
  link.title = say("device.open");
  return link;
}
