// Runs in a report, looks at where everything stands, and tells whoever holds the frame. The page itself has no script.
'use strict';
addEventListener('load', () => {
  const wrong = [];
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const box = (element) => element.getBoundingClientRect();
  const name = (element) => `${element.tagName}.${element.getAttribute('class')} ${element.textContent.slice(0, 40)}`;
  const overlap = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const within = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
  const apart = (what, elements) => elements.forEach((one, index) => elements.slice(0, index).forEach((other) => {
    if (overlap(box(one), box(other))) wrong.push(`${what}: ${name(one)} overlaps ${name(other)}`);
  }));
  const seen = (elements) => elements.filter((element) => box(element).width > 0 && box(element).height > 0);

  // The page has no more width than the window, and everything outside the graph stays within it.
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(`the page is ${document.documentElement.scrollWidth} wide of ${innerWidth}`);
  seen(all('body *:not(svg):not(svg *):not(.away)')).forEach((element) => {
    if (box(element).right > innerWidth + 1 || box(element).left < -1) wrong.push(`outside: ${name(element)}`);
  });

  // Graph: boxes are apart, and what is written in one stays there.
  const nodes = all('svg a.node');
  apart('graph', nodes.map((node) => node.querySelector('rect')));
  nodes.forEach((node) => all('text', node).forEach((text) => {
    if (!within(box(text), box(node.querySelector('rect')))) wrong.push(`graph: ${name(text)} leaves its box`);
  }));
  // Timeline: bars stay in their tracks, rows are apart.
  all('.bars li').forEach((row) => {
    apart('timeline', seen(all('.name, .track, .took', row)));
    if (!within(box(row.querySelector('.bar')), box(row.querySelector('.track')))) wrong.push(`timeline: ${name(row)} leaves its track`);
  });
  apart('timeline', all('.bars li'));
  // Steps: cells are apart, rows too, and folded means folded.
  const steps = all('details.step');
  const folds = steps.filter((step) => !step.open);
  folds.forEach((step) => {
    if (box(step.querySelector('.body')).height > 0 && step.querySelector('.body').checkVisibility()) wrong.push(`unfolded: ${name(step)}`);
  });
  const look = () => {
    apart('steps', steps);
    steps.forEach((step) => apart('steps', seen([...step.querySelector('summary').children])));
    steps.forEach((step) => all('pre', step).filter((pre) => pre.checkVisibility()).forEach((pre) => {
      if (pre.scrollWidth > pre.clientWidth) wrong.push(`steps: ${name(pre)} is wider than its box`);
    }));
  };
  look();
  folds.forEach((step) => step.querySelector('summary').click());
  const stay = steps.filter((step) => !step.open || !step.querySelector('.body').checkVisibility());
  if (stay.length > 0) wrong.push(`${stay.length} steps do not unfold`);
  look();
  apart('page', all('header > *, section'));

  // All text can be told from what it stands on.
  const colour = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([red, green, blue]) => [red, green, blue].map((part) => part / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (at.matches('a.node')) return colour(getComputedStyle(at.querySelector('rect')).fill);
      const found = colour(style.backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const written = seen(all('body *')).filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  let least = 21;
  written.forEach((element) => {
    const style = getComputedStyle(element);
    const [ink, paper] = [light(colour(element.closest('svg') ? style.fill : style.color)), light(ground(element))];
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    least = Math.min(least, contrast);
    if (contrast < 4.5) wrong.push(`contrast ${contrast.toFixed(2)}: ${name(element)}`);
  });

  const missing = nodes.map((node) => node.getAttribute('href').slice(1)).filter((id) => !document.getElementById(id));
  missing.forEach((id) => wrong.push(`a step of the graph has no details: ${id}`));
  parent.postMessage({
    width: innerWidth, wrong, least,
    is_dark: matchMedia('(prefers-color-scheme: dark)').matches,
    nodes: nodes.map((node) => node.dataset.step), steps: steps.map((step) => step.id),
    elements: [...new Set(all('*').map((element) => element.localName))].sort(),
    handlers: all('*').filter((element) => [...element.attributes].some((attribute) => attribute.name.startsWith('on'))).length,
    titles: steps.map((step) => step.querySelector('code').textContent),
  }, '*');
});
