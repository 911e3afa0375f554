// Charts of score against cost. Fronts, ties and bars come with the data; here they are placed and lit.
const SVG = "http://www.w3.org/2000/svg";
const drawn = (name, attributes, text) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

const SHAPES = [
  "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z", "M-4.5 -4.5h9v9h-9Z", "M0 -5.5L5 4H-5Z", "M0 -6L5 0L0 6L-5 0Z", "M0 5.5L5 -4H-5Z",
  "M-2 -5h4v3h3v4h-3v3h-4v-3h-3v-4h3Z", "M-5 -3L-3 -5L0 -2L3 -5L5 -3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z", "M0 -6L1.6 -2L6 -2L2.6 .8L4 5L0 2.6L-4 5L-2.6 .8L-6 -2L-1.6 -2Z",
];

const ticksOf = (low, high, logarithmic) => {
  const span = high / low;
  if (logarithmic && span > 5) {
    const found = [];
    const parts = span < 200 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
      for (const part of parts) if (part * 10 ** power >= low && part * 10 ** power <= high * 1.0001) found.push(part * 10 ** power);
    }
    return found;
  }
  const rough = (high - low) / 4;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * size >= rough) * size;
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high; n += 1) found.push(n * step);
  return found;
};
const exactly = (value) => String(Number(value.toPrecision(10))).replace("-", "\u2212");
const said = (value) => String(Number(value.toPrecision(3))).replace("-", "\u2212");

const choice = (name, titles, chosen, change) => {
  const label = element("label", `${name} `);
  const select = element("select");
  titles.forEach((title, index) => {
    const option = element("option", title);
    option.value = index;
    select.append(option);
  });
  select.value = chosen;
  select.addEventListener("change", () => change(Number(select.value)));
  label.append(select);
  return label;
};

