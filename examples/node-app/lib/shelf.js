'use strict';

/** Lays words on a shelf: in order, each with its length. */
function shelf(words) {
  return [...words].sort().map((word) => `${word} (${word.length})`);
}

module.exports = { shelf };
