// Devices and their channels: a tree that reads only what is looked at, and a search over both.

import { Pager, keyOf } from "./api.js";
import { linkTo } from "./device.js";
import { h, icon, reconcile, write } from "./dom.js";
import { number } from "./format.js";
import { onLanguage, say, sayIn } from "./i18n.js";

/** Sites up to this size are shown unfolded. */
const SMALL_SITE = 8;
const SMALL_DEVICE = 32;
/** How many unfolded devices are read again in one go. */
const REFRESHED = 20;
/** Events may come in thousands; what they change is read again at most this often. */
const SETTLE_MS = 1_000;
const TYPED_MS = 250;

/** What a 20-digit number says it stands for (annex D): digits 11 to 13. */
function iconOf(id, fallback) {
  const type = /^\d{20}$/.test(id) ? Number(id.slice(10, 13)) : 0;
  if (type === 131 || type === 132) return "camera";
  if (type >= 111 && type <= 130) return "recorder";
  if (type === 134 || type === 135) return "alarm";
  if (type === 215 || type === 216) return "folder";
  if (type >= 200 && type < 300) return "platform";
  return fallback;
}

/** Has no picture to show. */
function pictureless(id) {
  return ["alarm", "folder", "platform"].includes(iconOf(id, "camera"));
}

/** How far a row of a level is from the left. */
function indent(row, level, from) {
  row.style.paddingLeft = `${from + Math.max(0, level - 2) * 16}px`;
}

function dot() {
  return h("span", { class: "dot" });
}

/** A list with the rows of a pager, and below them what loads more as it comes into view. */
class List {
  views = new Map();
  #more;
  #tree;
  #create;
  #loading = false;