const startChart = (box) => {
  const number = Number(box.dataset.chart);
  const chart = data.charts[number];
  const known = (value, count) => (Number.isInteger(value) && value >= 0 && value < count ? value : 0);
  let [y, x, budget] = (state.get(`chart${number}`) || `${chart.start}.0.100`).split(".").map(Number);
  [y, x] = [known(y, chart.ys.length), known(x, chart.xs.length)];
  if (!(budget >= 0 && budget <= 100)) budget = 100;

  const controls = element("p", undefined, "controls");
  const canvas = element("div", undefined, "canvas");
  const told = element("p", undefined, "told");
  told.setAttribute("aria-live", "polite");
  const tip = element("div", undefined, "tip");
  tip.hidden = true;
  const slider = element("input");
  Object.assign(slider, { type: "range", min: 0, max: 100, value: budget });
  slider.setAttribute("aria-label", "budget");
  const limit = element("output");
  const label = element("label", "budget ");
  label.append(slider, limit);
  const keep = () => remember(`chart${number}`, y !== chart.start || x || budget < 100 ? `${y}.${x}.${budget}` : "");
  const here = () => chart.points.filter((p) => p.y === y && p.x === x && !hiddenNames.method.has(chart.methods[p.method].method));
  controls.append(
    choice("score", chart.ys.map((one) => one.title), y, (value) => { y = value; keep(); draw(); }),
    choice("cost", chart.xs, x, (value) => { x = value; keep(); draw(); }),
    label,
  );
  slider.addEventListener("input", () => { budget = Number(slider.value); keep(); draw(); });

  const draw = () => {
    const points = here();
    canvas.replaceChildren();
    tip.hidden = true;
    if (!points.length) { told.textContent = "No method has this score and this cost."; limit.textContent = ""; return; }
    const width = Math.max(300, Math.min(box.clientWidth || 720, 1000));
    const height = Math.min(460, Math.max(300, width * 0.55));
    const [left, right, top, bottom] = [52, width - 16, 12, height - 40];
    const sizes = points.map((p) => p.size);
    const [least, most] = [Math.min(...sizes) / 1.25, Math.max(...sizes) * 1.25];
    const logarithmic = most / least > 4;
    const scale = (v) => (logarithmic ? Math.log(v / least) / Math.log(most / least) : (v - least) / (most - least));
    const ends = points.flatMap((p) => [p.low, p.high]);
    const floor = chart.ys[y].floor;
    if (floor !== null && floor !== undefined) ends.push(floor);
    const room = (Math.max(...ends) - Math.min(...ends)) * 0.06 || 1;
    const [low, high] = [Math.min(...ends) - room, Math.max(...ends) + room];
    const px = (v) => left + scale(v) * (right - left);
    const py = (v) => bottom - ((v - low) / (high - low)) * (bottom - top);

    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, class: "scatter", role: "group", "aria-label": `${chart.ys[y].title} against ${chart.xs[x]}` });
    svg.append(drawn("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` }));
    for (const tick of ticksOf(low, high, false)) {
      svg.append(drawn("path", { class: "guide", d: `M${left} ${py(tick)}H${right}` }), drawn("text", { class: "end", x: left - 6, y: py(tick) + 4 }, exactly(tick)));
    }
    for (const tick of ticksOf(least, most, logarithmic)) {
      if (px(tick) < left + 8 || px(tick) > right) continue;
      svg.append(drawn("path", { class: "axis", d: `M${px(tick)} ${bottom}v4` }), drawn("text", { class: "mid", x: px(tick), y: bottom + 17 }, exactly(tick)));
    }
    svg.append(drawn("text", { class: "mid", x: (left + right) / 2, y: height - 6 }, chart.xs[x]));
    if (floor !== null && floor !== undefined) {
      svg.append(drawn("path", { class: "level", d: `M${left} ${py(floor)}H${right}` }), drawn("text", { class: "soft end", x: right, y: py(floor) - 4 }, chart.ys[y].called));
    }
    const ahead = points.filter((p) => p.front).sort((a, b) => a.size - b.size);
    const steps = ahead.map((p, n) => `${n ? `H${px(p.size)}V` : `M${px(p.size)} `}${py(p.score)}`).join("");
    svg.append(drawn("path", { class: "front", d: steps }));

    const spent = Math.min(...sizes) * (Math.max(...sizes) / Math.min(...sizes)) ** (budget / 100) * 1.0001;
    const within = points.filter((p) => budget === 100 || p.size <= spent);
    const sign = chart.ys[y].higher ? 1 : -1;
    const best = within.reduce((one, other) => (sign * other.score > sign * one.score ? other : one), within[0]);
    const ties = new Set(best ? chart.ys[y].ties[best.method] || [] : []);
    const tied = within.filter((p) => p !== best && ties.has(p.method)).sort((a, b) => sign * (b.score - a.score));
    limit.textContent = budget === 100 ? "none" : `at most ${said(spent)}`;
    if (budget < 100) svg.append(drawn("rect", { class: "beyond", x: px(spent), y: top, width: Math.max(0, right - px(spent)), height: bottom - top }));
    const names = tied.map((p) => chart.methods[p.method].label);
    const listed = names.length > 6 ? `${names.slice(0, 6).join(", ")} and ${names.length - 6} more` : names.join(", ");
    told.replaceChildren();
    if (best) {
      told.append(element("b", `${budget === 100 ? "Best" : "Best within the budget"}: ${chart.methods[best.method].label}`), ` ${best.said}. `);
      if (tied.length) told.append(chart.ys[y].tested ? `Not separated from it: ${listed}.` : `No test is possible here, so nothing is separated from it.`);
    } else told.append("Nothing is that cheap.");

    const taken = floor === null || floor === undefined ? [] : [[right - 8 * chart.ys[y].called.length, py(floor) - 15, right, py(floor)]];
    for (const p of points) taken.push([px(p.size) - 6, py(p.score) - 6, px(p.size) + 6, py(p.score) + 6]);
    const order = [...points].sort((a, b) => (b === best) - (a === best) || b.front - a.front || sign * (b.score - a.score));
    const marks = [];
    for (const p of order) {
      const method = chart.methods[p.method];
      const lit = p === best ? "best" : tied.includes(p) && (budget < 100 || chart.ys[y].tested) ? "tie" : within.includes(p) ? "" : "out";
      const mark = drawn("g", { class: `point s${method.shade} ${lit}`, tabindex: 0, role: "button", "aria-label": `${method.label}: ${p.said}; ${chart.xs[x]} ${said(p.size)}${p.runs.length ? ". Show runs" : ""}` });
      const [cx, cy] = [px(p.size), py(p.score)];
      if (p.high > p.low) mark.append(drawn("path", { class: "bar", d: `M${cx} ${py(p.low)}V${py(p.high)}` }));
      mark.append(drawn("path", { class: "mark", d: SHAPES[method.marker], transform: `translate(${cx} ${cy})` }));
      const text = method.label.length > 30 ? `${method.label.slice(0, 29)}\u2026` : method.label;
      const wide = text.length * 6.3;
      const spots = [[cx + 9, cy + 4, cx + 9], [cx - 9 - wide, cy + 4, cx - 9 - wide], [cx - wide / 2, cy - 10, cx - wide / 2], [cx - wide / 2, cy + 18, cx - wide / 2]];
      const spot = spots.find(([sx, sy]) => sx > left && sx + wide < right && sy > top + 6 && sy < bottom - 2
        && !taken.some(([a, b, c, d]) => sx < c && sx + wide > a && sy - 10 < d && sy + 2 > b && !(a === cx - 6 && b === cy - 6)));
      if (spot) {
        taken.push([spot[0], spot[1] - 10, spot[0] + wide, spot[1] + 2]);
        mark.append(drawn("text", { class: "name", x: spot[2], y: spot[1] }, text));
      }
      const show = () => {
        tip.replaceChildren(element("b", method.label), element("div", `${chart.ys[y].title}: ${p.said}`), element("div", `${chart.xs[x]}: ${said(p.size)}`));
        tip.hidden = false;
        const place = canvas.clientWidth / width;
        tip.style.left = `${Math.min(cx * place + 12, canvas.clientWidth - tip.offsetWidth - 4)}px`;
        tip.style.top = `${cy * place + 14}px`;
      };
      const open = () => { if (p.runs.length) openRuns(p.runs, `${method.label}, ${chart.ys[y].title}: ${p.said}`); };
      mark.addEventListener("pointerenter", show);
      mark.addEventListener("focus", show);
      mark.addEventListener("pointerleave", () => { tip.hidden = true; });
      mark.addEventListener("blur", () => { tip.hidden = true; });
      mark.addEventListener("click", open);
      mark.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); }
      });
      marks.push([p, mark]);
    }
    for (const [, mark] of marks.reverse()) svg.append(mark);
    canvas.append(svg, tip);
  };
  box.replaceChildren(controls, canvas, told);
  draw();
  redraws.push(draw);
};

for (const box of document.querySelectorAll("[data-chart]")) startChart(box);
let wait;
addEventListener("resize", () => {
  clearTimeout(wait);
  wait = setTimeout(() => redraws.forEach((redraw) => redraw()), 100);
});
