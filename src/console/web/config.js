// A device's own configuration: read, changed in a form, written back and compared.

import { h } from "./dom.js";
import { find, onLanguage, say } from "./i18n.js";
import { outcome } from "./problems.js";

/** A member's name as people read it. */
function words(name) {
  return name.replaceAll("_", " ");
}

/** What stands for a value that the device did not tell. */
const EMPTY = { integer: "", number: "", string: "", array: [], object: {} };

/**
 * A group of fields: those of the schema that can be written, or that the device told. `read` gives the members
 * back that have a value; what a device keeps to itself, and what it alone may set, is left out.
 */
function group(name, value, schema) {
  const { properties = {} } = schema;
  const names = [...new Set([...Object.keys(properties), ...Object.keys(value)])].filter((key) => key in value || !properties[key]?.readOnly);
  const inner = names.filter((key) => key !== "other" || key in value).map((key) => [key, field(key, value[key], properties[key] ?? {})]);
  const element = h("fieldset", {}, h("legend", {}, words(name)), ...inner.map(([, each]) => each.element));
  const read = () => Object.fromEntries(inner.map(([key, each]) => [key, each.read()]).filter(([, each]) => each !== undefined));
  return { element, read };
}

/** One field of a value of any depth; `read` gives the value back, with the type of its schema. */
function field(name, told, schema = {}) {
  const value = told ?? EMPTY[schema.type] ?? "";
  if (typeof value === "object" && !Array.isArray(value)) {
    const inner = group(name, value, schema);
    return told === undefined ? { ...inner, read: () => keepIf(inner.read()) } : inner;
  }
  let input;
  let read;
  if (Array.isArray(value)) {
    input = h("textarea", { value: JSON.stringify(value, null, 1), rows: Math.min(12, 2 + value.length * 4), spellcheck: false });
    read = () => keepIf(JSON.parse(input.value));
  } else if (schema.type === "integer" || schema.type === "number" || typeof value === "number") {
    input = h("input", { type: "number", value: String(value), step: schema.type === "integer" ? "1" : "any" });
    if (schema.minimum !== undefined) input.min = String(schema.minimum);
    if (schema.maximum !== undefined) input.max = String(schema.maximum);
    read = () => (input.value === "" ? undefined : Number(input.value));
  } else {
    input = h("input", { type: schema.writeOnly ? "password" : "text", value: String(value), autocomplete: "off" });
    if (schema.maxLength) input.maxLength = schema.maxLength;
    read = () => (input.value === "" ? undefined : input.value);
  }
  input.name = name;
  input.disabled = schema.readOnly === true;
  const element = h("label", { title: schema.description ?? "" }, h("span", {}, words(name)), input);
  return { element, read: () => (schema.readOnly ? undefined : read()) };
}

/** Nothing, if there is nothing in it. */
function keepIf(value) {
  return Object.keys(value).length ? value : undefined;
}

export class ConfigForm {
  #api;
  #parts;
  #device = null;
  #kinds = null;
  #fields = null;

  constructor(api, parts) {
    this.#api = api;
    this.#parts = parts;
    parts.kind.addEventListener("change", () => this.#clear());
    parts.channel.addEventListener("change", () => this.#clear());
    parts.read.addEventListener("click", () => this.#read());
    parts.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#write();
    });
    onLanguage(() => this.#name());
  }

  open(device) {
    this.#device = device;
    this.#parts.channel.value = "";
    this.#clear();
    if (this.#kinds === null) this.#list();
  }

  async #list() {
    try {
      const { items } = await this.#api.get("/api/v1/config-kinds");
      this.#kinds = items;
      this.#name();
    } catch {
      // the next device asks again
    }
  }

  #name() {
    if (!this.#kinds) return;
    const { kind } = this.#parts;
    const chosen = kind.value;
    kind.replaceChildren(...this.#kinds.map((each) =>
      h("option", { value: each.kind }, `${find(`config.${each.kind}`) ?? each.kind} (${each.kind}, ${each.since}${each.writable ? "" : `, ${say("config.readOnly")}`})`)));
    if (chosen) kind.value = chosen;
  }

  #clear() {
    this.#fields = null;
    this.#parts.fields.replaceChildren();
    this.#parts.save.hidden = true;
    this.#say(null);
  }

  #say(problem, key = null, values = {}) {
    outcome(this.#parts.message, problem, key, values);
  }

  get #path() {
    const channel = this.#parts.channel.value.trim();
    const query = channel ? `?channel=${encodeURIComponent(channel)}` : "";
    return `/api/v1/devices/${encodeURIComponent(this.#device)}/config/${encodeURIComponent(this.#parts.kind.value)}${query}`;
  }

  async #read() {
    this.#clear();
    this.#say(null, "device.asking");
    const path = this.#path;
    try {
      const { value } = await this.#api.get(path);
      if (path !== this.#path) return;
      this.#fill(value);
      this.#say(null);
    } catch (problem) {
      this.#say(problem);
    }
  }

  #fill(value) {
    const kind = this.#kinds?.find((each) => each.kind === this.#parts.kind.value);
    this.#fields = group("", value, kind?.schema ?? {});
    this.#parts.fields.replaceChildren(this.#fields.element);
    this.#parts.save.hidden = kind?.writable === false;
  }

  async #write() {
    if (!this.#fields) return;
    const path = this.#path;
    try {
      const value = this.#fields.read();
      this.#say(null, "device.asking");
      const answer = await this.#api.send("PUT", path, value);
      const ignored = answer?.ignored ?? [];
      if (path !== this.#path) return;
      const names = ignored.map((each) => each.field || each.kind);
      if (names.length) this.#say(null, "config.ignored", { names: names.join(", ") });
      else this.#say(null, "device.saved");
    } catch (problem) {
      this.#say(problem);
    }
  }
}