  constructor(tree, element, path, params, create) {
    this.#tree = tree;
    this.element = element;
    this.pager = new Pager(tree.api, path, params);
    this.#create = create;
    this.#more = h("li", { class: "more", attrs: { role: "none" } }, h("button", { type: "button", class: "link", tabIndex: -1 }));
    this.#more.list = this;
    this.#more.firstChild.addEventListener("click", () => this.more());
    element.append(this.#more);
    sayIn(this.#more.firstChild, "devices.loading");
  }

  /** Loads the next page, once however often the end comes into view meanwhile. */
  async more() {
    if (this.#loading) return;
    this.#loading = true;
    await this.#read(() => this.pager.more());
    this.#loading = false;
  }

  refresh() {
    return this.#read(() => this.pager.refresh());
  }

  async #read(read) {
    try {
      await read();
    } catch (error) {
      // What was read before stays, and is read again soon; that the gateway is away is told in one place.
      if (error.name === "AbortError" || this.pager.items.length) return;
      sayIn(this.#more.firstChild, "devices.failed", { detail: error.message });
      this.#more.hidden = false;
      return;
    }
    this.render();
  }

  render() {
    const { items, total, complete } = this.pager;
    reconcile(this.element, items, this.views, keyOf, this.#create);
    this.#more.hidden = complete;
    this.#tree.watch(this.#more, !complete);
    if (!complete) sayIn(this.#more.firstChild, "devices.more", { shown: number(items.length), total: number(total) });
    this.#tree.rendered(this);
  }

  dispose() {
    this.#tree.watch(this.#more, false);
    this.pager.dispose();
    for (const view of this.views.values()) view.dispose?.();
    this.element.replaceChildren();
  }
}

class ChannelView {
  #tree;
  #name = h("span", { class: "name" });
  #id = h("span", { class: "id" });

  constructor(tree, channel, { level, owner }) {
    this.#tree = tree;
    this.owner = owner;
    this.element = h("li", {
      class: "channel", draggable: !pictureless(channel.id), tabIndex: -1,
      attrs: { role: "treeitem", "aria-level": String(level) },
      data: { testid: "channel-item", device: channel.device, channel: channel.id },
      on: {
        click: (event) => this.#play(event),
        dragstart: (event) => event.dataTransfer.setData("application/x-gbgate-channel", JSON.stringify(this.#wish())),
      },
    }, h("div", { class: "row" }, icon(iconOf(channel.id, "camera")), h("span", { class: "names" }, this.#name, this.#id), dot()));
    if (owner) indent(this.element.firstChild, level, 33);
    if (pictureless(channel.id)) this.element.setAttribute("aria-disabled", "true");
    this.element.view = this;
    this.update(channel);
  }

  update(channel) {
    this.channel = channel;
    this.#tree.names.set(keyOf(channel), channel.name);
    this.show();
  }

  show() {
    const { channel } = this;
    // A channel cannot be reached while its device cannot.
    const online = channel.online && (this.owner?.device.online ?? true);
    write(this.#name, channel.name || channel.id);
    write(this.#id, this.owner ? "" : `${this.#tree.names.get(channel.device) || channel.device}`);
    this.element.dataset.online = online;
    this.element.dataset.playing = this.#tree.playing.has(keyOf(channel));
    this.element.title = `${channel.id}${channel.manufacturer ? ` · ${channel.manufacturer}` : ""}`;
    this.element.setAttribute("aria-label", `${channel.name || channel.id}, ${say(online ? "state.online" : "state.offline")}`);
  }

  #wish() {
    const { device, id, name } = this.channel;
    return { device, id, name };
  }

  /** From a click or a key. The second click of a double one is not another wish. */
  #play(event) {
    event.stopPropagation();
    this.#tree.focus(this.element);
    if (event.detail > 1 || pictureless(this.channel.id)) return;
    this.#tree.play(this.#wish(), event.timeStamp);
  }

  activate(event) {
    this.#play(event);
  }
}

/** The level below `parent` of the tree: folders and channels. */
function levelBelow(tree, group, parent, level, owner) {
  return new List(tree, group, "/api/v1/tree", { parent }, (item) =>
    (item.children > 0 ? new FolderView(tree, item, level, owner) : new ChannelView(tree, item, { level, owner })));
}

/** A region, a group or a system in a device's catalog: what has items below it. */
class FolderView {
  #tree;
  #level;
  #name = h("span", { class: "name" });
  #count = h("span", { class: "count" });
  #group = h("ul", { hidden: true, attrs: { role: "group" } });
  list = null;

  constructor(tree, item, level, owner) {
    this.#tree = tree;
    this.#level = level;
    this.owner = owner;
    const row = h("div", { class: "row", on: { click: (event) => this.#clicked(event) } },
      icon("chevron"), icon(iconOf(item.id, "folder")), h("span", { class: "names" }, this.#name), this.#count);
    indent(row, level, 20);
    this.element = h("li", {
      class: "folder", tabIndex: -1,
      attrs: { role: "treeitem", "aria-level": String(level), "aria-expanded": "false" },
      data: { testid: "folder-item", folder: item.id },
    }, row, this.#group);
    this.element.view = this;
    this.update(item);
    if (owner.unfoldsAll) this.unfold();
  }

  get device() {
    return this.owner.device;
  }

  get unfolded() {
    return this.list !== null;
  }

  update(item) {
    const before = this.item;
    this.item = item;
    this.show();
    if (before && this.list && before.children !== item.children) this.list.refresh();
  }

  show() {
    const { item } = this;
    write(this.#name, item.name || item.id);
    write(this.#count, number(item.children));
    this.element.title = item.id;
    this.element.setAttribute("aria-label", item.name || item.id);
    for (const view of this.list?.views.values() ?? []) view.show();
  }

  #clicked(event) {
    event.stopPropagation();
    this.#tree.focus(this.element);
    this.toggle();
  }

  activate() {
    this.toggle();
  }

  toggle() {
    if (this.unfolded) this.fold();
    else this.unfold();
  }

  unfold() {
    if (this.unfolded) return;
    this.element.setAttribute("aria-expanded", "true");
    this.#group.hidden = false;
    this.list = levelBelow(this.#tree, this.#group, this.item.node, this.#level + 1, this.owner);
    this.list.more();
  }

  fold() {
    this.element.setAttribute("aria-expanded", "false");
    this.#group.hidden = true;
    this.list?.dispose();
    this.list = null;
  }

  dispose() {
    this.list?.dispose();
  }
}

class DeviceView {
  #tree;
  #name = h("span", { class: "name" });
  #id = h("span", { class: "id" });
  #count = h("span", { class: "count" });
  #row;
  #group = h("ul", { hidden: true, attrs: { role: "group" } });
  list = null;

  constructor(tree, device, unfolded) {
    this.#tree = tree;
    this.#row = h("div", { class: "row", on: { click: () => this.#clicked() } },
      icon("chevron"), icon(iconOf(device.id, "recorder")), h("span", { class: "names" }, this.#name, this.#id), linkTo(device.id), this.#count, dot());
    this.element = h("li", {
      class: "device", tabIndex: -1,
      attrs: { role: "treeitem", "aria-level": "1", "aria-expanded": "false" },
      data: { testid: "device-item", device: device.id },
    }, this.#row, this.#group);
    this.element.view = this;
    this.unfoldsAll = unfolded;
    this.update(device);
    if (unfolded) this.unfold();
  }

  get unfolded() {
    return this.list !== null;
  }

  update(device) {
    const before = this.device;
    this.device = device;
    this.#tree.names.set(device.id, device.name);
    this.show();
    if (before && this.list && (before.channel_count !== device.channel_count || before.online !== device.online)) this.list.refresh();
  }

  /** How many of its channels are online. */
  channels() {
    const { channel_count: total = 0, channels_online: online, online: reachable } = this.device;
    return { online: reachable ? online : 0, total };
  }

  show() {
    const { device } = this;
    const { online, total } = this.channels();
    write(this.#name, device.name || device.id);
    write(this.#id, device.name ? device.id : "");
    write(this.#count, online === undefined ? number(total) : `${number(online)}/${number(total)}`);
    this.#count.title = online === undefined ? "" : say("devices.online", { online: number(online), total: number(total) });
    this.element.dataset.online = device.online;
    this.#row.title = [device.id, device.manufacturer, device.model, device.address, device.transport?.toUpperCase()].filter(Boolean).join(" · ");
    this.element.setAttribute("aria-label", `${device.name || device.id}, ${say(device.online ? "state.online" : "state.offline")}`);
    for (const view of this.list?.views.values() ?? []) view.show();
  }

  #clicked() {
    this.#tree.focus(this.element);
    this.toggle();
  }

  activate() {
    this.toggle();
  }

  toggle() {
    if (this.unfolded) this.fold();
    else this.unfold();
  }

  unfold() {
    if (this.unfolded) return;
    this.element.setAttribute("aria-expanded", "true");
    this.#group.hidden = false;
    this.list = levelBelow(this.#tree, this.#group, this.device.id, 2, this);
    this.list.owner = this;
    this.list.more();
  }

  fold() {
    this.element.setAttribute("aria-expanded", "false");
    this.#group.hidden = true;
    this.list?.dispose();
    this.list = null;
  }

  dispose() {
    this.list?.dispose();
  }
}

/** A list and those that are unfolded below it. */
function withBelow(list) {
  return [list, ...[...list.views.values()].filter((view) => view.list).flatMap((view) => withBelow(view.list))];
}

async function refreshBelow(view) {
  if (!view?.list) return;
  for (const list of withBelow(view.list).slice(0, REFRESHED)) await list.refresh();
}

/** Fires "counts" when what it knows about totals changed. */
export class DeviceTree extends EventTarget {
  names = new Map();
  playing = new Set();
  #main;
  #found = [];
  #parts;
  #observer;
  #timer = 0;
  #dirty = new Set();
  #typing = 0;
  #refreshing = false;

  constructor(api, parts, play) {
    super();
    this.api = api;
    this.play = play;
    this.#parts = parts;
    const { tree, results, search, scroller } = parts;
    this.#observer = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) entry.target.list.more();
    }, { root: scroller, rootMargin: "300px" });
    this.#main = new List(this, tree, "/api/v1/devices", {}, (device) => new DeviceView(this, device, this.#small(device)));
    for (const root of [tree, results]) {
      root.addEventListener("keydown", (event) => this.#key(event, root));
      root.addEventListener("focusin", (event) => event.target.getAttribute("role") === "treeitem" && this.#rove(root, event.target));
    }
    search.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#search(search.value.trim()), TYPED_MS);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#clear();
      if (event.key === "ArrowDown") this.#items(this.#shown())[0]?.focus();
    });
    parts.clear.addEventListener("click", () => this.#clear());
    onLanguage(() => {
      for (const list of this.#lists()) {
        for (const view of list.views.values()) view.show();
        if (!list.pager.complete) list.render();
      }
    });
  }

  #small(device) {
    return this.#main.pager.complete && this.#main.pager.total <= SMALL_SITE && (device.channel_count ?? 0) <= SMALL_DEVICE;
  }

  #lists() {
    return [this.#main, ...this.#found].flatMap(withBelow);
  }

  /** Reads all that is shown again; a call while one runs adds nothing. */
  async refresh() {
    if (this.#refreshing) return;
    this.#refreshing = true;
    await Promise.all([this.#main, ...this.#found].map((list) => list.refresh()));
    const unfolded = [...this.#main.views.values()].filter((view) => view.unfolded).slice(0, REFRESHED);
    for (const view of unfolded) await refreshBelow(view);
    this.#refreshing = false;
  }

  /** A device registered, left, or changed its catalog. */
  changed(device, { online } = {}) {
    const view = this.#main.views.get(device);
    if (view && online !== undefined && view.device.online !== online) {
      view.device = { ...view.device, online };
      view.show();
    }
    if (this.#dirty.size < REFRESHED) this.#dirty.add(device);
    this.#timer ||= setTimeout(() => this.#settle(), SETTLE_MS);
  }

  async #settle() {
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    await this.#main.refresh();
    for (const device of dirty) await refreshBelow(this.#main.views.get(device));
    this.#timer = 0;
    if (this.#dirty.size) this.#timer = setTimeout(() => this.#settle(), SETTLE_MS);
  }

  mark(playing) {
    this.playing = playing;
    for (const element of document.querySelectorAll("[data-testid=channel-item]")) element.view.show();
  }

  watch(element, wanted) {
    this.#observer.unobserve(element);
    if (wanted) this.#observer.observe(element); // anew, so that it fires if it is still in view
  }

  rendered(list) {
    list.owner?.show();
    if (list.owner) this.#empty(list.element, list.pager.complete && !list.pager.items.length, "devices.empty");
    const { tree, results, none, unmatched } = this.#parts;
    none.hidden = !this.#main.pager.complete || this.#main.pager.items.length > 0 || !results.hidden;
    unmatched.hidden = results.hidden || !this.#found.every((each) => each.pager.complete && !each.pager.items.length);
    for (const root of [tree, results]) {
      const items = this.#items(root);
      if (items.length && !items.some((item) => item.tabIndex === 0)) items[0].tabIndex = 0;
    }
    for (const each of this.#found) each.heading.hidden = !each.pager.items.length;
    this.dispatchEvent(new Event("counts"));
  }

  #empty(group, empty, key) {
    let note = group.querySelector(":scope > .note");
    if (empty && !note) group.append(sayIn(h("li", { class: "note", attrs: { role: "none" } }), key));
    if (!empty) note?.remove();
  }

  /** Totals as far as the lists read so far tell; undefined where they do not. */
  counts() {
    const { complete, items, total } = this.#main.pager;
    const sum = (values) => values.reduce((all, value) => all + value, 0);
    const channels = [...this.#main.views.values()].map((view) => view.channels());
    return {
      devices: total,
      devices_online: complete ? items.filter((device) => device.online).length : undefined,
      channels: complete ? sum(channels.map((each) => each.total)) : undefined,
      channels_online: complete && channels.every((each) => each.online !== undefined) ? sum(channels.map((each) => each.online)) : undefined,
    };
  }

  #shown() {
    return this.#parts.results.hidden ? this.#parts.tree : this.#parts.results;
  }

  #clear() {
    this.#parts.search.value = "";
    this.#search("");
    this.#parts.search.focus();
  }

  #search(q) {
    clearTimeout(this.#typing);
    const { tree, results, clear } = this.#parts;
    for (const list of this.#found) list.dispose();
    this.#found = [];
    results.replaceChildren();
    tree.hidden = q !== "";
    results.hidden = q === "";
    clear.hidden = q === "";
    if (q === "") return this.rendered(this.#main);
    const section = (key, path, create) => {
      const heading = sayIn(h("li", { class: "heading", hidden: true, attrs: { role: "none" } }), key);
      const group = h("ul", { attrs: { role: "group" } });
      results.append(heading, h("li", { attrs: { role: "none" } }, group));
      const list = new List(this, group, path, { q }, create);
      list.heading = heading;
      return list;
    };
    this.#found = [
      section("devices.found", "/api/v1/devices", (device) => new DeviceView(this, device, false)),
      section("channels.found", "/api/v1/channels", (channel) => new ChannelView(this, channel, { level: 1, owner: null })),
    ];
    for (const list of this.#found) list.more();
  }

  // The keyboard, as for any tree: one stop for Tab, arrows inside.

  #items(root) {
    return [...root.querySelectorAll("[role=treeitem]")];
  }

  #rove(root, item) {
    for (const other of root.querySelectorAll("[role=treeitem][tabindex='0']")) other.tabIndex = -1;
    item.tabIndex = 0;
  }

  focus(item) {
    item.focus({ preventScroll: true });
  }

  #key(event, root) {
    const item = event.target;
    if (item.getAttribute("role") !== "treeitem" || event.ctrlKey || event.metaKey || event.altKey) return;
    const { view } = item;
    const items = this.#items(root);
    const at = items.indexOf(item);
    const foldable = item.hasAttribute("aria-expanded");
    const go = {
      ArrowDown: () => items[at + 1],
      ArrowUp: () => items[at - 1],
      Home: () => items[0],
      End: () => items.at(-1),
      ArrowRight: () => {
        if (!foldable) return null;
        if (view.unfolded) return item.querySelector("[role=treeitem]");
        view.unfold();
        return null;
      },
      ArrowLeft: () => {
        if (foldable && view.unfolded) view.fold();
        else return item.parentElement.closest("[role=treeitem]");
        return null;
      },
      Enter: () => void view.activate(event),
      " ": () => void view.activate(event),
    }[event.key];
    if (!go) return;
    event.preventDefault();
    const next = go();
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }
}

