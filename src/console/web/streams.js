// What runs: one row a stream.

import { Pager } from "./api.js";
import { h, icon, reconcile, write } from "./dom.js";
import { bitRate, codec, dateTime, number, percent, since } from "./format.js";
import { find, nameBy, onLanguage, say } from "./i18n.js";

const COLUMNS = ["state", "channel", "kind", "video", "audio", "rate", "loss", "readers", "transport", "since"];

class StreamView {
  #table;
  #cells = new Map();

  constructor(table, stream) {
    this.#table = table;
    this.element = h("tr", { data: { testid: "stream-row" } });
    for (const column of COLUMNS) {
      const cell = h("td", { class: `col-${column}` });
      this.#cells.set(column, cell);
      this.element.append(cell);
    }
    this.#cells.get("state").append(h("span", { class: "badge" }));
    for (const column of ["channel", "video", "transport"]) this.#cells.get(column).append(h("span", { class: "name" }), h("span", { class: "id" }));
    const stop = nameBy(h("button", { class: "tool", type: "button", data: { testid: "stream-stop" } }, icon("stop")), "streams.stop");
    stop.addEventListener("click", () => this.#table.stop(this.stream));
    this.element.append(h("td", { class: "col-stop" }, stop));
    this.update(stream);
  }

  update(stream) {
    this.stream = stream;
    const { names } = this.#table;
    const set = (column, text) => write(this.#cells.get(column), text);
    const pair = (column, above, below) => {
      write(this.#cells.get(column).children[0], above);
      write(this.#cells.get(column).children[1], below);
    };
    const badge = this.#cells.get("state").firstChild;
    badge.dataset.state = stream.state;
    write(badge, find(`stream.${stream.state}`) ?? stream.state);
    const channel = names.get(`${stream.device}/${stream.channel}`) || stream.channel;
    pair("channel", channel, [names.get(stream.device) || stream.device, stream.stream].filter(Boolean).join(" · "));
    this.#cells.get("channel").title = `${stream.device} / ${stream.channel}`;
    set("kind", find(`kind.${stream.kind}`) ?? stream.kind);
    const video = stream.video;
    const size = video?.width ? `${video.width}×${video.height}` : "";
    pair("video", codec(video?.codec), [size, video?.fps ? say("tile.fps", { fps: number(video.fps) }) : ""].filter(Boolean).join(" "));
    set("audio", codec(stream.audio?.codec));
    set("rate", bitRate(stream.bit_rate));
    const seen = (stream.packets ?? 0) + (stream.lost ?? 0);
    set("loss", stream.lost === undefined ? "–" : percent(seen ? stream.lost / seen : 0));
    this.#cells.get("loss").title = `${number(stream.lost)} / ${number(seen)}`;
    set("readers", number(stream.readers));
    // An SSRC has ten digits in this standard; the first tells live from recorded.
    pair("transport", stream.transport, stream.ssrc === null || stream.ssrc === undefined ? "" : String(stream.ssrc).padStart(10, "0"));
    set("since", since(stream.started_at));
    this.#cells.get("since").title = dateTime(stream.started_at);
    Object.assign(this.element.dataset, { stream: stream.id, device: stream.device, channel: stream.channel, readers: stream.readers });
  }
}

/** Fires "counts" when it was read, "stopped" (with the stream) when the person stopped one. */
export class Streams extends EventTarget {
  #api;
  #pager;
  #views = new Map();
  #parts;
  #busy = false;

  constructor(api, names, parts) {
    super();
    this.#api = api;
    this.names = names;
    this.#parts = parts;
    this.#pager = new Pager(api, "/api/v1/streams");
    parts.more.addEventListener("click", () => this.#read(() => this.#pager.more()));
    onLanguage(() => this.#show());
  }

  refresh() {
    return this.#read(() => this.#pager.refresh());
  }

  async #read(read) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await read();
      this.#show();
    } catch {
      // the next tick asks again
    } finally {
      this.#busy = false;
    }
  }

  #show() {
    const { body, none, more } = this.#parts;
    const { items, total, complete } = this.#pager;
    reconcile(body, items, this.#views, (stream) => stream.id, (stream) => new StreamView(this, stream));
    none.hidden = items.length > 0;
    more.hidden = complete || items.length === 0;
    write(more, say("devices.more", { shown: number(items.length), total: number(total) }));
    this.dispatchEvent(new Event("counts"));
  }

  counts() {
    const { complete, items, total } = this.#pager;
    return {
      streams: total,
      viewers: complete ? items.reduce((all, stream) => all + (stream.readers ?? 0), 0) : undefined,
    };
  }

  async stop(stream) {
    if (!confirm(say("streams.stop.sure", { readers: number(stream.readers) }))) return;
    // Told beforehand, so that our own pictures of it do not come back at once.
    this.dispatchEvent(new CustomEvent("stopped", { detail: stream }));
    try {
      await this.#api.request("DELETE", `/api/v1/streams/${encodeURIComponent(stream.id)}`);
    } catch {
      // the table shows what still runs
    }
    this.refresh();
  }
}
