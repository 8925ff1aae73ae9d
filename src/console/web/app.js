// Wires the page together.

import { Alarms } from "./alarms.js";
import { Api, Problem, Updates } from "./api.js";
import { DevicePage } from "./device.js";
import { DeviceTree } from "./devices.js";
import { h, icon, write } from "./dom.js";
import { number } from "./format.js";
import { nameBy, onLanguage, sayIn, toggleLanguage, translate } from "./i18n.js";
import { NodeInfo } from "./node.js";
import { recall, remember } from "./prefs.js";
import { Recordings } from "./recordings.js";
import { signIn } from "./signin.js";
import { Streams } from "./streams.js";
import { Wall } from "./wall.js";
import { prepare } from "./whep.js";

const byId = (id) => document.getElementById(id);
const PAGES = ["wall", "recordings", "alarms", "device", "streams", "node"];

for (const place of document.querySelectorAll("[data-icon]")) place.prepend(icon(place.dataset.icon));
translate(document);

// Light or dark as the system has it, until somebody chooses.
const root = document.documentElement;
root.dataset.theme = recall("theme", ["light", "dark"], "system");
byId("theme").addEventListener("click", () => {
  const dark = root.dataset.theme === "dark" || (root.dataset.theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "light" : "dark";
  remember("theme", root.dataset.theme);
});
byId("language").addEventListener("click", toggleLanguage);

const api = new Api();
api.onSignIn = async () => {
  await signIn(api, { dialog: byId("signin"), form: byId("signin-form"), error: byId("signin-error") });
  byId("sign-out").hidden = false;
};
byId("sign-out").hidden = !api.signedIn;
byId("sign-out").addEventListener("click", async () => {
  await api.signOut();
  location.reload(); // leaves nothing of what was seen
});

const node = new NodeInfo(api, {
  identity: byId("node-identity"), listen: byId("node-listen"), load: byId("node-load"),
  camera: byId("node-camera"), loopback: byId("node-loopback"),
});
const wall = new Wall(api, () => ({ webrtc: node.webrtc }), {
  grid: byId("tiles"), layouts: byId("layouts"), closeAll: byId("close-all"),
});
const tree = new DeviceTree(api, {
  tree: byId("tree"), results: byId("results"), search: byId("search"), clear: byId("search-clear"),
  scroller: byId("scroller"), none: byId("devices-none"), unmatched: byId("devices-unmatched"),
}, (channel, started) => {
  if (document.body.dataset.page === "recordings") return look(channel);
  go("wall");
  wall.play(channel, started);
  return undefined;
});
const recordings = new Recordings(api, {
  title: byId("recordings-title"), id: byId("recordings-id"), all: byId("recordings-all"), message: byId("recordings-message"), busy: byId("recordings-busy"),
  date: byId("recordings-date"), earlier: byId("recordings-earlier"), later: byId("recordings-later"), reload: byId("recordings-reload"),
  line: byId("line"), scale: byId("line-scale"), spans: byId("line-spans"), cursor: byId("line-cursor"), pointer: byId("line-pointer"),
  table: byId("records"), body: byId("records-body"), player: { element: byId("player"), video: byId("player-video"), said: byId("player-said") },
  toggle: byId("player-toggle"), stop: byId("player-stop"), speed: byId("player-speed"), position: byId("player-position"), error: byId("player-error"),
  from: byId("download-from"), to: byId("download-to"), download: byId("download-start"),
  downloads: { box: byId("downloads"), list: byId("downloads-list") },
});
const device = new DevicePage(api, {
  none: byId("device-none"), all: byId("device-all"), title: byId("device-title"), state: byId("device-state"), message: byId("device-message"),
  facts: byId("device-facts"), info: byId("device-info"), status: byId("device-status"), ask: byId("device-ask"), sync: byId("device-sync"),
  settings: byId("device-settings"), subscriptions: byId("device-subscriptions"), commands: byId("device-commands"),
  config: {
    kind: byId("config-kind"), channel: byId("config-channel"), read: byId("config-read"), form: byId("config-form"),
    fields: byId("config-fields"), save: byId("config-save"), message: byId("config-message"),
  },
  conformance: {
    table: byId("findings"), body: byId("findings-body"), none: byId("findings-none"), csv: byId("findings-csv"),
    test: byId("selftest"), steps: byId("selftest-steps"), message: byId("selftest-message"),
  },
});
const alarms = new Alarms(api, tree.names, {
  filter: byId("alarms-filter"), body: byId("alarms-body"), none: byId("alarms-none"), more: byId("alarms-more"), error: byId("alarms-error"),
});
alarms.addEventListener("counts", () => {
  byId("alarms-open").hidden = alarms.open === 0;
  write(byId("alarms-open"), alarms.open > 99 ? "99+" : number(alarms.open));
});
alarms.addEventListener("look", ({ detail }) => {
  go("wall");
  wall.play(detail);
});
addEventListener("pagehide", () => recordings.leave({ leaving: true }));
const streams = new Streams(api, tree.names, {
  body: byId("streams-body"), none: byId("streams-none"), more: byId("streams-more"),
});
streams.addEventListener("stopped", ({ detail }) => wall.streamEnded(detail, new Problem("stream_stopped")));
wall.addEventListener("change", () => tree.mark(wall.playing()));

// What is counted: from the lists where they were read to their end, else as the node tells.
const COUNTS = [
  ["devices", "devices_online"],
  ["channels", "channels_online"],
  ["streams", null],
  ["viewers", null],
];
const counters = new Map(COUNTS.map(([name]) => {
  const value = h("b", { data: { testid: `count-${name}` } }, "–");
  byId("counts").append(h("span", {}, sayIn(h("span", {}), `count.${name}`), value));
  return [name, value];
}));
function count() {
  const known = { ...node.counts() };
  for (const [name, value] of Object.entries({ ...tree.counts(), ...streams.counts() })) if (value !== undefined) known[name] = value;
  for (const [name, online] of COUNTS) {
    const figures = [known[online], known[name]].filter(Number.isFinite).map((value) => number(value));
    write(counters.get(name), figures.join("/") || "–");
  }
}
for (const source of [tree, streams, node]) source.addEventListener("counts", count);
onLanguage(count);

const updates = new Updates(api);
function connection() {
  const badge = byId("updates");
  badge.dataset.state = updates.state;
  sayIn(byId("updates-text"), `updates.${updates.state}`);
  nameBy(badge, `updates.${updates.state}.why`);
}
updates.addEventListener("state", connection);
updates.addEventListener("resync", () => {
  tree.refresh();
  streams.refresh();
  alarms.refresh();
  if (document.body.dataset.page === "device") device.refresh();
});
updates.addEventListener("tick", () => {
  node.refresh();
  streams.refresh();
});
updates.addEventListener("event", ({ detail: { name, data } }) => {
  const id = data.device ?? data.id;
  if (name === "device.online" || name === "device.offline") {
    const online = name === "device.online";
    tree.changed(id, { online });
    device.changed(id);
    if (online) wall.deviceOnline(id);
  } else if (name === "catalog.changed") {
    tree.changed(id);
    device.changed(id);
  } else if (name.startsWith("alarm")) {
    alarms.changed();
  } else if (name === "stream.started" || name === "stream.ended") {
    streams.refresh();
    // For these a viewer waits; after any other end it may as well try again.
    if (["device_offline", "stream_stopped"].includes(data.code)) wall.streamEnded(data, new Problem(data.code, data));
  } else if (name === "lost") {
    updates.resync();
  }
});
connection();

/** Shows a page by its address, so that the browser's way back works. */
function go(page, ...more) {
  location.hash = [page, ...more.map(encodeURIComponent)].join("/");
}
/** Shows the recordings of a channel. */
function look({ device: of, id, name }) {
  recordings.open({ device: of, id, name });
  go("recordings", of, id);
}
function follow() {
  const [wanted, ...rest] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const page = PAGES.includes(wanted) ? wanted : "wall";
  const before = document.body.dataset.page;
  for (const name of PAGES) {
    byId(`page-${name}`).hidden = name !== page;
    if (name === page) byId(`nav-${name}`).setAttribute("aria-current", "page");
    else byId(`nav-${name}`).removeAttribute("aria-current");
  }
  document.body.dataset.page = page;
  if (before === "recordings" && page !== before) recordings.leave();
  if (page === "recordings") {
    const [of, id] = rest;
    if (before !== page) recordings.enter();
    if (of && id) recordings.open({ device: of, id, name: tree.names.get(`${of}/${id}`) });
  }
  if (page === "device") device.open(rest[0] ?? "");
  alarms.watch(page === "alarms");
}
addEventListener("hashchange", follow);
follow();

prepare();
tree.refresh();
streams.refresh();
node.refresh();
updates.start();
