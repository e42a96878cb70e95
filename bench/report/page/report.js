"use strict";
// Text from the store reaches the page by textContent alone, so that no name of a case or a method can be read as markup.

const percent = (share) => (share === null ? "-" : (100 * share).toFixed(2));

function make(tag, attributes = {}, text = "") {
  const svg = ["svg", "g", "path", "line", "text", "circle", "title"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

// Tables: numbers fall at the first click, words rise; what has no value stays below either way.
function sortable(table) {
  const value = (row, at) => {
    const cell = row.cells[at];
    return cell.dataset.sort === undefined ? cell.textContent : cell.dataset.sort === "" ? null : +cell.dataset.sort;
  };
  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const at = +button.dataset.at, head = button.closest("th"), body = table.tBodies[0], rows = [...body.rows];
      const numbers = rows.some((row) => typeof value(row, at) === "number");
      const before = head.getAttribute("aria-sort");
      const rising = before ? before === "descending" : !numbers;
      rows.sort((one, other) => {
        const a = value(one, at), b = value(other, at);
        if (a === null || b === null) return (a === null) - (b === null);
        return (rising ? 1 : -1) * (typeof a === "number" ? a - b : a.localeCompare(b));
      });
      body.append(...rows);
      for (const each of table.querySelectorAll("[aria-sort]")) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    });
  }
}

