// The curves along the nerve and its surface. Pointing at a slice in a curve shows it; the line and the frame follow.

const curves = {area: "slice", drawn: []};
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Line colours with contrast to the card in either scheme; the viewer's are for black.
const LIGHT = {Auto: "#2c7a12", GT: "#1a5fd0", lesion: "#c2202c", other: "#8a4b00", signal: "#5b3fa8", norm: "#4d5763"};
const DARK = {Auto: "#82e63c", GT: "#6ea8ff", lesion: "#ff6b6b", other: "#ffb04d", signal: "#bda6ff", norm: "#b2bcc7"};
const inDark = () => dark.matches && !printing();
const tone = (name) => (inDark() ? DARK : LIGHT)[name] || (inDark() ? DARK : LIGHT).other;

const BRANCH = {
  total: {dash: "solid", symbol: "circle", width: 2.4}, nerve: {dash: "solid", symbol: "circle", width: 1.6},
  tibial: {dash: "dash", symbol: "triangle-up", width: 1.6}, peroneal: {dash: "dot", symbol: "square", width: 1.6},
};
const SIDES = ["solid", "dash"];

function layout(unit, height, most) {
  return {
    height, margin: {l: 56, r: 12, t: 8, b: 40}, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: {color: colour("--text"), size: 12}, hovermode: "x unified", dragmode: false,
    hoverlabel: {bgcolor: colour("--card"), font: {color: colour("--text")}},
    legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0},
    xaxis: {title: {text: "slice", standoff: 6}, range: ends(), gridcolor: colour("--line"), zeroline: false, fixedrange: true},
    yaxis: {title: {text: unit, standoff: 6}, range: most ? [0, most] : undefined, rangemode: most ? undefined : "tozero",
      gridcolor: colour("--line"), zerolinecolor: colour("--line"), fixedrange: true},
    shapes: [here()],
  };
}

const ends = () => [data.numbers[0] - 0.5, data.numbers[data.numbers.length - 1] + 0.5];
const here = () => ({type: "line", name: "here", x0: data.numbers[shown.index], x1: data.numbers[shown.index], yref: "paper",
  y0: 0, y1: 1, line: {color: colour("--focus"), width: 2}});

const line = (name, y, ink, dash, width, symbol) => ({
  name, x: data.numbers, y, customdata: data.levels_mm, mode: "lines+markers", connectgaps: false,
  line: {color: ink, dash, width}, marker: {size: 5, symbol: symbol || "circle", color: ink},
  hovertemplate: "%{y:.4~g}",
});

function areaTraces(area) {
  const several = new Set(area.lines.map((one) => one.mask)).size > 1;
  return area.lines.map((one) => {
    const manner = BRANCH[one.branch] || BRANCH.nerve;
    return line(several ? `${one.mask} ${one.branch}` : one.branch, one[curves.area], tone(one.mask), manner.dash,
      manner.width, manner.symbol);
  });
}

function band(signal) {
  const known = data.numbers.map((number, i) => [number, signal.p10[i], signal.p90[i]]).filter((row) => row[1] !== null);
  return {
    name: "10th to 90th percentile", x: [...known.map((row) => row[0]), ...known.map((row) => row[0]).reverse()],
    y: [...known.map((row) => row[2]), ...known.map((row) => row[1]).reverse()], fill: "toself", mode: "lines",
    line: {width: 0}, fillcolor: tone("signal") + "33", hoverinfo: "skip",
  };
}

// The norm of the mean over the nerve, the same in all slices: a band of 2 SD on each side of its mean.
function norm(curve, unit) {
  const band = data.norms[curve];
  if (!band) return [];
  const [low, high] = band, [first, last] = ends(), words = (value) => Number(value.toPrecision(3)).toString();
  return [{
    name: `norm of the mean ± 2 SD (${words(low)} to ${words(high)}${unit ? ` ${unit}` : ""})`, x: [first, last, last, first],
    y: [low, low, high, high].map((value) => Math.max(0, value)), fill: "toself", mode: "lines",
    line: {width: 0}, fillcolor: tone("norm") + "30", hoverinfo: "skip",
  }];
}

