// Elements without innerHTML: what devices send is always text, never markup.

/** An element; `props` are attributes, or listeners as onclick and the like. Null, undefined and false are left out. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Make `parent`'s children those of `items`, reusing what is there by key, so that focus and selection stay. */
export function keyed(parent, items, keyOf, create, update) {
  const there = new Map([...parent.children].map((child) => [child.key, child]));
  const wanted = items.map((item) => {
    const key = keyOf(item);
    const child = there.get(key) ?? Object.assign(create(item), { key });
    update(child, item);
    return child;
  });
  wanted.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  while (parent.children.length > wanted.length) parent.lastChild.remove();
}

/** Change an element's text only where it differs. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A figure under its title; `tile.show(text, tone, note)` changes it. */
export function tile(title) {
  const figure = h("strong", {}, "–");
  const note = h("small", { class: "muted" });
  const box = h("div", { class: "tile" }, h("span", { class: "muted" }, title), figure, note);
  box.show = (text, tone = "", remark = "") => {
    say(figure, text);
    figure.className = tone;
    say(note, remark);
  };
  return box;
}

/** A section with a heading, and what belongs beside it. */
export function panel(title, beside = [], ...children) {
  return h("section", { class: "panel" }, h("div", { class: "head" }, h("h2", {}, title), ...[beside].flat()), ...children);
}

/** A row of buttons of which one is chosen. */
export function choice(label, options, chosen, choose) {
  const buttons = options.map(([value, text]) =>
    h("button", { "aria-pressed": String(value === chosen), onclick: () => {
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(options[index][0] === value)));
      choose(value);
    } }, text));
  return h("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

/** A colour of app.css, as a canvas takes it. */
export function colour(name) {
  const probe = document.body.appendChild(h("span"));
  probe.style.color = `var(--${name})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
