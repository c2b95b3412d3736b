"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  root.classList.add("script");
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const one = (selector, from = document) => from.querySelector(selector);

  // Elements are made of text nodes only: what a bundle calls its cells and kernels is never markup.
  const make = (tag, set = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(set))
      key === "on" ? element.addEventListener("click", value)
                   : key === "style" ? Object.assign(element.style, value) : element.setAttribute(key, value);
    element.append(...children.flat(Infinity).filter((child) => child !== null));
    return element;
  };
  const both = ([en, es]) => en === es ? [document.createTextNode(en)]
      : [make("span", {class: "en", lang: "en"}, en), make("span", {class: "es", lang: "es"}, es)];
  const word = (key) => both(data.words[key]);

  // Language and theme stay for the next page, where the browser keeps anything for a file.
  const kept = (key, value) => {
    try { return value === undefined ? localStorage.getItem(key) : localStorage.setItem(key, value); }
    catch { return null; }
  };
  const spanish = one("#in-es");
  const speak = () => { root.lang = spanish && spanish.checked ? "es" : "en"; };
  if (spanish) {
    if ((kept("greta-lang") || (navigator.language.startsWith("es") ? "es" : "en")) === "es") spanish.checked = true;
    for (const input of all("nav input"))
      input.addEventListener("change", () => { speak(); kept("greta-lang", root.lang); });
    speak();
  }
  const theme = (value) => { if (value) root.dataset.theme = value; };
  theme(kept("greta-theme"));
  one("#theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    theme(dark ? "light" : "dark");
    kept("greta-theme", root.dataset.theme);
  });

  // Tables: a click on a head sorts; rows with notes stay with the row that they are about.
  const value = (row, column) => row.cells[column] ? row.cells[column].textContent : "";
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return a !== "" && b !== "" && !isNaN(x) && !isNaN(y) ? x - y : a.localeCompare(b, "en", {numeric: true});
  };
  const sort = (head, column) => {
    const table = head.closest("table"), body = table.tBodies[0], up = head.ariaSort !== "ascending";
    if (one(".note", body)) return;
    for (const other of all("th", table)) if (other.ariaSort) other.ariaSort = "none";
    head.ariaSort = up ? "ascending" : "descending";
    const rows = [...body.rows].sort((a, b) => compare(value(a, column), value(b, column)) * (up ? 1 : -1));
    body.append(...rows);
  };
  for (const row of all(".wide thead tr:last-child")) {
    [...row.cells].forEach((head, column) => {
      head.ariaSort = "none";
      head.tabIndex = 0;
      head.addEventListener("click", () => sort(head, column));
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(head, column); });
    });
  }
  addEventListener("beforeprint", () => { for (const fold of all("details")) fold.open = true; });
  if (!data.places) return;

  // Numbers and colours of the map.
  const number = (x) => x === "inf" ? Infinity : x === "-inf" ? -Infinity : x === "nan" ? NaN : x;
  const steps = [[0, "c0"], [0.5, "c1"], [1, "c2"], [10, "c3"], [1e3, "c4"], [1e6, "c5"]];
  const heat = (ratio) => ratio === null || ratio === undefined ? "u"
      : (steps.find(([most]) => number(ratio) <= most) || [0, "c9"])[1];
  const mark = (ratio) => {
    if (ratio === null || ratio === undefined || number(ratio) <= 1) return "";
    if (!isFinite(number(ratio))) return "#";
    const power = Math.max(1, Math.ceil(Math.log10(ratio)));
    return power <= 9 ? String(power) : String.fromCharCode(65 + Math.min(power - 10, 25));
  };
  const shown = (x) => {
    if (x === null || x === undefined) return "-";
    const n = number(x);
    if (!isFinite(n)) return String(x);
    return n === 0 ? "0" : Math.abs(n) >= 1e-3 && Math.abs(n) < 1e5 ? String(Number(n.toPrecision(4))) : n.toExponential(2);
  };

  // The fields of the maps by "phase/layer/stage".
  const key = (phase, layer, stage) => `${phase}/${layer}/${stage}`;
  const places = new Map(data.places.map((place) => [key(place.phase, place.layer, place.stage), place]));
  const fields = new Map();
  const maps = all(".map");
  for (const map of maps) {
    const stages = [...map.tHead.rows[0].cells].map((head) => head.textContent);
    const add = (cell, layer, stage) => {
      const field = {cell, map, phase: map.dataset.phase, layer, stage};
      fields.set(key(field.phase, layer, stage), field);
      cell.field = field;
      cell.tabIndex = -1;
    };
    for (const row of map.tBodies[0].rows)
      for (let i = 1; i < row.cells.length; ++i) add(row.cells[i], Number(row.cells[0].textContent), stages[i]);
    const outside = [...map.tFoot.rows[0].cells].slice(1);
    outside.forEach((cell) => add(cell, -1, cell.textContent.trim().split(" ")[0]));
    const first = one("td", map);
    if (first) first.tabIndex = 0;
  }

  const state = {cell: "", least: 0, at: null};
  const ratioOf = (field) => {
    if (state.cell === "") {
      const place = places.get(key(field.phase, field.layer, field.stage));
      return place ? place.ratio : null;
    }
    const pairs = data.pairs[`L${field.layer}/${field.stage}`];
    return pairs ? pairs[field.phase === "prefill" ? 1 : 2][data.cells.indexOf(state.cell)] : null;
  };
  const paint = () => {
    for (const field of fields.values()) {
      const ratio = ratioOf(field), low = ratio === null || number(ratio) < state.least;
      field.cell.className = heat(ratio) + (low && state.least > 0 ? " low" : "") + (field === state.at ? " on" : "");
      const text = field.layer < 0 ? `${field.stage} ${mark(ratio)}` : mark(ratio);
      if (field.cell.textContent !== text) field.cell.textContent = text;
      field.cell.title = `${field.phase} ${field.layer < 0 ? "" : `L${field.layer} `}${field.stage}: ` +
          (ratio === null ? "UNMEASURED" : shown(ratio));
    }
  };

  // What is known of one stage.
  const bars = (rows) => make("div", {class: "bars"}, rows.map(([name, part, text, style]) => [
    make("span", {}, name), make("i", {class: style, style: {width: `${Math.max(0, Math.min(1, part)) * 100}%`}}), make("span", {}, text)]));
  const histogram = (counts) => {
    const most = Math.max(...counts.map((n) => Math.log10(1 + n)), 1);
    const label = (i) => i === data.edges.length ? "∞" : shown(data.edges[i]), told = [0, 0.1, 1, 10, 1e3, 1e6];
    const middle = (i) => i === data.edges.length ? "inf" : data.edges[i];
    return [make("div", {class: "histogram"}, counts.map((n, i) => make("i", {
      class: heat(middle(i)), title: `≤ ${label(i)}: ${n}`, style: {height: `${n ? 4 + 96 * Math.log10(1 + n) / most : 0}%`}}))),
      make("div", {}, counts.map((n, i) => make("span", {}, i === data.edges.length || told.includes(data.edges[i]) ? label(i).replace("1.00e+", "e") : "")))];
  };
  const grid = (rows, column) => make("table", {class: "mini"}, rows.map(([name, ratios]) => make("tr", {},
      make("th", {}, String(name)), ratios.map((ratio, i) =>
        make("td", {class: heat(ratio), title: `${name}, ${column(i)}: ${ratio === undefined ? "UNMEASURED" : shown(ratio)}`})))));
  const head = (i) => `head ${i}`;
  const values = (picture) => make("table", {class: "values"},
      make("tr", {}, ["element", "observed", "oracle", "bound"].map((name) => make("th", {}, word(name)))),
      picture.values.map(([element, observed, oracle, bound]) => {
        const wrong = !(Math.abs(Number(observed) - Number(oracle)) <= number(bound)) && String(observed) !== String(oracle);
        return make("tr", wrong ? {class: "on bad"} : {}, [element, observed, oracle, shown(bound)].map((x) => make("td", {}, String(x))));
      }));
  const sourceOf = (place) => {
    const entry = data.arithmetic.find(([phase, stages, what]) =>
      phase === place.phase && stages.includes(place.stage) && what === place.arithmetic);
    return entry ? ` (${entry[3]})` : "";
  };
  const facts = (pairs) => make("dl", {}, pairs.filter(([, text]) => text).map(([name, text]) =>
      [make("dt", {}, word(name)), make("dd", {}, text)]));
  const side = (phase, layer, stage) => {
    const place = places.get(key(phase, layer, stage));
    if (!place) return make("div", {}, make("p", {class: "dim"}, phase), make("p", {}, make("i", {class: "chip u"}), word("not_judged")));
    const picture = place.picture, parts = [make("p", {class: "dim"}, phase),
      make("p", {class: "big"}, make("i", {class: `chip ${heat(place.ratio)}`}), shown(place.ratio), " ",
        make("small", {class: "dim", style: {fontSize: ".8rem", fontWeight: 400}}, word("of_bound"))),
      facts([["worst_of", place.cell], ["kernel", place.kernel], ["route", place.route], ["arithmetic", place.arithmetic + sourceOf(place)]])];
    if (picture) {
      const rows = picture.positions.map((position, i) => [position, picture.ratios.slice(i * picture.heads, (i + 1) * picture.heads)]);
      parts.push(make("h4", {}, word("values"), " · ", word("row"), ` ${picture.position}`), make("div", {class: "wide"}, values(picture)),
        make("h4", {}, word("histogram")), histogram(picture.histogram),
        make("h4", {}, word("rows_heads"), picture.rows > rows.length ? ` (${rows.length} / ${picture.rows})` : ""), grid(rows, head));
    }
    return make("div", {}, parts);
  };
  // One stage over all layers: by position, and by head.
  const layered = (phase, stage) => {
    const found = data.places.filter((place) => place.phase === phase && place.stage === stage && place.picture && place.layer >= 0);
    if (found.length < 2) return [];
    const positions = [...new Set(found.flatMap(({picture}) => picture.positions))].sort((a, b) => a - b).slice(0, 48);
    const worst = (ratios) => ratios.length === 0 ? null : ratios.reduce((a, b) => number(a) >= number(b) || number(a) !== number(a) ? a : b);
    const byRow = found.map(({layer, picture}) => [`L${layer}`, positions.map((position) => {
      const i = picture.positions.indexOf(position);
      return i < 0 ? undefined : worst(picture.ratios.slice(i * picture.heads, (i + 1) * picture.heads));
    })]);
    const byHead = found.map(({layer, picture}) => [`L${layer}`, Array.from({length: picture.heads}, (_, own) =>
      worst(picture.ratios.filter((_, i) => i % picture.heads === own)))]);
    return [make("div", {}, make("h4", {}, word("layers_rows"), ` · ${phase}`), grid(byRow, (i) => `position ${positions[i]}`)),
      found[0].picture.heads > 1 ? make("div", {}, make("h4", {}, word("layers_heads"), ` · ${phase}`), grid(byHead, head)) : null];
  };
  const scale = (x) => number(x) > 0 ? Math.max(0.02, Math.min(1, (Math.log10(number(x)) + 9) / 12)) : 0;
  const change = (name, [before, after]) => [[`${name}, `, before, "before"], [`${name}, `, after, "after"]]
      .map(([text, x, when]) => [[text, ...word(when)], scale(x), shown(x), when === "before" ? "c4" : "c2"]);
  const finding = (entry) => make("div", {}, make("p", {},
    make("a", {href: "#findings", on: () => showFinding(entry.group)}, word("found"), ` ${entry.group}`), " ", make("b", {}, both(entry.title))),
    entry.pattern[0] ? make("p", {}, both(entry.pattern)) : null,
    entry.scores.length ? [make("h4", {}, word("hypotheses")), bars(entry.scores.slice(0, 8).map(([name, explained]) =>
      [name, number(explained), Number(number(explained)).toFixed(number(explained) > 0.99 ? 5 : 2), name === entry.hypothesis ? "c5" : "c1"]))] : null,
    entry.intervention ? [make("h4", {}, word("intervention"), ` (${entry.intervention.prompt}): `, word(entry.intervention.removed ? "removed" : "not_removed")),
      bars([...change(entry.stage, entry.intervention.mismatch), ...change("logits", entry.intervention.logits)])] : null);
  const byCell = (layer, stage) => {
    const pairs = data.pairs[`L${layer}/${stage}`];
    if (!pairs) return null;
    const rows = data.cells.map((cell, i) => [cell, pairs[0][i], shown(pairs[1][i]), shown(pairs[2][i]), shown(pairs[3][i])]);
    return make("details", {open: ""}, make("summary", {}, word("by_cell")), make("div", {class: "wide"}, make("table", {},
      make("thead", {}, make("tr", {}, ["", "", "prefill", "decode", "MAE"].map((text) => make("th", {}, text)))),
      make("tbody", {}, rows.map((row) => make("tr", row[0] === state.cell ? {class: "on"} : {},
        row.map((text, column) => make("td", column === 1 && text === "F" ? {class: "bad"} : {},
          column === 1 ? (data.statuses[text] ? both(data.statuses[text]) : "-") : text))))))));
  };
  const showFinding = (group) => {
    for (const card of all("article")) card.classList.toggle("on", Number(card.dataset.finding) === group);
  };
  const detail = one("#detail");
  const show = () => {
    if (!state.at) return detail.replaceChildren();
    const {phase, layer, stage} = state.at;
    const here = data.findings.filter((entry) => entry.layer === layer && entry.stage === stage);
    detail.replaceChildren(
      make("div", {class: "top"}, make("h3", {}, layer < 0 ? stage : `L${layer} · ${stage}`), make("button", {type: "button", on: () => open(null)}, word("close"))),
      ...here.map(finding), make("div", {class: "sides"}, side("prefill", layer, stage), side("decode", layer, stage), layered(phase, stage)),
      byCell(layer, stage) || "");
    showFinding(here.length ? here[0].group : 0);
  };

  // #E4/p4_sys/decode0/L3/q: cell, phase, layer, stage. "all" in the place of a cell: the worst of all.
  const link = () => {
    if (!state.at) return "#";
    const {phase, layer, stage} = state.at;
    const where = state.cell === "" ? `all/${phase}` : `${state.cell.split("/").map(encodeURIComponent).join("/")}/${phase === "prefill" ? "prefill_last" : "decode0"}`;
    return `#${where}/L${layer}/${stage}`;
  };
  const open = (field, keepLink) => {
    state.at = field;
    paint();
    show();
    if (!keepLink) history.replaceState(null, "", link());
  };
  const follow = () => {
    const parts = location.hash.slice(1).split("/").map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
    if (parts.length < 4) return;
    const [phase, layer, stage] = parts.slice(-3), cell = parts.slice(0, -3).join("/");
    const field = fields.get(key(phase.startsWith("prefill") ? "prefill" : "decode", Number(layer.slice(1)), stage));
    state.cell = data.cells.includes(cell) ? cell : "";
    cells.value = state.cell;
    if (!field) return;
    open(field, true);
    detail.scrollIntoView();
  };

  // Tools.
  const cells = make("select", {"aria-label": "cell"}, make("option", {value: ""}, data.words.all_cells[root.lang === "es" ? 1 : 0]),
    data.cells.map((cell) => make("option", {value: cell}, cell)));
  cells.addEventListener("change", () => { state.cell = cells.value; open(state.at); });
  const least = make("select", {"aria-label": "noise ratio"}, [0, 0.5, 1, 10, 1000].map((x) => make("option", {value: x}, `≥ ${x}`)));
  least.addEventListener("change", () => { state.least = Number(least.value); paint(); });
  const search = make("input", {type: "search", "aria-label": "filter"});
  const label = () => {
    search.placeholder = data.words.search[root.lang === "es" ? 1 : 0];
    cells.options[0].textContent = data.words.all_cells[root.lang === "es" ? 1 : 0];
  };
  label();
  for (const input of all("nav input")) input.addEventListener("change", label);
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    for (const part of all("#experiments tbody tr, #findings article, #report tbody tr"))
      part.classList.toggle("gone", !part.textContent.toLowerCase().includes(wanted));
  });
  one(".tools").append(cells, least, search);

  // Keys: arrows walk a map, Tab leaves it, Escape closes.
  const move = (field, across, down) => {
    const row = field.cell.parentElement, rows = [...field.map.querySelectorAll("tbody tr, tfoot tr")];
    const next = rows[rows.indexOf(row) + down];
    const cell = next && next.cells[Math.max(1, Math.min(next.cells.length - 1, field.cell.cellIndex + across))];
    if (!cell || !cell.field) return;
    for (const td of all("td", field.map)) td.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
    open(cell.field);
  };
  const arrows = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  for (const map of maps) {
    map.addEventListener("click", (event) => { const cell = event.target.closest("td");
      if (!cell) return;
      open(cell.field);
      if (detail.getBoundingClientRect().top > innerHeight * 0.8) detail.scrollIntoView({behavior: "smooth"});
    });
    map.addEventListener("keydown", (event) => {
      const field = event.target.field;
      if (!field) return;
      if (event.key === "Enter" || event.key === " ") open(field);
      else if (arrows[event.key]) move(field, ...arrows[event.key]);
      else return;
      event.preventDefault();
    });
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") open(null); });
  addEventListener("hashchange", follow);
  paint();
  follow();
})();
