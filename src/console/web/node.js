// This node: what it is, where it listens, and what to enter in a camera.

import { h } from "./dom.js";
import { dateTime, number } from "./format.js";
import { find, onLanguage, say } from "./i18n.js";

function row(name, value) {
  return [h("dt", {}, name), h("dd", {}, value)];
}

/** One address, several, or none. */
function addresses(value) {
  return [value].flat().filter((each) => each !== null && each !== undefined && each !== "").map(String);
}

function split(address) {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at).replace(/^\[|\]$/g, ""), port: address.slice(at + 1) };
}

const LISTENERS = ["sip_udp", "sip_tcp", "sip_tls", "http", "webrtc_udp", "webrtc_tcp"];
const FIGURES = ["devices", "devices_online", "channels", "channels_online", "streams", "viewers"];

/** The members of an object, the known ones first and in their order. */
function ordered(object, known) {
  const place = (name) => (known.includes(name) ? known.indexOf(name) : known.length);
  return Object.entries(object).sort(([a], [b]) => place(a) - place(b));
}

function words(name) {
  return name.replaceAll("_", " ");
}

/** Fires "counts" when it was read. */
export class NodeInfo extends EventTarget {
  info = null;
  #api;
  #parts;
  #busy = false;

  constructor(api, parts) {
    super();
    this.#api = api;
    this.#parts = parts;
    onLanguage(() => this.#show());
  }

  async refresh() {
    if (this.#busy) return;
    this.#busy = true;
    try {
      this.info = await this.#api.get("/api/v1/node");
      this.#show();
      this.dispatchEvent(new Event("counts"));
    } catch {
      // the next tick asks again
    } finally {
      this.#busy = false;
    }
  }

  counts() {
    return this.info?.load ?? {};
  }

  /** Where browsers send media, for the hint of a closed path. */
  get webrtc() {
    const { hostname } = location;
    const [udp] = addresses(this.info?.listen?.webrtc_udp);
    return udp ? `UDP ${hostname}:${split(udp).port}` : hostname;
  }

  #show() {
    const { info } = this;
    if (!info) return;
    const { identity, listen, load, camera, loopback } = this.#parts;
    const { listen: ports = {}, platform = {} } = info;
    identity.replaceChildren(...row(say("node.name"), info.node ?? "–"), ...row(say("node.version"), info.version ?? "–"),
      ...(info.started_at ? row(say("node.started_at"), dateTime(info.started_at)) : []));
    listen.replaceChildren(...ordered(ports, LISTENERS).flatMap(([name, value]) =>
      row(find(`listen.${name}`) ?? words(name), addresses(value).join(", ") || say("node.off"))));

    // Figures that a later node adds show under their own names.
    const figures = ordered(info.load ?? {}, FIGURES).filter(([, value]) => Number.isFinite(value));
    load.replaceChildren(...figures.flatMap(([name, value]) =>
      row(find(`load.${name}`) ?? words(name), number(value, Number.isInteger(value) ? 0 : 2))));
    load.parentElement.hidden = figures.length === 0;

    const [sip] = addresses(ports.sip_udp ?? ports.sip_tcp);
    const { host, port } = sip ? split(sip) : { host: "", port: "–" };
    const any = ["0.0.0.0", "::", ""].includes(host);
    camera.replaceChildren(
      ...(platform.id ? row(say("node.camera.id"), platform.id) : []),
      ...(platform.domain ? row(say("node.camera.domain"), platform.domain) : []),
      ...row(say("node.camera.address"), any ? location.hostname : host),
      ...row(say("node.camera.port"), port),
      ...row(say("node.camera.password"), say("node.camera.configured")));
    loopback.hidden = !(host === "::1" || host.startsWith("127."));
  }
}
