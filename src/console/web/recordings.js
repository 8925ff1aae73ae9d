// What a camera recorded: a day as a line, a list, playback, and downloads.

import { Problem, channelPath } from "./api.js";
import { Downloads } from "./downloads.js";
import { h, icon, write } from "./dom.js";
import { dateTime, duration, fileSize, timeOfDay } from "./format.js";
import { find, nameBy, onLanguage, say, sayIn } from "./i18n.js";
import { Playback, SPEEDS } from "./playback.js";
import { inOneLine } from "./problems.js";

const DAY_MS = 86_400_000;
const HOURS = [0, 3, 6, 9, 12, 15, 18, 21];

/** Today as a field of a form has it. */
function today() {
  const now = new Date();
  return new Date(now - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
}

/** RFC 3339 in UTC, whole seconds: the standard has no smaller ones. */
function rfc3339(ms) {
  return new Date(Math.floor(ms / 1000) * 1000).toISOString().replace(".000Z", "Z");
}

export class Recordings {
  channel = null;
  #api;
  #parts;
  #items = [];
  #problem = null;
  #loading = null;
  #playback;
  #downloads;

  constructor(api, parts) {
    this.#api = api;
    this.#parts = parts;
    this.#downloads = new Downloads(api, parts.downloads);
    this.#playback = new Playback(api, parts.player);
    this.#playback.addEventListener("change", () => this.#progress());
    parts.date.value = today();
    parts.date.max = today();
    parts.date.addEventListener("change", () => this.#load());
    parts.earlier.addEventListener("click", () => this.#shift(-1));
    parts.later.addEventListener("click", () => this.#shift(1));
    parts.reload.addEventListener("click", () => this.#load());
    parts.line.addEventListener("click", (event) => this.#clicked(event));
    parts.line.addEventListener("pointermove", (event) => this.#pointed(event));
    parts.line.addEventListener("pointerleave", () => (parts.pointer.hidden = true));
    parts.toggle.addEventListener("click", () => this.#playback.toggle());
    parts.stop.addEventListener("click", () => this.#playback.stop());
    parts.speed.replaceChildren(...SPEEDS.map((speed) => h("option", { value: String(speed) }, `${speed}×`)));
    parts.speed.value = "1";
    parts.speed.addEventListener("change", () => this.#playback.speed(Number(parts.speed.value)));
    parts.from.addEventListener("change", () => this.#range());
    parts.to.addEventListener("change", () => this.#range());
    parts.download.addEventListener("click", () => this.#download());
    for (const hour of HOURS) {
      const mark = h("span", { class: "line-hour" }, `${String(hour).padStart(2, "0")}:00`);
      mark.style.left = `${(hour / 24) * 100}%`;
      parts.scale.append(mark);
    }
    onLanguage(() => this.#show());
    this.#show();
    this.#progress();
  }

  /** Shows the recordings of a channel {device, id, name}. */
  open(channel) {
    const same = this.channel && this.channel.device === channel.device && this.channel.id === channel.id;
    this.channel = same ? { ...this.channel, ...channel } : channel;
    if (same) return this.#show();
    this.#playback.stop();
    this.#load();
  }

  /** Nothing is played on a page that nobody sees. */
  leave({ leaving = false } = {}) {
    this.#playback.stop({ leaving });
    this.#downloads.watch(false);
  }

  enter() {
    this.#downloads.watch(true);
  }

  get #day() {
    return Date.parse(`${this.#parts.date.value}T00:00:00`);
  }

  #shift(days) {
    const next = new Date(this.#day + days * DAY_MS + DAY_MS / 2);
    const text = new Date(next - next.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
    if (text > today()) return;
    this.#parts.date.value = text;
    this.#load();
  }

  async #load() {
    if (!this.channel || !Number.isFinite(this.#day)) return this.#show();
    this.#loading?.abort();
    const control = new AbortController();
    this.#loading = control;
    this.#items = [];
    this.#problem = null;
    this.#show();
    try {
      const start = rfc3339(this.#day);
      const end = rfc3339(this.#day + DAY_MS - 1000);
      const answer = await this.#api.get(`${channelPath(this.channel)}/records`, { start, end }, control.signal);
      this.#items = answer.items.filter((item) => item.start && item.end);
      if (!answer.complete) this.#problem = new Problem("records_incomplete", { detail: `${answer.items.length} / ${answer.total}` });
    } catch (error) {
      if (control.signal.aborted) return;
      this.#problem = error;
    }
    this.#loading = null;
    this.#show();
  }

  #show() {
    const p = this.#parts;
    const { channel } = this;
    write(p.title, channel ? channel.name || channel.id : say("recordings.choose"));
    write(p.id, channel ? `${channel.device} / ${channel.id}` : "");
    p.all.hidden = !channel;
    p.message.hidden = this.#problem === null && !(channel && !this.#loading && this.#items.length === 0);
    p.message.classList.toggle("bad", this.#problem !== null);
    write(p.message, this.#problem ? inOneLine(this.#problem) : say("recordings.none"));
    p.busy.hidden = this.#loading === null;
    p.spans.replaceChildren(...this.#items.map((item) => this.#span(item)));
    p.body.replaceChildren(...this.#items.map((item) => this.#row(item)));
    p.table.hidden = this.#items.length === 0;
    if (this.#items.length && !p.from.value) this.#choose(this.#items.at(-1));
  }

  #place(ms) {
    return Math.min(100, Math.max(0, ((ms - this.#day) / DAY_MS) * 100));
  }

  #span(item) {
    const [from, to] = [this.#place(Date.parse(item.start)), this.#place(Date.parse(item.end))];
    const span = h("i", { class: "line-span", data: { testid: "record-span", kind: item.kind ?? "" } });
    span.style.left = `${from}%`;
    span.style.width = `${Math.max(0.1, to - from)}%`;
    span.title = `${timeOfDay(item.start)} – ${timeOfDay(item.end)}`;
    return span;
  }

  #row(item) {
    const tool = (name, key, action) => nameBy(h("button", { class: "tool", type: "button", data: { testid: key.replace(".", "-") }, on: { click: action } }, icon(name)), key);
    return h("tr", { data: { testid: "record-row" } },
      h("td", {}, timeOfDay(item.start)), h("td", {}, timeOfDay(item.end)),
      h("td", { class: "figure" }, duration((Date.parse(item.end) - Date.parse(item.start)) / 1000)),
      h("td", {}, find(`record.${item.kind}`) ?? item.kind ?? "–"),
      h("td", { class: "figure" }, fileSize(item.size)),
      h("td", {}, h("span", { class: "name" }, item.name || "–")),
      h("td", { class: "col-stop" },
        tool("play", "recordings.play", () => this.#play(Date.parse(item.start))),
        tool("download", "recordings.download", () => { this.#choose(item); this.#download(); })));
  }

  #moment(event) {
    const box = this.#parts.line.getBoundingClientRect();
    return this.#day + Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * DAY_MS;
  }

  #pointed(event) {
    const { pointer } = this.#parts;
    const at = this.#moment(event);
    pointer.hidden = false;
    pointer.style.left = `${this.#place(at)}%`;
    write(pointer.firstElementChild, timeOfDay(new Date(at)));
  }

  #clicked(event) {
    if (this.channel) this.#play(this.#moment(event));
  }

  /** Plays from a moment to the end of the last recording after it; within what plays it seeks. */
  #play(from) {
    const now = Date.now();
    const last = Math.max(...this.#items.map((item) => Date.parse(item.end)), from + 60_000);
    const end = Math.min(last, this.#day + DAY_MS - 1000, now);
    if (end <= from) return;
    if (this.#playback.covers(this.channel, from)) this.#playback.seek(from);
    else this.#playback.start(this.channel, { start: rfc3339(from), end: rfc3339(end), speed: Number(this.#parts.speed.value) });
  }

  #progress() {
    const p = this.#parts;
    const { report, state, problem } = this.#playback;
    const running = report !== null;
    p.player.element.dataset.state = state;
    p.toggle.disabled = !running;
    p.stop.disabled = !running && state !== "failed";
    p.toggle.replaceChildren(icon(report?.paused ? "play" : "pause"));
    nameBy(p.toggle, report?.paused ? "playback.resume" : "playback.pause");
    const at = this.#playback.at;
    p.cursor.hidden = at === null || at < this.#day || at >= this.#day + DAY_MS;
    if (at !== null) p.cursor.style.left = `${this.#place(at)}%`;
    write(p.position, at === null ? "" : dateTime(new Date(at)));
    if (report && document.activeElement !== p.speed) p.speed.value = String(report.scale);
    p.error.hidden = problem === null;
    write(p.error, problem ? inOneLine(problem) : "");
  }

  /** Fills the range to download. */
  #choose(item) {
    const local = (text) => {
      const date = new Date(text);
      return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
    };
    this.#parts.from.value = local(item.start);
    this.#parts.to.value = local(item.end);
    this.#range();
  }

  #range() {
    const { from, to, download } = this.#parts;
    download.disabled = !(Date.parse(from.value) < Date.parse(to.value));
  }

  async #download() {
    const { from, to, error } = this.#parts;
    const { device, id } = this.channel;
    try {
      await this.#downloads.start({ device, channel: id, start: rfc3339(Date.parse(from.value)), end: rfc3339(Date.parse(to.value)) });
      error.hidden = true;
    } catch (problem) {
      error.hidden = false;
      write(error, inOneLine(problem));
    }
  }
}
