"use strict";
// Without this script the page is complete: it only adds sorting and filters to the tables of claims.
for (const table of document.querySelectorAll("table[data-claims]")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  if (rows.length < 2) continue;
  const bar = document.createElement("p"), shown = document.createElement("span");
  const collator = new Intl.Collator("en", {numeric: true});
  bar.className = "controls small";
  shown.setAttribute("role", "status");

  const value = (row, place) => {
    const cell = row.cells[place];
    return "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
  };
  // Numbers by size, then texts; what is empty comes last in both directions.
  const compare = (a, b, down) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = [Number(a), Number(b)];
    const order = numbers.some(Number.isNaN) ? collator.compare(a, b) : numbers[0] - numbers[1];
    return down ? -order : order;
  };
  const sort = (place, down) => {
    const sorted = place < 0 ? rows : [...rows].sort((a, b) => compare(value(a, place), value(b, place), down));
    body.append(...sorted);
    heads.forEach((head, at) => {
      if (at === place) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };
  const choice = (label, options, changed) => {
    const outer = document.createElement("label"), select = document.createElement("select");
    select.append(...options.map(([text, key]) => new Option(text, key)));
    select.addEventListener("change", () => changed(select.value));
    outer.append(`${label} `, select);
    bar.append(outer);
    return select;
  };

  const filters = {};
  const filter = () => {
    for (const row of rows) {
      const own = row.cells[0].dataset;
      row.hidden = Object.entries(filters).some(([key, wanted]) => wanted && own[key] !== wanted);
    }
    shown.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length} claims`;
  };
  for (const [key, label] of [["paper", "Paper"], ["verdict", "Verdict"]]) {
    const found = [...new Set(rows.map(row => row.cells[0].dataset[key]))];
    choice(label, [["all", ""], ...found.map(one => [one, one])], wanted => { filters[key] = wanted; filter(); });
  }
  const names = heads.map(head => head.textContent);
  const orders = names.flatMap((name, at) => [[`${name}, ascending`, `${at} up`], [`${name}, descending`, `${at} down`]]);
  const order = choice("Sort by", [["order of the papers", "-1 up"], ...orders], key => {
    const [place, direction] = key.split(" ");
    sort(Number(place), direction === "down");
  });
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      order.value = `${at} ${down ? "down" : "up"}`;
      sort(at, down);
    });
    head.append(button);
  });
  filter();
  bar.append(shown);
  table.parentElement.before(bar);
}
