// What a page does beyond being read: tables sort and filter, figures become interactive, molecules
// turn. Texts of entries only ever go through textContent and JSON.parse.
"use strict";

(() => {
const root = document.body.dataset.root;
const loading = new Map();

function load(path) {
  if (!loading.has(path)) {
    loading.set(path, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = root + path;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${path} could not be loaded`));
      document.head.append(script);
    }));
  }
  return loading.get(path);
}

// --- tables -----------------------------------------------------------------------------------

function compare(kind, descending) {
  const sign = descending ? -1 : 1;
  return (a, b) => {
    if (a.value === "" || b.value === "") return (a.value === "") - (b.value === "") || a.at - b.at;
    const order = kind === "number" ? Number(a.value) - Number(b.value)
      : a.value.localeCompare(b.value, "en", { numeric: true, sensitivity: "base" });
    return sign * order || a.at - b.at;
  };
}

function sortBy(table, header) {
  const headers = [...header.parentElement.children];
  const at = headers.indexOf(header);
  const first = header.dataset.better === "higher" ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const direction = header.getAttribute("aria-sort") === first ? other : first;
  for (const one of headers) one.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  // Published rows are sorted among themselves: they are never ranked with ours.
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("group"))
      .map((row, k) => ({ row, at: k, value: row.cells[at].dataset.value }));
    rows.sort(compare(header.dataset.sort, direction === "descending"));
    body.append(...rows.map((one) => one.row));
  }
}

function makeSortable(table) {
  for (const header of table.tHead.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(table, header));
    header.append(button);
  }
}

function makeFilterable(table, form) {
  const rows = [...table.querySelectorAll("tbody tr:not(.group)")].map((row) => ({
    row,
    text: row.textContent.toLowerCase(),
    seen: JSON.parse(row.dataset.seen),
    published: row.parentElement.classList.contains("published"),
  }));
  const control = (name) => form.elements.namedItem(name);
  const apply = () => {
    const words = control("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const seen = control("seen")?.value ?? "";
    const subset = control("subset")?.value ?? "";
    const published = control("published")?.checked ?? true;
    let shown = 0;
    for (const one of rows) {
      const fits = words.every((word) => one.text.includes(word))
        && (!seen || one.seen.includes(seen))
        && (!subset || one.row.dataset.subset === subset)
        && (published || !one.published);
      one.row.hidden = !fits;
      shown += fits;
    }
    for (const body of table.tBodies) {
      const heading = body.querySelector("tr.group");
      if (heading) heading.hidden = ![...body.rows].some((row) => row !== heading && !row.hidden);
    }
    form.querySelector("output").textContent =
      shown === rows.length ? "" : shown ? `${shown} of ${rows.length} rows` : "No row fits.";
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}

for (const section of document.querySelectorAll("[data-table]")) {
  const table = section.querySelector("table");
  if (table.querySelectorAll("tbody tr:not(.group)").length > 1) makeSortable(table);
  const form = section.querySelector("[data-filters]");
  if (form) makeFilterable(table, form);
}

// --- figures ----------------------------------------------------------------------------------

const dark = window.matchMedia("(prefers-color-scheme: dark)");

async function drawInteractive(figure, button) {
  button.disabled = true;
  try {
    await load("static/vega.js");
    const themes = JSON.parse(document.getElementById("chart-themes").textContent);
    const spec = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const plot = document.createElement("div");
    const image = figure.querySelector(".plot img");
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", image.alt);
    image.after(plot);
    await window.nabladftDraw(plot, spec, themes[dark.matches ? 1 : 0]);
    image.remove();
    button.remove();
  } catch (error) {
    button.textContent = `Not possible here: ${error.message}`;
  }
}

for (const figure of document.querySelectorAll("[data-figure]")) {
  const button = figure.querySelector("[data-draw]");
  button.hidden = false;
  button.addEventListener("click", () => drawInteractive(figure, button));
}

// --- molecules --------------------------------------------------------------------------------

async function turn(molecule, button) {
  button.disabled = true;
  const stage = molecule.querySelector(".stage");
  const drawing = [...stage.childNodes];
  try {
    await load("static/3Dmol.js");
    const xyz = JSON.parse(molecule.querySelector('script[type="application/json"]').textContent);
    stage.replaceChildren();
    const viewer = window.$3Dmol.createViewer(stage, { backgroundAlpha: 0 });
    if (!viewer) throw new Error("this browser has no WebGL");
    viewer.addModel(xyz, "xyz");
    const colorscheme = "Jmol"; // as in the drawings
    viewer.setStyle({}, { stick: { radius: 0.12, colorscheme }, sphere: { scale: 0.24, colorscheme } });
    viewer.zoomTo();
    viewer.render();
    stage.setAttribute("role", "img");
    stage.setAttribute("aria-label", "Molecule in three dimensions; drag to turn it");
    button.remove();
  } catch (error) {
    stage.replaceChildren(...drawing);
    button.textContent = `Not possible here: ${error.message}`;
  }
}

for (const molecule of document.querySelectorAll("[data-molecule]")) {
  const button = molecule.querySelector("[data-view]");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => turn(molecule, button));
  }
}
})();
