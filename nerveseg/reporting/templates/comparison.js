// Pictures of both dates at one position, and the curves of both on one axis with the band of the detectable change.
"use strict";
const nerves = JSON.parse(document.getElementById("data").textContent);
const inDark = window.matchMedia("(prefers-color-scheme: dark)");
const printing = () => document.documentElement.classList.contains("printing");
const inkOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const TONES = {first: ["#1a5fd0", "#6ea8ff"], second: ["#a04b00", "#ffb04d"]};
const toneOf = (date) => TONES[date][inDark.matches && !printing() ? 1 : 0];
const cards = [...document.querySelectorAll("[data-nerve]")].map((card) => ({
  card, nerve: nerves[card.dataset.nerve], slider: card.querySelector(".position"), charts: [],
}));

function here({nerve, slider}) {
  if (!slider) return [];
  const [height] = nerve.positions[slider.value];
  return [{type: "line", x0: height, x1: height, yref: "paper", y0: 0, y1: 1, line: {color: inkOf("--focus"), width: 2}}];
}

function showPosition(shown, index) {
  const {card, nerve, slider} = shown, position = nerve.positions[index];
  slider.value = index;
  slider.setAttribute("aria-valuetext", `${position[0].toFixed(0)} mm`);
  card.querySelector("[data-position]").textContent = `${position[0].toFixed(0)} mm`;
  ["first", "second"].forEach((date, at) => {
    const picture = card.querySelector(`img[data-date="${date}"]`);
    if (picture) picture.src = nerve.pictures[date][index];
    card.querySelector(`[data-slice="${date}"]`).textContent = position[at + 1];
  });
  for (const chart of shown.charts) if (chart.layout) Plotly.relayout(chart, {shapes: here(shown)});
}

// For paper: pictures of both dates at four more positions, the first date above.
function addOthers({card, nerve}) {
  const room = card.querySelector(".others"), last = nerve.positions.length - 1;
  const chosen = [...new Set([0, 1, 2, 3].map((step) => Math.round(step * last / 3)))];
  for (const [at, date] of ["first", "second"].entries()) {
    if (!nerve.pictures[date].length) continue;
    for (const index of chosen) {
      const figure = document.createElement("figure"), picture = new Image();
      picture.src = nerve.pictures[date][index];
      figure.append(picture, `${date}, ${nerve.positions[index][0].toFixed(0)} mm, slice ${nerve.positions[index][at + 1]}`);
      room.append(figure);
    }
  }
}

function nearest(nerve, height) {
  const away = nerve.positions.map((position) => Math.abs(position[0] - height));
  return away.indexOf(Math.min(...away));
}

function tracesOf(curve) {
  const dates = ["first", "second"].map((date) => ({
    name: date, x: curve.z_mm, y: curve[date], mode: "lines+markers", line: {color: toneOf(date), width: 2,
      dash: date === "first" ? "solid" : "dash"}, marker: {size: 5, color: toneOf(date),
      symbol: date === "first" ? "circle" : "square"}, hovertemplate: "%{y:.4~g}",
  }));
  if (curve.limit === null) return dates;
  return [{
    name: "first ± smallest detectable change", x: [...curve.z_mm, ...[...curve.z_mm].reverse()],
    y: [...curve.first.map((value) => value + curve.limit), ...curve.first.map((value) => value - curve.limit).reverse()],
    fill: "toself", mode: "lines", line: {width: 0}, fillcolor: toneOf("first") + "33", hoverinfo: "skip",
  }, ...dates];
}

function drawChart(shown, chart, curve) {
  const axis = {gridcolor: inkOf("--line"), zerolinecolor: inkOf("--line"), fixedrange: true}, wide = chart.clientWidth;
  const drawing = {
    height: printing() ? 170 : wide < 480 && curve.limit !== null ? 280 : 240, margin: {l: 56, r: 12, t: 30, b: 40},
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: {color: inkOf("--text"), size: 12}, hovermode: "x unified", dragmode: false, shapes: here(shown),
    hoverlabel: {bgcolor: inkOf("--card"), font: {color: inkOf("--text")}},
    legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0},
    xaxis: {...axis, title: {text: "mm along the leg, towards the head", standoff: 6}, zeroline: false},
    yaxis: {...axis, title: {text: curve.unit, standoff: 6}, rangemode: "tozero"},
  };
  if (printing()) drawing.width = wide; // a fixed width follows no window
  Plotly.react(chart, tracesOf(curve), drawing, {displayModeBar: false, responsive: true});
  if (!printing()) Plotly.Plots.resize(chart);
}

function addCharts(shown, room, curves) {
  for (const curve of curves) {
    const name = document.createElement("p"), chart = document.createElement("div");
    name.textContent = curve.name;
    name.className = "chart-name";
    chart.className = "chart";
    room.append(name, chart);
    drawChart(shown, chart, curve);
    chart.curve = curve;
    shown.charts.push(chart);
    chart.on("plotly_hover", (event) => {
      if (shown.slider) showPosition(shown, nearest(shown.nerve, event.points[0].x));
    });
  }
}

function drawAll() {
  for (const shown of cards) for (const chart of shown.charts) if (chart.clientWidth) drawChart(shown, chart, chart.curve);
}

function setOut(onPaper) {
  document.documentElement.classList.toggle("printing", onPaper);
  if (window.Plotly) drawAll();
}

for (const shown of cards) {
  if (!shown.slider) continue;
  shown.slider.addEventListener("input", () => showPosition(shown, Number(shown.slider.value)));
  showPosition(shown, Number(shown.slider.value));
  window.addEventListener("load", () => addOthers(shown));
}
window.addEventListener("plotly-ready", () => {
  for (const shown of cards) {
    const [whole, branches] = shown.card.querySelectorAll(".charts");
    addCharts(shown, whole, shown.nerve.curves.filter((curve) => curve.branch === "total"));
    branches?.parentElement.addEventListener("toggle", () => {
      if (branches.childElementCount) return;
      addCharts(shown, branches, shown.nerve.curves.filter((curve) => curve.branch !== "total"));
    });
  }
  document.body.dataset.drawn = "yes";
});
inDark.addEventListener("change", () => setOut(false));
window.addEventListener("beforeprint", () => setOut(true));
window.addEventListener("afterprint", () => setOut(false));
