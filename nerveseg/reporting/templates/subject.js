// A subject's page: the slice that is shown, which the viewer, the charts and the flags all follow and may change.
"use strict";

const byId = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const printing = () => document.documentElement.classList.contains("printing");
const data = JSON.parse(byId("data").textContent);

const shown = {index: data.first, followers: []};

function showSlice(index) {
  const within = Math.max(0, Math.min(data.numbers.length - 1, index));
  if (!Number.isInteger(within)) return;
  shown.index = within;
  shown.followers.forEach((follow) => follow(within));
}

function showNumber(number) {
  const index = data.numbers.indexOf(Number(number));
  if (index >= 0) showSlice(index);
}

function press(buttons, pressed) {
  buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === pressed)));
}

function choose(selector, chosen) {
  const buttons = all(selector);
  buttons.forEach((button) => button.addEventListener("click", () => { press(buttons, button); chosen(button); }));
}

byId("slice").addEventListener("input", (event) => showSlice(Number(event.target.value)));
byId("previous").addEventListener("click", () => showSlice(shown.index - 1));
byId("next").addEventListener("click", () => showSlice(shown.index + 1));
shown.followers.push((index) => {
  byId("slice").value = index;
  byId("slice").setAttribute("aria-valuetext", `slice ${data.numbers[index]}`);
  byId("number").textContent = data.numbers[index];
  byId("viewer").dataset.index = index;
});

all("button.flag").forEach((button) => button.addEventListener("click", () => {
  showNumber(button.dataset.slice);
  byId("viewer").scrollIntoView({block: "nearest"});
}));

window.addEventListener("hashchange", () => showNumber(location.hash.replace("#slice=", "")));
window.addEventListener("load", () => {
  showSlice(data.first);
  if (location.hash.startsWith("#slice=")) showNumber(location.hash.replace("#slice=", ""));
});
