'use strict';

const { shelf } = require('./lib/shelf');
const { name, version } = require('./package.json');

console.log(`${name} ${version} in ${process.env.NODE_ENV}`);
for (const line of shelf(process.argv.slice(2))) {
  console.log(line);
}
