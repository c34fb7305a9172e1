// The list of studies: searched, sorted, a page at a time, so that tens of thousands stay quick.
(function () {
  "use strict";
  const PER_PAGE = 100;
  const FAR = 3.5; // robust standard deviations from which an outlier is coloured
  const all = JSON.parse(document.getElementById("studies").textContent).map(
    ([name, report, thumbnail, score, worst, count, narrowing, lordosis, flags]) => ({
      name, report, thumbnail, score, worst, count, narrowing, lordosis, flags,
      text: [name, worst, ...flags.map(([title]) => title)].join(" ").toLowerCase(),
    })
  );
  const KEYS = ["name", "score", "count", "narrowing", "lordosis", "flags"];
  const rows = document.getElementById("rows");
  const search = document.getElementById("search");
  const pages = document.querySelector(".pages");
  const buttons = [...document.querySelectorAll(".sort")];
  const order = new Intl.Collator("en", { numeric: true });
  const state = { column: 1, down: true, page: 0, found: all };

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function compare(a, b) {
    const key = KEYS[state.column];
    const sign = state.down ? -1 : 1;
    if (key === "name") return sign * order.compare(a.name, b.name);
    const [left, right] = key === "flags" ? [a.flags.length, b.flags.length] : [a[key], b[key]];
    if (left === null || right === null) return (left === null) - (right === null); // the unknown stand last
    return sign * (left - right) || order.compare(a.name, b.name);
  }

  function number(value, unit) {
    return element("td", value === null ? "–" : String(value).replace("-", "−") + unit);
  }

  function line(study) {
    const row = element("tr");
    const stamp = element("td");
    if (study.thumbnail) {
      const picture = element("img");
      picture.loading = "lazy";
      picture.alt = "";
      picture.src = study.thumbnail;
      stamp.append(picture);
    }
    const title = element("th");
    title.scope = "row";
    if (study.report) {
      const link = element("a", study.name);
      link.href = study.report;
      title.append(link);
    } else title.textContent = study.name;
    const outlier = element("td");
    const far = study.score !== null && study.score >= FAR;
    outlier.append(element("span", study.score === null ? "–" : study.score.toFixed(1), far ? "score far" : "score"), study.worst);
    const flags = element("td");
    for (const [name, quality] of study.flags) flags.append(element("span", name, quality ? "tag quality" : "tag"), " ");
    row.append(stamp, title, outlier, number(study.count, ""), number(study.narrowing, " %"), number(study.lordosis, "°"), flags);
    return row;
  }

  function show() {
    const last = Math.max(0, Math.ceil(state.found.length / PER_PAGE) - 1);
    state.page = Math.min(Math.max(0, state.page), last);
    const first = state.page * PER_PAGE;
    rows.replaceChildren(...state.found.slice(first, first + PER_PAGE).map(line));
    pages.hidden = last === 0;
    document.getElementById("page").textContent = `${state.page + 1} of ${last + 1}`;
    document.getElementById("before").disabled = state.page === 0;
    document.getElementById("after").disabled = state.page === last;
    document.getElementById("shown").textContent =
      state.found.length === all.length ? `${all.length} studies` : `${state.found.length} of ${all.length} studies`;
    buttons.forEach((button, column) =>
      button.parentElement.setAttribute("aria-sort", column !== state.column ? "none" : state.down ? "descending" : "ascending")
    );
  }

  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    state.found = all.filter((study) => words.every((word) => study.text.includes(word))).sort(compare);
    state.page = 0;
    show();
  }

  search.addEventListener("input", find);
  buttons.forEach((button, column) =>
    button.addEventListener("click", () => {
      state.down = column === state.column ? !state.down : column !== 0;
      state.column = column;
      find();
    })
  );
  document.getElementById("before").addEventListener("click", () => { state.page -= 1; show(); });
  document.getElementById("after").addEventListener("click", () => { state.page += 1; show(); });
  find();
})();
