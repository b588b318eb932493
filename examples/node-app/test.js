'use strict';

const assert = require('assert');
const { shelf } = require('./lib/shelf');

assert.deepStrictEqual(shelf(['b', 'aa']), ['aa (2)', 'b (1)']);
