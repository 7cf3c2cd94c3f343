for (const table of document.querySelectorAll("table[data-sortable]")) {
  const headers = [...table.tHead.rows[0].cells];
  const number = (text) => parseFloat(text.replace(/,/g, ""));
  headers.forEach((header, place) => {
    const button = document.createElement("button");
    button.textContent = header.textContent;
    button.type = "button";
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const compare = (one, other) => {
        const [a, b] = [one, other].map((row) => row.cells[place].textContent);
        const [x, y] = [number(a), number(b)];
        if (isNaN(x) || isNaN(y)) return isNaN(x) === isNaN(y) ? sign * a.localeCompare(b) : isNaN(x) ? 1 : -1;
        return sign * (x - y);
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compare));
      headers.forEach((each) => each.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    });
  });
}