function plans() {
  const plans = data.areas.map((area) => ({
    name: `Area${data.areas.length > 1 ? `, ${area.side} nerve` : ""}`, height: 240, unit: "mm²", split: area.split,
    traces: () => [...norm(curves.area, "mm²"), ...areaTraces(area)],
  }));
  for (const channel of new Set(data.signals.map((signal) => signal.channel))) {
    const own = data.signals.filter((signal) => signal.channel === channel);
    plans.push({name: `Signal in the nerve, ${channel}`, height: 190, unit: "signal", traces: () => [
      ...norm(`signal ${channel}`, ""),
      ...(own.length === 1 ? [band(own[0])] : []),
      ...own.map((one, i) => line(own.length > 1 ? `${one.side} mean` : "mean", one.mean, tone("signal"), SIDES[i % 2], 2)),
    ]});
  }
  if (data.lesions.length) plans.push({name: "Lesion, share of the nerve's section", height: 190, unit: "%", most: 104, traces: () =>
    data.lesions.map((one, i) => ({...line(data.lesions.length > 1 ? one.side : "lesion",
      one.share.map((share) => share === null ? null : 100 * share), tone("lesion"), SIDES[i % 2], 2),
      fill: data.lesions.length > 1 ? "none" : "tozeroy"}))});
  return plans;
}

// One after the other, so that the page answers in between.
async function drawCurves() {
  const room = byId("charts");
  if (!room) return;
  if (!room.childElementCount) {
    curves.drawn = plans().map((plan) => {
      const name = document.createElement("p"), chart = document.createElement("div");
      name.className = "chart-name";
      name.textContent = plan.name;
      chart.className = "chart";
      room.append(name, chart);
      return {plan, chart};
    });
  }
  for (const {plan, chart} of curves.drawn) {
    await new Promise((done) => setTimeout(done));
    drawCurve(plan, chart);
  }
}

function drawCurve(plan, chart) {
  const drawing = layout(plan.unit, plan.height, plan.most), traces = plan.traces(), wide = chart.clientWidth;
  if (plan.split !== null && plan.split !== undefined) markSplit(drawing, plan.split);
  if (printing()) [drawing.width, drawing.height] = [wide, 0.75 * plan.height]; // a fixed width follows no window
  if (!printing() && wide < 480 && traces.length > 2) drawing.height += 16 * traces.length; // a line of the legend for each
  drawing.showlegend = traces.length > 1;
  drawing.margin.t = traces.length > 3 ? 44 : traces.length > 1 ? 26 : 8;
  Plotly.react(chart, traces, drawing, {displayModeBar: false, responsive: true});
  if (!chart.dataset.heard) {
    chart.dataset.heard = "yes";
    for (const what of ["plotly_hover", "plotly_click"]) chart.on(what, (event) => showNumber(event.points[0].x));
  }
}

function markSplit(drawing, split) {
  drawing.shapes.push({type: "line", x0: split, x1: split, yref: "paper", y0: 0, y1: 1,
    line: {color: colour("--quiet"), width: 1, dash: "dot"}});
  drawing.annotations = [{x: split, y: 0, yref: "paper", yanchor: "bottom", text: "split", showarrow: false,
    xanchor: "left", xshift: 3, font: {color: colour("--quiet"), size: 11}}];
}

const CAMERA = {front: {x: 0.4, y: 1.42, z: 0.5}, side: {x: 1.46, y: 0.15, z: 0.5}, back: {x: -0.4, y: -1.42, z: 0.5}};
const MARGIN_MM = 8;

// Where the surfaces lie: [least, most] along x, y and z.
function extent() {
  return ["x", "y", "z"].map((axis) => data.surfaces.reduce(([least, most], surface) => [
    Math.min(least, ...surface[axis].map((value) => value - MARGIN_MM)),
    Math.max(most, ...surface[axis].map((value) => value + MARGIN_MM)),
  ], [Infinity, -Infinity]));
}

