// Charts as SVG, drawn from the page's own data at the width that there is. A figure has one legend and some panels;
// a series has the same colour, dash and marker in each of them.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 300;
const MARKERS = {
  circle: "M0-4a4 4 0 1 0 .01 0Z",
  square: "M-3.5-3.5h7v7h-7Z",
  triangle: "M0-5L4.6 3.5h-9.2Z",
  diamond: "M0-5L5 0L0 5L-5 0Z",
  cross: "M-4-4L4 4M4-4L-4 4",
};
const ROLES = {
  base: { marker: "square", dash: "7 3" },
  student: { marker: "circle", dash: "" },
  other1: { marker: "triangle", dash: "" },
  other2: { marker: "diamond", dash: "" },
  other3: { marker: "cross", dash: "" },
  grid1: { marker: "circle", dash: "1 3" },
  grid2: { marker: "triangle", dash: "8 3 1 3" },
  grid3: { marker: "diamond", dash: "4 3" },
  fork: { marker: "triangle", dash: "" },
  lock: { marker: "square", dash: "" },
  neither: { marker: "circle", dash: "" },
};

function draw(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.appendChild(made);
  return made;
}

function write(parent, text, x, y, attributes) {
  const made = draw("text", { x, y, ...attributes }, parent);
  made.textContent = text;
  return made;
}

function niceTicks(low, high, most) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((times) => times * power).find((size) => size >= rough * 0.999);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick += 1) ticks.push(tick * step);
  return ticks;
}

function axisNumber(value, axis) {
  const shown = axis.percent ? 100 * value : value;
  const text = String(Number(shown.toPrecision(6))).replace("-", "−");
  return axis.signed && value > 0 ? `+${text}` : text;
}

function valueText(value, axis) {
  if (value === null || value === undefined) return "undefined";
  const shown = axis.percent ? 100 * value : value;
  const text = axis.percent ? shown.toFixed(1) : String(Number(shown.toPrecision(4)));
  const signed = axis.signed && value >= 0 ? `+${text}` : text;
  return `${signed}${axis.unit ? ` ${axis.unit}` : ""}`;
}

function pointLines(panel, series, point) {
  const place = panel.categories ? panel.categories[point.x].replace("\n", " ") : `${panel.x.short} = ${point.x}`;
  const interval =
    point.low === undefined || point.low === null
      ? ""
      : ` (${valueText(point.low, { ...panel.y, unit: "" })} to ${valueText(point.high, { ...panel.y, unit: "" })})`;
  return [series.label, place, `${panel.y.short}: ${valueText(point.y, panel.y)}${interval}`, ...(point.notes || [])];
}

function legend(figure, redraw) {
  const box = node("div", null, "legend");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Series: press to hide or show");
  for (const series of figure.series) {
    const button = node("button", null, `key role-${series.role}`);
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const swatch = draw("svg", { viewBox: "0 0 30 12", width: 30, height: 12, "aria-hidden": "true" }, button);
    if (series.hollow) button.classList.add("hollow");
    sample(swatch, figure.panels[0].kind, series.role);
    button.appendChild(node("span", series.label));
    button.addEventListener("click", () => {
      series.hidden = !series.hidden;
      button.setAttribute("aria-pressed", String(!series.hidden));
      redraw();
    });
    box.appendChild(button);
  }
  return box;
}

function sample(swatch, kind, role) {
  if (kind === "bars" || kind === "stack") {
    draw("rect", { x: 6, y: 0.5, width: 18, height: 11, class: `fill ${kind}` }, swatch);
    if (role === "base") hatch(swatch, 6, 0.5, 18, 11);
    return;
  }
  if (kind === "lines") draw("path", { d: "M0 6H30", class: "line", "stroke-dasharray": ROLES[role].dash }, swatch);
  draw("path", { d: MARKERS[ROLES[role].marker], transform: "translate(15 6)", class: "marker" }, swatch);
}

// Stripes by hand: a pattern would need an id that is unique in the page.
function hatch(parent, x, y, width, height) {
  let d = "";
  for (let start = -height; start < width; start += 5) {
    const from = Math.max(0, start);
    const to = Math.min(width, start + height);
    if (to > from) d += `M${x + from} ${y + height - (from - start)}L${x + to} ${y + height - (to - start)}`;
  }
  draw("path", { d, class: "hatch" }, parent);
}