// Buttons that copy a table as a text.
function copying(button, texts) {
  button.addEventListener("click", async () => {
    const text = texts[button.dataset.copy][button.dataset.form], said = button.parentElement.querySelector("[role=status]");
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a browser that gives a file no clipboard still copies what is selected
      const area = make("textarea", { "aria-hidden": "true" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    said.textContent = `${button.dataset.form} copied`;
  });
}

// Plots. `hidden` is the set of methods that are switched off, `open(case, method)` shows a case.
const WIDTH = 380, HEIGHT = 340, LEFT = 44, RIGHT = 368, TOP = 10, BOTTOM = 300, REACH = 14;

// One dot a patient, under each method: lines join the same patient.
function strip(panel, data, column, hidden, open) {
  const shown = data.methods.map((_, m) => m).filter((m) => (column.scores[m] || []).some(([dice]) => dice !== null));
  const wide = Math.max(WIDTH, LEFT + 64 * shown.length + 12), gap = (wide - LEFT - 32) / Math.max(1, shown.length);
  const people = new Map();
  column.patients.forEach((patient, c) => people.set(patient, [...(people.get(patient) || []), c]));
  const means = [...people].map(([patient, cases]) => ({ patient, cases, scores: shown.map((m) => {
    const known = cases.map((c) => column.scores[m][c][0]).filter((dice) => dice !== null);
    return known.length ? known.reduce((sum, dice) => sum + dice, 0) / known.length : null;
  }) }));
  const lowest = Math.min(1, ...means.flatMap((one) => one.scores.filter((dice) => dice !== null)));
  const high = 1, step = high - Math.floor(10 * lowest) / 10 > 0.5 ? 0.2 : 0.1;
  const low = Math.max(0, high - step * Math.ceil((high - lowest) / step - 1e-9));  // a tick, too
  const x = (place) => LEFT + 20 + gap * (place + 0.5), y = (v) => BOTTOM - (BOTTOM - TOP) * (v - low) / (high - low || 1);
  const short = (title) => title.length > 20 ? `${title.slice(0, 9)}…${title.slice(-9)}` : title;
  const names = shown.map((m) => short(data.methods[m].title)), longest = Math.max(0, ...names.map((name) => name.length));
  const tall = BOTTOM + 20 + 3.9 * longest;  // names lie on a slope under the axis
  const svg = make("svg", { viewBox: `0 0 ${wide} ${tall}`, tabindex: 0, role: "application",
    "aria-label": `Dice of each patient under each method, ${column.title}: arrow keys go from dot to dot, Enter opens the case` });
  for (let tick = high; tick > low - 1e-9; tick -= step) {
    svg.append(make("line", { class: "grid", x1: LEFT, x2: wide - 12, y1: y(tick), y2: y(tick) }),
      make("text", { x: LEFT - 5, y: y(tick) + 4, "text-anchor": "end" }, (100 * tick).toFixed(0)));
  }
  const line = means.length > 150 ? "join faint" : "join";
  for (const one of means) {
    const d = one.scores.map((dice, place) => dice === null ? "" : `L${x(place).toFixed(1)} ${y(dice).toFixed(1)}`).join("");
    if (d) svg.append(make("path", { class: line, d: `M${d.slice(1)}` }));
  }
  svg.append(make("line", { class: "axis", x1: LEFT, x2: LEFT, y1: TOP, y2: BOTTOM }),
    make("text", { x: 0, y: 0, "text-anchor": "middle", transform: `translate(11 ${(TOP + BOTTOM) / 2}) rotate(-90)` },
      `Dice of a patient (%); n = ${means.length}`));
  const dots = [];
  const groups = data.methods.map((method, m) => {
    const group = make("g"), place = shown.indexOf(m), lines = [];
    if (place < 0) return group;
    means.forEach((one, p) => {
      const dice = one.scores[place];
      if (dice === null) return;
      const known = one.cases.filter((c) => column.scores[m][c][0] !== null);
      const worst = known.reduce((a, b) => column.scores[m][b][0] < column.scores[m][a][0] ? b : a);
      const dot = { x: x(place), y: y(dice), c: worst, all: one.cases, m, p, dice };
      dots.push(dot);
      lines.push(`M${dot.x.toFixed(1)} ${dot.y.toFixed(1)}${method.shape}`);
    });
    group.append(make("path", { class: "dots", stroke: method.colour, d: lines.join("") }));
    const name = make("text", { "text-anchor": "end", transform: `translate(${x(place) + 4} ${BOTTOM + 12}) rotate(-38)` },
      names[place]);
    name.append(make("title", {}, method.title));
    group.append(name);
    svg.append(group);
    return group;
  });
  dots.sort((a, b) => a.m - b.m || a.dice - b.dice || a.p - b.p);
  const describe = (dot) => `${data.methods[dot.m].title}, patient ${means[dot.p].patient}: Dice ${percent(dot.dice)} % ` +
    `(${means[dot.p].cases.length} case${means[dot.p].cases.length === 1 ? "" : "s"})`;
  return interact({ panel, svg, wide, dots, groups, describe, hidden, open });
}

// One dataset's scatter: figure 8 of the paper.
function scatter(panel, data, column, hidden, open) {
  const at = { x: (v) => LEFT + (RIGHT - LEFT) * (v - column.low) / (1 - column.low),
               y: (v) => BOTTOM - (BOTTOM - TOP) * (v - column.low) / (1 - column.low) };
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "application",
    "aria-label": `Dice against IoU, ${column.title}: arrow keys go from dot to dot, Enter opens the case` });
  const step = (1 - column.low) > 0.5 ? 0.2 : 0.1;
  for (let tick = 1; tick > column.low - 1e-9; tick -= step) {
    const [x, y, label] = [at.x(tick), at.y(tick), (100 * tick).toFixed(0)];
    svg.append(make("line", { class: "grid", x1: x, x2: x, y1: TOP, y2: BOTTOM }),
      make("line", { class: "grid", x1: LEFT, x2: RIGHT, y1: y, y2: y }),
      make("text", { x, y: BOTTOM + 14, "text-anchor": "middle" }, label),
      make("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, label));
  }
  let curve = "";
  for (let k = 0; k <= 100; k++) {
    const dice = column.low + (1 - column.low) * k / 100, iou = dice / (2 - dice);
    if (iou >= column.low) curve += `${curve ? "L" : "M"}${at.x(dice).toFixed(1)} ${at.y(iou).toFixed(1)}`;
  }
  svg.append(make("line", { class: "axis", x1: LEFT, x2: RIGHT, y1: BOTTOM, y2: BOTTOM }),
    make("line", { class: "axis", x1: LEFT, x2: LEFT, y1: TOP, y2: BOTTOM }),
    make("path", { class: "curve", d: curve }),
    make("text", { x: (LEFT + RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" },
      `Dice (%); n = ${column.cases.length} cases; line: IoU = D/(2 − D)`),
    make("text", { x: 0, y: 0, "text-anchor": "middle", transform: `translate(11 ${(TOP + BOTTOM) / 2}) rotate(-90)` },
      "IoU (%)"));
  const dots = [];
  const groups = data.methods.map((method, m) => {
    const group = make("g"), lines = [];
    (column.scores[m] || []).forEach(([dice, iou], c) => {
      if (dice === null) return;
      const dot = { x: at.x(dice), y: at.y(iou), c, all: [c], m, dice, iou };
      dots.push(dot);
      lines.push(`M${dot.x.toFixed(1)} ${dot.y.toFixed(1)}${method.shape}`);
    });
    group.append(make("path", { class: "dots", stroke: method.colour, d: lines.join("") }));
    svg.append(group);
    return group;
  });
  dots.sort((a, b) => a.dice - b.dice || a.c - b.c || a.m - b.m);
  const describe = (dot) => `${data.methods[dot.m].title}, case ${column.cases[dot.c]}, patient ${column.patients[dot.c]}: ` +
    `Dice ${percent(dot.dice)} %, IoU ${percent(dot.iou)} %`;
  return interact({ panel, svg, wide: WIDTH, dots, groups, describe, hidden, open });
}

// What every plot does: hover, click, keyboard, methods that are switched off, the chosen case.
function interact({ panel, svg, wide, dots, groups, describe, hidden, open }) {
  svg.style.maxWidth = `${1.15 * wide}px`;  // a plot of few methods does not fill a wide window
  const chosen = make("g"), ring = make("circle", { class: "ring", r: 7, visibility: "hidden" });
  const tip = make("div", { class: "tip", role: "status", hidden: "" });
  svg.append(chosen, ring);
  panel.append(svg, tip);

  let current = null;
  const visible = () => dots.filter((dot) => !hidden.has(dot.m));
  const point = (dot) => {
    current = dot;
    ring.setAttribute("visibility", dot ? "visible" : "hidden");
    tip.hidden = !dot;
    if (!dot) return;
    ring.setAttribute("cx", dot.x);
    ring.setAttribute("cy", dot.y);
    const near = visible().filter((other) => other !== dot && Math.hypot(other.x - dot.x, other.y - dot.y) < 4).length;
    tip.textContent = describe(dot) + (near ? ` (and ${near} more here)` : "");
    const box = svg.getBoundingClientRect(), scale = box.width / wide, right = dot.x > wide / 2;
    tip.style.left = right ? "auto" : `${dot.x * scale + 12}px`;
    tip.style.right = right ? `${(wide - dot.x) * scale + 12}px` : "auto";
    tip.style.top = `${box.top - panel.getBoundingClientRect().top + dot.y * scale - 10}px`;
  };
  const nearest = (event) => {
    const box = svg.getBoundingClientRect(), scale = wide / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = null, least = REACH;
    for (const dot of visible()) {
      const far = Math.hypot(dot.x - x, dot.y - y);
      if (far < least) [best, least] = [dot, far];
    }
    return best;
  };
  svg.addEventListener("pointermove", (event) => point(nearest(event)));
  svg.addEventListener("pointerleave", () => point(null));
  svg.addEventListener("blur", () => point(null));
  svg.addEventListener("click", (event) => {
    const dot = nearest(event);
    if (dot) open(dot.c, dot.m);
  });
  svg.addEventListener("keydown", (event) => {
    const all = visible(), place = all.indexOf(current);
    const to = { ArrowRight: place + 1, ArrowUp: place + 1, ArrowLeft: place - 1, ArrowDown: place - 1,
                 Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined && all.length) point(all[Math.max(0, Math.min(all.length - 1, to))]);
    else if ((event.key === "Enter" || event.key === " ") && current) open(current.c, current.m);
    else return;
    event.preventDefault();
  });
  return {
    hide: () => groups.forEach((group, m) => group.setAttribute("visibility", hidden.has(m) ? "hidden" : "visible")),
    choose: (c) => chosen.replaceChildren(...dots.filter((dot) => dot.all.includes(c))
      .map((dot) => make("circle", { class: "chosen", cx: dot.x, cy: dot.y, r: 6 }))),
  };
}

function tile(title, scores, image, overlay, picked) {
  const made = make("figure", { class: picked ? "tile picked" : "tile" });
  const caption = make("figcaption"), layers = [image, overlay].filter(Boolean);
  const kind = ["none", "picture alone", "picture"][layers.length];
  const picture = make("div", { class: image && !overlay ? "picture" : kind }, layers.length ? "" : "no picture");
  for (const source of layers) picture.append(make("img", { src: source, alt: source === layers[0] ? title : "" }));
  caption.append(make("b", {}, title), make("span", {}, scores));
  made.append(picture, caption);
  return made;
}

// A section: its legend, its scatters, and the viewer that shows a case under every method.
function explorer(root) {
  const data = JSON.parse(document.getElementById(`${root.dataset.source}-data`).textContent);
  const find = (name) => root.querySelector(name), hidden = new Set();
  const columns = find("select.column"), cases = find("select.case");
  const label = (column, c) => `${column.cases[c]}, patient ${column.patients[c]}: ${percent(column.means[c])} %`;
  const fill = (c) => cases.replaceChildren(...data.columns[c].cases.map(
    (_, number) => make("option", { value: number }, label(data.columns[c], number))));

  const show = (number, c, picked) => {
    const column = data.columns[number], pictures = column.pictures[c];
    if (+columns.value !== number || !cases.options.length) {
      columns.value = number;
      fill(number);
    }
    cases.value = c;
    find(".shown").textContent = `${column.title}${data.source === "phantom" ? " (PHANTOM)" : ""}, ` +
      `case ${column.cases[c]}, patient ${column.patients[c]}; Dice and IoU in percent`;
    find(".about").textContent = pictures ? column.about : `No picture of this case is in this page. ${column.about}`;
    find(".key").hidden = !(pictures && pictures.image);
    const tiles = pictures && pictures.image
      ? [tile("Image", "", pictures.image, "", false), tile("Reference", "", pictures.image, pictures.reference, false)] : [];
    data.methods.forEach((method, m) => {
      const [dice, iou] = (column.scores[m] || [])[c] || [null, null];
      if (dice === null) return;
      const overlay = pictures && pictures.answers[m];
      tiles.push(tile(method.title, `Dice ${percent(dice)}, IoU ${percent(iou)}`, overlay && pictures.image, overlay,
        m === picked));
    });
    find(".tiles").replaceChildren(...tiles);
    panels.forEach((panel, place) => panel.choose(place % data.columns.length === number ? c : -1));
  };
  const drawn = (kind, draw) => [...root.querySelectorAll(kind)].map((panel, number) =>
    draw(panel, data, data.columns[number], hidden, (c, m) => {
      show(number, c, m);
      find(".viewer").scrollIntoView({ block: "nearest" });
    }));
  const panels = [...drawn(".strip", strip), ...drawn(".scatter", scatter)];
  find(".legend").addEventListener("change", (event) => {
    hidden[event.target.checked ? "delete" : "add"](+event.target.dataset.method);
    panels.forEach((panel) => panel.hide());
  });
  columns.addEventListener("change", () => { fill(+columns.value); show(+columns.value, 0); });
  cases.addEventListener("change", () => show(+columns.value, +cases.value));
  for (const button of root.querySelectorAll(".step")) {
    button.addEventListener("click", () => {
      const last = data.columns[+columns.value].cases.length - 1;
      const by = find(".key").hidden ? 0 : +button.dataset.by; // at first no case is shown
      show(+columns.value, Math.max(0, Math.min(last, +cases.value + by)));
    });
  }
  find(".key").hidden = true;
  fill(0);
}

const texts = JSON.parse(document.getElementById("texts").textContent);
document.querySelectorAll("[data-copy]").forEach((button) => copying(button, texts));
document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll(".explorer").forEach(explorer);