// The slice shown, as a frame around the nerve with the directions on its sides.
function frame([[left, right], [back, front]]) {
  const z = data.levels_mm[shown.index], [x, y] = [(left + right) / 2, (back + front) / 2];
  return {
    x: [left, x, right, right, right, x, left, left, left], y: [back, back, back, y, front, front, front, y, back],
    z: Array(9).fill(z), text: ["", "P", "", "R", "", "A", "", "L", ""],
  };
}

function drawShape() {
  const room = byId("shape");
  if (!data.surfaces.length) {
    room.className = "no-chart";
    room.textContent = `No ${data.noun} was found, so there is no shape to show.`;
    return;
  }
  const meshes = data.surfaces.map((surface, number) => ({
    type: "mesh3d", name: surface.name, x: surface.x, y: surface.y, z: surface.z, i: surface.i, j: surface.j, k: surface.k,
    color: tone(surface.name), opacity: number && surface.name !== "lesion" ? 0.3 : 1,
    flatshading: false, showlegend: true, hoverinfo: "name",
    lighting: {ambient: 0.6, diffuse: 0.7, specular: 0.1}, lightposition: {x: 5000, y: 8000, z: 4000},
  }));
  const bounds = extent(), lengths = bounds.map(([least, most]) => most - least);
  const size = Math.min(0.75 / Math.max(lengths[0], lengths[1]), 1.15 / lengths[2]);
  const outline = {type: "scatter3d", mode: "lines+text", name: "slice shown", ...frame(bounds), showlegend: false,
    hoverinfo: "skip", line: {color: colour("--focus"), width: 6}, textfont: {color: colour("--text"), size: 13}};
  const hidden = (range) => ({visible: false, range});
  const drawing = {
    margin: {l: 0, r: 0, t: 28, b: 0}, paper_bgcolor: "rgba(0,0,0,0)", font: {color: colour("--text"), size: 12},
    legend: {orientation: "h", y: 1, yanchor: "bottom", x: 0},
    scene: {
      aspectmode: "manual", uirevision: "kept", camera: {eye: CAMERA.front},
      aspectratio: {x: size * lengths[0], y: size * lengths[1], z: size * lengths[2]},
      xaxis: hidden(bounds[0]), yaxis: hidden(bounds[1]),
      zaxis: {range: bounds[2], title: {text: "mm"}, color: colour("--text"), gridcolor: colour("--line"),
        showbackground: false, zeroline: false, nticks: 6},
    },
  };
  Plotly.react(room, [...meshes, outline], drawing, {displayModeBar: false, responsive: true, scrollZoom: false})
    .then(() => { shape.drawn = true; room.dataset.drawn = "yes"; });
}

// The surface takes the most time to draw: it waits until it is about to be seen.
const shape = {seen: false, drawn: false};
const watch = new IntersectionObserver(([entry]) => {
  shape.seen = entry.isIntersecting;
  if (shape.seen && !shape.drawn) drawShape(); else if (shape.seen) follow();
}, {rootMargin: "150px"});

let waiting = false;
function follow() {
  if (waiting || !window.Plotly) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const {chart} of curves.drawn) {
      const number = data.numbers[shown.index];
      if (chart.layout) Plotly.relayout(chart, {"shapes[0].x0": number, "shapes[0].x1": number});
    }
    if (shape.drawn && shape.seen) {
      const {x, y, z} = frame(extent());
      Plotly.restyle(byId("shape"), {x: [x], y: [y], z: [z]}, [data.surfaces.length]);
    }
  });
}

window.addEventListener("plotly-ready", () => {
  drawCurves();
  watch.observe(byId("shape"));
  dark.addEventListener("change", () => { drawCurves(); if (shape.drawn) drawShape(); });
  choose("[data-area]", (button) => { curves.area = button.dataset.area; drawCurves(); });
  choose("[data-camera]", (button) => {
    if (shape.drawn) Plotly.relayout(byId("shape"), {"scene.camera.eye": CAMERA[button.dataset.camera]});
  });
  shown.followers.push(follow);
});
window.addEventListener("plotly-failed", () => {
  for (const room of [byId("charts"), byId("shape")].filter(Boolean)) {
    room.className = "no-chart";
    room.textContent = "The charts cannot be drawn: the chart library is missing, or this browser is too old for it.";
  }
});
