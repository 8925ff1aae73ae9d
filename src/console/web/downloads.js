// Recordings on their way to a file, and those that have arrived.

import { h, icon, reconcile, write } from "./dom.js";
import { bitRate, dateTime, fileSize, percent } from "./format.js";
import { nameBy, onLanguage, say } from "./i18n.js";

const POLL_MS = 1_000;

class DownloadView {
  #owner;
  #name = h("span", { class: "name" });
  #when = h("span", { class: "id" });
  #bar = h("progress", { max: 1 });
  #state = h("span", { class: "dim" });
  #link = h("a", { class: "tool", data: { testid: "download-file" } }, icon("download"));

  constructor(owner, report) {
    this.#owner = owner;
    const remove = h("button", { class: "tool", type: "button", data: { testid: "download-remove" } }, icon("close"));
    remove.addEventListener("click", () => owner.remove(this.report));
    nameBy(remove, "downloads.remove");
    this.element = h("li", { class: "download", data: { testid: "download" } },
      h("span", { class: "names" }, this.#name, this.#when), this.#bar, this.#state, this.#link, remove);
    this.update(report);
  }

  update(report) {
    this.report = report;
    this.element.dataset.state = report.state;
    write(this.#name, this.#owner.nameOf(report));
    write(this.#when, `${dateTime(report.start)} – ${dateTime(report.end)}`);
    this.#bar.hidden = report.state === "finished" || report.state === "failed";
    if (report.state === "waiting") this.#bar.removeAttribute("value");
    else this.#bar.value = report.progress;
    const figures = {
      running: `${percent(report.progress)} · ${fileSize(report.bytes)} · ${bitRate(report.bytes_per_second * 8)}`,
      finished: fileSize(report.bytes),
      failed: report.error?.detail ?? report.error?.code ?? "",
    };
    write(this.#state, [say(`download.${report.state}`), figures[report.state]].filter(Boolean).join(" · "));
    this.#link.hidden = report.state !== "finished";
    if (report.state === "finished") {
      this.#link.href = this.#owner.linkTo(report);
      this.#link.download = report.file_name ?? "";
      this.#link.title = say("downloads.keep");
      this.#link.setAttribute("aria-label", say("downloads.keep"));
    }
  }
}

export class Downloads {
  #api;
  #parts;
  #views = new Map();
  #items = [];
  #timer = 0;

  constructor(api, parts) {
    this.#api = api;
    this.#parts = parts;
    onLanguage(() => this.#show());
  }

  nameOf(report) {
    return report.name || report.channel;
  }

  linkTo(report) {
    return this.#api.linkTo(`/api/v1/downloads/${encodeURIComponent(report.id)}/file`);
  }

  /** Throws a Problem. */
  async start(wish) {
    await this.#api.send("POST", "/api/v1/downloads", wish);
    await this.#read();
  }

  watch(wanted) {
    clearInterval(this.#timer);
    if (!wanted) return;
    this.#timer = setInterval(() => this.#items.some((item) => ["waiting", "running"].includes(item.state)) && this.#read(), POLL_MS);
    this.#read();
  }

  async remove(report) {
    if (report.state === "running" && !confirm(say("downloads.remove.sure"))) return;
    await this.#api.request("DELETE", `/api/v1/downloads/${encodeURIComponent(report.id)}`).catch(() => {});
    await this.#read();
  }

  async #read() {
    try {
      const { items } = await this.#api.get("/api/v1/downloads");
      this.#items = items;
      this.#show();
    } catch {
      // the next look asks again
    }
  }

  #show() {
    this.#parts.box.hidden = this.#items.length === 0;
    reconcile(this.#parts.list, this.#items, this.#views, (item) => item.id, (item) => new DownloadView(this, item));
  }
}
