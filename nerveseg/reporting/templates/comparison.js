// Pictures of both dates at one position, and the curves of both on one axis with the band of the detectable change.
"use strict";
const nerves = JSON.parse(document.getElementById("data").textContent);
const inDark = window.matchMedia("(prefers-color-scheme: dark)");
const inkOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const TONES = {first: ["#1a5fd0", "#6ea8ff"], second: ["#a04b00", "#ffb04d"]};
const toneOf = (date) => TONES[date][inDark.matches ? 1 : 0];

function showPosition(card, index) {
  const nerve = nerves[card.dataset.nerve], position = nerve.positions[index];
  ["first", "second"].forEach((date, at) => {
    const picture = card.querySelector(`img[data-date="${date}"]`), number = card.querySelector(`[data-slice="${date}"]`);
    if (picture) picture.src = nerve.pictures[date][index];
    if (number) number.textContent = position[at + 1];
  });
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
    name: "± smallest detectable change", x: [...curve.z_mm, ...[...curve.z_mm].reverse()],
    y: [...curve.first.map((value) => value + curve.limit), ...curve.first.map((value) => value - curve.limit).reverse()],
    fill: "toself", mode: "lines", line: {width: 0}, fillcolor: toneOf("first") + "33", hoverinfo: "skip",
  }, ...dates];
}

function drawCharts() {
  for (const card of document.querySelectorAll("[data-nerve]")) {
    const nerve = nerves[card.dataset.nerve], room = card.querySelector(".charts");
    room.replaceChildren();
    for (const curve of nerve.curves) {
      const name = document.createElement("p"), chart = document.createElement("div");
      name.textContent = curve.name;
      chart.className = "chart";
      room.append(name, chart);
      const axis = {gridcolor: inkOf("--line"), zerolinecolor: inkOf("--line"), fixedrange: true};
      Plotly.newPlot(chart, tracesOf(curve), {
        height: 240, margin: {l: 56, r: 12, t: 30, b: 40}, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: {color: inkOf("--text"), size: 12}, hovermode: "x unified", dragmode: false,
        hoverlabel: {bgcolor: inkOf("--card"), font: {color: inkOf("--text")}},
        legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0},
        xaxis: {...axis, title: {text: "mm along the leg, towards the head", standoff: 6}, zeroline: false},
        yaxis: {...axis, title: {text: curve.unit, standoff: 6}, rangemode: "tozero"},
      }, {displayModeBar: false, responsive: true});
      chart.on("plotly_hover", (event) => {
        const slider = card.querySelector(".position");
        if (!slider) return;
        slider.value = nearest(nerve, event.points[0].x);
        showPosition(card, Number(slider.value));
      });
    }
  }
}

for (const card of document.querySelectorAll("[data-nerve]")) {
  const slider = card.querySelector(".position");
  if (!slider) continue;
  slider.addEventListener("input", () => showPosition(card, Number(slider.value)));
  showPosition(card, Number(slider.value));
}
window.addEventListener("plotly-ready", drawCharts);
inDark.addEventListener("change", () => { if (window.Plotly) drawCharts(); });
