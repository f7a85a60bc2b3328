// Solutions, token by token: coloured by class or by how far training moved them, alternatives on hover and focus.

const CLASS_WORDS = { f: "fork", l: "lock", n: "neither" };
const BLANKS = { " ": "␣", "\n": "↵", "\t": "⇥" };

function visibleBlanks(text) {
  return text.replace(/[ \n\t]/g, (blank) => BLANKS[blank]);
}

function chooser(label, names, onChoose) {
  const box = node("div", null, "chooser");
  const select = node("select");
  select.setAttribute("aria-label", label);
  names.forEach((name, index) => {
    const option = node("option", name);
    option.value = String(index);
    select.appendChild(option);
  });
  const go = (index) => {
    select.value = String((index + names.length) % names.length);
    onChoose(Number(select.value));
  };
  const back = node("button", "‹ previous");
  const on = node("button", "next ›");
  back.type = on.type = "button";
  back.addEventListener("click", () => go(Number(select.value) - 1));
  on.addEventListener("click", () => go(Number(select.value) + 1));
  select.addEventListener("change", () => onChoose(Number(select.value)));
  box.append(back, select, on);
  return box;
}

function radios(name, label, choices, onChoose) {
  const box = node("fieldset", null, "choices");
  box.appendChild(node("legend", label));
  choices.forEach(([value, words], index) => {
    const input = node("input");
    input.type = "radio";
    input.name = name;
    input.value = value;
    input.checked = index === 0;
    input.addEventListener("change", () => onChoose(value));
    const line = node("label");
    line.append(input, node("span", words));
    box.appendChild(line);
  });
  return box;
}

function describeToken(box, token, texts) {
  box.appendChild(node("strong", visibleBlanks(token.text) || "(part of a character)", "code"));
  const moved = `moved by ${percent(token.moved)} of the probability`;
  const class_ = token.before === token.after ? token.before : `${token.before} → ${token.after}`;
  box.appendChild(node("div", `${class_}; ${moved}; ${token.syntax}`));
  const table = node("table", null, "alternatives");
  const head = node("tr");
  for (const name of ["", "base", "trained"]) head.appendChild(node("th", name));
  table.appendChild(head);
  for (const [id, base, trained] of token.alternatives) {
    const line = node("tr", null, id === token.id ? "drawn" : "");
    line.appendChild(node("td", visibleBlanks(texts[id] === undefined ? `token ${id}` : texts[id]), "code"));
    for (const [value, role] of [[base, "base"], [trained, "student"]]) {
      const cell = node("td", value === null ? "" : percent(value), "number");
      const bar = draw("svg", { viewBox: "0 0 40 8", width: 40, height: 8, "aria-hidden": "true" }, cell);
      draw("rect", { x: 0, y: 1, width: Math.max(0.4, 40 * value), height: 6, class: `fill bars role-${role}` }, bar);
      line.appendChild(cell);
    }
    table.appendChild(line);
  }
  box.appendChild(table);
  box.appendChild(node("div", "the token of the text stands in bold; probabilities at T = 1", "note"));
}

// Rows of the data are lists, to be small: id, text, class before and after, distance, syntax, alternatives.
function tokenOf(row, data) {
  const [id, text, classes, moved, syntax, flat] = row;
  const alternatives = [];
  for (let i = 0; i < flat.length; i += 3) alternatives.push([flat[i], flat[i + 1] / 1e4, flat[i + 2] / 1e4]);
  return {
    id,
    text,
    before: CLASS_WORDS[classes[0]],
    after: CLASS_WORDS[classes[1]],
    moved: moved / 1e4,
    syntax: data.syntax[syntax],
    alternatives,
  };
}

