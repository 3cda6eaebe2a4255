// Checks the page to which it is appended, and reports errors to the framing page. It is part of the test, never of a page.
addEventListener("load", () => {
  const wrong = [];
  const name = element => `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> "${element.textContent.trim().slice(0, 40)}"`;

  if (document.documentElement.scrollWidth > document.documentElement.clientWidth)
    wrong.push(`the page is ${document.documentElement.scrollWidth} wide in a window of ${document.documentElement.clientWidth}`);

  for (const details of document.querySelectorAll("details")) details.open = true;

  // Screen readers navigate by headings: no level is skipped on the way down.
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
    if (heading.tagName[1] - level > 1) wrong.push(`${name(heading)} is a level too deep`);
    level = Number(heading.tagName[1]);
  }

  const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
  for (const id of ids.filter((id, index) => ids.indexOf(id) !== index)) wrong.push(`the id ${id} stands twice`);
  for (const link of document.querySelectorAll("a[href]"))
    if (!document.querySelector(link.getAttribute("href"))) wrong.push(`the link ${link.getAttribute("href")} leads nowhere`);

  for (const svg of document.querySelectorAll("svg")) {
    if (svg.getAttribute("role") !== "img") wrong.push(`${name(svg)} has no role`);
    for (const id of (svg.getAttribute("aria-labelledby") ?? "none").split(" "))
      if (!(document.getElementById(id)?.textContent.length > 10)) wrong.push(`${name(svg)}: the label ${id} says nothing`);
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map(text => [text, text.getBoundingClientRect()]);
    for (const [text, box] of texts)
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        wrong.push(`${name(text)} leaves its chart "${svg.querySelector("title").textContent}"`);
    for (const [index, [a, boxA]] of texts.entries())
      for (const [b, boxB] of texts.slice(index + 1)) {
        const across = Math.min(boxA.right, boxB.right) - Math.max(boxA.left, boxB.left);
        const down = Math.min(boxA.bottom, boxB.bottom) - Math.max(boxA.top, boxB.top);
        // A box is as high as a line, so letters touch only if about a third of it overlaps.
        if (across > 1 && down > 0.35 * Math.min(boxA.height, boxB.height))
          wrong.push(`${name(a)} and ${name(b)} overlap in "${svg.querySelector("title").textContent}"`);
      }
  }

  // WCAG 2.2, success criterion 1.4.3: 4.5 to 1, and 3 to 1 for large text; 1.4.11: 3 to 1 for marks.
  const parse = color => { const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
  const blend = (top, under, opacity) => top.slice(0, 3).map((channel, i) => channel * opacity + under[i] * (1 - opacity));
  const luminance = color => {
    const [r, g, b] = color.slice(0, 3).map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((x, y) => y - x); return (x + 0.05) / (y + 0.05); };
  const background = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 1) return color;
    }
    return parse(getComputedStyle(document.body).backgroundColor);
  };
  const hold = (element, color, under, least) => {
    const found = contrast(color, under);
    if (found < least) wrong.push(`${name(element)} has a contrast of ${found.toFixed(2)}, and ${least} is the least`);
  };
  for (const text of document.querySelectorAll("svg text")) {
    let under = background(text.ownerSVGElement.parentElement);
    const box = text.getBoundingClientRect();
    const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    for (const cell of text.ownerSVGElement.querySelectorAll(".cell")) {
      const area = cell.getBoundingClientRect();
      if (area.left < x && x < area.right && area.top < y && y < area.bottom)
        under = blend(parse(getComputedStyle(cell).fill), under, Number(cell.getAttribute("fill-opacity") ?? 1));
    }
    hold(text, parse(getComputedStyle(text).fill), under, 4.5);
  }
  for (const mark of document.querySelectorAll("svg .line, svg .mark:not(.hollow), svg .bar, svg .axis")) {
    const style = getComputedStyle(mark);
    const color = style.fill === "none" || mark.matches(".line, .axis") ? style.stroke : style.fill;
    hold(mark, parse(color), background(mark.ownerSVGElement.parentElement), 3);
  }
  for (const element of document.querySelectorAll("body *:not(svg, svg *, script)")) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
    const style = getComputedStyle(element);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    hold(element, parse(style.color), background(element), large ? 3 : 4.5);
  }

  parent.postMessage(JSON.stringify({
    width: innerWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    charts: document.querySelectorAll("svg").length,
    texts: document.querySelectorAll("svg text").length,
    wrong: [...new Set(wrong)].slice(0, 20),
  }), "*");
});