function extent(panel, shown) {
  let values = shown.flatMap((series) => series.points.flatMap((p) => [p.y, p.low, p.high]));
  if (panel.kind === "stack") {
    values = panel.categories.map((_, place) =>
      shown.reduce((sum, series) => sum + series.points.filter((p) => p.x === place).reduce((s, p) => s + p.y, 0), 0),
    );
  }
  values = values.filter((value) => value !== null && value !== undefined);
  if (panel.y.zero || !values.length) values.push(0);
  let [low, high] = panel.y.range || [Math.min(...values), Math.max(...values)];
  const room = panel.y.range ? 0 : (high - low || 1) * 0.06;
  if (low < 0 || !panel.y.zero) low -= room;
  return [low, high + room];
}

function scales(panel, shown, frame) {
  const [low, high] = extent(panel, shown);
  const along = panel.horizontal
    ? (value) => frame.left + ((value - low) / (high - low)) * frame.width
    : (value) => frame.top + frame.height - ((value - low) / (high - low)) * frame.height;
  if (panel.categories) {
    const size = (panel.horizontal ? frame.height : frame.width) / panel.categories.length;
    const start = panel.horizontal ? frame.top : frame.left;
    return { low, high, along, size, across: (place) => start + (place + 0.5) * size };
  }
  const change = panel.x.log ? Math.log : (value) => value;
  const places = panel.series.flatMap((series) => series.points.map((point) => change(point.x)));
  const [first, last] = [Math.min(...places), Math.max(...places)];
  const inset = 12;
  const across = (x) =>
    frame.left + inset + ((change(x) - first) / (last - first || 1)) * (frame.width - 2 * inset);
  return { low, high, along, across, size: 0 };
}

function frameOf(panel, width) {
  const longest = panel.horizontal ? Math.max(...panel.categories.map((name) => name.length)) : 0;
  const left = panel.horizontal ? Math.min(Math.max(60, 6.6 * longest + 12), width * 0.46) : 46;
  const rows = panel.categories ? Math.max(...panel.categories.map((name) => name.split("\n").length)) : 1;
  const bottom = (panel.horizontal ? 20 : 8 + 14 * rows) + (panel.x && panel.x.label ? 20 : 4);
  const height = panel.horizontal ? panel.categories.length * (panel.kind === "stack" ? 44 : 27) + bottom + 8 : HEIGHT;
  return { left, top: 8, width: width - left - 16, height: height - bottom - 8, total: height };
}

function axes(svg, panel, frame, scale) {
  const most = panel.horizontal ? Math.max(3, Math.floor(frame.width / 70)) : 6;
  for (const tick of niceTicks(scale.low, scale.high, most)) {
    const at = scale.along(tick);
    const zero = Math.abs(tick) < 1e-12 ? " zero" : "";
    const path = panel.horizontal ? `M${at} ${frame.top}v${frame.height}` : `M${frame.left} ${at}h${frame.width}`;
    draw("path", { d: path, class: `grid${zero}` }, svg);
    const label = axisNumber(tick, panel.y);
    if (panel.horizontal) write(svg, label, at, frame.top + frame.height + 15, { "text-anchor": "middle" });
    else write(svg, label, frame.left - 6, at + 4, { "text-anchor": "end" });
  }
  if (panel.categories) categoryLabels(svg, panel, frame, scale);
  else numberLabels(svg, panel, frame, scale);
  if (panel.x && panel.x.label) {
    write(svg, panel.x.label, frame.left + frame.width / 2, frame.total - 4, { "text-anchor": "middle", class: "axis" });
  }
}

function categoryLabels(svg, panel, frame, scale) {
  panel.categories.forEach((name, place) => {
    const at = scale.across(place);
    if (panel.horizontal) {
      const fits = Math.floor((frame.left - 10) / 6.4);
      const text = name.length > fits ? `${name.slice(0, fits - 1)}…` : name;
      write(svg, text, frame.left - 8, at + 4, { "text-anchor": "end" });
      return;
    }
    const fits = Math.max(2, Math.floor(scale.size / 6.4));
    name.split("\n").forEach((line, number) => {
      const text = line.length > fits ? `${line.slice(0, fits - 1)}…` : line;
      const y = frame.top + frame.height + 15 + 14 * number;
      write(svg, text, at, y, { "text-anchor": "middle", class: panel.code ? "code" : "" });
    });
  });
}

function numberLabels(svg, panel, frame, scale) {
  const numbers = panel.series.flatMap((series) => series.points.map((point) => point.x));
  const [first, last] = [Math.min(...numbers), Math.max(...numbers)];
  const ticks = panel.x.ticks || niceTicks(first, last, Math.max(3, Math.floor(frame.width / 60)));
  for (const tick of ticks) {
    if (tick < first || tick > last) continue;
    write(svg, axisNumber(tick, {}), scale.across(tick), frame.top + frame.height + 15, { "text-anchor": "middle" });
  }
}

