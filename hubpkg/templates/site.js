"use strict";
(() => {
  const entries = JSON.parse(document.getElementById("entries").textContent);
  const filters = ["task", "dataset", "publisher", "version", "state"];
  const states = { verified: "Verified", failed: "Not verified", card: "Card alone" };
  const rowsAtOnce = 100;
  const newestFirst = "-updated";
  const at = (id) => document.getElementById(id);
  const [search, sort, rows, more, clear] = ["q", "sort", "rows", "more", "clear"].map(at);
  const number = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
  let shown = rowsAtOnce;
  let order = newestFirst;
  let keeping;

  for (const entry of entries) {
    entry.words = [entry.path, entry.summary, entry.license, ...filters.map((name) => entry[name])].join(" ").toLowerCase();
  }

  const element = (name, role, text, style) => {
    const made = document.createElement(name);
    if (role) made.setAttribute("role", role);
    if (text) made.textContent = text;
    if (style) made.className = style;
    return made;
  };

  const valueOf = (entry, key) => (key === "metric" ? entry.metric && entry.metric.value : entry[key]);

  const compare = (key, sign) => (one, other) => {
    const [a, b] = [valueOf(one, key), valueOf(other, key)];
    const [noA, noB] = [a === null || a === "", b === null || b === ""];
    if (noA || noB) return noA - noB || (one.path < other.path ? -1 : 1); // what is not known comes last
    if (a !== b) return (a < b ? -1 : 1) * sign;
    return one.path < other.path ? -1 : 1;
  };

  const address = (path) => path.split("/").map(encodeURIComponent).join("/");

  const rowOf = (entry) => {
    const row = element("tr", "row");
    const head = element("th", "rowheader");
    head.scope = "row";
    const link = element("a", "", entry.path.slice(entry.path.lastIndexOf("/") + 1));
    link.href = address(`${entry.path}.report.html`);
    head.append(link);
    if (entry.chinese) {
      const other = element("a", "", "中文", "other");
      other.href = address(entry.chinese);
      other.lang = "zh";
      other.hreflang = "zh";
      other.setAttribute("aria-label", `中文: ${link.textContent}`);
      head.append(other);
    }
    head.append(element("span", "", [entry.publisher, entry.version].filter(Boolean).join(" / "), "under"));
    if (entry.summary) head.append(element("span", "", entry.summary, "under summary"));
    const metric = element("td", "cell");
    if (entry.metric) {
      metric.append(number.format(entry.metric.value));
      metric.append(element("span", "", `${entry.metric.name}, ${entry.metric.measured ? "measured" : "claimed"}`, "under"));
    }
    const state = element("td", "cell");
    const style = { verified: "pill good", failed: "pill bad", card: "pill" }[entry.state];
    state.append(element("span", "", states[entry.state], style));
    if (entry.findings) state.append(element("span", "", `${entry.findings} finding${entry.findings > 1 ? "s" : ""}`, "under"));
    row.append(head, element("td", "cell", entry.task), element("td", "cell", entry.dataset), metric);
    row.append(element("td", "cell", entry.updated, "date"), state);
    return row;
  };

  const draw = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = filters.map((name) => [name, at(name).value]).filter(([, value]) => value);
    const found = entries.filter(
      (entry) => wanted.every(([name, value]) => entry[name] === value) && words.every((word) => entry.words.includes(word)),
    );
    const [key, sign] = order[0] === "-" ? [order.slice(1), -1] : [order, 1];
    found.sort(compare(key, sign));
    rows.replaceChildren(...found.slice(0, shown).map(rowOf));
    more.hidden = found.length <= shown;
    clear.hidden = !words.length && !wanted.length;
    at("status").textContent = found.length === entries.length
      ? `${number.format(entries.length)} models`
      : `${number.format(found.length)} of ${number.format(entries.length)} models`;
    for (const head of document.querySelectorAll("th[data-key]")) {
      if (head.dataset.key === key) head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    sort.value = order;
    const state = new URLSearchParams(wanted);
    if (search.value) state.set("q", search.value);
    if (order !== newestFirst) state.set("sort", order);
    clearTimeout(keeping);
    const before = location.hash;
    keeping = setTimeout(() => { // browsers refuse to be told of each letter
      if (location.hash !== before) return; // somebody went elsewhere, of which hashchange is about to tell
      history.replaceState(null, "", String(state) ? `#${state}` : location.pathname + location.search);
    }, 300);
  };

  const change = () => {
    shown = rowsAtOnce;
    draw();
  };

  const restore = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    search.value = state.get("q") || "";
    for (const name of filters) at(name).value = state.get(name) || "";
    order = state.get("sort") || newestFirst;
    if (![...sort.options].some((option) => option.value === order)) order = newestFirst;
    change();
  };

  search.addEventListener("input", change);
  for (const name of filters) at(name).addEventListener("change", change);
  sort.addEventListener("change", () => {
    order = sort.value;
    change();
  });
  for (const head of document.querySelectorAll("th[data-key] button")) {
    head.addEventListener("click", () => {
      const { key } = head.parentElement.dataset;
      const first = key === "metric" || key === "updated" ? `-${key}` : key; // the best and the newest come first
      const second = first[0] === "-" ? key : `-${key}`;
      order = order === first ? second : first;
      change();
    });
  }
  more.addEventListener("click", () => {
    const next = shown;
    shown += rowsAtOnce;
    draw();
    rows.rows[next].querySelector("a").focus();
  });
  clear.addEventListener("click", () => {
    search.value = "";
    for (const name of filters) at(name).value = "";
    change();
    search.focus();
  });
  addEventListener("hashchange", restore);
  restore();
})();
