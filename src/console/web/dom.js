// Elements are made here, from text alone: nothing that a device sends is ever read as markup.

/** Makes an element. `props`: class, data (dataset), attrs (attributes), on (listeners), else properties. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "attrs") for (const [key, text] of Object.entries(value)) element.setAttribute(key, text);
    else if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets text only where it differs, so that a selection in it survives a refresh. */
export function write(element, text) {
  const value = text === null || text === undefined ? "" : String(text);
  if (element.textContent !== value) element.textContent = value;
}

const SVG = "http://www.w3.org/2000/svg";

// Strokes in a box of 24.
const ICONS = {
  chevron: "m9 6 6 6-6 6",
  camera: "M3 7.5h11.5a1.5 1.5 0 0 1 1.5 1.5v6a1.5 1.5 0 0 1-1.5 1.5H4.5A1.5 1.5 0 0 1 3 15zM16 11l5-3v8l-5-3",
  recorder: "M3 6h18v5H3zM3 13h18v5H3zM7 8.5h.01M7 15.5h.01M11 8.5h6M11 15.5h6",
  platform: "M12 3v4M5 21v-4h14v4M12 7a5 5 0 0 1 5 5v5H7v-5a5 5 0 0 1 5-5",
  alarm: "M12 4a6 6 0 0 1 6 6v4l2 3H4l2-3v-4a6 6 0 0 1 6-6M10 20h4",
  folder: "M3 6h6l2 2h10v11H3z",
  play: "M7 5v14l12-7z",
  close: "M6 6l12 12M18 6 6 18",
  snapshot: "M4 8h3l2-3h6l2 3h3v11H4zM12 16.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6",
  fullscreen: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  muted: "M4 10v4h4l5 4V6L8 10zM17 10l4 4M21 10l-4 4",
  sound: "M4 10v4h4l5 4V6L8 10zM16.5 9a4 4 0 0 1 0 6M19 6.5a8 8 0 0 1 0 11",
  retry: "M20 12a8 8 0 1 1-2.5-5.800M20 4v4.5h-4.5",
  stop: "M6 6h12v12H6z",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14M16 16l5 5",
  warning: "M12 4 2.5 20h19zM12 10v4.5M12 17.300v.01",
  theme: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  leave: "M14 4h5v16h-5M4 12h11M11 8l4 4-4 4",
  move: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3",
  microphone: "M12 14a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v5a3 3 0 0 0 3 3M6 11a6 6 0 0 0 12 0M12 17v4M9 21h6",
  recordings: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M12 7v5l3.500 2",
  information: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M12 11v5M12 8v.01",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  pause: "M8 5v14M16 5v14",
  check: "m5 12 5 5 9-10",
  reset: "M4 12a8 8 0 1 0 2.500-5.800M4 4v4.500h4.500",
  arrow: "M12 19V5M6 11l6-6 6 6",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Makes the children of `parent` those of `items`, in order, keeping the elements of items that stay. */
export function reconcile(parent, items, views, keyOf, create) {
  const wanted = new Set(items.map(keyOf));
  for (const [key, view] of views) {
    if (wanted.has(key)) continue;
    view.element.remove();
    view.dispose?.();
    views.delete(key);
  }
  let cursor = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let view = views.get(key);
    if (view) view.update(item);
    else views.set(key, (view = create(item)));
    if (view.element === cursor) cursor = cursor.nextElementSibling;
    else parent.insertBefore(view.element, cursor);
  }
}
