// Wires the page together.

import { Api, Problem, Updates } from "./api.js";
import { DeviceTree } from "./devices.js";
import { h, icon, write } from "./dom.js";
import { number } from "./format.js";
import { nameBy, onLanguage, sayIn, toggleLanguage, translate } from "./i18n.js";
import { NodeInfo } from "./node.js";
import { recall, remember } from "./prefs.js";
import { signIn } from "./signin.js";
import { Streams } from "./streams.js";
import { Wall } from "./wall.js";
import { prepare } from "./whep.js";

const byId = (id) => document.getElementById(id);
const PAGES = ["wall", "streams", "node"];

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
  show("wall");
  wall.play(channel, started);
});
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
});
updates.addEventListener("tick", () => {
  node.refresh();
  streams.refresh();
});
updates.addEventListener("event", ({ detail: { name, data } }) => {
  const device = data.device ?? data.id;
  if (name === "device.online" || name === "device.offline") {
    const online = name === "device.online";
    tree.changed(device, { online });
    if (online) wall.deviceOnline(device);
  } else if (name === "catalog.changed") {
    tree.changed(device);
  } else if (name === "stream.started" || name === "stream.ended") {
    streams.refresh();
    // For these a viewer waits; after any other end it may as well try again.
    if (["device_offline", "stream_stopped"].includes(data.code)) wall.streamEnded(data, new Problem(data.code, data));
  } else if (name === "lost") {
    updates.resync();
  }
});
connection();

function show(page) {
  if (location.hash !== `#${page}`) location.hash = page;
  for (const name of PAGES) {
    byId(`page-${name}`).hidden = name !== page;
    if (name === page) byId(`nav-${name}`).setAttribute("aria-current", "page");
    else byId(`nav-${name}`).removeAttribute("aria-current");
  }
  document.body.dataset.page = page;
}
function follow() {
  const page = location.hash.slice(1);
  show(PAGES.includes(page) ? page : "wall");
}
addEventListener("hashchange", follow);
follow();

prepare();
tree.refresh();
streams.refresh();
node.refresh();
updates.start();