function drawPanel(panel, figure, width) {
  const frame = frameOf(panel, width);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${frame.total}`, role: "group", class: "chart" });
  draw("title", {}, svg).textContent = `${figure.title}: ${panel.title}`;
  draw("desc", {}, svg).textContent = figure.look;
  const all = panel.series.map((series, index) => ({ ...series, ...figure.series[index] }));
  const shown = all.filter((series) => !series.hidden);
  const scale = scales(panel, shown, frame);
  axes(svg, panel, frame, scale);
  const marks = { lines: drawLines, points: drawPoints, bars: drawBars, stack: drawStack }[panel.kind];
  const items = marks(svg, panel, shown, frame, scale);
  if (panel.cut !== undefined && panel.cut !== null && panel.cut < panel.categories.length) {
    const at = scale.across(panel.cut - 0.5);
    draw("path", { d: `M${at} ${frame.top}v${frame.height}`, class: "cutoff" }, svg);
    const hasRoom = at - frame.left > 125;
    const side = hasRoom ? { "text-anchor": "end" } : { "text-anchor": "start" };
    const words = hasRoom ? "kept while sampling" : "← kept while sampling";
    write(svg, words, at + (hasRoom ? -5 : 5), frame.top + 10, { ...side, class: "cut-label" });
  }
  reach(svg, items);
  return svg;
}

// Left and right along a series, up and down between series.
function reach(svg, items) {
  for (const item of items) {
    const lines = pointLines(item.panel, item.series, item.point);
    item.mark.setAttribute("role", "img");
    item.mark.setAttribute("aria-label", lines.join(", "));
    describe(item.mark, (box) => {
      box.appendChild(node("strong", lines[0], `role-${item.series.role}`));
      lines.slice(1).forEach((line) => box.appendChild(node("div", line)));
    });
  }
  rove(
    svg,
    items.map((item) => item.mark),
    (from, key) => {
      const here = items[from];
      if (key === "ArrowRight" || key === "ArrowLeft") {
        const next = from + (key === "ArrowRight" ? 1 : -1);
        return items[next] && items[next].series === here.series ? next : null;
      }
      if (key !== "ArrowUp" && key !== "ArrowDown") return null;
      const order = [...new Set(items.map((item) => item.series))];
      const other = order[order.indexOf(here.series) + (key === "ArrowDown" ? 1 : -1)];
      if (!other) return null;
      const near = items.filter((item) => item.series === other);
      near.sort((a, b) => Math.abs(a.point.x - here.point.x) - Math.abs(b.point.x - here.point.x));
      return items.indexOf(near[0]);
    },
  );
}

function marker(parent, role, x, y, emphasis) {
  const mark = draw("g", { class: `mark role-${role}`, transform: `translate(${x} ${y})` }, parent);
  draw("circle", { r: 11, class: "target" }, mark);
  draw("path", { d: MARKERS[ROLES[role].marker], class: emphasis ? "marker own" : "marker" }, mark);
  if (emphasis) draw("circle", { r: 8, class: "ring" }, mark);
  return mark;
}

function drawLines(svg, panel, shown, frame, scale) {
  const items = [];
  for (const series of shown) {
    const points = series.points.filter((point) => point.y !== null);
    const group = draw("g", { class: `series role-${series.role}`, "data-series": series.label }, svg);
    if (points.length > 1 && points.every((point) => point.low !== undefined)) {
      const upper = points.map((point) => `${scale.across(point.x)} ${scale.along(point.high)}`);
      const lower = points.map((point) => `${scale.across(point.x)} ${scale.along(point.low)}`).reverse();
      draw("path", { d: `M${[...upper, ...lower].join("L")}Z`, class: "band" }, group);
    }
    const d = `M${points.map((point) => `${scale.across(point.x)} ${scale.along(point.y)}`).join("L")}`;
    if (points.length > 1) draw("path", { d, class: "line", "stroke-dasharray": ROLES[series.role].dash }, group);
    for (const point of points) {
      if (points.length === 1 && point.low !== undefined) whisker(group, panel, point, scale, scale.across(point.x));
      const mark = marker(group, series.role, scale.across(point.x), scale.along(point.y), point.own);
      if (panel.dense) mark.classList.add("dense");
      items.push({ mark, panel, series, point });
    }
  }
  return items;
}

function whisker(parent, panel, point, scale, at) {
  if (point.low === undefined || point.low === null) return;
  const [low, high] = [scale.along(point.low), scale.along(point.high)];
  const d = panel.horizontal
    ? `M${low} ${at}H${high}M${low} ${at - 3}v6M${high} ${at - 3}v6`
    : `M${at} ${low}V${high}M${at - 3} ${low}h6M${at - 3} ${high}h6`;
  draw("path", { d, class: "whisker" }, parent);
}

function drawPoints(svg, panel, shown, frame, scale) {
  const items = [];
  shown.forEach((series, number) => {
    const hollow = series.hollow ? " hollow" : "";
    const group = draw("g", { class: `series role-${series.role}${hollow}`, "data-series": series.label }, svg);
    const spread = Math.min(scale.size * 0.7, 22 * shown.length);
    const shift = ((number + 0.5) / shown.length - 0.5) * spread;
    for (const point of series.points) {
      if (point.y === null) continue;
      const at = scale.across(point.x) + shift;
      whisker(group, panel, point, scale, at);
      const place = panel.horizontal ? [scale.along(point.y), at] : [at, scale.along(point.y)];
      items.push({ mark: marker(group, series.role, ...place, false), panel, series, point });
    }
  });
  return items;
}

function drawBars(svg, panel, shown, frame, scale) {
  const items = [];
  const size = (scale.size * 0.78) / Math.max(1, shown.length);
  shown.forEach((series, number) => {
    const group = draw("g", { class: `series role-${series.role}`, "data-series": series.label }, svg);
    for (const point of series.points) {
      if (point.y === null) continue;
      const x = scale.across(point.x) + (number - shown.length / 2) * size;
      const [y, zero] = [scale.along(point.y), scale.along(0)];
      const mark = draw("g", { class: `mark role-${series.role}` }, group);
      draw("rect", { x, y: frame.top, width: size, height: frame.height, class: "target" }, mark);
      draw("rect", { x, y, width: size, height: Math.max(0.5, zero - y), class: "fill bars" }, mark);
      if (series.role === "base") hatch(mark, x, y, size, zero - y);
      whisker(mark, panel, point, scale, x + size / 2);
      items.push({ mark, panel, series, point });
    }
  });
  return items;
}

function drawStack(svg, panel, shown, frame, scale) {
  const items = [];
  const ends = panel.categories.map(() => 0);
  for (const series of shown) {
    const group = draw("g", { class: `series role-${series.role}`, "data-series": series.label }, svg);
    for (const point of series.points) {
      const start = ends[point.x];
      ends[point.x] += point.y;
      const [from, to] = [scale.along(start), scale.along(ends[point.x])];
      const at = scale.across(point.x);
      const depth = scale.size * 0.62;
      const mark = draw("g", { class: `mark role-${series.role}` }, group);
      draw("rect", { x: from, y: at - depth / 2, width: Math.max(0, to - from), height: depth, class: "fill stack" }, mark);
      const label = `${series.short || ""} ${(100 * point.y).toFixed(1)} %`;
      if (to - from > 7 * label.length) write(mark, label, (from + to) / 2, at + 4, { "text-anchor": "middle", class: "inside" });
      items.push({ mark, panel, series, point });
    }
  }
  return items;
}

function dataTable(figure) {
  const box = node("details", null, "data");
  box.appendChild(node("summary", "The numbers as a table"));
  const scroll = node("div", null, "scroll");
  scroll.tabIndex = 0;
  const table = node("table");
  const rows = figure.panels.flatMap((panel) =>
    panel.series.flatMap((series, index) => series.points.map((point) => [panel, figure.series[index], point])),
  );
  for (const [panel, series, point] of rows) {
    const line = node("tr");
    const [label, place, ...rest] = pointLines(panel, series, point);
    for (const text of [panel.title, label, place, rest.join(", ")]) line.appendChild(node("td", text));
    table.appendChild(line);
  }
  scroll.appendChild(table);
  box.appendChild(scroll);
  return box;
}

function mountFigure(figure) {
  const home = document.getElementById(figure.id);
  if (!home) return;
  const canvas = node("div", null, `panels panels-${Math.min(figure.panels.length, 2)}`);
  const homes = figure.panels.map((panel) => {
    const box = node("div", null, "panel");
    const place = node("div");
    const title = node("h4", panel.title);
    box.appendChild(title);
    if (panel.before) box.appendChild(node("pre", panel.before, "context"));
    place.className = "canvas";
    box.appendChild(place);
    canvas.appendChild(box);
    return place;
  });
  let drawnAt = 0;
  const redraw = () => {
    hideTip();
    homes.forEach((place, index) => {
      const width = Math.max(260, Math.floor(place.clientWidth || 600));
      place.replaceChildren(drawPanel(figure.panels[index], figure, width));
    });
    drawnAt = canvas.clientWidth;
  };
  if (figure.series.length > 1) home.appendChild(legend(figure, redraw));
  home.appendChild(canvas);
  const details = dataTable(figure);
  home.appendChild(details);
  redraw();
  new ResizeObserver(() => {
    if (Math.abs(canvas.clientWidth - drawnAt) > 4) redraw();
  }).observe(canvas);
}
