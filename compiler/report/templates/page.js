"use strict";
(() => {
  document.documentElement.classList.add("js");
  const holder = document.getElementById("plot-data");
  const content = holder ? JSON.parse(holder.textContent) : { plots: {}, themes: {} };
  let places = [...document.querySelectorAll("[data-plot]")];
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const EAGER = 60;
  const USED = ["keydown", "pointerdown", "wheel"];
  let printing = false;
  let library = null;

  const wait = (place) => {
    place.style.minHeight = `${place.dataset.height}px`;
    place.dataset.state = "waiting";
  };
  places.forEach(wait);

  async function unpack(element) {
    if (typeof DecompressionStream === "undefined") throw new Error("the browser is too old");
    const bytes = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  // The library travels compressed: unpack it, and run it as a script whose hash the page's policy names.
  function load() {
    library ??= (async () => {
      const code = await unpack(document.getElementById("plot-library"));
      const script = document.createElement("script");
      script.textContent = code;
      document.head.append(script);
      if (!window.Plotly) throw new Error("the library did not start");
    })();
    return library;
  }

  function themed(figure) {
    const theme = content.themes[dark.matches && !printing ? "dark" : "light"];
    const data = structuredClone(figure.data);
    const layout = structuredClone(figure.layout);
    for (const trace of data) {
      if (trace.type === "heatmap") {
        trace.colorbar.tickfont = { color: theme.muted };
        trace.colorbar.title.font = { color: theme.muted, size: 12 };
        continue;
      }
      const color = theme[trace.meta.ink ?? `series${trace.meta.series % 3}`];
      trace.marker = { ...trace.marker, color };
      if (trace.meta.ink) trace.marker.line = { width: 1, color: theme.card };
      if (trace.line) trace.line = { ...trace.line, color };
      if (trace.marker.pattern) trace.marker.pattern = { ...trace.marker.pattern, fgcolor: theme.card, fillmode: "overlay" };
      if (trace.error_y) trace.error_y.color = color;
      if (trace.text) trace.textfont = { color: theme.text };
      if (trace.type === "bar" && trace.text) {
        trace.textposition = "outside";
      }
    }
    const axis = { gridcolor: theme.line, linecolor: theme.line, zerolinecolor: theme.line, tickcolor: theme.line };
    for (const name of ["xaxis", "yaxis"]) {
      layout[name] = { ...axis, ...layout[name] };
      if (layout[name].title) layout[name].title.font = { size: 13, color: theme.muted };
    }
    for (const shape of layout.shapes ?? []) shape.line.color = shape.line.dash ? theme.muted : theme.card;
    for (const note of layout.annotations ?? []) note.font = { color: theme.muted, size: 12, ...note.font };
    return {
      data,
      layout: {
        ...layout,
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: theme.text, size: 13, family: getComputedStyle(document.body).fontFamily },
        hoverlabel: { bgcolor: theme.card, bordercolor: theme.line, font: { color: theme.text } },
        dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      },
    };
  }

  const visible = (place) => place.offsetWidth > 0;

  function draw(place) {
    const figure = themed(content.plots[place.dataset.plot]);
    figure.layout.height = Number(place.dataset.height);
    figure.layout.width = undefined;
    const config = {
      responsive: true,
      displaylogo: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      toImageButtonOptions: { filename: place.dataset.plot },
    };
    const first = place.dataset.state !== "drawn";
    place.dataset.state = "drawn";
    const drawn = window.Plotly.react(place, figure.data, figure.layout, config);
    if (first) drawn.then(() => connect(place));
    return drawn;
  }

  // Zooming one plot zooms those that share its axis; a click on a run's mark leads to the run.
  let zooming = false;
  function connect(place) {
    place.on("plotly_click", (event) => {
      const anchor = event.points[0]?.customdata;
      if (typeof anchor === "string" && document.getElementById(anchor)) location.hash = anchor;
    });
    if (!place.dataset.link) return;
    place.on("plotly_relayout", async (change) => {
      if (zooming) return;
      const zoomed = "xaxis.range[0]" in change;
      if (!zoomed && !change["xaxis.autorange"]) return;
      const update = zoomed
        ? { "xaxis.range": [change["xaxis.range[0]"], change["xaxis.range[1]"]] }
        : { "xaxis.autorange": true };
      zooming = true;
      for (const other of places) {
        if (other !== place && other.dataset.link === place.dataset.link && other.dataset.state === "drawn") {
          await window.Plotly.relayout(other, update);
        }
      }
      zooming = false;
    });
  }

  async function show(place) {
    if (place.dataset.state !== "waiting" || !visible(place)) return;
    try {
      await load();
      if (place.dataset.state === "waiting") await draw(place);
    } catch (error) {
      place.dataset.state = "failed";
      place.style.minHeight = "";
      const message = document.createElement("p");
      message.className = "plot-message";
      message.textContent = `The plot cannot be drawn here (${error.message}); its figures stand in the tables.`;
      place.replaceChildren(message);
    }
  }

  function redraw() {
    for (const place of places) if (place.dataset.state === "drawn") draw(place);
  }

  if (places.length) {
    const watcher = new IntersectionObserver(
      (entries) => entries.forEach((entry) => entry.isIntersecting && show(entry.target)),
      { rootMargin: "200px" },
    );
    places.forEach((place) => watcher.observe(place));
    // The first ones are drawn in any case, so that a page printed at once has them.
    const eager = async () => {
      for (const place of places.slice(0, EAGER)) {
        await show(place);
        await new Promise((resolve) => setTimeout(resolve));
      }
      document.documentElement.dataset.plots = "ready";
    };
    // Not before the reader can use the page, and on a large one not while he does: starting the library keeps
    // it busy. What comes into view is drawn at once all the same.
    const pause = document.querySelector("#runs-table > tbody.later") ? 3000 : 200;
    let timer = 0;
    const begin = () => {
      for (const kind of USED) removeEventListener(kind, postpone);
      (window.requestIdleCallback ?? setTimeout)(eager);
    };
    const postpone = () => {
      clearTimeout(timer);
      timer = setTimeout(begin, pause);
    };
    for (const kind of USED) addEventListener(kind, postpone, { passive: true });
    if (document.readyState === "complete") postpone();
    else addEventListener("load", postpone);
    for (const box of document.querySelectorAll("details")) {
      box.addEventListener("toggle", () => {
        if (!box.open) return;
        box.querySelectorAll("[data-plot]").forEach((place) => {
          if (place.dataset.state === "drawn") window.Plotly.Plots.resize(place);
          else show(place);
        });
      });
    }
    dark.addEventListener("change", redraw);
  }

  // Details of many runs travel compressed, and are put in place when they are opened.
  let packed = null;
  async function fill(box) {
    if (!("packed" in box.dataset)) return;
    delete box.dataset.packed;
    packed ??= unpack(document.getElementById("packed")).then(JSON.parse);
    try {
      const found = (await packed)[box.id];
      const holder = document.createElement("div");
      holder.innerHTML = found.html;
      for (const [href, name, size] of found.files) {
        const link = document.createElement("a");
        link.className = "mono";
        link.href = href;
        link.textContent = name;
        const item = document.createElement("li");
        item.append(link, ` ${size}`);
        holder.querySelector("[data-files]").append(item);
      }
      Object.assign(content.plots, found.plots);
      box.append(holder);
      const fresh = [...holder.querySelectorAll("[data-plot]")];
      fresh.forEach(wait);
      places.push(...fresh);
      copyable(holder);
      for (const place of fresh) await show(place);
    } catch (error) {
      const message = document.createElement("p");
      message.textContent = `The details cannot be shown here (${error.message}); the run's files have them.`;
      box.append(message);
    }
  }
  for (const box of document.querySelectorAll("details[data-packed]")) {
    box.addEventListener("toggle", () => box.open && fill(box));
  }

  const table = document.getElementById("runs-table");
  const groups = table ? [...table.tBodies] : [];
  const bar = document.querySelector(".filters");
  const field = document.getElementById("filter");
  const chips = [...document.querySelectorAll(".chip")];
  const target = () => {
    try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
  };

  let limit = 200;
  document.getElementById("all")?.addEventListener("click", () => {
    limit = Infinity;
    filter();
  });

  function filter(write = true) {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.verdict);
    let number = 0;
    let listed = 0;
    const hidden = new Set();
    const later = new Set();
    for (const group of groups) {
      const text = group.dataset.find;
      const on = words.every((word) => text.includes(word)) && (!wanted.length || wanted.includes(group.dataset.verdict));
      const anchor = group.querySelector("th a")?.getAttribute("href").slice(1);
      number += on;
      if (group.hidden === on) group.hidden = !on;
      if (!on) hidden.add(anchor);
      const wait = on && number > limit;
      listed += on && !wait;
      if (wait) later.add(anchor);
      group.classList.toggle("later", wait);
    }
    for (const box of document.querySelectorAll("details.run, article[data-run]")) {
      const anchor = box.dataset.run || box.id;
      box.hidden = hidden.has(anchor);
      if (box.tagName === "DETAILS") box.classList.toggle("later", later.has(anchor));
    }
    const only = listed < number ? `, the first ${listed} are listed` : "";
    document.getElementById("shown").textContent =
      number === groups.length && !only ? "" : `${number} of ${groups.length} runs${only}`;
    document.getElementById("all").hidden = !only;
    if (!write) return;
    const query = new URLSearchParams();
    if (field.value) query.set("find", field.value);
    if (wanted.length) query.set("verdict", wanted.join(","));
    const hash = query.size ? `#?${query}` : "";
    if (hash || location.hash.startsWith("#?")) {
      history.replaceState(null, "", hash || location.pathname + location.search);
    }
  }

  function clear(write = true) {
    field.value = "";
    chips.forEach((chip) => chip.setAttribute("aria-pressed", "false"));
    filter(write);
  }

  if (bar && groups.length > 1) {
    bar.hidden = false;
    field.addEventListener("input", () => filter());
    for (const chip of chips) {
      chip.addEventListener("click", () => {
        chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
        filter();
      });
    }
  }

  function arrive() {
    if (location.hash.startsWith("#?") && bar) {
      const query = new URLSearchParams(location.hash.slice(2));
      field.value = query.get("find") ?? "";
      const wanted = (query.get("verdict") ?? "").split(",");
      chips.forEach((chip) => chip.setAttribute("aria-pressed", String(wanted.includes(chip.dataset.verdict))));
      filter(false);
      return;
    }
    const found = location.hash.length > 1 && document.getElementById(target());
    if (!found) return;
    const box = found.closest("details");
    if (box?.hidden || found.hidden) clear(false);
    box?.classList.remove("later");
    if (box && !box.open) {
      box.open = true;
      fill(box);
      found.scrollIntoView();
    }
  }
  addEventListener("hashchange", arrive);
  arrive();

  // Sorting: a column's buttons order the rows, or groups of rows, by what the cells say.
  const order = new Intl.Collator(undefined, { numeric: true });
  function cellOf(row, column) {
    const first = row.tagName === "TBODY" ? row.rows[0] : row;
    return first.cells[column];
  }
  function sortBy(sorted, column, direction) {
    const grouped = sorted.tBodies.length > 1 || sorted.tBodies[0]?.classList.contains("group");
    const rows = grouped ? [...sorted.tBodies] : [...sorted.tBodies[0].rows];
    const key = (row) => {
      const cell = cellOf(row, column);
      return cell ? (cell.dataset.value ?? cell.textContent.trim()) : "";
    };
    const empty = (text) => text === "" || text === "–" || text.startsWith("no figure");
    const keyed = rows.map((row, index) => ({ row, index, text: key(row) }));
    keyed.sort((a, b) => {
      if (empty(a.text) || empty(b.text)) return empty(a.text) - empty(b.text) || a.index - b.index;
      const [x, y] = [Number(a.text), Number(b.text)];
      const found = Number.isNaN(x) || Number.isNaN(y) ? order.compare(a.text, b.text) : x - y;
      return direction * found || a.index - b.index;
    });
    const holder = grouped ? sorted : sorted.tBodies[0];
    for (const { row } of keyed) holder.append(row);
  }
  for (const sorted of document.querySelectorAll("table[data-sort]")) {
    const heads = [...sorted.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        sortBy(sorted, column, up ? 1 : -1);
        if (sorted === table) {
          groups.splice(0, groups.length, ...table.tBodies);
          filter();
        }
      });
    });
  }

  // Tables copy as tab-separated values: all rows that the filter leaves, a cell that spans rows once for each.
  function textOf(cell) {
    const copy = cell.cloneNode(true);
    for (const part of copy.querySelectorAll("div, br")) part.before(" ");
    return copy.textContent.replace(/\s+/g, " ").trim();
  }
  function tsv(from) {
    const grid = [];
    const rows = [...from.rows].filter((row) => !row.hidden && !row.parentElement.hidden && !row.querySelector("td.reason"));
    rows.forEach((row, y) => {
      grid[y] ??= [];
      let x = 0;
      for (const cell of row.cells) {
        while (grid[y][x] !== undefined) x += 1;
        const text = textOf(cell);
        for (let dy = 0; dy < cell.rowSpan; dy += 1) {
          for (let dx = 0; dx < cell.colSpan; dx += 1) (grid[y + dy] ??= [])[x + dx] = dx ? "" : text;
        }
      }
    });
    return grid.slice(0, rows.length).map((line) => [...line].map((text) => text ?? "").join("\t")).join("\n");
  }
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  function copyable(within) {
    for (const found of within.querySelectorAll("table")) {
      if (found.tHead === null && found.rows.length < 3) continue;
      const tools = document.createElement("div");
      tools.className = "tools";
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy as TSV";
      const name = found.dataset.name ?? found.closest("[aria-label]")?.getAttribute("aria-label") ?? "table";
      button.setAttribute("aria-label", `Copy as TSV: ${name}`);
      button.addEventListener("click", async () => {
        await copy(tsv(found));
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy as TSV"; }, 1500);
      });
      tools.append(button);
      const region = found.closest(".scroll");
      (region && !region.classList.contains("card") ? region : found).before(tools);
    }
  }
  copyable(document);

  // Keys: / finds, j and k go through the runs that are shown, Escape clears.
  let current = null;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches?.("input, textarea, select");
    if (event.key === "Escape" && bar && !bar.hidden) {
      clear();
      field.blur();
    } else if (typing) {
      return;
    } else if (event.key === "/" && bar && !bar.hidden) {
      event.preventDefault();
      field.focus();
    } else if (event.key === "j" || event.key === "k") {
      const shown = groups.filter((group) => !group.hidden && !group.classList.contains("later"));
      if (!shown.length) return;
      const step = event.key === "j" ? 1 : -1;
      const at = shown.indexOf(current);
      current?.classList.remove("current");
      current = shown[at < 0 ? (step > 0 ? 0 : shown.length - 1) : Math.min(Math.max(at + step, 0), shown.length - 1)];
      current.classList.add("current");
      current.querySelector("a").focus();
      current.scrollIntoView({ block: "nearest" });
    }
  });

  // On paper everything is open and light. What is still packed stays so: unpacking does not end in time.
  let closed = [];
  addEventListener("beforeprint", () => {
    printing = true;
    closed = [...document.querySelectorAll("details:not([open], [data-packed])")];
    closed.forEach((box) => { box.open = true; });
    if (window.Plotly) {
      redraw();
      places.forEach((place) => { if (place.dataset.state === "waiting" && visible(place)) draw(place); });
    }
  });
  addEventListener("afterprint", () => {
    printing = false;
    closed.forEach((box) => { box.open = false; });
    redraw();
  });
})();