function tokenSpan(token, texts) {
  const span = node("span", null, `token is-${token.before}`);
  if (token.before !== token.after) span.classList.add("crossed");
  // In steps: few enough to be told apart, and a style that the page's policy allows.
  const step = Math.min(5, Math.ceil(Math.sqrt(token.moved) * 5 - 0.35));
  span.classList.add(`moved-${Math.max(0, step)}`);
  const isBlank = token.text.trim() === "";
  span.textContent = isBlank ? token.text.replace(/\n/g, "↵\n") || "·" : token.text;
  if (isBlank) span.classList.add("blank");
  span.setAttribute("role", "img");
  span.setAttribute(
    "aria-label",
    `${visibleBlanks(token.text)}, ${token.before}${token.before === token.after ? "" : `, now ${token.after}`}, ` +
      `moved ${percent(token.moved)}`,
  );
  describe(span, (box) => describeToken(box, token, texts));
  return span;
}

function mountReader(data) {
  const home = document.getElementById("reader-body");
  if (!home || !data || !data.solutions.length) return;
  const view = node("div", null, "solution by-class");
  const show = (index) => {
    hideTip();
    const solution = data.solutions[index];
    const text = node("pre", null, "tokens");
    const spans = solution.tokens.map((row) => tokenSpan(tokenOf(row, data), data.texts));
    text.append(...spans);
    rove(text, spans, (from, key) => ({ ArrowRight: from + 1, ArrowLeft: from - 1 })[key]);
    const parts = [];
    if (solution.statement) parts.push(node("p", solution.statement, "statement"));
    view.replaceChildren(...parts, text, node("p", solution.words, "note"));
  };
  const modes = [
    ["by-class", "forks and locks"],
    ["by-move", "how far training moved it"],
    ["plain", "no colour"],
  ];
  home.append(
    chooser("Solution", data.solutions.map((solution) => solution.name), show),
    radios("colour", "Colour tokens by", modes, (mode) => {
      view.className = `solution ${mode}`;
      home.parentElement.classList.remove(...modes.map(([name]) => `mode-${name}`));
      home.parentElement.classList.add(`mode-${mode}`);
    }),
    ...home.parentElement.querySelectorAll(".swatches"),
    view,
  );
  show(0);
}

function mountPairs(sets) {
  for (const set of sets) {
    const home = document.getElementById(set.id);
    if (!home) continue;
    const view = node("div");
    const show = (index) => view.replaceChildren(...pairView(set.problems[index], set.labels));
    home.append(chooser("Problem", set.problems.map((problem) => problem.name), show), view);
    show(0);
  }
}

function pairView(problem, labels) {
  const parts = [node("pre", problem.prompt, "statement prompt")];
  const sides = node("div", null, "sides");
  problem.sides.forEach((samples, side) => {
    const box = node("div", null, `side role-${side ? "student" : "base"}`);
    const passed = samples.filter((sample) => sample.passed).length;
    box.appendChild(node("h4", `${labels[side]}: ${passed} of ${samples.length} shown pass`));
    const body = node("div");
    const tabs = node("div", null, "tabs");
    tabs.setAttribute("role", "group");
    tabs.setAttribute("aria-label", `Samples of ${labels[side]}`);
    const buttons = samples.map((sample, index) => {
      const button = node("button", `${sample.passed ? "✓" : "✗"} ${sample.index + 1}`);
      button.type = "button";
      button.setAttribute("aria-label", `sample ${sample.index + 1}, ${sample.verdict}`);
      button.addEventListener("click", () => open(index));
      return button;
    });
    const open = (index) => {
      buttons.forEach((button, place) => button.setAttribute("aria-pressed", String(place === index)));
      const sample = samples[index];
      const verdict = node("p", null, `verdict ${sample.passed ? "passed" : "failed"}`);
      verdict.appendChild(node("strong", `${sample.passed ? "✓" : "✗"} ${sample.verdict}`));
      if (sample.why) verdict.appendChild(node("span", ` ${sample.why}`));
      body.replaceChildren(verdict, node("pre", sample.text, "code"), node("p", sample.words, "note"));
    };
    tabs.append(...buttons);
    box.append(tabs, body);
    if (samples.length) open(0);
    sides.appendChild(box);
  });
  parts.push(sides);
  return parts;
}
