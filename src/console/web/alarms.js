// Alarms as they come: the newest first, acknowledged and reset here.

import { Pager } from "./api.js";
import { h, icon, reconcile, write } from "./dom.js";
import { dateTime, number } from "./format.js";
import { find, nameBy, onLanguage, say } from "./i18n.js";
import { inOneLine } from "./problems.js";

const COLUMNS = ["priority", "at", "channel", "method", "kind", "description", "state"];
/** Alarms may come in bursts; the list is read again at most this often. */
const SETTLE_MS = 500;

class AlarmView {
  #owner;
  #cells = new Map();
  #acknowledge;
  #reset;

  constructor(owner, alarm) {
    this.#owner = owner;
    this.element = h("tr", { data: { testid: "alarm-row" } });
    for (const column of COLUMNS) {
      const cell = h("td", { class: `col-${column}` });
      this.#cells.set(column, cell);
      this.element.append(cell);
    }
    this.#cells.get("priority").append(h("span", { class: "badge" }));
    this.#cells.get("channel").append(h("button", { class: "link name", type: "button", on: { click: () => owner.look(this.alarm) } }), h("span", { class: "id" }));
    const tool = (name, key, action) => nameBy(h("button", { class: "tool", type: "button", data: { testid: key.replace(".", "-") }, on: { click: action } }, icon(name)), key);
    this.#acknowledge = tool("check", "alarms.acknowledge", () => owner.change(this.alarm, "PATCH", "", { acknowledged: true }));
    this.#reset = tool("reset", "alarms.reset", () => owner.change(this.alarm, "POST", "/reset"));
    this.element.append(h("td", { class: "col-stop" }, this.#acknowledge, this.#reset));
    this.update(alarm);
  }

  update(alarm) {
    this.alarm = alarm;
    const { names } = this.#owner;
    const set = (column, text) => write(this.#cells.get(column), text);
    const badge = this.#cells.get("priority").firstChild;
    badge.dataset.priority = alarm.priority;
    write(badge, say(`alarm.priority.${alarm.priority}`));
    set("at", `${dateTime(alarm.at)}${alarm.count > 1 ? ` ×${number(alarm.count)}` : ""}`);
    const [name, id] = this.#cells.get("channel").children;
    write(name, names.get(`${alarm.device}/${alarm.channel}`) || alarm.channel);
    write(id, names.get(alarm.device) || alarm.device);
    set("method", find(`alarm.method.${alarm.method}`) ?? String(alarm.method));
    set("kind", kindOf(alarm));
    set("description", alarm.description ?? "");
    this.#cells.get("description").title = alarm.description ?? "";
    set("state", stateOf(alarm));
    this.element.dataset.acknowledged = Boolean(alarm.acknowledged);
    this.#acknowledge.disabled = Boolean(alarm.acknowledged);
    this.#reset.disabled = Boolean(alarm.reset_at);
  }
}

function kindOf({ method, kind }) {
  if (kind === null || kind === undefined) return "";
  return find(`alarm.kind.${method}.${kind}`) ?? String(kind);
}

function stateOf({ acknowledged, reset_at: reset, raised_by: raised }) {
  const words = [];
  if (raised) words.push(say("alarm.raised", { by: raised }));
  if (acknowledged) words.push(say("alarm.acknowledged", { by: acknowledged.by }));
  if (reset) words.push(say("alarm.reset"));
  return words.join(" · ") || say("alarm.new");
}

/** Fires "counts" when `open` (alarms that nobody has acknowledged) changed, "look" with {device, id} for a camera. */
export class Alarms extends EventTarget {
  open = 0;
  #api;
  #pager;
  #views = new Map();
  #parts;
  #timer = 0;
  #seen = false;

  constructor(api, names, parts) {
    super();
    this.#api = api;
    this.names = names;
    this.#parts = parts;
    this.#filter();
    parts.filter.addEventListener("change", () => {
      this.#filter();
      this.refresh();
    });
    parts.more.addEventListener("click", () => this.#read(() => this.#pager.more()));
    onLanguage(() => this.#show());
  }

  #filter() {
    const open = this.#parts.filter.value === "open";
    this.#pager?.dispose();
    this.#pager = new Pager(this.#api, "/api/v1/alarms", open ? { acknowledged: "false" } : {});
  }

  /** Whether the page is in view: else only the number is kept. */
  watch(seen) {
    this.#seen = seen;
    if (seen) this.refresh();
  }

  /** An alarm came, or changed. */
  changed() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.refresh();
    }, SETTLE_MS);
  }

  async refresh() {
    if (this.#seen) await this.#read(() => this.#pager.refresh());
    try {
      const { total } = await this.#api.get("/api/v1/alarms", { acknowledged: "false", limit: 1 });
      this.open = total;
      this.dispatchEvent(new Event("counts"));
    } catch {
      // asked again with the next alarm
    }
  }

  async #read(read) {
    try {
      await read();
      this.#show();
    } catch {
      // the next alarm reads it again
    }
  }

  #show() {
    const { body, none, more } = this.#parts;
    const { items, total, complete } = this.#pager;
    reconcile(body, items, this.#views, (alarm) => alarm.id, (alarm) => new AlarmView(this, alarm));
    none.hidden = items.length > 0;
    more.hidden = complete || items.length === 0;
    write(more, say("devices.more", { shown: number(items.length), total: number(total) }));
  }

  look({ device, channel }) {
    this.dispatchEvent(new CustomEvent("look", { detail: { device, id: channel, name: this.names.get(`${device}/${channel}`) } }));
  }

  async change(alarm, method, path, body) {
    const { error } = this.#parts;
    try {
      await this.#api.send(method, `/api/v1/alarms/${encodeURIComponent(alarm.id)}${path}`, body);
      error.hidden = true;
    } catch (problem) {
      error.hidden = false;
      write(error, inOneLine(problem));
    }
    this.refresh();
  }
}
