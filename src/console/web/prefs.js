// What one person set on one machine. Storage may be off (private windows): then it lasts as long as the page.

const kept = new Map();

export function recall(name, allowed, fallback) {
  let value = kept.get(name);
  try {
    value ??= localStorage.getItem(`gbgate.${name}`);
  } catch {
    // no storage
  }
  return allowed.includes(value) ? value : fallback;
}

export function remember(name, value) {
  kept.set(name, value);
  try {
    localStorage.setItem(`gbgate.${name}`, value);
  } catch {
    // no storage
  }
}
