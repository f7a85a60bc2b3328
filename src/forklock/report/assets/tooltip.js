// One tooltip for everything that can be pointed at or reached with the keyboard. Only text nodes are ever made of data.

const tip = document.getElementById("tip");
let tipOwner = null;

function node(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// `fill` puts the content into the tooltip; `target` is what it speaks about.
function showTip(target, fill) {
  tip.replaceChildren();
  fill(tip);
  tip.hidden = false;
  if (tipOwner && tipOwner !== target) tipOwner.removeAttribute("aria-describedby");
  tipOwner = target;
  target.setAttribute("aria-describedby", "tip");
  placeTip(target.getBoundingClientRect());
}

function placeTip(box) {
  const gap = 10;
  const width = tip.offsetWidth;
  const height = tip.offsetHeight;
  const room = document.documentElement.clientWidth;
  const left = Math.max(gap / 2, Math.min(box.left + box.width / 2 - width / 2, room - width - gap / 2));
  const above = box.top - height - gap;
  const top = above >= 0 ? above : Math.min(box.bottom + gap, Math.max(0, window.innerHeight - height));
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${top + window.scrollY}px`;
}

function hideTip() {
  tip.hidden = true;
  if (tipOwner) tipOwner.removeAttribute("aria-describedby");
  tipOwner = null;
}

// Pointer and keyboard show the same; Escape closes it.
function describe(target, fill) {
  target.addEventListener("pointerenter", () => showTip(target, fill));
  target.addEventListener("pointerleave", hideTip);
  target.addEventListener("focus", () => showTip(target, fill));
  target.addEventListener("blur", hideTip);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
});

// One stop of the Tab key for a whole group; the arrow keys go on from there. `step` says where from and how far.
function rove(group, items, step) {
  items.forEach((item, index) => item.setAttribute("tabindex", index === 0 ? "0" : "-1"));
  group.addEventListener("keydown", (event) => {
    const from = items.indexOf(event.target);
    if (from < 0) return;
    const to = step(from, event.key);
    if (to === null || to === undefined || to < 0 || to >= items.length) return;
    event.preventDefault();
    items[from].setAttribute("tabindex", "-1");
    items[to].setAttribute("tabindex", "0");
    items[to].focus();
  });
}

function percent(value, digits) {
  if (value === null || value === undefined) return "undefined";
  if (value > 0 && value < 0.0005 && digits === undefined) return "< 0.1 %";
  return `${(100 * value).toFixed(digits === undefined ? 1 : digits)} %`;
}
