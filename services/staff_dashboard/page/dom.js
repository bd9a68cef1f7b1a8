// Elements, made without markup: whatever comes from elsewhere goes in as text.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// Sets a text only where it differs, so that a screen reader or a selection is not disturbed every second.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Keeps one child per key, in order, and makes or drops only what has changed: focus and what was typed stay.
export function keyed(parent, rows, key, make) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = parent.firstElementChild;
  for (const row of rows) {
    let child = known.get(key(row));
    known.delete(key(row));
    if (!child) {
      child = make(row);
      child.dataset.key = key(row);
    }
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
    child.update(row);
  }
  for (const gone of known.values()) gone.remove();
}
