// The video wall: 1, 4 or 9 tiles, one of them selected.

import { h } from "./dom.js";
import { onLanguage } from "./i18n.js";
import { recall, remember } from "./prefs.js";
import { Tile } from "./tile.js";

const LAYOUTS = ["1", "4", "9"];
/** What waits for its device asks again this often, should the event of its return be missed. */
const WAITING_MS = 30_000;

/** Fires "change" when another set of channels plays. */
export class Wall extends EventTarget {
  #api;
  #facts;
  #tiles = [];
  #selected = null;
  #grid;
  #buttons;
  #closeAll;

  constructor(api, facts, { grid, layouts, closeAll }) {
    super();
    this.#api = api;
    this.#facts = facts;
    this.#grid = grid;
    this.#closeAll = closeAll;
    this.#buttons = [...layouts.querySelectorAll("button")];
    for (const button of this.#buttons) {
      const count = Number(button.dataset.count);
      for (let dot = 0; dot < count; dot += 1) button.append(h("i", {}));
      button.addEventListener("click", () => this.arrange(button.dataset.count));
    }
    closeAll.addEventListener("click", () => {
      this.#tiles.forEach((tile) => tile.channel && tile.stop());
      this.#select(this.#tiles[0]);
    });
    addEventListener("pagehide", () => this.#tiles.forEach((tile) => tile.leave()));
    setInterval(() => this.#tiles.forEach((tile) => tile.waitsForDevice && tile.retry()), WAITING_MS);
    onLanguage(() => this.#tiles.forEach((tile) => tile.show()));
    // Back out of the browser's cache of pages: the connections are gone, the wish is not.
    addEventListener("pageshow", (event) => event.persisted && this.#tiles.forEach((tile) => tile.retry()));
    const narrow = matchMedia("(max-width: 760px)").matches;
    this.arrange(recall("layout", LAYOUTS, narrow ? "1" : "4"));
  }

  /** Shows `count` tiles. With fewer than before, the selected and the playing ones stay. */
  arrange(count) {
    const wanted = Number(count);
    while (this.#tiles.length < wanted) this.#add();
    if (this.#tiles.length > wanted) {
      const worth = (tile) => (tile === this.#selected && tile.channel ? 2 : tile.channel ? 1 : 0);
      const kept = new Set([...this.#tiles].sort((a, b) => worth(b) - worth(a)).slice(0, wanted));
      for (const tile of this.#tiles) {
        if (kept.has(tile)) continue;
        tile.stop();
        tile.element.remove();
      }
      this.#tiles = this.#tiles.filter((tile) => kept.has(tile));
    }
    this.#grid.dataset.count = count;
    remember("layout", count);
    for (const button of this.#buttons) button.setAttribute("aria-pressed", String(button.dataset.count === count));
    if (!this.#tiles.includes(this.#selected)) this.#select(this.#free() ?? this.#tiles[0]);
  }

  #add() {
    const used = new Set(this.#tiles.map((tile) => tile.element.dataset.number));
    let number = 1;
    while (used.has(String(number))) number += 1;
    const tile = new Tile(this.#api, this.#facts, number);
    tile.addEventListener("choose", () => this.#select(tile));
    tile.addEventListener("change", () => this.#changed());
    const at = this.#tiles.findIndex((other) => Number(other.element.dataset.number) > number);
    const before = at < 0 ? null : this.#tiles[at];
    this.#grid.insertBefore(tile.element, before?.element ?? null);
    this.#tiles.splice(at < 0 ? this.#tiles.length : at, 0, tile);
    tile.mark(false);
  }

  #free() {
    return this.#tiles.find((tile) => !tile.channel);
  }

  #select(tile) {
    this.#selected = tile;
    for (const each of this.#tiles) each.mark(each === tile);
  }

  #changed() {
    this.#closeAll.disabled = !this.#tiles.some((tile) => tile.channel);
    this.dispatchEvent(new Event("change"));
  }

  /** Plays a channel in the selected tile, and takes the next free one for the next click. */
  play(channel, started) {
    this.#selected.play(channel, started);
    const at = this.#tiles.indexOf(this.#selected);
    const next = [...this.#tiles.slice(at + 1), ...this.#tiles.slice(0, at)].find((tile) => !tile.channel);
    if (next) this.#select(next);
  }

  /** A device is back: what waits for it starts. */
  deviceOnline(device) {
    for (const tile of this.#tiles) if (tile.waitsForDevice && tile.channel.device === device) tile.retry();
  }

  /** A stream ended for all who watch it. */
  streamEnded({ device, channel, stream }, problem) {
    for (const tile of this.#tiles) {
      const same = tile.channel?.device === device && tile.channel.id === channel;
      if (same && (!stream || stream === tile.stream)) tile.fail(problem);
    }
  }

  /** The channels on the wall, as "device/channel". */
  playing() {
    return new Set(this.#tiles.filter((tile) => tile.channel).map((tile) => `${tile.channel.device}/${tile.channel.id}`));
  }
}
