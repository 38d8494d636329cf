"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const gallery = document.querySelector(".gallery");
  if (!gallery) return;
  const filters = ["by-class", "by-rule", "by-side", "by-text"].map(byId);
  const words = (text) => new Set(text.split(" ").filter(Boolean));
  const pictures = [...gallery.children].map((item) => ({
    item,
    frame: item.querySelector(".frame"),
    marks: [...item.querySelectorAll(".mark")],
    classes: words(item.dataset.classes),
    rules: words(item.dataset.rules),
    side: item.dataset.side,
    text: item.textContent.toLowerCase(),
  }));
  const total = byId("count").textContent.split(" of ")[1];
  let visible = pictures;
  let current = null;

  // One stop for the tab key: the keys below lead from picture to picture.
  const choose = (picture) => {
    if (current) current.frame.tabIndex = -1;
    current = picture || null;
    if (current) current.frame.tabIndex = 0;
  };

  const filter = () => {
    const [label, rule, side, text] = filters.map((field) => field.value);
    const searched = text.trim().toLowerCase();
    visible = pictures.filter((picture) => {
      const fits =
        (!label || picture.classes.has(label)) &&
        (!rule || picture.rules.has(rule)) &&
        (!side || picture.side === side) &&
        picture.text.includes(searched);
      picture.item.hidden = !fits;
      for (const mark of picture.marks) mark.classList.toggle("dim", Boolean(label) && mark.dataset.class !== label);
      return fits;
    });
    byId("count").textContent = `${visible.length} of ${total}`;
    byId("empty").hidden = visible.length > 0;
    if (!visible.includes(current)) choose(visible[0]);
  };

  const enlarge = (picture, large) => {
    picture.item.classList.toggle("large", large);
    picture.frame.setAttribute("aria-expanded", String(large));
    if (large) picture.item.scrollIntoView({ block: "nearest" });
  };

  const step = (by) => {
    if (!visible.length) return;
    const inside = document.activeElement === current?.frame;
    const place = visible.indexOf(current) + (inside ? by : 0);
    choose(visible[Math.min(Math.max(place, 0), visible.length - 1)]);
    current.frame.focus({ preventScroll: true });
    current.item.scrollIntoView({ block: "nearest" });
  };

  const reset = () => {
    for (const field of filters) field.value = "";
    filter();
  };

  const STEPS = { j: 1, k: -1 };
  const ARROWS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    if (target.matches("input, select, textarea")) {
      if (event.key === "Escape" && target.id === "by-text") reset();
      return;
    }
    const by = STEPS[event.key] ?? (target.matches(".frame") ? ARROWS[event.key] : undefined);
    if (by) step(by);
    else if (event.key === "/") byId("by-text").focus();
    else if (event.key === "Escape" && current) enlarge(current, false);
    else return;
    event.preventDefault();
  });

  gallery.addEventListener("click", (event) => {
    const frame = event.target.closest(".frame");
    const picture = pictures.find((one) => one.frame === frame);
    if (!picture) return;
    choose(picture);
    enlarge(picture, !picture.item.classList.contains("large"));
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-rule]");
    if (!link) return;
    reset();
    byId("by-rule").value = link.dataset.rule;
    filter();
  });

  for (const field of filters) field.addEventListener(field.matches("select") ? "change" : "input", filter);
  byId("reset").addEventListener("click", reset);
  for (const picture of pictures) picture.frame.tabIndex = -1;
  filter();
})();
